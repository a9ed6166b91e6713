"""Find the advice for an error, or for a reply that is empty or truncated."""

from __future__ import annotations

from langchain_workers_gemma.errors import APIStatusError, BadRequestError, InternalServerError, ToolChoiceError
from langchain_workers_gemma.exchange.request import Plan
from langchain_workers_gemma.response.reader import ReplyReader


def find_advice(plan: Plan, reader: ReplyReader) -> str | None:
    """Return a warning with the cure for an empty or truncated reply, `None` if the reply needs none.

    Args:
        plan: The plan of the call.
        reader: The reader of the reply, which has ended.
    """
    if plan.unreliable_tools and reader.is_empty:
        return (
            f"{plan.spec.id} is not flagged for function calling and returned an empty reply when tools were bound: "
            'use tool_calling="guided_json".'
        )
    tokens = reader.tally.output_tokens
    if _is_only_reasoning(reader):
        used = f"all {tokens} tokens" if tokens else "all tokens"
        return (
            f"The reply of {plan.spec.id} is empty: {used} went into reasoning. Raise max_tokens, or turn thinking "
            "off with thinking=False."
        )
    if plan.unset_limit is not None and _is_truncated(plan, reader):
        after = f" after {tokens} tokens" if tokens else ""
        return f"The reply of {plan.spec.id} was truncated{after} by {plan.unset_limit}: set max_tokens."
    return None


def _is_only_reasoning(reader: ReplyReader) -> bool:
    if reader.has_answer or reader.withheld_answer or reader.text_instead_of_call:
        return False
    return reader.has_content or 0 < reader.tally.output_tokens <= reader.tally.reasoning_tokens


def _is_truncated(plan: Plan, reader: ReplyReader) -> bool:
    if reader.finish_reason is not None:
        return reader.finish_reason == "length"
    return reader.tally.output_tokens == plan.spec.default_max_tokens or reader.truncation is not None


def make_missing_call_error(plan: Plan, reader: ReplyReader) -> ToolChoiceError:
    """Return the error for a forced call that is missing."""
    names = ", ".join(sorted(plan.reader_options.forced or ()))
    why = reader.truncation or "The reply holds no such call that can run."
    text = reader.text_instead_of_call
    wrote = f" The model wrote: {text[:200]!r}" if text else ""
    return ToolChoiceError(f"tool_choice requires a call to {names}. {why}{wrote}")


def add_advice(plan: Plan, error: APIStatusError) -> APIStatusError:
    """Return the error, with the cure if a model refused `tools` that it does not support."""
    if plan.unreliable_tools and isinstance(error, BadRequestError | InternalServerError) and error.advice is None:
        advice = f'{plan.spec.id} is not flagged for function calling: use tool_calling="guided_json".'
        error.advice = advice
        error.args = (f"{error.message}\n{advice}",)
    return error
