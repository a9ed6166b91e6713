"""Servers that refuse parts that the package adds: the request is sent again without them, and later ones too."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_workers_gemma import BadRequestError, PermissionDeniedError, WorkersGemmaError
from tests.helpers.model_calls import WEATHER_TOOL, call_model, get_tool_calls, make_compatible_model
from tests.helpers.picky_server import (
    Refusal,
    StartServer,
    for_each_call_method,
    make_error,
)

pytestmark = pytest.mark.lowest


@pytest.mark.parametrize("call_method", ["stream", "astream"])
@pytest.mark.parametrize(
    "refusal",
    [
        (400, {"error": {"message": "Unrecognized request argument supplied: stream_options"}}),
        (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs"}]}),
        (500, {"error": 'json: unknown field "stream_options"'}),
    ],
)
def test_refused_stream_options_are_omitted(start_server: StartServer, refusal: Refusal, call_method: str) -> None:
    service = start_server(lambda body: refusal if "stream_options" in body else None)
    llm = make_compatible_model()
    for _ in range(2):
        message = call_model(llm, call_method)
        assert message.text
        assert message.usage_metadata is None
    assert service.sent_values("stream_options") == [{"include_usage": True}, None, None]


@for_each_call_method
@pytest.mark.parametrize(
    "refusal",
    [
        (400, {"error": {"code": 400, "message": "Developer instruction is not enabled for models/gemma-3-27b-it"}}),
        (500, {"error": {"message": "System role not supported", "type": "server_error"}}),
        (400, {"detail": "This model does not support system messages."}),
    ],
)
def test_a_refused_system_role_is_merged_into_the_user_turn(
    start_server: StartServer, refusal: Refusal, call_method: str
) -> None:
    service = start_server(lambda body: refusal if body["messages"][0]["role"] == "system" else None)
    llm = make_compatible_model()
    for _ in range(2):
        assert call_model(llm, call_method, [("system", "Be brief."), ("human", "Hi")]).text
    roles = [[message["role"] for message in body["messages"]] for body in service.bodies]
    assert roles == [["system", "user"], ["user"], ["user"]]
    assert service.bodies[-1]["messages"][0]["content"] == "Be brief.\n\nHi"


TOOL_REFUSALS = [
    (400, {"error": {"message": "hub.example/library/gemma4:12b does not support tools"}}),
    (404, {"error": {"message": "No endpoints found that support tool use.", "code": 404}}),
    (400, make_error('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set')),
    (500, {"error": {"code": 500, "message": "tools param requires --jinja flag", "type": "server_error"}}),
    (400, {"error": {"code": 400, "message": "Function calling is not enabled for models/gemma-4-31b-it"}}),
]


@for_each_call_method
@pytest.mark.parametrize("refusal", TOOL_REFUSALS)
def test_refused_tools_are_described_in_the_prompt(
    start_server: StartServer, refusal: Refusal, call_method: str
) -> None:
    service = start_server(lambda body: refusal if "tools" in body else None)
    llm = make_compatible_model("google/gemma-4-31b-it")
    for _ in range(2):
        assert get_tool_calls(call_model(llm.bind_tools([WEATHER_TOOL]), call_method)) == [
            ("get_weather", {"city": "Paris"})
        ]
    assert get_tool_calls(call_model(llm.bind_tools([WEATHER_TOOL], tool_choice="any"), call_method)) == [
        ("get_weather", {"city": "Paris"})
    ]
    assert [bool(tools) for tools in service.sent_values("tools")] == [True, False, False, False]
    assert all(body["response_format"]["type"] == "json_schema" for body in service.bodies[1:])


@for_each_call_method
@pytest.mark.parametrize("refusal", TOOL_REFUSALS)
def test_refused_tools_raise_with_tool_calling_native(
    start_server: StartServer, refusal: Refusal, call_method: str
) -> None:
    service = start_server(lambda body: refusal if "tools" in body else None)
    llm = make_compatible_model("google/gemma-4-31b-it", tool_calling="native")
    with pytest.raises(WorkersGemmaError):
        call_model(llm.bind_tools([WEATHER_TOOL]), call_method)
    assert len(service.bodies) == 1


@for_each_call_method
@pytest.mark.parametrize(
    "refusal",
    [
        (400, [{"error": {"code": 400, "message": "Unknown name \"reasoning\" at 'messages[1]': Cannot find field."}}]),
        (422, {"detail": [{"loc": ["body", "messages", 1, "reasoning_content"], "msg": "Extra inputs"}]}),
    ],
)
def test_refused_reasoning_of_earlier_messages_is_omitted(
    start_server: StartServer, refusal: Refusal, call_method: str
) -> None:
    service = start_server(
        lambda body: refusal if any("reasoning" in message for message in body["messages"]) else None
    )
    llm = make_compatible_model("google/gemma-4-31b-it").bind_tools([WEATHER_TOOL])
    call = {"name": "get_weather", "args": {"city": "Rome"}, "id": "c1"}
    reasoning = {"reasoning_content": "I need the weather."}
    history = [
        HumanMessage("Where is it warm?"),
        AIMessage("", tool_calls=[call], additional_kwargs=reasoning),
        ToolMessage("24 degrees", tool_call_id="c1"),
    ]
    for _ in range(2):
        assert call_model(llm, call_method, history).tool_calls
    assert [("reasoning" in body["messages"][1]) for body in service.bodies] == [True, False, False]
    assert service.bodies[1]["messages"][1]["tool_calls"][0]["id"] == "c1"


@for_each_call_method
def test_several_refused_parts_are_omitted_one_by_one(start_server: StartServer, call_method: str) -> None:
    def refuse(body: dict[str, Any]) -> Refusal | None:
        if "tools" in body:
            return 400, {"error": "gemma4 does not support tools"}
        if body["messages"][0]["role"] == "system":
            return 400, {"error": "System role not supported"}
        if "stream_options" in body:
            return 400, {"error": "unknown field: stream_options"}
        if body.get("max_tokens", 0) > 2048:
            return 400, {"error": "max_tokens must be at most 2048"}
        response_format = body.get("response_format", {"type": "json_object"})
        return (400, {"error": "Grammar error"}) if response_format["type"] == "json_schema" else None

    service = start_server(refuse)
    llm = make_compatible_model("google/gemma-4-31b-it").bind_tools([WEATHER_TOOL])
    assert get_tool_calls(call_model(llm, call_method, [("system", "Be brief."), ("human", "Hi")])) == [
        ("get_weather", {"city": "Paris"})
    ]
    first = len(service.bodies)
    assert first == (6 if "stream" in call_method else 5)
    assert get_tool_calls(call_model(llm, call_method, [("system", "Be brief."), ("human", "Hi")])) == [
        ("get_weather", {"city": "Paris"})
    ]
    assert len(service.bodies) == first + 1


@for_each_call_method
@pytest.mark.parametrize(
    ("status", "payload", "error_type"),
    [
        (400, {"error": "temperature must be at most 1"}, BadRequestError),
        (400, {"error": "messages: field required"}, BadRequestError),
        (403, {"error": "This key may not use this model"}, PermissionDeniedError),
    ],
)
def test_other_refusals_raise_at_once(
    start_server: StartServer, status: int, payload: Any, error_type: type[Exception], call_method: str
) -> None:
    service = start_server(lambda _: (status, payload))
    with pytest.raises(error_type):
        call_model(
            make_compatible_model("google/gemma-4-31b-it").bind_tools([WEATHER_TOOL]),
            call_method,
            [("system", "Be brief."), ("human", "Hi")],
        )
    assert len(service.bodies) == 1


@for_each_call_method
def test_words_of_the_request_in_an_error_are_ignored(start_server: StartServer, call_method: str) -> None:
    """Validation errors repeat the whole input, which may contain any word."""

    def refuse(body: dict[str, Any]) -> Refusal | None:
        return 422, {"detail": [{"loc": ["body", "temperature"], "msg": "Input should be a number", "input": body}]}

    service = start_server(refuse)
    with pytest.raises(BadRequestError, match="should be a number"):
        call_model(make_compatible_model().bind_tools([WEATHER_TOOL]), call_method)
    assert len(service.bodies) == 1
