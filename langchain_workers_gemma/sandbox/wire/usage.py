"""Usage reports, and the neurons a request costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_workers_gemma.models import GemmaModel
    from langchain_workers_gemma.sandbox.chat import Completion

_DOLLARS_PER_NEURON = 0.011 / 1000
"""Workers AI sells a thousand neurons for $0.011 (its pricing page)."""
_NEURONS_PER_TOKEN = 0.03
"""For a model without published prices."""


def count_neurons(model: GemmaModel, prompt_tokens: int, completion_tokens: int) -> float:
    """Return the neurons that a request costs."""
    cost = model.cost_usd(prompt_tokens, completion_tokens)
    if cost is None:
        return round((prompt_tokens + completion_tokens) * _NEURONS_PER_TOKEN, 6)
    return round(cost / _DOLLARS_PER_NEURON, 6)


def build_report(model: GemmaModel, completion: Completion, *, details: bool) -> dict[str, Any]:
    """Return the usage of a reply.

    Args:
        model: Whose prices count.
        completion: What was generated.
        details: Whether cached and reasoning tokens are listed, as in OpenAI's form.
    """
    found: dict[str, Any] = {
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
        "total_tokens": completion.prompt_tokens + completion.completion_tokens,
    }
    if details:
        found["prompt_tokens_details"] = {"cached_tokens": completion.cached_tokens}
        found["completion_tokens_details"] = {"reasoning_tokens": completion.reasoning_tokens}
    found["neurons"] = count_neurons(model, completion.prompt_tokens, completion.completion_tokens)
    return found
