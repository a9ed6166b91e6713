"""Whole replies in each of their shapes (docs/wire.md section 3), and the messages of every call method."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage

from langchain_workers_gemma import BadRequestError, InternalServerError
from tests.helpers.mock_service import MockService, make_completion, make_delta, make_response, make_usage
from tests.helpers.model_calls import (
    CALL_METHODS,
    CHAT_MODELS,
    EVENT_METHODS,
    GEMMA_3,
    GEMMA_4,
    GEMMA_7B,
    INVOKE_METHODS,
    SEA_LION,
    STREAM_METHODS,
    WEATHER_TOOL,
    call_model,
    get_tool_calls,
    make_model,
    summarize_message,
)

pytestmark = pytest.mark.lowest

ALL_CALL_METHODS = (*CALL_METHODS, *EVENT_METHODS)


def get_reply_message(service: MockService, result: Any, call_method: str = "invoke", **arguments: Any) -> AIMessage:
    """Return the message for a result. Stream methods get one JSON body too."""
    service.respond_with_results(result)
    return call_model(make_model(**arguments), call_method)


# --- Three shapes -----------------------------------------------------------------------------------------------------

SHAPES: dict[str, Any] = {
    "native response": {"response": "text", "tool_calls": [], "usage": make_usage(3, 2)},
    "choices with message": make_completion("text", usage=make_usage(3, 2)),
    "choices with text": {"choices": [{"text": "text", "finish_reason": "stop"}], "usage": make_usage(3, 2)},
}


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize("enveloped", [True, False])
@pytest.mark.parametrize("model", [GEMMA_4, GEMMA_3, GEMMA_7B, SEA_LION])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_returns_the_same_message(
    service: MockService, shape: str, model: str, enveloped: bool, call_method: str
) -> None:
    (service.respond_with_results if enveloped else service.respond_with_bodies)(SHAPES[shape])
    message = call_model(make_model(model=model), call_method)
    assert message.text == "text"
    assert message.usage_metadata == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    assert message.response_metadata["finish_reason"] == "stop"
    assert message.response_metadata["model_name"] == model
    assert message.response_metadata["model_provider"] == "workers_gemma"
    assert not message.tool_calls


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("model", CHAT_MODELS)
def test_content_is_always_a_string(service: MockService, model: str, call_method: str) -> None:
    for shape in SHAPES.values():
        message = get_reply_message(service, shape, call_method, model=model)
        assert message.content == "text"
        assert type(message.content) is str


RESPONSES: list[tuple[Any, str]] = [
    (None, ""),
    ("", ""),
    (42, "42"),
    (0, "0"),
    (1.5, "1.5"),
    (True, "true"),
    ({"city": "Zürich", "n": [1, None]}, '{"city": "Zürich", "n": [1, null]}'),
    ([{"generated_text": "one "}, {"generated_text": "two"}], "one two"),
    ([1, 2], "[1, 2]"),
    ([{"a": 1}], '[{"a": 1}]'),
    ([], "[]"),
]


@pytest.mark.parametrize("call_method", INVOKE_METHODS)
@pytest.mark.parametrize(("response", "text"), RESPONSES, ids=repr)
def test_a_response_of_any_type_becomes_text(service: MockService, response: Any, text: str, call_method: str) -> None:
    for result in (
        {"response": response, "usage": make_usage(1, 1)},
        make_completion(response),
        {"choices": [{"text": response}]},
    ):
        assert get_reply_message(service, result, call_method).content == text


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize(("response", "text"), [case for case in RESPONSES if case[1]], ids=repr)
def test_a_response_of_any_type_instead_of_a_stream_becomes_text(
    service: MockService, response: Any, text: str, call_method: str
) -> None:
    assert get_reply_message(service, {"response": response}, call_method).text == text
    assert len(service.requests) == 1


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
def test_a_list_of_generated_texts_is_joined(service: MockService, call_method: str) -> None:
    assert (
        get_reply_message(service, [{"generated_text": "one "}, {"generated_text": "two"}], call_method).text
        == "one two"
    )


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
def test_a_result_may_be_a_string(service: MockService, call_method: str) -> None:
    assert get_reply_message(service, "just text", call_method).text == "just text"


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
def test_parts_of_content_are_joined(service: MockService, call_method: str) -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    assert get_reply_message(service, make_completion(parts), call_method).text == "one two"


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_a_refusal_becomes_text(service: MockService, call_method: str) -> None:
    assert get_reply_message(service, make_completion(None, refusal="I cannot."), call_method).content == "I cannot."


def test_only_the_first_choice_is_read(service: MockService) -> None:
    choices = [{"message": {"content": "one"}}, {"message": {"content": "two"}}]
    assert get_reply_message(service, {"choices": choices}).content == "one"


# --- Tool calls -------------------------------------------------------------------------------------------------------

CALL_FORMS: dict[str, dict[str, Any]] = {
    "native, object": {"name": "get_weather", "arguments": {"city": "Bonn"}},
    "native, string": {"name": "get_weather", "arguments": '{"city": "Bonn"}'},
    "native, parameters": {"name": "get_weather", "parameters": {"city": "Bonn"}},
    "openai, string": {
        "id": "c1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city": "Bonn"}'},
    },
    "openai, object": {
        "id": "c1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": {"city": "Bonn"}},
    },
    "openai, null id": {
        "id": None,
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city": "Bonn"}'},
    },
}


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize("where", ["native", "message", "message and result"])
@pytest.mark.parametrize("form", CALL_FORMS)
def test_every_form_of_tool_call_is_read(service: MockService, form: str, where: str, call_method: str) -> None:
    call = CALL_FORMS[form]
    if where == "native":
        result: dict[str, Any] = {"response": None, "tool_calls": [call]}
    else:
        result = make_completion(None, tool_calls=[call], finish_reason="tool_calls")
    if where == "message and result":
        result |= {"response": None, "tool_calls": [call]}
    message = get_reply_message(service, result, call_method)
    assert get_tool_calls(message) == [("get_weather", {"city": "Bonn"})]
    assert message.tool_calls[0]["id"]
    assert message.text == ""
    assert message.response_metadata["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize("empty", [None, [], {}, ""])
def test_null_and_empty_tool_calls_are_ignored(service: MockService, empty: Any, call_method: str) -> None:
    for result in ({"response": "Hi", "tool_calls": empty}, make_completion("Hi", tool_calls=empty)):
        message = get_reply_message(service, result, call_method)
        assert (message.text, message.tool_calls, message.invalid_tool_calls) == ("Hi", [], [])
        assert message.response_metadata["finish_reason"] == "stop"


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize("ids", [("c1", "c2"), ("same", "same"), (None, None), ("", ""), ("c1", None)])
@pytest.mark.parametrize("names", [("f", "g"), ("f", "f")])
@pytest.mark.parametrize("as_text", [True, False])
def test_parallel_calls_have_unique_ids(
    service: MockService, ids: tuple[Any, Any], names: tuple[str, str], as_text: bool, call_method: str
) -> None:
    arguments: list[Any] = ['{"a": 1}', '{"a": 2}'] if as_text else [{"a": 1}, {"a": 2}]
    calls = [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": call_arguments}}
        for call_id, name, call_arguments in zip(ids, names, arguments, strict=True)
    ]
    message = get_reply_message(service, make_completion(None, tool_calls=calls), call_method)
    assert get_tool_calls(message) == [(names[0], {"a": 1}), (names[1], {"a": 2})]
    assert len({call["id"] for call in message.tool_calls}) == 2
    assert all(call["id"] for call in message.tool_calls)


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
def test_a_call_id_of_an_earlier_turn_is_replaced(service: MockService, call_method: str) -> None:
    service.respond_with_results({"tool_calls": [{"id": "call_0", "name": "f", "arguments": {}}]})
    first = {"name": "f", "args": {}, "id": "call_0", "type": "tool_call"}
    history = [
        ("human", "x"),
        AIMessage("", tool_calls=[first]),
        {"role": "tool", "content": "y", "tool_call_id": "call_0"},
    ]
    (call,) = call_model(make_model(), call_method, history).tool_calls
    assert call["id"] not in ("call_0", "", None)


INVALID_ARGUMENTS = [
    '{"path": "/home/me',
    '["a"]',
    "42",
    "null",
    '"text"',
    "{'a': 1}",
    '{"a": 1} {"b": 2}',
    "plain",
    '{"a": NaN}',
]


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize("arguments", INVALID_ARGUMENTS)
def test_arguments_that_are_not_a_json_object_make_an_invalid_call(
    service: MockService, arguments: str, call_method: str
) -> None:
    message = get_reply_message(
        service, {"tool_calls": [{"id": "c1", "name": "f", "arguments": arguments}]}, call_method
    )
    assert message.tool_calls == []
    (invalid,) = message.invalid_tool_calls
    assert invalid["name"] == "f"
    assert str(invalid["args"]).startswith(arguments)


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize("arguments", [None, "", "{}", {}])
def test_a_call_without_arguments_is_valid(service: MockService, arguments: Any, call_method: str) -> None:
    message = get_reply_message(
        service, {"tool_calls": [{"id": "c1", "name": "f", "arguments": arguments}]}, call_method
    )
    assert get_tool_calls(message) == [("f", {})]


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
def test_valid_and_invalid_calls_of_one_reply(service: MockService, call_method: str) -> None:
    calls = [
        {"id": "c1", "name": "f", "arguments": '{"a":'},
        {"id": "c2", "name": "g", "arguments": '{"b": 1}'},
        {"id": "c3", "arguments": "{}"},
    ]
    message = get_reply_message(service, {"response": "Well:", "tool_calls": calls}, call_method)
    assert message.text == "Well:"
    assert get_tool_calls(message) == [("g", {"b": 1})]
    assert [call["name"] or "" for call in message.invalid_tool_calls] == ["f", ""]


# --- Reasoning --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize(
    "names", [("reasoning_content",), ("reasoning",), ("reasoning_content", "reasoning")], ids="+".join
)
def test_reasoning_is_read_under_both_names(service: MockService, names: tuple[str, ...], call_method: str) -> None:
    message = get_reply_message(service, make_completion("42", **dict.fromkeys(names, "Let me think.")), call_method)
    assert message.text == "42"
    assert summarize_message(message)["reasoning"] == "Let me think."
    if call_method in CALL_METHODS:
        assert message.additional_kwargs["reasoning_content"] == "Let me think."


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize("empty", [None, ""])
def test_empty_reasoning_is_ignored(service: MockService, empty: Any, call_method: str) -> None:
    message = get_reply_message(service, make_completion("42", reasoning=empty, reasoning_content=empty), call_method)
    assert "reasoning_content" not in message.additional_kwargs
    assert [block["type"] for block in message.content_blocks] == ["text"]


LEAKED_CHANNELS = [
    ("<|channel>thought\nLet me think.<channel|>42", "Let me think.", "42"),
    ("<|channel>thought\n<channel|>42", "", "42"),
    ("<|channel>thought<channel|>42", "", "42"),
    ("Well:\n<|channel>thought\nhm<channel|>42", "hm", "Well:\n42"),
    ("<|channel>thought\nendless", "endless", ""),
    ("<|channel>thought\na<channel|><|channel>thought\nb<channel|>c", "ab", "c"),
    ("The marker <|channel>thought\n is text.", "", "The marker <|channel>thought\n is text."),
    ("<|channel>thoughtful", "", "thoughtful"),
    ("a < b", "", "a < b"),
    ("<", "", "<"),
    ("end<channel|>", "", "end"),
]


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize(("leaked", "reasoning", "text"), LEAKED_CHANNELS, ids=[leak[0] for leak in LEAKED_CHANNELS])
def test_a_thinking_channel_in_the_text_becomes_reasoning(
    service: MockService, leaked: str, reasoning: str, text: str, call_method: str
) -> None:
    message = get_reply_message(service, make_completion(leaked), call_method)
    assert (message.text, summarize_message(message)["reasoning"]) == (text, reasoning)


@pytest.mark.parametrize("call_method", STREAM_METHODS)
@pytest.mark.parametrize(("leaked", "reasoning", "text"), LEAKED_CHANNELS, ids=[leak[0] for leak in LEAKED_CHANNELS])
def test_a_thinking_channel_that_is_split_anywhere_becomes_reasoning(
    service: MockService, leaked: str, reasoning: str, text: str, call_method: str
) -> None:
    llm = make_model()
    cuts = [[leaked[:cut], leaked[cut:]] for cut in range(1, len(leaked))]
    for pieces in [*cuts, list(leaked)]:
        service.respond_with_events(*map(make_delta, pieces), make_delta(finish_reason="stop"), "[DONE]")
        message = call_model(llm, call_method)
        assert (message.content, summarize_message(message)["reasoning"]) == (text, reasoning), pieces


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_7B])
def test_older_models_have_no_thinking_channel(service: MockService, model: str, call_method: str) -> None:
    text = "<|channel>thought\nhm<channel|>42"
    assert get_reply_message(service, {"response": text}, call_method, model=model).content == text


# --- Usage, cost and other metadata -----------------------------------------------------------------------------------


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
def test_usage_details_are_read(service: MockService, call_method: str) -> None:
    report = make_usage(
        100,
        20,
        prompt_tokens_details={"cached_tokens": 64, "audio_tokens": 0},
        completion_tokens_details={"reasoning_tokens": 7},
    )
    assert get_reply_message(service, {"response": "Hi", "usage": report}, call_method).usage_metadata == {
        "input_tokens": 100,
        "output_tokens": 20,
        "total_tokens": 120,
        "input_token_details": {"cache_read": 64},
        "output_token_details": {"reasoning": 7},
    }


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize("report", [None, {}, "none", []])
def test_a_reply_without_usage_has_no_usage_metadata(service: MockService, report: Any, call_method: str) -> None:
    for result in ({"response": "Hi", "usage": report}, {"response": "Hi"}):
        message = get_reply_message(service, result, call_method)
        assert message.usage_metadata is None
        assert "cost_usd" not in message.response_metadata


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize(
    "details",
    [
        {"prompt_tokens_details": None, "completion_tokens_details": None},
        {"prompt_tokens_details": {"cached_tokens": None}},
        {"prompt_tokens_details": []},
    ],
)
def test_empty_usage_details_are_ignored(service: MockService, details: Any, call_method: str) -> None:
    message = get_reply_message(service, {"response": "Hi", "usage": make_usage(3, 2, **details)}, call_method)
    assert message.usage_metadata == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}


def test_a_missing_total_of_tokens_is_calculated(service: MockService) -> None:
    message = get_reply_message(service, {"response": "Hi", "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
    assert message.usage_metadata == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize(
    ("arguments", "cost"),
    [
        ({"model": GEMMA_4}, (1000 * 0.10 + 500 * 0.30) / 1e6),
        ({"model": GEMMA_3}, (1000 * 0.35 + 500 * 0.56) / 1e6),
        ({"model": SEA_LION}, (1000 * 0.35 + 500 * 0.56) / 1e6),
        ({"host": "dataoorts"}, (1000 * 0.11 + 500 * 0.12) / 1e6),
        ({"model": GEMMA_7B}, None),
        ({"host": "aimlapi"}, None),
        ({"model": "@cf/google/gemma-5"}, None),
    ],
    ids=str,
)
def test_cost_is_calculated_from_published_prices(
    service: MockService, arguments: Any, cost: float | None, call_method: str
) -> None:
    message = get_reply_message(service, {"response": "Hi", "usage": make_usage(1000, 500)}, call_method, **arguments)
    if cost is None:
        assert "cost_usd" not in message.response_metadata
    else:
        assert message.response_metadata["cost_usd"] == pytest.approx(cost)


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize(
    ("report", "header", "neurons"),
    [({"neurons": 1.25}, None, 1.25), ({}, "2.5", 2.5), ({"neurons": 1.25}, "2.5", 1.25), ({}, "many", None)],
)
def test_neurons_are_read_from_body_or_header(
    service: MockService, report: Any, header: str | None, neurons: float | None, call_method: str
) -> None:
    headers = {} if header is None else {"cf-ai-neurons": header}
    service.respond_with_results({"response": "Hi", "usage": make_usage(1, 1, **report)}, headers=headers)
    assert call_model(make_model(), call_method).response_metadata.get("neurons") == neurons


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
def test_request_id_is_read_from_the_header(service: MockService, call_method: str) -> None:
    service.respond_with_results({"response": "Hi"}, headers={"CF-Ray": "8f-ZRH"})
    assert call_model(make_model(), call_method).response_metadata["request_id"] == "8f-ZRH"
    service.respond_with_results({"response": "Hi"})
    assert "request_id" not in call_model(make_model(), call_method).response_metadata


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "content_filter"])
def test_the_finish_reason_of_the_service_is_kept(service: MockService, reason: str, call_method: str) -> None:
    result = make_completion("Hi", finish_reason=reason)
    result["choices"][0]["stop_reason"] = 106
    assert get_reply_message(service, result, call_method).response_metadata["finish_reason"] == reason


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize("reason", [None, ""])
def test_a_missing_finish_reason_is_inferred(service: MockService, reason: Any, call_method: str) -> None:
    assert (
        get_reply_message(service, make_completion("Hi", finish_reason=reason), call_method).response_metadata[
            "finish_reason"
        ]
        == "stop"
    )
    call = {"id": "c1", "function": {"name": "f", "arguments": "{}"}}
    message = get_reply_message(service, make_completion(None, tool_calls=[call], finish_reason=reason), call_method)
    assert message.response_metadata["finish_reason"] == "tool_calls"


# --- Errors and unreadable bodies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
def test_an_error_with_status_200_raises(service: MockService, call_method: str) -> None:
    errors = [{"code": 5006, "message": "bad input"}]
    service.respond_with_bodies({"result": None, "success": False, "errors": errors, "messages": []})
    with pytest.raises(BadRequestError, match=r"^bad input$") as caught:
        call_model(make_model(), call_method)
    assert (caught.value.status_code, caught.value.code) == (200, 5006)


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
def test_json_mode_couldnt_be_met_with_status_200_raises(service: MockService, call_method: str) -> None:
    service.respond_with_bodies(
        {"result": {}, "success": False, "errors": [{"code": 5024, "message": "JSON Mode couldn't be met"}]}
    )
    with pytest.raises(InternalServerError, match="JSON Mode couldn't be met"):
        call_model(make_model(), call_method)


UNREADABLE: list[Any] = [
    b"<html><body>Welcome</body></html>",
    b'{"result": {"response": "cut',
    b"[1, 2",
    {"result": {"unknown": 1}, "success": True},
    {"hello": "world"},
    {"result": {"choices": []}, "success": True},
    {"result": {"choices": ["text"]}, "success": True},
    {"result": 7.5, "success": True},
]


@pytest.mark.parametrize("call_method", INVOKE_METHODS)
@pytest.mark.parametrize("payload", [*UNREADABLE, b"", b"  \n", b"plain text", b"\xff\xfe", {"result": None}], ids=repr)
@pytest.mark.parametrize("status", [200, 202])
def test_an_unreadable_success_raises(service: MockService, payload: Any, status: int, call_method: str) -> None:
    service.respond_with(make_response(payload, status, {"cf-ray": "ray-1"}))
    with pytest.raises(InternalServerError) as caught:
        call_model(make_model(), call_method)
    assert caught.value.status_code == status
    assert caught.value.request_id == "ray-1"
    assert len(service.requests) == 1


@pytest.mark.parametrize("call_method", [*STREAM_METHODS, *EVENT_METHODS])
@pytest.mark.parametrize("payload", UNREADABLE, ids=repr)
def test_an_unreadable_success_instead_of_a_stream_raises(service: MockService, payload: Any, call_method: str) -> None:
    service.respond_with_bodies(payload)
    with pytest.raises(InternalServerError) as caught:
        call_model(make_model(), call_method)
    assert caught.value.status_code == 200


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_a_text_reply_to_a_request_with_tools(service: MockService, call_method: str) -> None:
    service.respond_with_results({"response": "It is sunny.", "tool_calls": []})
    message = call_model(make_model().bind_tools([WEATHER_TOOL]), call_method)
    assert (message.content, message.tool_calls) == ("It is sunny.", [])
