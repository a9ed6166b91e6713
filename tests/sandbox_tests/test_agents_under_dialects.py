"""Agents with each behaviour of the service and its engine (docs/wire.md sections 3, 4 and 10).

They end with the right answer or a typed error, and no tool runs with truncated arguments.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.errors import GraphRecursionError
from pydantic import BaseModel

from langchain_workers_gemma import ChatWorkersGemma, WorkersGemmaError
from langchain_workers_gemma.middleware import ToolCallGuard
from langchain_workers_gemma.sandbox import DIALECTS, Sandbox

GEMMA_4 = "@cf/google/gemma-4-26b-a4b-it"
QUESTION = "Call write_file with path '/home/ann/notes.txt' and lines 12"
WHOLE = ("/home/ann/notes.txt", 12)

TYPED_ERROR = frozenset(
    {
        "small_window",
        "errors_with_200",
        "call_breaks_constraint",
        "json_for_stream",
        "empty_stream",
        "garbled_keys",
        "split_strings",
        "text_choices",
    }
)
"""Dialects with which an error is correct too: the service returned no call, or one that cannot be read."""
CALL_METHODS = [("native", False), ("native", True), ("openai", True)]


class Details(BaseModel):
    tag: str | None = None


Outcome: TypeAlias = tuple[list[tuple[str, int]], str | None]
"""The arguments of the tool calls, and the answer, or `None` for a typed error."""


def make_model(sandbox: Sandbox, api: str, **fields: Any) -> ChatWorkersGemma:
    return ChatWorkersGemma(
        model=GEMMA_4,
        api=api,
        base_url=sandbox.base_url,
        account_id=sandbox.account_id,
        api_token=sandbox.api_token,
        **fields,
    )


def run_agent(
    sandbox: Sandbox, api: str, *, streaming: bool, guarded: bool = False, **fields: Any
) -> tuple[list[tuple[str, int]], str | None]:
    """Run an agent. Return the arguments of its tool calls, and its answer, or `None` for a typed error."""
    ran: list[tuple[str, int]] = []

    @tool
    def write_file(path: str, lines: int) -> str:
        """Write a text into a file."""
        ran.append((path, lines))
        return f"Wrote {lines} lines to {path}"

    llm = make_model(
        sandbox, api, streaming=streaming, max_retries=1, **({"max_tokens": 1024, "thinking": False} | fields)
    )
    agent: Any = create_agent(llm, [write_file], middleware=[ToolCallGuard()] if guarded else [])
    try:
        messages = agent.invoke({"messages": [HumanMessage(QUESTION)]}, {"recursion_limit": 10})["messages"]
    except (WorkersGemmaError, GraphRecursionError):
        return ran, None
    assert isinstance(messages[-1], AIMessage)
    return ran, messages[-1].text


@pytest.mark.parametrize(("api", "streaming"), CALL_METHODS)
@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_an_agent_answers(sandbox: Sandbox, name: str, api: str, streaming: bool) -> None:
    with sandbox.using_dialect(name):
        ran, answer = run_agent(sandbox, api, streaming=streaming)
    assert set(ran) <= {WHOLE}, "no tool runs with other arguments"
    if name == "context_end":
        assert ran == []
        return
    if name not in TYPED_ERROR:
        assert ran == [WHOLE]
    if name not in TYPED_ERROR | {"all_in_reasoning"}:
        assert answer is not None
        assert "Wrote 12 lines to /home/ann/notes.txt" in answer


CUTTING = [
    ("closed_calls",),
    ("closed_calls_as_tool_calls",),
    ("cut_names",),
    ("closed_calls_as_tool_calls", "words_before_calls"),
    ("closed_calls_as_tool_calls", "shared_deltas"),
    ("closed_calls", "shared_deltas", "empty_deltas"),
    ("calls_as_gemma_4_unclosed",),
]


@pytest.mark.parametrize(("api", "streaming"), CALL_METHODS)
@pytest.mark.parametrize("names", CUTTING, ids="+".join)
def test_a_truncated_call_never_runs(sandbox: Sandbox, names: tuple[str, ...], api: str, streaming: bool) -> None:
    with sandbox.using_dialect(*names):
        for limit in range(4, 30):
            ran, _ = run_agent(sandbox, api, streaming=streaming, max_tokens=limit)
            assert set(ran) <= {WHOLE}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("names", "limit"), [*((names, 14) for names in CUTTING), (("context_end",), 1024)], ids=lambda one: str(one)
)
def test_every_agent_ends_in_an_answer_or_an_error(
    sandbox: Sandbox, names: tuple[str, ...], limit: int, streaming: bool
) -> None:
    """An agent with `ToolCallGuard` ends with an answer that names the truncated call, or with a typed error."""
    with sandbox.using_dialect(*names):
        ran, answer = run_agent(sandbox, "native", streaming=streaming, guarded=True, max_tokens=limit)
    assert set(ran) <= {WHOLE}
    assert answer is None or answer.strip()


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("tool_calling", ["prompt", "guided_json"])
def test_a_swallowed_call_runs_no_tool(sandbox: Sandbox, tool_calling: str, streaming: bool) -> None:
    """Without `tools` the engine drops a call in Gemma's own notation, so that the reply is empty."""
    with sandbox.using_dialect("swallowed_calls"):
        ran, answer = run_agent(sandbox, "native", streaming=streaming, tool_calling=tool_calling)
    assert set(ran) <= {WHOLE}
    assert tool_calling == "guided_json" or (ran, answer or "") == ([], "")


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", ["closed_calls", "closed_calls_as_tool_calls"])
def test_a_call_truncated_by_a_stop_sequence_never_runs(sandbox: Sandbox, name: str, streaming: bool) -> None:
    with sandbox.using_dialect(name):
        ran, _ = run_agent(sandbox, "native", streaming=streaming, stop=["notes"])
    assert ran == []


@pytest.mark.parametrize(("api", "streaming"), CALL_METHODS)
def test_missing_optional_arguments_are_null(sandbox: Sandbox, api: str, streaming: bool) -> None:
    """If the schema allows only a string, engines send the string "null" (docs/wire.md section 10)."""
    ran: list[tuple[Any, ...]] = []

    @tool
    def write_file(
        path: str,
        lines: int,
        encoding: str | None = None,
        level: Literal["low", "high"] | None = None,
        weight: float | None = None,
        tags: list[str] | None = None,
        details: Details | None = None,
    ) -> str:
        """Write a text into a file."""
        ran.append((path, lines, encoding, level, weight, tags, details))
        return f"Wrote {lines} lines to {path}"

    llm = make_model(sandbox, api, streaming=streaming, max_tokens=1024, thinking=False)
    agent: Any = create_agent(llm, [write_file])
    with sandbox.using_dialect("null_arguments"):
        answer = agent.invoke({"messages": [HumanMessage(QUESTION)]}, {"recursion_limit": 10})["messages"][-1]
    assert ran == [(*WHOLE, None, None, None, None, None)]
    assert "Wrote 12 lines" in answer.text


@pytest.mark.parametrize(("api", "streaming"), CALL_METHODS)
@pytest.mark.parametrize("name", ["small_window", "reduced_max_tokens"])
def test_a_default_max_tokens_is_reduced_to_fit(sandbox: Sandbox, name: str, api: str, streaming: bool) -> None:
    with sandbox.using_dialect(name):
        ran, answer = run_agent(sandbox, api, streaming=streaming, max_tokens=None)
    assert ran == [WHOLE]
    assert answer is not None
    assert "Wrote 12 lines to /home/ann/notes.txt" in answer
