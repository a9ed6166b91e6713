"""Find out whether a reply was truncated, so that its last tool call may be incomplete.

JSON that parses is no proof of a complete call: engines close JSON that the token limit or a stop sequence truncated,
and report `tool_calls` as the finish reason (`docs/wire.md` section 10). The evidence is in the finish reasons,
`stop_reason`, the token limit that was sent, and the context window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_TRUNCATION_REASONS = frozenset(
    {"length", "max_tokens", "model_length", "content_filter", "abort", "error", "cancelled"}
)
_NORMAL_END_REASONS = frozenset({"stop", "eos", "eos_token", "end_turn", "tool_use", "tool_call", "tool_calls"})
_TRUNCATED = "The reply was truncated"
_TOKEN_REASONS = frozenset({"length", "max_tokens", "model_length"})
_TRUNCATION_REASONS = _TOKEN_REASONS | {"content_filter", "abort", "error", "cancelled"}


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """The limits on a reply's tokens.

    Attributes:
        max_tokens: The limit that the request sent, `None` if it sent none.
        context_window: The maximum of input and output tokens together, `None` if not known.
        call_closers: Special tokens that end a call. If the stop sequence is one of them, the call is complete.
        stops: The stop sequences that the request sent.
    """

    max_tokens: int | None = None
    context_window: int | None = None
    call_closers: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()


NO_LIMITS = TokenLimits()


def find_truncation(
    limits: TokenLimits, finish_reasons: Sequence[str], stop_reason: object, output_tokens: int, total_tokens: int
) -> str | None:
    """Return why a reply was truncated, `None` if there is no sign of it.

    Args:
        limits: The limits on its tokens.
        finish_reasons: Its finish reasons: some servers send several.
        stop_reason: An integer if the model ended it itself, the stop sequence if one was hit, else `None`.
        output_tokens: The tokens that it used; 0 if not known.
        total_tokens: The tokens of prompt and reply together; 0 if not known.

    Example:
        >>> find_truncation(TokenLimits(max_tokens=16), ["tool_calls"], None, 16, 374)
        'The reply was truncated at max_tokens=16: raise max_tokens.'
        >>> find_truncation(TokenLimits(max_tokens=16), ["tool_calls"], 50, 16, 374)
    """
    reason = next((reason for reason in finish_reasons if reason.lower() in _TRUNCATION_REASONS), "")
    ended_itself = isinstance(stop_reason, int) and not isinstance(stop_reason, bool)
    if limits.max_tokens is not None and output_tokens >= limits.max_tokens and not ended_itself:
        return f"{_TRUNCATED} at max_tokens={limits.max_tokens}: raise max_tokens."
    if limits.context_window is not None and total_tokens >= limits.context_window and not ended_itself:
        return f"{_TRUNCATED} at the end of the context window of {limits.context_window} tokens: send less."
    if reason.lower() in _TOKEN_REASONS:
        sent = "" if limits.max_tokens is None else f"={limits.max_tokens}"
        return f"{_TRUNCATED} at max_tokens{sent} (finish reason {reason!r}): raise max_tokens."
    if isinstance(stop_reason, str) and _is_stop_sequence(stop_reason, limits):
        return f"{_TRUNCATED} by the stop sequence {stop_reason!r}: choose one that no argument holds."
    return f"{_TRUNCATED} by the service (finish reason {reason!r})." if reason else None


def _is_stop_sequence(stop_reason: str, limits: TokenLimits) -> bool:
    """Return whether `stop_reason` is a stop sequence, not a word with which a server names a normal end."""
    return stop_reason not in limits.call_closers and (
        stop_reason in limits.stops or stop_reason.lower() not in _NORMAL_END_REASONS
    )


def is_truncation(error: str) -> bool:
    """Return whether the error of an invalid call reports a truncated reply."""
    return error.startswith(_TRUNCATED)
