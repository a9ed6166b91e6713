"""The request bytes of each model family on any server: chat, tool rounds, forced calls and structured output."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolCall, ToolMessage

from langchain_workers_gemma import ChatWorkersGemma
from tests.helpers.mock_service import MockService, encode_sse, make_delta, make_stream_response
from tests.helpers.model_calls import CALL_METHODS, WEATHER_TOOL, call_model, make_compatible_model

pytestmark = pytest.mark.lowest

EXPECTED: dict[str, dict[str, str]] = json.loads(
    (Path(__file__).resolve().parents[2] / "data" / "family_requests.json").read_text()
)
"""The request body without `stream`, by family and case."""
MODELS = {
    "gemma": "gemma:7b",
    "gemma-2": "gemma2:9b",
    "gemma-3": "google/gemma-3-27b-it",
    "gemma-3n": "gemma-3n-e4b",
    "gemma-4": "google/gemma-4-31b-it",
    "functiongemma": "functiongemma",
    "unknown": "my-own-finetune",
}
SCHEMA = {"title": "City", "type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
HISTORY = [
    SystemMessage("Be brief."),
    HumanMessage("How warm is it in Paris?"),
    AIMessage("", tool_calls=[ToolCall(name="get_weather", args={"city": "Paris"}, id="c1")]),
    ToolMessage("24 degrees", tool_call_id="c1"),
]
CASES = ("chat", "tools", "forced", "schema")


def make_family_model(model: str) -> ChatWorkersGemma:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* names no known Gemma", category=UserWarning)
        return make_compatible_model(model, temperature=0, seed=7)


def prepare_case(llm: ChatWorkersGemma, case: str) -> tuple[Any, Any]:
    """Return the model and the messages of a case."""
    if case == "chat":
        return llm, HISTORY[:2]
    if case == "schema":
        response_format = {"type": "json_schema", "json_schema": {"name": "City", "schema": SCHEMA}}
        return llm.bind(response_format=response_format), HISTORY[:2]
    return llm.bind_tools([WEATHER_TOOL], tool_choice="any" if case == "forced" else None), HISTORY


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("family", MODELS)
def test_the_request_bytes_are_the_expected_ones(
    service: MockService, family: str, case: str, call_method: str
) -> None:
    text = {
        "forced": '{"tool_calls": [{"name": "get_weather", "get_weather": {"city": "Rome"}}]}',
        "schema": '{"name": "Paris"}',
    }.get(case, "Warm.")
    function = {"name": "get_weather", "arguments": '{"city": "Rome"}'}
    calls = [{"index": 0, "id": "c2", "type": "function", "function": function}]
    is_native_call = case == "forced" and family in ("gemma-4", "functiongemma")
    message_fields: dict[str, Any] = {"content": None, "tool_calls": calls} if is_native_call else {"content": text}
    service.respond_with(
        make_stream_response(encode_sse(make_delta(**message_fields), make_delta(finish_reason="stop"), "[DONE]"))
    )
    llm, messages = prepare_case(make_family_model(MODELS[family]), case)
    call_model(llm, call_method, messages)
    body = service.requests[0].content.decode()
    streamed = ',"stream":true,"stream_options":{"include_usage":true}'
    if "stream" in call_method:
        assert streamed in body
    assert body.replace(streamed, "") == EXPECTED[family][case]
