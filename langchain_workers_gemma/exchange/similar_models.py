"""Find the published model whose id is most similar to an unknown id."""

from __future__ import annotations

from difflib import SequenceMatcher

from langchain_workers_gemma.models import MODELS, HostName

_MIN_SIMILARITY = 0.6
_MAX_ID_CHARACTERS = 200  # characters of an unknown id that are compared


def find_nearest_model_id(model_id: str, host: HostName = "cloudflare") -> str | None:
    """Return the published id that is most similar to an unknown id, or `None` if none is similar.

    Args:
        model_id: The unknown id.
        host: The hosting provider.

    Example:
        >>> find_nearest_model_id("gemma-4-26b")
        '@cf/google/gemma-4-26b-a4b-it'
    """
    wanted = _to_comparable(model_id[:_MAX_ID_CHARACTERS])
    known = {one: _to_comparable(one) for of_host, one in MODELS if of_host == host}
    ratios = {one: SequenceMatcher(None, wanted, text).ratio() for one, text in known.items()}
    best = max(ratios, key=ratios.__getitem__, default=None)
    return best if best is not None and ratios[best] >= _MIN_SIMILARITY else None


def _to_comparable(model_id: str) -> str:
    """Return the part of an id that names the model, without the characters that servers use differently."""
    return model_id.lower().rpartition("/")[2].replace(":", "").replace("-", "").replace("_", "")
