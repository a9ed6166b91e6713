"""What the chat template of each generation of Gemma accepts and renders correctly (docs/wire.md sections 6 and 11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_workers_gemma.sandbox.errors import INVALID_INPUT, ServiceError

from .declarations import find_hidden, find_misdeclared

if TYPE_CHECKING:
    from langchain_workers_gemma.models import GemmaModel
    from langchain_workers_gemma.sandbox.chat import Tool, Turn

_ALTERNATE = "Conversation roles must alternate user/assistant/user/assistant/..."
_NO_SYSTEM = (
    "System role not supported: the chat template of this model has none. Put the instructions into the first user "
    "message."
)
_SYSTEM_ROLES = ("system", "developer")
_ROLES = (*_SYSTEM_ROLES, "user", "assistant", "tool")


def check_template(model: GemmaModel, turns: tuple[Turn, ...], *, lenient: bool = False) -> None:
    """Refuse a history that the model's chat template cannot render, or renders wrongly.

    Args:
        model: The published facts about the model.
        turns: The history.
        lenient: Accept what Gemma 4's template renders wrongly: the service returns no error, and the model reads
            a garbled prompt.

    Raises:
        ServiceError: With status 500 where the template of Gemma 1 to 3 raises, as users report it, and 400 otherwise.
    """
    if model.tool_role:
        _check_native_roles(turns)
        if not lenient:
            _check_rendering(turns)
    else:
        _check_alternation(turns, system_role=model.system_role)


def check_declarations(
    model: GemmaModel, tools: tuple[Tool, ...], *, lenient: bool = False, strict: bool = False
) -> None:
    """Refuse tools whose declarations the model's chat template renders wrongly.

    Args:
        model: The published facts about the model.
        tools: The tools.
        lenient: Accept them, as the service does.
        strict: Refuse as well what the template merely does not show: the service accepts it, and other clients send
            it, but the model does not learn of the rule.

    Raises:
        ServiceError: For a tool with parameters that the template makes up or leaves out; under `strict` also for one
            with keywords that it does not show.
    """
    if not model.tool_role:
        return
    for at, tool in enumerate(tools):
        where = (tool.parameters, tool.description, f"tools[{at}].function.parameters")
        for problem in () if lenient else find_misdeclared(*where):
            raise _make_rendering_error(problem, "lenient_templates lets it pass")
        for problem in find_hidden(*where) if strict else ():
            raise _make_rendering_error(problem, "strict_declarations, which is on, refuses it")


def _check_alternation(turns: tuple[Turn, ...], *, system_role: bool) -> None:
    # The sources disagree: the published example of Gemma 7B has a system message, and Gemma's own template refuses it.
    if not system_role and any(turn.role == "system" for turn in turns):
        raise _make_template_error(_NO_SYSTEM, status=400)
    if turns and turns[0].role == "system":
        turns = turns[1:]
    for at, turn in enumerate(turns):
        if turn.role != ("user" if at % 2 == 0 else "assistant"):
            raise _make_template_error(_ALTERNATE, status=500)


def _check_native_roles(turns: tuple[Turn, ...]) -> None:
    open_calls: set[str] = set()
    for at, turn in enumerate(turns):
        if turn.role not in _ROLES:
            raise _make_template_error(f"Unexpected message role {turn.role!r}", status=400)
        if turn.role in _SYSTEM_ROLES and at:
            raise _make_template_error("System message must be at the beginning", status=400)
        if turn.role == "tool":
            if turn.call_id not in open_calls:
                raise _make_template_error(
                    f"Tool result {turn.call_id!r} does not answer a tool call of the assistant message before it",
                    status=400,
                )
        else:
            open_calls = {call.id for call in turn.calls}


def _check_rendering(turns: tuple[Turn, ...]) -> None:
    """Refuse what Gemma 4's template renders wrongly without saying so."""
    for at, turn in enumerate(turns):
        if not turn.calls:
            continue
        where = f"messages[{at}]:"
        if at and turns[at - 1].role == "assistant":
            raise _make_rendering_error(
                f"{where} its tool calls follow an assistant message and stand outside any turn"
            )
        if turn.text.strip():
            raise _make_rendering_error(
                f"{where} its text is rendered behind the results of its calls, and closes the turn"
            )
        answers = [one.call_id for one in _find_results_after(turns, at)]
        missing = [call.id for call in turn.calls if call.id not in answers]
        if missing:
            raise _make_rendering_error(
                f"{where} the tool call {missing[0]!r} has no result, so its response stays open"
            )
        if len(set(answers)) < len(answers):
            raise _make_rendering_error(
                f"{where} a tool call has several results, each of them rendered as the only one"
            )


def _find_results_after(turns: tuple[Turn, ...], at: int) -> list[Turn]:
    end = at + 1
    while end < len(turns) and turns[end].role == "tool":
        end += 1
    return list(turns[at + 1 : end])


def _make_rendering_error(problem: str, dialect: str = "lenient_templates lets it pass") -> ServiceError:
    return _make_template_error(
        f"The chat template renders this request wrongly. {problem}. (The service says nothing about this. "
        f"The sandbox's dialect {dialect}.)",
        status=400,
    )


def _make_template_error(message: str, *, status: int) -> ServiceError:
    return ServiceError(INVALID_INPUT, f"AiError: {message}", status=status)
