"""`ToolCallGuard`: agents continue after invalid calls, and end when they repeat the same calls."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import respx
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel

from langchain_workers_gemma.middleware import ToolCallGuard
from tests.helpers.model_calls import GEMMA_3, make_model, run_async
from tests.helpers.scripted_agent import (
    QUESTION,
    CountingTools,
    Script,
    ScriptedModel,
    make_agent,
    make_city_call,
    run_agent,
)


def script_in_order(*outputs: dict[str, Any]) -> Script:
    """Return a script that returns these outputs one after another."""
    return lambda number, _body: outputs[number]


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with respx.mock(assert_all_called=False) as router:
        yield ScriptedModel(router)


@pytest.fixture
def tools() -> CountingTools:
    return CountingTools()


TRUNCATED_CALL = ("look_up", '{"city": "Par')
RUN_METHODS = ("invoke", "ainvoke", "stream", "astream", "messages")
for_each_run_method = pytest.mark.parametrize("call_method", RUN_METHODS)


# --- Invalid calls ----------------------------------------------------------------------------------------------------


@for_each_run_method
def test_an_invalid_call_is_reported_to_the_model(model: ScriptedModel, tools: CountingTools, call_method: str) -> None:
    model.script = script_in_order(
        {"calls": [TRUNCATED_CALL]}, {"calls": [make_city_call("Paris")]}, {"text": "24 degrees."}
    )
    messages = run_agent(make_agent(tools, streaming=call_method == "messages"), call_method)
    assert [message.type for message in messages] == ["human", "ai", "tool", "ai", "tool", "ai"]
    assert messages[-1].text == "24 degrees."
    assert tools.runs == ["Paris"]
    correction = messages[2]
    assert correction.status == "error"
    assert correction.name == "look_up"
    assert "Not run" in correction.text
    assert len(model.bodies) == 3


def test_the_result_of_a_truncated_call_names_the_cure(model: ScriptedModel, tools: CountingTools) -> None:
    truncated = {"calls": [TRUNCATED_CALL], "finish_reason": "length"}
    model.script = script_in_order(truncated, {"text": "No idea."})
    messages = run_agent(make_agent(tools), "invoke")
    assert tools.runs == []
    assert "token limit" in messages[2].text
    assert "shorter" in model.bodies[1]["messages"][-1]["content"]


@for_each_run_method
@pytest.mark.parametrize("max_invalid", [0, 1, 3])
def test_the_run_ends_with_a_notice_if_calls_stay_invalid(
    model: ScriptedModel, tools: CountingTools, call_method: str, max_invalid: int
) -> None:
    model.script = lambda _number, _body: {"calls": [TRUNCATED_CALL]}
    messages = run_agent(
        make_agent(tools, ToolCallGuard(max_invalid=max_invalid), streaming=call_method == "messages"), call_method
    )
    assert len(model.bodies) == max_invalid + 1
    assert isinstance(messages[-1], AIMessage)
    assert "look_up were invalid or truncated" in messages[-1].text
    assert not messages[-1].tool_calls


def test_a_valid_call_resets_the_count_of_invalid_calls(model: ScriptedModel, tools: CountingTools) -> None:
    def script(number: int, _body: Any) -> dict[str, Any]:
        return (
            {"text": "Done."}
            if number == 9
            else {"calls": [make_city_call(f"City {number}") if number % 3 == 2 else TRUNCATED_CALL]}
        )

    model.script = script
    assert run_agent(make_agent(tools), "invoke")[-1].text == "Done."
    assert tools.runs == ["City 2", "City 5", "City 8"]


def test_valid_parallel_calls_run_beside_an_invalid_one(model: ScriptedModel, tools: CountingTools) -> None:
    first = {"calls": [make_city_call("Paris"), TRUNCATED_CALL, make_city_call("Rome")]}
    model.script = script_in_order(first, {"text": "Done."})
    messages = run_agent(make_agent(tools), "invoke")
    assert sorted(tools.runs) == ["Paris", "Rome"]
    results = [message for message in messages if isinstance(message, ToolMessage)]
    assert sorted(message.status for message in results) == ["error", "success", "success"]
    assert len(model.bodies) == 2


def test_an_invalid_call_without_an_id_gets_one(model: ScriptedModel, tools: CountingTools) -> None:
    from langchain_core.language_models.fake_chat_models import GenericFakeChatModel

    class Scripted(GenericFakeChatModel):
        def bind_tools(self, tools: Any, **_: Any) -> Any:
            return self

    broken = {"type": "invalid_tool_call", "id": None, "name": "look_up", "args": "{", "error": None}
    replies = iter([AIMessage("", invalid_tool_calls=[broken]), AIMessage("Done.")])
    agent: Any = create_agent(Scripted(messages=replies), [tools.look_up], middleware=[ToolCallGuard()])
    messages = run_agent(agent, "invoke")
    assert messages[1].invalid_tool_calls[0]["id"] == messages[2].tool_call_id != ""
    assert messages[-1].text == "Done."


@pytest.mark.parametrize("call_method", ["invoke", "ainvoke"])
def test_an_invalid_call_does_not_end_a_run_with_structured_output(
    model: ScriptedModel, tools: CountingTools, call_method: str
) -> None:
    class Forecast(BaseModel):
        city: str

    answer = {"text": '{"city": "Paris"}'}
    model.script = script_in_order({"calls": [TRUNCATED_CALL]}, {"calls": [make_city_call("Paris")]}, answer, answer)
    agent = make_agent(tools, response_format=ProviderStrategy(Forecast))
    state = agent.invoke(QUESTION) if call_method == "invoke" else run_async(agent.ainvoke(QUESTION))
    assert state["structured_response"] == Forecast(city="Paris")
    assert tools.runs == ["Paris"]


# --- Repeated calls ---------------------------------------------------------------------------------------------------


@for_each_run_method
@pytest.mark.parametrize("max_repeats", [1, 3])
def test_repeated_calls_end_with_an_answer(
    model: ScriptedModel, tools: CountingTools, call_method: str, max_repeats: int
) -> None:
    model.script = lambda _, body: (
        {"calls": [make_city_call("Paris")]} if body.get("tools") else {"text": "24 degrees."}
    )
    messages = run_agent(
        make_agent(tools, ToolCallGuard(max_repeats=max_repeats), streaming=call_method == "messages"), call_method
    )
    assert tools.runs == ["Paris"] * max_repeats
    assert messages[-1].text == "24 degrees."
    assert len(model.bodies) == max_repeats + 2
    assert "exactly these arguments" in messages[-2].text


@for_each_run_method
def test_a_model_that_never_answers_ends_with_a_notice(
    model: ScriptedModel, tools: CountingTools, call_method: str
) -> None:
    model.script = lambda _number, _body: {"calls": [make_city_call("Paris")]}
    messages = run_agent(make_agent(tools, streaming=call_method == "messages"), call_method)
    assert tools.runs == ["Paris"] * 3
    assert isinstance(messages[-1], AIMessage)
    assert messages[-1].text.startswith("The run was ended: ")


def test_an_empty_answer_after_repeated_calls_ends_with_a_notice(model: ScriptedModel, tools: CountingTools) -> None:
    model.script = lambda _, body: {"calls": [make_city_call("Paris")]} if body.get("tools") else {"text": ""}
    assert "returned no answer" in run_agent(make_agent(tools), "invoke")[-1].text


def test_calls_that_differ_in_the_order_of_keys_are_equal(model: ScriptedModel, tools: CountingTools) -> None:
    @tool
    def add(a: int, b: int) -> int:
        """Add."""
        tools.runs.append("add")
        return a + b

    outputs = ['{"a": 1, "b": 2}', '{"b": 2, "a": 1}']
    model.script = lambda n, body: {"calls": [("add", outputs[n % 2])]} if body.get("tools") else {"text": "3"}
    agent: Any = create_agent(make_model(), [add], middleware=[ToolCallGuard()])
    assert run_agent(agent, "invoke")[-1].text == "3"
    assert tools.runs == ["add"] * 3


def test_alternating_repeated_calls_end_with_an_answer(model: ScriptedModel, tools: CountingTools) -> None:
    cities = ["Paris", "Rome"]
    model.script = lambda n, body: (
        {"calls": [make_city_call(cities[n % 2])]} if body.get("tools") else {"text": "Warm."}
    )
    assert run_agent(make_agent(tools), "invoke")[-1].text == "Warm."
    assert tools.runs == ["Paris", "Rome", "Paris", "Rome", "Paris", "Rome"]


def test_repeated_calls_between_new_calls_do_not_end_the_run(model: ScriptedModel, tools: CountingTools) -> None:
    def script(number: int, _body: Any) -> dict[str, Any]:
        return (
            {"text": "Done."}
            if number == 20
            else {"calls": [make_city_call("Paris" if number % 2 else f"City {number}")]}
        )

    model.script = script
    assert run_agent(make_agent(tools), "invoke")[-1].text == "Done."
    assert len(tools.runs) == 20


def test_each_of_several_identical_parallel_calls_is_counted(model: ScriptedModel, tools: CountingTools) -> None:
    model.script = script_in_order({"calls": [make_city_call("Paris")] * 5}, {"text": "Done."})
    assert run_agent(make_agent(tools), "invoke")[-1].text == "Done."
    assert tools.runs == ["Paris"] * 3


def test_a_structured_answer_that_is_never_valid_ends_the_run(model: ScriptedModel, tools: CountingTools) -> None:
    """Without the guard, LangChain requests it again 9,999 times."""

    class Forecast(BaseModel):
        city: str
        degrees: int

    model.script = lambda _number, _body: {"calls": [("Forecast", '{"city": "Paris", "degrees": "warm"}')]}
    agent = make_agent(tools, response_format=ToolStrategy(Forecast))
    state = agent.invoke(QUESTION)
    assert state.get("structured_response") is None
    assert "called Forecast again" in state["messages"][-1].text
    assert len(model.bodies) == 5


def test_a_structured_answer_by_tool_is_unchanged(model: ScriptedModel, tools: CountingTools) -> None:
    class Forecast(BaseModel):
        city: str

    answer = {"calls": [("Forecast", '{"city": "Paris"}')]}
    model.script = script_in_order({"calls": [make_city_call("Paris")]}, answer)
    state = make_agent(tools, response_format=ToolStrategy(Forecast)).invoke(QUESTION)
    assert state["structured_response"] == Forecast(city="Paris")


def test_repeated_calls_end_with_a_structured_answer(model: ScriptedModel, tools: CountingTools) -> None:
    class Forecast(BaseModel):
        city: str

    def script(_number: int, body: dict[str, Any]) -> dict[str, Any]:
        if [tool["function"]["name"] for tool in body["tools"]] == ["Forecast"]:
            return {"calls": [("Forecast", '{"city": "Paris"}')]}
        return {"calls": [make_city_call("Paris")]}

    model.script = script
    state = make_agent(tools, response_format=ToolStrategy(Forecast)).invoke(QUESTION)
    assert state["structured_response"] == Forecast(city="Paris")
    assert tools.runs == ["Paris"] * 3


# --- Threads ----------------------------------------------------------------------------------------------------------


def test_a_new_run_of_a_thread_starts_counting_at_zero(model: ScriptedModel, tools: CountingTools) -> None:
    model.script = lambda n, _: {"text": "Done."} if n % 4 == 3 else {"calls": [make_city_call("Paris")]}
    agent = make_agent(tools, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    for runs in (3, 6, 9):
        assert run_agent(agent, "invoke", QUESTION, config)[-1].text == "Done."
        assert len(tools.runs) == runs


@pytest.mark.parametrize("kind", ["approval", "new process"])
def test_a_resumed_run_continues_counting(model: ScriptedModel, tools: CountingTools, kind: str) -> None:
    model.script = lambda _, body: (
        {"calls": [make_city_call("Paris")]} if body.get("tools") else {"text": "24 degrees."}
    )
    saver = InMemorySaver()
    config = {"configurable": {"thread_id": "1"}}
    approval = HumanInTheLoopMiddleware(interrupt_on={"look_up": True})
    more: list[Any] = [approval] if kind == "approval" else []
    options = {} if kind == "approval" else {"interrupt_before": ["tools"]}
    agent_input: Any = QUESTION
    messages: list[Any] = []
    for _ in range(5):
        agent = make_agent(
            tools, None, *more, checkpointer=saver, **options
        )  # a new agent each time, as in a new process
        messages = agent.invoke(agent_input, config)["messages"]
        agent_input = Command(resume={"decisions": [{"type": "approve"}]}) if kind == "approval" else None
        if messages[-1].text == "24 degrees.":
            break
    assert tools.runs == ["Paris"] * 3
    assert messages[-1].text == "24 degrees."


def test_counts_do_not_depend_on_messages_that_may_be_removed(model: ScriptedModel, tools: CountingTools) -> None:
    from langchain.agents.middleware import before_model
    from langchain_core.messages import RemoveMessage
    from langgraph.graph.message import REMOVE_ALL_MESSAGES

    @before_model
    def forget(state: Any, runtime: Any) -> dict[str, Any]:
        return {"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES), HumanMessage("How warm is it in Paris?")]}

    model.script = lambda _, body: (
        {"calls": [make_city_call("Paris")]} if body.get("tools") else {"text": "24 degrees."}
    )
    agent: Any = create_agent(make_model(), [tools.look_up], middleware=[ToolCallGuard(), forget])
    assert agent.invoke(QUESTION)["messages"][-1].text == "24 degrees."
    assert tools.runs == ["Paris"] * 3


# --- Other models, arguments, imports ---------------------------------------------------------------------------------


def test_histories_are_valid_for_models_without_a_tool_role(model: ScriptedModel, tools: CountingTools) -> None:
    """With Gemma 3, calls are constrained JSON and results are user turns."""
    replies = ['{"tool_calls": [{"name": "look_up", "arguments": {"city": "Pa', '{"answer": "24 degrees."}']
    model.script = script_in_order({"text": replies[0], "finish_reason": "length"}, {"text": replies[1]})
    messages = run_agent(make_agent(tools, model_id=GEMMA_3), "invoke")
    assert messages[-1].text == "24 degrees."
    assert tools.runs == []
    assert [message["role"] for message in model.bodies[1]["messages"]] == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"max_invalid": -1}, "max_invalid must be an integer of at least 0, not -1"),
        ({"max_invalid": True}, "max_invalid must be an integer"),
        ({"max_repeats": 0}, "max_repeats must be an integer of at least 1, not 0"),
        ({"max_repeats": 2.5}, "max_repeats must be an integer"),
    ],
)
def test_invalid_limits_raise(arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        ToolCallGuard(**arguments)


def test_the_package_does_not_import_langchain() -> None:
    code = (
        "import sys; import langchain_workers_gemma, langchain_workers_gemma.chat_models; "
        "sys.exit(any(name in sys.modules for name in ('langchain', 'langgraph')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_langchain_the_error_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['langchain.agents.middleware'] = None\n"
        "try:\n import langchain_workers_gemma.middleware\n"
        "except ImportError as error:\n sys.exit('\"langchain-workers-gemma[agents]\"' not in str(error))\n"
        "sys.exit(2)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
