"""Check that the chat template of a model accepts and correctly renders a request (docs/wire.md sections 6 and 11)."""

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
        lenient: Whether to accept what Gemma 4's template renders wrongly. The service returns no error for it, but the
            model receives a wrong prompt.

    Raises:
        ServiceError: With status 500 if the roles do not alternate for Gemma 1 to 3, as users report, otherwise with
            status 400.
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
        lenient: Whether to accept them, as the service does.
        strict: Whether to refuse keywords that the template does not show. The service accepts them, and other clients
            send them, but the model does not see these rules.

    Raises:
        ServiceError: If the template invents or omits parameters of a tool. With `strict`, also if it does not show a
            keyword.
    """
    if not model.tool_role:
        return
    for at, tool in enumerate(tools):
        arguments = (tool.parameters, tool.description, f"tools[{at}].function.parameters")
        for problem in () if lenient else find_misdeclared(*arguments):
            raise _make_rendering_error(problem)
        for problem in find_hidden(*arguments) if strict else ():
            raise _make_rendering_error(problem, "strict_declarations refuses it")


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
    """Refuse what Gemma 4's template renders wrongly without an error."""
    for at, turn in enumerate(turns):
        if not turn.calls:
            continue
        where = f"messages[{at}]:"
        if at and turns[at - 1].role == "assistant":
            raise _make_rendering_error(
                f"{where} its tool calls follow an assistant message, so they are outside of any turn"
            )
        if turn.text.strip():
            raise _make_rendering_error(
                f"{where} its text is rendered after the results of its calls and ends the turn"
            )
        result_ids = [one.call_id for one in _find_results_after(turns, at)]
        missing = [call.id for call in turn.calls if call.id not in result_ids]
        if missing:
            raise _make_rendering_error(
                f"{where} the tool call {missing[0]!r} has no result, so its response is not closed"
            )
        if len(set(result_ids)) < len(result_ids):
            raise _make_rendering_error(
                f"{where} a tool call has several results, and each is rendered as if it were the only one"
            )


def _find_results_after(turns: tuple[Turn, ...], at: int) -> list[Turn]:
    end = at + 1
    while end < len(turns) and turns[end].role == "tool":
        end += 1
    return list(turns[at + 1 : end])


def _make_rendering_error(problem: str, dialect: str = "lenient_templates allows it") -> ServiceError:
    return _make_template_error(
        f"The chat template renders this request wrongly. {problem}. (The service returns no error for it. "
        f"The sandbox's dialect {dialect}.)",
        status=400,
    )


def _make_template_error(message: str, *, status: int) -> ServiceError:
    return ServiceError(INVALID_INPUT, f"AiError: {message}", status=status)
