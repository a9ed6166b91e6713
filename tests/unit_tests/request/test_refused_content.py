"""Content that a model or host cannot take is refused before any request, or replaced by a note."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from tests.helpers.mock_service import MockService
from tests.helpers.model_calls import CALL_METHODS, CHAT_MODELS, GEMMA_3, GEMMA_4, call_model, make_model
from tests.helpers.sent_messages import IMAGE_FORMS, send_messages

pytestmark = pytest.mark.lowest

TEXT_ONLY = [model for model in CHAT_MODELS if model not in (GEMMA_3, GEMMA_4)]


def get_refusal(service: MockService, message: Any, model: str = GEMMA_4, **arguments: Any) -> str:
    """Check that no call method sends a request for a message, and return the error, which is the same for all."""
    errors: set[str] = set()
    for call_method in CALL_METHODS:
        with pytest.raises(ValueError, match="messages") as caught:
            call_model(make_model(model=model, **arguments), call_method, [message])
        errors.add(str(caught.value))
    assert not service.requests
    (error,) = errors
    return error


@pytest.mark.parametrize("role", ["tool", "function", "critic", ""])
def test_chat_messages_of_unknown_roles_are_refused(service: MockService, role: str) -> None:
    error = get_refusal(service, ChatMessage(content="said", role=role))
    assert repr(role) in error
    assert "'user'" in error


@pytest.mark.parametrize("message", [FunctionMessage(content="x", name="f"), RemoveMessage(id="1")])
def test_unsupported_kinds_of_messages_are_refused(service: MockService, message: Any) -> None:
    assert type(message).__name__ in get_refusal(service, message)


REFUSED_BLOCKS: dict[str, tuple[dict[str, Any], str]] = {
    "audio v1": ({"type": "audio", "base64": "AAAA", "mime_type": "audio/wav"}, "audio"),
    "audio v0": ({"type": "audio", "source_type": "base64", "data": "AAAA", "mime_type": "audio/wav"}, "audio"),
    "audio openai": ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, "audio"),
    "video": ({"type": "video", "base64": "AAAA", "mime_type": "video/mp4"}, "video"),
    "pdf v1": ({"type": "file", "base64": "AAAA", "mime_type": "application/pdf"}, "file"),
    "pdf v0": (
        {"type": "file", "source_type": "base64", "data": "AAAA", "mime_type": "application/pdf"},
        "file",
    ),
    "pdf openai": ({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:,"}}, "file"),
    "pdf anthropic": (
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}},
        "document",
    ),
    "file id": ({"type": "image", "file_id": "file-1"}, "file id"),
    "file id v0": ({"type": "image", "source_type": "id", "id": "file-1"}, "file id"),
    "file id anthropic": ({"type": "image", "source": {"type": "file", "file_id": "file-1"}}, "file id"),
    "no type": ({"text": "a"}, "type"),
    "unknown": ({"type": "hologram"}, "hologram"),
    "svg in a data uri without base64": (
        {"type": "image_url", "image_url": {"url": "data:image/svg+xml,<svg/>"}},
        "data:image/TYPE;base64",
    ),
    "file url": ({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}, "data:image/TYPE;base64"),
    "not an image": (
        {"type": "image_url", "image_url": {"url": "data:application/pdf;base64,AAAA"}},
        "data:image/TYPE;base64",
    ),
    "bad base64": ({"type": "image", "base64": "%%%", "mime_type": "image/png"}, "base64"),
    "base64 of an impossible length": ({"type": "image", "base64": "AAAAA", "mime_type": "image/png"}, "base64"),
    "url-safe base64": ({"type": "image", "base64": "A-_A", "mime_type": "image/png"}, "base64"),
    "mime type that is not an image": (
        {"type": "image", "base64": "AAAA", "mime_type": "application/pdf"},
        "mime_type",
    ),
    "mime type unknown": ({"type": "image", "source": {"type": "base64", "data": "AAAA"}}, "mime_type"),
    "image without data": ({"type": "image"}, "base64"),
    "image_url without url": ({"type": "image_url", "image_url": {}}, "base64"),
}


@pytest.mark.parametrize("case", REFUSED_BLOCKS)
def test_unsupported_blocks_are_refused(service: MockService, case: str) -> None:
    block, expected = REFUSED_BLOCKS[case]
    error = get_refusal(service, HumanMessage(["look", block]))
    assert expected in error


@pytest.mark.parametrize("case", ["audio v1", "pdf v1", "unknown"])
def test_unsupported_blocks_are_refused_in_other_messages(service: MockService, case: str) -> None:
    block: dict[str, Any] = dict(REFUSED_BLOCKS[case][0])
    get_refusal(service, SystemMessage([block]))
    assert 'unsupported_content="note"' in get_refusal(service, ToolMessage([block], tool_call_id="c1"))


NOTED_BLOCKS: dict[str, str] = {
    "audio v1": "an audio file (audio/wav)",
    "audio openai": "an audio file (audio/wav)",
    "video": "a video (video/mp4)",
    "pdf v1": "a file (application/pdf)",
    "pdf openai": "a file (a.pdf)",
    "pdf anthropic": "a document (application/pdf)",
    "file id": "an image",
    "unknown": "a content block of type 'hologram'",
}


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("case", NOTED_BLOCKS)
def test_a_note_replaces_an_unsupported_block(service: MockService, case: str, call_method: str) -> None:
    block = REFUSED_BLOCKS[case][0]
    call_model(make_model(unsupported_content="note"), call_method, [HumanMessage(["look", block, "at it"])])
    note = f"[Left out: {NOTED_BLOCKS[case]}, which this model cannot read.]"
    assert service.last_messages == [{"role": "user", "content": f"look\n{note}\nat it"}]


def test_a_note_replaces_an_unsupported_block_in_a_tool_result(service: MockService) -> None:
    call = {"name": "read", "args": {}, "id": "c1", "type": "tool_call"}
    pdf = {"type": "file", "base64": "AAAA", "mime_type": "application/pdf", "filename": "a.pdf"}
    llm = make_model(unsupported_content="note")
    history = [HumanMessage("x"), AIMessage("", tool_calls=[call]), ToolMessage(["one", pdf], tool_call_id="c1")]
    call_model(llm, "invoke", history)
    assert service.last_messages[2]["content"] == (
        "one\n[Left out: a file (application/pdf, a.pdf), which this model cannot read.]"
    )


@pytest.mark.parametrize("model", TEXT_ONLY)
def test_a_note_replaces_an_image_for_a_text_only_model(service: MockService, model: str) -> None:
    call_model(
        make_model(model=model, unsupported_content="note"), "invoke", [HumanMessage(["a", IMAGE_FORMS["openai"]])]
    )
    assert service.last_messages[0]["content"] == "a\n[Left out: an image, which this model cannot read.]"


def test_a_note_replaces_an_image_url_that_is_not_fetched(service: MockService) -> None:
    block = {"type": "image", "url": "https://example.org/a.png"}
    call_model(make_model().bind(unsupported_content="note"), "invoke", [HumanMessage([block])])
    assert "https://example.org/a.png" in service.last_messages[0]["content"]


@pytest.mark.parametrize("case", ["bad base64", "not an image", "svg in a data uri without base64"])
def test_an_invalid_image_is_refused_with_notes_too(service: MockService, case: str) -> None:
    get_refusal(service, HumanMessage([REFUSED_BLOCKS[case][0]]), unsupported_content="note")


@pytest.mark.parametrize("model", TEXT_ONLY)
@pytest.mark.parametrize("form", IMAGE_FORMS)
def test_an_image_for_a_text_only_model_is_refused(service: MockService, model: str, form: str) -> None:
    error = get_refusal(service, HumanMessage([IMAGE_FORMS[form]]), model=model)
    assert model in error
    assert "text only" in error


@pytest.mark.parametrize("model", TEXT_ONLY)
def test_an_image_url_for_a_text_only_model_is_not_fetched(service: MockService, model: str) -> None:
    block = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/a.png"}}
    assert "text only" in get_refusal(service, HumanMessage([block]), model=model, inline_image_urls=True)


@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_4, "@cf/google/gemma-4-new-it"])
@pytest.mark.parametrize("url", ["http://example.org/a.png", "https://example.org/a.png", "HTTPS://example.org/a.png"])
@pytest.mark.parametrize("form", ["openai", "v1", "v0", "anthropic"])
def test_image_urls_are_refused_without_inline_image_urls(
    service: MockService, model: str, url: str, form: str
) -> None:
    forms: dict[str, dict[str, Any]] = {
        "openai": {"type": "image_url", "image_url": {"url": url}},
        "v1": {"type": "image", "url": url},
        "v0": {"type": "image", "source_type": "url", "url": url},
        "anthropic": {"type": "image", "source": {"type": "url", "url": url}},
    }
    assert "inline_image_urls=True" in get_refusal(service, HumanMessage([forms[form]]), model=model)


def test_image_urls_are_refused_on_other_hosts(service: MockService) -> None:
    block = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    assert "inline_image_urls" in get_refusal(
        service, HumanMessage([block]), model="google/gemma-3-4b-it", host="aimlapi"
    )


def test_an_image_in_a_system_message_is_refused(service: MockService) -> None:
    assert "HumanMessage" in get_refusal(service, SystemMessage([IMAGE_FORMS["openai"]]))


def test_a_message_longer_than_the_service_allows_is_refused(service: MockService) -> None:
    model = "@cf/google/gemma-7b-it-lora"
    assert len(send_messages(service, HumanMessage("a" * 131_072), model=model)[0]["content"]) == 131_072
    service.requests.clear()
    assert "131,072" in get_refusal(service, HumanMessage("a" * 131_073), model=model)
