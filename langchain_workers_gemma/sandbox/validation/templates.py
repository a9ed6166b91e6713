"""What the chat template of each generation of Gemma accepts (docs/wire.md section 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_workers_gemma.sandbox.errors import INVALID_INPUT, ServiceError

if TYPE_CHECKING:
    from langchain_workers_gemma.models import GemmaModel
    from langchain_workers_gemma.sandbox.chat import Turn

_ALTERNATE = "Conversation roles must alternate user/assistant/user/assistant/..."
_SYSTEM_ROLES = ("system", "developer")
_ROLES = (*_SYSTEM_ROLES, "user", "assistant", "tool")


def check_template(model: GemmaModel, turns: tuple[Turn, ...]) -> None:
    """Refuse a history that the model's chat template cannot render.

    Raises:
        ServiceError: With status 500 for the generations that raise in their template, as users report of Gemma 3, and
            400 for Gemma 4.
    """
    if model.tool_role:
        _check_native_roles(turns)
    else:
        _check_alternation(turns, system_role=model.system_role)


def _check_alternation(turns: tuple[Turn, ...], *, system_role: bool) -> None:
    if turns and turns[0].role == "system":
        if not system_role:
            raise _template_error("System role not supported", status=500)
        turns = turns[1:]
    for at, turn in enumerate(turns):
        if turn.role == "system" and not system_role:
            raise _template_error("System role not supported", status=500)
        if turn.role != ("user" if at % 2 == 0 else "assistant"):
            raise _template_error(_ALTERNATE, status=500)


def _check_native_roles(turns: tuple[Turn, ...]) -> None:
    open_calls: set[str] = set()
    for at, turn in enumerate(turns):
        if turn.role not in _ROLES:
            raise _template_error(f"Unexpected message role {turn.role!r}", status=400)
        if turn.role in _SYSTEM_ROLES and at:
            raise _template_error("System message must be at the beginning", status=400)
        if turn.role == "tool":
            if turn.call_id not in open_calls:
                raise _template_error(
                    f"Tool result {turn.call_id!r} does not answer a tool call of the assistant message before it",
                    status=400,
                )
        else:
            open_calls = {call.id for call in turn.calls}


def _template_error(message: str, *, status: int) -> ServiceError:
    return ServiceError(INVALID_INPUT, f"AiError: {message}", status=status)
