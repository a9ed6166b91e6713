"""Whole replies in each of their shapes (docs/wire.md section 3), and the messages of every call method."""

from __future__ import annotations

from typing import Any

import pytest

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
    make_model,
    summarize_message,
)
from tests.helpers.reply_calls import ALL_CALL_METHODS, get_reply_message

pytestmark = pytest.mark.lowest

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
