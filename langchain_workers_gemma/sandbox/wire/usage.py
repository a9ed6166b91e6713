"""The usage of a reply, and its cost in neurons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_workers_gemma.models import GemmaModel
    from langchain_workers_gemma.sandbox.chat import Completion

_DOLLARS_PER_NEURON = 0.011 / 1000
"""Workers AI sells a thousand neurons for $0.011 (its pricing page)."""
_NEURONS_PER_TOKEN = 0.03
"""An estimate for a model without published prices."""


def count_neurons(model: GemmaModel, prompt_tokens: int, completion_tokens: int) -> float:
    """Return the cost of a request in neurons."""
    cost = model.cost_usd(prompt_tokens, completion_tokens)
    if cost is None:
        return round((prompt_tokens + completion_tokens) * _NEURONS_PER_TOKEN, 6)
    return round(cost / _DOLLARS_PER_NEURON, 6)


def build_usage(model: GemmaModel, completion: Completion, *, details: bool) -> dict[str, Any]:
    """Return the usage of a reply.

    Args:
        model: The model, for its prices.
        completion: The reply.
        details: Whether to include cached and reasoning tokens, as in OpenAI's form.
    """
    usage: dict[str, Any] = {
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
        "total_tokens": completion.prompt_tokens + completion.completion_tokens,
    }
    if details:
        usage["prompt_tokens_details"] = {"cached_tokens": completion.cached_tokens}
        usage["completion_tokens_details"] = {"reasoning_tokens": completion.reasoning_tokens}
    usage["neurons"] = count_neurons(model, completion.prompt_tokens, completion.completion_tokens)
    return usage
