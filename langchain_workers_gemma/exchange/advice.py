"""Advice that accompanies a response: the cure for an error, and for a reply of little use."""

from __future__ import annotations

from langchain_workers_gemma.errors import APIStatusError, BadRequestError, InternalServerError, ToolChoiceError
from langchain_workers_gemma.exchange.request import Plan
from langchain_workers_gemma.response.reader import ReplyReader


def find_advice(plan: Plan, reader: ReplyReader) -> str | None:
    """Return a warning that names the cure for a reply, `None` if it needs none.

    Args:
        plan: What was sent.
        reader: The reader of the reply, which has ended.
    """
    if plan.unreliable_tools and reader.is_empty:
        return (
            f"{plan.spec.id} is not flagged for function calling and returned an empty reply when tools were bound: "
            'use tool_calling="guided_json".'
        )
    tokens = reader.tally.output_tokens
    if _is_thought_alone(reader):
        spent = f"all {tokens} tokens" if tokens else "all tokens"
        return (
            f"The reply of {plan.spec.id} is empty: {spent} went into reasoning. Raise max_tokens, or turn thinking "
            "off with thinking=False."
        )
    if plan.unset_limit is not None and _is_truncated(plan, reader):
        after = f" after {tokens} tokens" if tokens else ""
        return f"The reply of {plan.spec.id} was truncated{after} by {plan.unset_limit}: set max_tokens."
    return None


def _is_thought_alone(reader: ReplyReader) -> bool:
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
    why = reader.truncation or "The reply holds none that can run."
    prose = reader.text_instead_of_call
    said = f" The model said: {prose[:200]!r}" if prose else ""
    return ToolChoiceError(f"tool_choice demanded a call to {names}. {why}{said}")


def add_advice(plan: Plan, error: APIStatusError) -> APIStatusError:
    """Return the same error; where a model refused `tools` that it was never taught, with the cure."""
    if plan.unreliable_tools and isinstance(error, BadRequestError | InternalServerError) and error.advice is None:
        advice = f'{plan.spec.id} is not flagged for function calling: use tool_calling="guided_json".'
        error.advice = advice
        error.args = (f"{error.message}\n{advice}",)
    return error
