"""`host="openai_compatible"` with the recorded replies of llama-cpp-python, whose API is older."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import respx
from langchain.agents import create_agent
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_workers_gemma import (
    ContextOverflowError,
    InternalServerError,
)
from tests.helpers.llama_cpp_python import RECORDINGS, FakeLlamaCppPython
from tests.helpers.model_calls import CALL_METHODS, STREAM_METHODS, WEATHER_TOOL, call_model, make_compatible_model

FAMILIES = ("gemma2:2b", "gemma3:12b", "my-own-finetune")
for_each_family = pytest.mark.parametrize("model", FAMILIES)
for_each_call_method = pytest.mark.parametrize("call_method", CALL_METHODS)
GUIDED_CALL = json.dumps({"tool_calls": [{"name": "get_weather", "get_weather": {"city": "Paris"}}]})
pytestmark = pytest.mark.filterwarnings("ignore:.*names no known Gemma:UserWarning")


class City(BaseModel):
    """A city."""

    name: str
    degrees: int


@tool
def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return f"24 degrees in {city}"


def get_forms(service: FakeLlamaCppPython) -> list[str]:
    """Return the form of the constraint in each request."""
    formats = [body.get("response_format", {"type": "none"}) for body in service.bodies]
    return [form["type"] + (" with a schema" if "schema" in form else "") for form in formats]


@for_each_call_method
@for_each_family
def test_a_chat_reply_is_read(respx_mock: respx.MockRouter, model: str, call_method: str) -> None:
    service = FakeLlamaCppPython(respx_mock, lambda _: "Hello there")
    message = call_model(
        make_compatible_model(model),
        call_method,
        [("system", "Be brief."), ("human", "Hi"), ("ai", "Yes?"), ("human", "Hello")],
    )
    assert message.text == "Hello there"
    assert message.response_metadata["finish_reason"] == "stop"
    usage = message.usage_metadata
    assert (
        usage is None
        if call_method in STREAM_METHODS
        else usage == {"input_tokens": 2, "output_tokens": 2, "total_tokens": 4}
    )
    assert len(service.bodies) == 1


@for_each_call_method
@for_each_family
def test_structured_output_learns_the_form_with_one_extra_request(
    respx_mock: respx.MockRouter, model: str, call_method: str
) -> None:
    service = FakeLlamaCppPython(respx_mock, lambda _: '{"name": "Paris", "degrees": 24}')
    runnable: Any = make_compatible_model(model).with_structured_output(City, include_raw=True)
    for _ in range(2):
        if call_method in STREAM_METHODS:
            assert list(runnable.stream("Where?"))[-1]["parsed"] == City(name="Paris", degrees=24)
        else:
            assert runnable.invoke("Where?")["parsed"] == City(name="Paris", degrees=24)
    assert get_forms(service) == ["json_schema", "json_object with a schema", "json_object with a schema"]
    assert service.bodies[-1]["response_format"]["schema"]["properties"].keys() == {"name", "degrees"}


@for_each_call_method
@for_each_family
@pytest.mark.parametrize("choice", [None, "any", "get_weather"])
def test_guided_tools_learn_the_form_with_one_extra_request(
    respx_mock: respx.MockRouter, choice: str | None, model: str, call_method: str
) -> None:
    service = FakeLlamaCppPython(respx_mock, lambda _: GUIDED_CALL)
    llm = make_compatible_model(model)
    for _ in range(2):
        (call,) = call_model(llm.bind_tools([WEATHER_TOOL], tool_choice=choice), call_method).tool_calls
        assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})
    assert get_forms(service) == ["json_schema", "json_object with a schema", "json_object with a schema"]
    assert not any("tools" in body for body in service.bodies)


@for_each_family
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("schema", [None, City])
def test_an_agent_runs_a_tool(respx_mock: respx.MockRouter, schema: Any, streaming: bool, model: str) -> None:
    def write_text(body: dict[str, Any]) -> str:
        if "24 degrees in Paris" not in json.dumps(body["messages"]):
            return GUIDED_CALL
        return '{"answer": "It is 24 degrees."}' if schema is None else '{"answer": {"name": "Paris", "degrees": 24}}'

    service = FakeLlamaCppPython(respx_mock, write_text)
    llm = make_compatible_model(model).model_copy(update={"streaming": streaming})
    agent: Any = create_agent(llm, [get_weather], response_format=schema)
    state = agent.invoke({"messages": [("user", "How warm is it in Paris?")]})
    assert "24 degrees in Paris" in [message.text for message in state["messages"]]
    if schema is None:
        assert state["messages"][-1].text == "It is 24 degrees."
    else:
        assert state["structured_response"] == City(name="Paris", degrees=24)
    assert len(service.bodies) == 3


@for_each_call_method
@for_each_family
def test_a_prompt_that_is_too_long_raises(respx_mock: respx.MockRouter, model: str, call_method: str) -> None:
    """In a stream the server sends nothing. The request is repeated without `stream`, and the reply has the reason."""
    service = FakeLlamaCppPython(respx_mock, lambda _: "")
    with pytest.raises(ContextOverflowError, match="3002 in the messages"):
        call_model(make_compatible_model(model), call_method, "word " * 3000)
    assert [body.get("stream", False) for body in service.bodies] == (
        [True, False] if call_method in STREAM_METHODS else [False]
    )


@for_each_call_method
@pytest.mark.parametrize("name", ["temperature of a wrong type", "roles do not alternate"])
def test_recorded_errors_are_typed(respx_mock: respx.MockRouter, name: str, call_method: str) -> None:
    recorded = RECORDINGS[name]
    respx_mock.route().mock(return_value=httpx.Response(recorded["status"], content=recorded["body"]))
    with pytest.raises(InternalServerError) as caught:
        call_model(make_compatible_model("gemma3:12b"), call_method)
    assert caught.value.message == json.loads(recorded["body"])["error"]["message"]
