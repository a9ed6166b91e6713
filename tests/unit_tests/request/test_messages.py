"""How each kind of message and content block is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.content import create_text_block

from tests.helpers.mock_service import MockService
from tests.helpers.model_calls import (
    CALL_METHODS,
    CHAT_MODELS,
    GEMMA_3,
    GEMMA_4,
    PNG_BASE64,
    PNG_DATA_URI,
    SEA_LION,
    call_model,
    make_model,
)
from tests.helpers.sent_messages import IMAGE_FORMS, send_messages

pytestmark = pytest.mark.lowest


# --- Kinds of messages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize(
    ("model_input", "expected"),
    [
        ("Hello", [("user", "Hello")]),
        ([("human", "Hello")], [("user", "Hello")]),
        ([{"role": "user", "content": "Hello"}], [("user", "Hello")]),
        ([HumanMessage("Hello")], [("user", "Hello")]),
        ([SystemMessage("Be brief."), HumanMessage("Hello")], [("system", "Be brief."), ("user", "Hello")]),
        (
            [HumanMessage("a"), AIMessage("b"), HumanMessage("c")],
            [("user", "a"), ("assistant", "b"), ("user", "c")],
        ),
    ],
)
def test_text_messages_are_sent(
    service: MockService, call_method: str, model_input: Any, expected: list[tuple[str, str]]
) -> None:
    call_model(make_model(), call_method, model_input)
    assert service.last_messages == [{"role": role, "content": content} for role, content in expected]


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("user", "user"),
        ("human", "user"),
        ("User", "user"),
        ("system", "system"),
        ("developer", "system"),
        ("assistant", "assistant"),
        ("ai", "assistant"),
        ("model", "assistant"),
    ],
)
def test_chat_messages_are_sent_by_their_role(service: MockService, role: str, expected: str) -> None:
    around = {"system": [HumanMessage("x")], "assistant": [HumanMessage("x")], "user": []}[expected]
    message = ChatMessage(content="said", role=role)
    messages = [message, *around] if expected == "system" else [*around, message]
    assert {"role": expected, "content": "said"} in send_messages(service, *messages)


def test_an_empty_list_of_messages_raises(service: MockService) -> None:
    for call_method in CALL_METHODS:
        with pytest.raises(ValueError, match="messages is empty"):
            call_model(make_model(), call_method, [])
    assert not service.requests


def test_tool_messages_are_sent_to_gemma_4(service: MockService) -> None:
    call = {"name": "f", "args": {"a": 1}, "id": "c1", "type": "tool_call"}
    messages = send_messages(
        service, HumanMessage("x"), AIMessage("", tool_calls=[call]), ToolMessage("42", tool_call_id="c1")
    )
    assert messages[1:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
        },
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
    ]


# --- Content blocks ---------------------------------------------------------------------------------------------------

TEXT_FORMS: list[Any] = [
    ["Hello"],
    [{"type": "text", "text": "Hello"}],
    [create_text_block("Hello")],
    [{"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}}],
    [{"type": "text", "source_type": "text", "text": "Hello"}],
    [{"type": "text-plain", "text": "Hello", "mime_type": "text/plain"}],
    ["Hel", {"type": "text", "text": "lo"}],
    [{"type": "text", "text": "Hello"}, {"type": "text", "text": ""}],
]


@pytest.mark.parametrize("content", TEXT_FORMS)
@pytest.mark.parametrize("model", CHAT_MODELS)
def test_text_blocks_are_joined_to_one_string(service: MockService, model: str, content: Any) -> None:
    assert send_messages(service, HumanMessage(content), model=model) == [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_4])
@pytest.mark.parametrize("form", IMAGE_FORMS)
def test_every_form_of_image_is_sent(service: MockService, form: str, model: str) -> None:
    content = [{"type": "text", "text": "What is this?"}, IMAGE_FORMS[form]]
    assert send_messages(service, HumanMessage(content), model=model) == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": PNG_DATA_URI}},
            ],
        }
    ]


@pytest.mark.parametrize("kind", ["jpeg", "gif", "webp"])
def test_the_type_of_an_image_is_detected_from_its_first_bytes(service: MockService, kind: str) -> None:
    start = {"jpeg": "/9j/4AAQSkZJRgAB", "gif": "R0lGODlhAQABAAAA", "webp": "UklGRhoAAABXRUJQ"}[kind]
    (message,) = send_messages(service, HumanMessage([{"type": "image", "source": {"type": "base64", "data": start}}]))
    assert message["content"][0]["image_url"]["url"] == f"data:image/{kind};base64,{start}"


def test_images_and_texts_keep_their_order(service: MockService) -> None:
    image = IMAGE_FORMS["v1 base64"]
    (message,) = send_messages(service, HumanMessage([image, "a", {"type": "text", "text": "b"}, image, "c"]))
    kinds = [part.get("text") or part["type"] for part in message["content"]]
    assert kinds == ["image_url", "ab", "image_url", "c"]


def test_reasoning_and_call_blocks_of_an_assistant_are_not_sent_as_content(service: MockService) -> None:
    blocks: list[Any] = [
        {"type": "reasoning", "reasoning": "I think."},
        {"type": "thinking", "thinking": "hm", "signature": "x"},
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
        {"type": "tool_call", "id": "c1", "name": "f", "args": {"a": 1}},
        {"type": "input_json_delta", "partial_json": "{"},
    ]
    call = {"name": "f", "args": {"a": 1}, "id": "c1", "type": "tool_call"}
    messages = send_messages(
        service,
        HumanMessage("x"),
        AIMessage(blocks, tool_calls=[call], additional_kwargs={"reasoning_content": "I think."}),
        ToolMessage("y", tool_call_id="c1"),
        AIMessage([{"type": "text", "text": "Done."}, {"type": "reasoning", "reasoning": "I think."}]),
        HumanMessage("z"),
    )
    assert len(messages[1]["tool_calls"]) == 1
    assert messages[3]["content"] == "Done."
    assert "I think" not in json.dumps(messages), "reasoning before the last human message is not sent"
    assert "hm" not in json.dumps(messages)


def test_a_returned_message_can_be_sent_back(service: MockService) -> None:
    service.respond_with_bodies(
        {"choices": [{"message": {"content": "Hi", "reasoning_content": "hm"}, "finish_reason": "stop"}]}
    )
    reply = call_model(make_model(), "invoke")
    assert reply.content_blocks[0]["type"] == "reasoning"
    service.requests.clear()
    assert send_messages(service, HumanMessage("a"), reply, HumanMessage("b"))[1] == {
        "role": "assistant",
        "content": "Hi",
    }


def test_a_returned_message_in_the_v1_form_can_be_sent_back(service: MockService) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    service.respond_with_bodies({"choices": [{"message": {"content": "Hi", "reasoning": "hm", "tool_calls": [call]}}]})
    reply = call_model(make_model(output_version="v1"), "invoke")
    assert isinstance(reply.content, list)
    service.requests.clear()
    messages = send_messages(service, HumanMessage("a"), reply, ToolMessage("b", tool_call_id="c1"))
    assert messages[1]["content"] == ""
    assert messages[1]["reasoning"] == messages[1]["reasoning_content"] == "hm\n\nHi"
    assert [tool_call["id"] for tool_call in messages[1]["tool_calls"]] == ["c1"]


# --- Messages of other providers --------------------------------------------------------------------------------------

OTHER_PROVIDER_BLOCKS: list[dict[str, Any]] = [
    {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}},
    {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"type": "web_search_result", "url": "u"}]},
    {"type": "refusal", "refusal": "No."},
    {"type": "image", "base64": PNG_BASE64, "mime_type": "image/png"},
    {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
    {"type": "image_generation_call", "id": "ig", "result": PNG_BASE64},
    {"type": "executable_code", "executable_code": "1", "language": "python"},
    {"type": "non_standard", "value": {"a": 1}},
    {"type": "audio", "base64": "AAAA", "mime_type": "audio/wav"},
    {"type": "hologram"},
    {"no": "type"},
]


@pytest.mark.parametrize("model", CHAT_MODELS)
@pytest.mark.parametrize("block", OTHER_PROVIDER_BLOCKS, ids=lambda block: str(block.get("type")))
def test_blocks_of_other_providers_are_omitted_and_logged(
    service: MockService, model: str, block: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    content: list[Any] = [block, {"type": "text", "text": "Paris.", "annotations": [], "citations": [{"url": "u"}]}]
    with caplog.at_level("DEBUG", logger="langchain_workers_gemma"):
        messages = send_messages(service, HumanMessage("a"), AIMessage(content), HumanMessage("b"), model=model)
    assert messages[1] == {"role": "assistant", "content": "Paris."}
    assert repr(block.get("type")) in caplog.text


def test_images_of_an_assistant_are_not_fetched(service: MockService) -> None:
    block = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/a.png"}}
    llm = make_model(inline_image_urls=True)
    call_model(llm, "invoke", [HumanMessage("a"), AIMessage([block, {"type": "text", "text": "b"}]), HumanMessage("c")])
    assert service.last_messages[1] == {"role": "assistant", "content": "b"}


# --- Content is never null --------------------------------------------------------------------------------------------

EMPTY_CONTENTS: list[Any] = ["", [], [""], [{"type": "text", "text": ""}]]


@pytest.mark.parametrize("model", CHAT_MODELS)
@pytest.mark.parametrize("content", EMPTY_CONTENTS)
def test_content_is_never_null(service: MockService, model: str, content: Any) -> None:
    call = {"name": "f", "args": {}, "id": "c1", "type": "tool_call"}
    messages = send_messages(
        service,
        SystemMessage(content),
        HumanMessage(content),
        AIMessage(content, tool_calls=[call]),
        ToolMessage(content, tool_call_id="c1"),
        AIMessage(content),
        HumanMessage("x"),
        model=model,
    )
    assert all(isinstance(message["content"], str) for message in messages)


@pytest.mark.parametrize("model", CHAT_MODELS)
@pytest.mark.parametrize("content", EMPTY_CONTENTS)
@pytest.mark.parametrize("kind", [SystemMessage, AIMessage, HumanMessage])
def test_a_request_for_an_empty_message_ends_with_a_user_message(
    service: MockService, model: str, content: Any, kind: type[Any]
) -> None:
    messages = send_messages(service, kind(content), model=model)
    assert [message["role"] for message in messages][-1:] == ["user"]
    assert all(isinstance(message["content"], str) for message in messages)


# --- Unusual text -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_lone_surrogates_in_text_are_replaced(service: MockService, call_method: str) -> None:
    call_model(
        make_model(), call_method, [HumanMessage("a \ud83d b"), AIMessage("\udc4b"), HumanMessage("\ud83d\udc4b é")]
    )
    assert service.last_messages == [
        {"role": "user", "content": "a \ufffd b"},
        {"role": "assistant", "content": "\ufffd"},
        {"role": "user", "content": "👋 é"},
    ]


def test_lone_surrogates_in_tool_arguments_and_results_are_replaced(service: MockService) -> None:
    call = {"name": "f", "args": {"a": "\ud83d"}, "id": "c1", "type": "tool_call"}
    messages = send_messages(
        service, HumanMessage("x"), AIMessage("", tool_calls=[call]), ToolMessage("\udc4b", tool_call_id="c1")
    )
    assert json.loads(messages[1]["tool_calls"][0]["function"]["arguments"]) == {"a": "\ufffd"}
    assert messages[2]["content"] == "\ufffd"


def test_control_characters_and_all_of_unicode_are_sent(service: MockService) -> None:
    text = "".join(map(chr, [*range(256), 0x2028, 0xFEFF, 0xFFFF, 0x10FFFF]))
    assert send_messages(service, HumanMessage(text)) == [{"role": "user", "content": text}]


def test_a_long_text_is_sent(service: MockService) -> None:
    text = "word " * 100_000
    assert send_messages(service, HumanMessage(text), model=SEA_LION)[0]["content"] == text
