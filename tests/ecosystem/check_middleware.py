"""Every middleware of LangChain, in agents with every model and tool calling method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents import middleware as builtin
from langchain_core.decisions import BaseDecisionModel, ClassifierResponse
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_workers_gemma import ChatWorkersGemma
from langchain_workers_gemma.middleware import ToolCallGuard
from langchain_workers_gemma.sandbox import Sandbox
from tests.ecosystem.agent_helpers import (
    RECURSION_LIMIT,
    add,
    check_final_answer,
    get_weather,
    join_sent_bodies,
    make_input,
    make_llm,
)

CALL = {"name": "get_weather", "args": {"city": "Rome"}, "id": "old", "type": "tool_call"}
HISTORY: list[BaseMessage] = [HumanMessage("Hello there."), AIMessage("Hello! How can I help you today?")] * 3


def run_agent(
    llm: ChatWorkersGemma, *middleware: Any, tools: Any = (get_weather, add), history: Any = ()
) -> dict[str, Any]:
    """Run an agent, check that it ends with an answer, and return its state."""
    agent: Any = create_agent(llm, list(tools), middleware=list(middleware))
    state: dict[str, Any] = agent.invoke({"messages": [*history, *make_input()["messages"]]}, RECURSION_LIMIT)
    check_final_answer(state)
    return state


def get_tool_results(state: dict[str, Any]) -> list[ToolMessage]:
    return [message for message in state["messages"] if isinstance(message, ToolMessage)]


def test_all_middleware_of_langchain_is_checked() -> None:
    shipped = {
        name
        for name in builtin.__all__
        if isinstance(kind := getattr(builtin, name), type)
        and issubclass(kind, builtin.AgentMiddleware)
        and kind is not builtin.AgentMiddleware
    }
    assert len(shipped) >= 18
    source = Path(__file__).read_text(encoding="utf-8")
    assert {name for name in shipped if f"builtin.{name}(" not in source} == set()


# --- Middleware that calls a model ------------------------------------------------------------------------------------


@pytest.mark.parametrize("trigger", [("tokens", 60), ("messages", 5), ("fraction", 0.0001)])
def test_summarization(llm: ChatWorkersGemma, sandbox: Sandbox, trigger: Any) -> None:
    """`fraction` needs the context window from the model's profile."""
    counter: Any = llm.get_num_tokens_from_messages
    summarizer = builtin.SummarizationMiddleware(
        model=llm, trigger=trigger, keep=("messages", 2), token_counter=counter
    )
    state = run_agent(llm, summarizer, history=HISTORY)
    assert "Context Extraction Assistant" in join_sent_bodies(sandbox)
    assert "summary" in str(state["messages"][0].content).lower()


def test_tool_selector(llm: ChatWorkersGemma) -> None:
    run_agent(llm, builtin.LLMToolSelectorMiddleware(model=llm, max_tools=1, always_include=["get_weather"]))


def test_tool_emulator(llm: ChatWorkersGemma) -> None:
    def get_weather(city: str) -> str:
        """Tell the weather in a city."""
        raise AssertionError("an emulated tool must not run")

    assert get_tool_results(
        run_agent(llm, builtin.LLMToolEmulator(model=llm, tools=["get_weather"]), tools=[get_weather])
    )


def test_fallback(llm: ChatWorkersGemma, sandbox: Sandbox) -> None:
    first = make_llm(sandbox, model=llm.model, tool_calling=llm.tool_calling, api_token="refused", max_retries=0)
    state = run_agent(first, builtin.ModelFallbackMiddleware(llm))
    assert len(get_tool_results(state)) == 1


def test_router(llm: ChatWorkersGemma, sandbox: Sandbox) -> None:
    class Router(BaseDecisionModel):
        """Always chooses the second model."""

        model: str = "router"

        @property
        def _provider(self) -> str:
            return "test"

        def _classify(self, state: Any, questions: Any) -> ClassifierResponse:
            answer = {"type": "choice", "choice": "gemma", "probabilities": {"gemma": 1.0}, "confidence": 1.0}
            return ClassifierResponse.model_validate({"model": self.model, "answers": dict.fromkeys(questions, answer)})

    refused = make_llm(sandbox, api_token="refused", max_retries=0)
    router = builtin.ModelRouterMiddleware(
        choices={
            "refused": builtin.ModelChoice(model=refused, criteria="Nothing."),
            "gemma": builtin.ModelChoice(model=llm, criteria="Everything."),
        },
        instructions="Choose.",
        classifier=Router(),
    )
    assert get_tool_results(run_agent(refused, router))


# --- Middleware that counts or edits the messages for a model ---------------------------------------------------------


@pytest.mark.parametrize("method", ["model", "approximate"])
def test_context_editing(llm: ChatWorkersGemma, sandbox: Sandbox, method: Any) -> None:
    history = [HumanMessage("What is the weather in Rome?"), AIMessage("", tool_calls=[CALL])]
    history += [ToolMessage("A very long report. " * 50, tool_call_id="old"), AIMessage("It is warm in Rome.")]
    edit = builtin.ClearToolUsesEdit(trigger=50, keep=0, placeholder="[cleared]")
    run_agent(llm, builtin.ContextEditingMiddleware(edits=[edit], token_count_method=method), history=history)
    assert "A very long report" not in join_sent_bodies(sandbox)


def test_personal_data(llm: ChatWorkersGemma, sandbox: Sandbox) -> None:
    redact = builtin.PIIMiddleware("email", strategy="redact", apply_to_output=True, apply_to_tool_results=True)
    run_agent(llm, redact, history=[HumanMessage("I am ada@example.com."), AIMessage("Hello, ada@example.com.")])
    agent: Any = create_agent(llm, [get_weather], middleware=[redact])
    agent.invoke(make_input("Write to ada@example.com about the weather in the city of Paris."), RECURSION_LIMIT)
    assert "ada@example.com" not in join_sent_bodies(sandbox).splitlines()[-1]
    blocking: Any = create_agent(llm, [], middleware=[builtin.PIIMiddleware("email", strategy="block")])
    with pytest.raises(builtin.PIIDetectionError):
        blocking.invoke(make_input("I am ada@example.com."), RECURSION_LIMIT)


def test_todo_list(llm: ChatWorkersGemma, sandbox: Sandbox) -> None:
    run_agent(llm, builtin.TodoListMiddleware())
    assert "write_todos" in join_sent_bodies(sandbox)


def test_server_side_tool_search(llm: ChatWorkersGemma) -> None:
    run_agent(llm, builtin.ProviderToolSearchMiddleware())
    with pytest.raises(ValueError, match="server-side tool search"):
        run_agent(llm, builtin.ProviderToolSearchMiddleware(searchable_tools=["add"]))


# --- Middleware that limits, retries or reviews calls -----------------------------------------------------------------


def test_limit_of_model_calls(llm: ChatWorkersGemma, sandbox: Sandbox) -> None:
    state = run_agent(llm, builtin.ModelCallLimitMiddleware(run_limit=1))
    assert "limit" in check_final_answer(state).text.lower()
    assert len(sandbox.requests) == 1


def test_limit_of_tool_calls(llm: ChatWorkersGemma) -> None:
    state = run_agent(llm, builtin.ToolCallLimitMiddleware(tool_name="get_weather", run_limit=1))
    assert [result.status for result in get_tool_results(state)].count("success") == 1


def test_retried_models(llm: ChatWorkersGemma, sandbox: Sandbox) -> None:
    sandbox.fail(next=1, status=500)
    llm_without_retries = llm.model_copy(update={"max_retries": 0})
    state = run_agent(
        llm_without_retries,
        builtin.ModelRetryMiddleware(max_retries=1, initial_delay=0, jitter=False, on_failure="error"),
    )
    assert len(get_tool_results(state)) == 1


def test_model_that_always_fails(llm: ChatWorkersGemma, sandbox: Sandbox) -> None:
    sandbox.fail(next=9, status=500)
    llm_without_retries = llm.model_copy(update={"max_retries": 0})
    state = run_agent(llm_without_retries, builtin.ModelRetryMiddleware(max_retries=1, initial_delay=0, jitter=False))
    assert "InternalServerError" in check_final_answer(state).text


def test_refusals(llm: ChatWorkersGemma) -> None:
    assert get_tool_results(run_agent(llm, builtin.ModelRefusalMiddleware()))


class FailingTool:
    """A tool whose first calls fail."""

    def __init__(self, times: int) -> None:
        self.failures_left = times

        def get_weather(city: str) -> str:
            """Tell the weather in a city."""
            self.failures_left -= 1
            if self.failures_left >= 0:
                raise TimeoutError("the station does not answer")
            return f"24 degrees in {city}"

        self.tool = get_weather


def test_retried_tools(llm: ChatWorkersGemma) -> None:
    retry = builtin.ToolRetryMiddleware(max_retries=1, initial_delay=0, jitter=False)
    assert [result.status for result in get_tool_results(run_agent(llm, retry, tools=[FailingTool(1).tool]))] == [
        "success"
    ]


def test_errors_of_tools(llm: ChatWorkersGemma, sandbox: Sandbox) -> None:
    state = run_agent(llm, builtin.ToolErrorMiddleware(lambda error, _request: str(error)), tools=[FailingTool(9).tool])
    assert get_tool_results(state)[0].status == "error"
    assert "the station does not answer" in join_sent_bodies(sandbox)


@pytest.mark.parametrize("decision", ["approve", "edit", "reject", "respond"])
def test_human_in_the_loop(llm: ChatWorkersGemma, sandbox: Sandbox, decision: str) -> None:
    agent: Any = create_agent(
        llm,
        [get_weather],
        middleware=[builtin.HumanInTheLoopMiddleware(interrupt_on={"get_weather": True})],
        checkpointer=InMemorySaver(),
    )
    thread: Any = {"configurable": {"thread_id": "1"}, **RECURSION_LIMIT}
    waiting = agent.invoke(make_input(), thread)
    assert waiting["__interrupt__"]
    answer: dict[str, Any] = {"type": decision}
    if decision == "edit":
        answer["edited_action"] = {"name": "get_weather", "args": {"city": "Oslo"}}
    elif decision != "approve":
        answer["message"] = "It is 7 degrees, look no further."
    state = agent.invoke(Command(resume={"decisions": [answer]}), thread)
    while state.get("__interrupt__"):  # the model calls again
        state = agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), thread)
    check_final_answer(state)
    expected = {"approve": "24 degrees in", "edit": "24 degrees in Oslo"}.get(decision, "look no further")
    assert expected in join_sent_bodies(sandbox)


def test_calls_that_a_classifier_blocks(llm: ChatWorkersGemma, sandbox: Sandbox) -> None:
    class Judge(BaseDecisionModel):
        """Classifies every call as risky."""

        model: str = "judge"

        @property
        def _provider(self) -> str:
            return "test"

        def _classify(self, state: Any, questions: Any) -> ClassifierResponse:
            answer = {"type": "noul", "noul": 0.99}
            return ClassifierResponse.model_validate({"model": self.model, "answers": dict.fromkeys(questions, answer)})

    state = run_agent(llm, builtin.AutoModeMiddleware(tools=["get_weather"], classifier=Judge()), tools=[get_weather])
    assert "blocked" in get_tool_results(state)[0].text
    assert "24 degrees" not in join_sent_bodies(sandbox)


def test_guard(llm: ChatWorkersGemma) -> None:
    assert get_tool_results(run_agent(llm, ToolCallGuard()))


# --- Middleware that adds tools ---------------------------------------------------------------------------------------


def test_shell(llm: ChatWorkersGemma, tmp_path: Path) -> None:
    policy = builtin.HostExecutionPolicy(command_timeout=5)
    run_agent(llm, builtin.ShellToolMiddleware(workspace_root=tmp_path, execution_policy=policy))


def test_file_search(llm: ChatWorkersGemma, tmp_path: Path) -> None:
    (tmp_path / "paris.txt").write_text("24 degrees", encoding="utf-8")
    run_agent(llm, builtin.FilesystemFileSearchMiddleware(root_path=str(tmp_path), use_ripgrep=False))


# --- Together ---------------------------------------------------------------------------------------------------------


async def test_several_together(llm: ChatWorkersGemma) -> None:
    stack: list[Any] = [
        builtin.TodoListMiddleware(),
        builtin.SummarizationMiddleware(model=llm, trigger=("tokens", 2000)),
        builtin.ContextEditingMiddleware(token_count_method="model"),
        builtin.ModelFallbackMiddleware(llm),
        builtin.ModelCallLimitMiddleware(run_limit=9),
        ToolCallGuard(),
    ]
    agent: Any = create_agent(llm, [get_weather, add], middleware=stack)
    check_final_answer(await agent.ainvoke({"messages": [*HISTORY, *make_input()["messages"]]}, RECURSION_LIMIT))
