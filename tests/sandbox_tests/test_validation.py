"""One test for each rule of the published schemas: a violation is refused with the service's code and message."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from langchain_workers_gemma.models import MODELS, GemmaModel, Range
from langchain_workers_gemma.sandbox import Sandbox
from tests.sandbox_tests.api_client import (
    CHAT_MODELS,
    EMBEDDING,
    GEMMA_2B_LORA,
    GEMMA_3,
    GEMMA_4,
    GEMMA_7B,
    GEMMA_7B_LORA,
    OLDER_MODELS,
    SEA_LION,
    Api,
    assert_refused,
    get_error,
    to_messages,
)

STRING_CONTENT = [GEMMA_7B, GEMMA_2B_LORA, GEMMA_7B_LORA]


def make_png_uri(width: int = 640, height: int = 480) -> str:
    data = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", width, height) + b"\x08\x02\x00\x00\x00"
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def build_image_messages(url: str) -> list[dict[str, Any]]:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": parts}]


# --- the model --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "model", ["@cf/google/gemma-99", "@cf/meta/llama-3.1-8b-instruct", "gemma", "google/gemma-3-12b-it"]
)
def test_unknown_model(api: Api, model: str) -> None:
    assert_refused(api, model, {"messages": to_messages("Hello")}, f"No such model {model}", code=5007)


def test_a_retired_model_is_served_unless_retirement_is_enforced(api: Api) -> None:
    assert api.send_text(GEMMA_3, "Hello").status_code == 200
    with Sandbox(enforce_retirement=True) as strict, Api(strict) as strict_api:
        words = "This model was deprecated on 2026-05-30. Please use an alternative model"
        assert_refused(strict_api, GEMMA_3, {"messages": to_messages("Hello")}, words, status=410, code=5028)
        assert strict_api.send_text(GEMMA_4, "Hello").status_code == 200


# --- the body ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b'{"temperature": NaN}', b"\xff\xfe"])
def test_a_body_that_is_not_a_json_object(api: Api, body: bytes) -> None:
    response = api.http.post(f"{api.account}/ai/run/{GEMMA_3}", content=body, headers=api.auth)
    assert get_error(response)[:2] == (400, 5006)


def test_a_body_that_is_too_large() -> None:
    with Sandbox(max_body=1000) as sandbox, Api(sandbox) as api:
        assert api.send_text(GEMMA_3, "x" * 900).status_code == 200
        assert_refused(api, GEMMA_3, {"messages": to_messages("x" * 1000)}, status=413, code=3006)


@pytest.mark.parametrize("model", OLDER_MODELS)
def test_neither_prompt_nor_messages(api: Api, model: str) -> None:
    assert_refused(api, model, {}, "oneOf at '/' not met", "'prompt'", "'messages'")


def test_gemma_4_needs_messages(api: Api) -> None:
    assert_refused(api, GEMMA_4, {"prompt": "Hello"}, "required properties at '/' are 'messages'")


@pytest.mark.parametrize("model", OLDER_MODELS)
@pytest.mark.parametrize("prompt", ["", None, 5, ["Hello"]])
def test_a_prompt_that_is_not_a_text(api: Api, model: str, prompt: object) -> None:
    assert_refused(api, model, {"prompt": prompt}, "/prompt")


@pytest.mark.parametrize("model", CHAT_MODELS)
@pytest.mark.parametrize("messages", [[], "Hello", None, {}, [None], ["Hello"], [[]]])
def test_messages_that_are_not_a_list_of_objects(api: Api, model: str, messages: object) -> None:
    assert_refused(api, model, {"messages": messages}, "/messages")


@pytest.mark.parametrize("model", CHAT_MODELS)
@pytest.mark.parametrize("message", [{}, {"role": "user"}, {"content": "Hello"}])
def test_role_and_content_are_required(api: Api, model: str, message: dict[str, str]) -> None:
    assert_refused(api, model, {"messages": [message]}, "required properties at '/messages/0' are 'role,content'")


@pytest.mark.parametrize("model", CHAT_MODELS)
@pytest.mark.parametrize("content", [None, 5, True, {"text": "Hello"}])
def test_content_of_a_wrong_type(api: Api, model: str, content: object) -> None:
    assert_refused(
        api, model, {"messages": [{"role": "user", "content": content}]}, "Type mismatch of '/messages/0/content'"
    )


@pytest.mark.parametrize("model", CHAT_MODELS)
@pytest.mark.parametrize("role", [None, 5, ["user"]])
def test_a_role_of_a_wrong_type(api: Api, model: str, role: object) -> None:
    assert_refused(
        api, model, {"messages": [{"role": role, "content": "Hello"}]}, "Type mismatch of '/messages/0/role'"
    )


def test_a_name_of_a_wrong_type(api: Api) -> None:
    body = {"messages": [{"role": "user", "content": "Hello", "name": 5}]}
    assert_refused(api, GEMMA_4, body, "Type mismatch of '/messages/0/name'")


@pytest.mark.parametrize("model", OLDER_MODELS)
def test_null_content_beside_tool_calls_is_refused_by_the_older_models(api: Api, model: str) -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}]
    messages = [
        *to_messages("Hello"),
        {"role": "assistant", "content": None, "tool_calls": calls},
        *to_messages("Hello"),
    ]
    assert_refused(api, model, {"messages": messages}, "Type mismatch of '/messages/1/content'", "not in 'null'")


@pytest.mark.parametrize("model", STRING_CONTENT)
def test_models_with_string_content_refuse_parts(api: Api, model: str) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]
    assert_refused(
        api, model, {"messages": messages}, "Type mismatch of '/messages/0/content', 'string' not in 'array'"
    )


@pytest.mark.parametrize("model", [GEMMA_4, GEMMA_3, SEA_LION])
def test_models_with_parts_accept_text_parts(api: Api, model: str) -> None:
    parts = [{"type": "text", "text": "Hello"}, {"type": "text", "text": "there"}]
    assert api.run(model, {"messages": [{"role": "user", "content": parts}]}).status_code == 200


@pytest.mark.parametrize("model", [GEMMA_4, GEMMA_3, SEA_LION])
@pytest.mark.parametrize("part", [{}, {"type": "audio"}, {"type": "text", "text": 5}, {"type": 5}, "Hello", None])
def test_an_invalid_part(api: Api, model: str, part: object) -> None:
    assert_refused(api, model, {"messages": [{"role": "user", "content": [part]}]}, "/messages/0/content/0")


def test_the_longest_content_of_gemma_7b_lora(api: Api) -> None:
    assert api.send_text(GEMMA_7B_LORA, "x" * 131_072).status_code == 200
    assert_refused(
        api,
        GEMMA_7B_LORA,
        {"messages": to_messages("x" * 131_073)},
        "Length of '/messages/0/content' must be <= 131072",
    )


def test_unknown_fields_are_accepted(api: Api) -> None:
    for model in CHAT_MODELS:
        assert api.send_text(model, "Hello", future=1, metadata={"a": 1}).status_code == 200


# --- numbers ----------------------------------------------------------------------------------------------------------
RANGES = [
    (model, name, allowed)
    for model in MODELS.values()
    if model.host == "cloudflare" and model.parameters
    for name, allowed in model.parameters.items()
]


@pytest.mark.parametrize(("model", "name", "allowed"), RANGES, ids=lambda value: getattr(value, "id", str(value)))
def test_every_published_range(api: Api, model: GemmaModel, name: str, allowed: Range) -> None:
    step = 1 if allowed.integer else 0.001
    for edge in (allowed.low, allowed.high):
        if edge is not None:
            inside = int(edge) if allowed.integer else edge
            assert api.send_text(model.id, "Hello", **{name: inside}).status_code == 200
    if allowed.low is not None:
        outside = {
            "messages": to_messages("Hello"),
            name: (int(allowed.low) if allowed.integer else allowed.low) - step,
        }
        assert_refused(api, model.id, outside, f"'/{name}' must be >= {allowed.low:g}")
    if allowed.high is not None:
        outside = {
            "messages": to_messages("Hello"),
            name: (int(allowed.high) if allowed.integer else allowed.high) + step,
        }
        assert_refused(api, model.id, outside, f"'/{name}' must be <= {allowed.high:.10g}")


@pytest.mark.parametrize(("model", "name", "allowed"), RANGES, ids=lambda value: getattr(value, "id", str(value)))
def test_numbers_of_a_wrong_type(api: Api, model: GemmaModel, name: str, allowed: Range) -> None:
    wrong: list[object] = ["1", True, [1], {}]
    for value in [*wrong, 1.5] if allowed.integer else wrong:
        assert_refused(api, model.id, {"messages": to_messages("Hello"), name: value}, f"Type mismatch of '/{name}'")


def test_null_is_not_a_number_but_means_unset_in_openais_form(api: Api) -> None:
    assert_refused(api, GEMMA_3, {"messages": to_messages("Hello"), "temperature": None}, "'number' not in 'null'")
    assert api.send_text(GEMMA_4, "Hello", temperature=None, max_tokens=None, seed=None, stop=None).status_code == 200


def test_gemma_4_accepts_max_completion_tokens(api: Api) -> None:
    result = api.get_result(GEMMA_4, "Hello", max_completion_tokens=3)
    assert result["usage"]["completion_tokens"] == 3
    assert_refused(
        api, GEMMA_4, {"messages": to_messages("Hello"), "max_completion_tokens": 0}, "/max_completion_tokens"
    )


@pytest.mark.parametrize("n", [0, 129, "2", 1.5])
def test_n_out_of_range(api: Api, n: object) -> None:
    assert_refused(api, GEMMA_4, {"messages": to_messages("Hello"), "n": n}, "/n'")


# --- switches ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("model", OLDER_MODELS)
@pytest.mark.parametrize(("name", "value"), [("stream", "yes"), ("stream", 1), ("raw", "no"), ("stream", None)])
def test_switches_of_the_older_models(api: Api, model: str, name: str, value: object) -> None:
    assert_refused(
        api, model, {"messages": to_messages("Hello"), name: value}, f"Type mismatch of '/{name}', 'boolean' not in"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stream", "yes"),
        ("parallel_tool_calls", "no"),
        ("logprobs", 1),
        ("skip_special_tokens", 0),
        ("stream_options", True),
        ("chat_template_kwargs", []),
        ("audio", "loud"),
        ("function_call", 5),
        ("functions", {}),
        ("logit_bias", []),
        ("metadata", "a"),
        ("modalities", "text"),
        ("prediction", "x"),
        ("service_tier", 5),
        ("store", "yes"),
        ("top_logprobs", 1.5),
        ("user", 5),
        ("web_search_options", True),
    ],
)
def test_switches_of_gemma_4(api: Api, name: str, value: object) -> None:
    assert_refused(api, GEMMA_4, {"messages": to_messages("Hello"), name: value}, f"Type mismatch of '/{name}'")


@pytest.mark.parametrize("name", ["enable_thinking", "clear_thinking"])
def test_thinking_switches_of_gemma_4(api: Api, name: str) -> None:
    body = {"messages": to_messages("Hello"), "chat_template_kwargs": {name: "yes"}}
    assert_refused(api, GEMMA_4, body, f"Type mismatch of '/chat_template_kwargs/{name}'")


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_reject_if_busy_is_a_switch(api: Api, model: str) -> None:
    assert api.send_text(model, "Hello", options={"rejectIfBusy": True}).status_code == 200
    assert_refused(
        api, model, {"messages": to_messages("Hello"), "options": {"rejectIfBusy": "yes"}}, "/options/rejectIfBusy"
    )
    assert_refused(api, model, {"messages": to_messages("Hello"), "options": True}, "Type mismatch of '/options'")


@pytest.mark.parametrize("model", OLDER_MODELS)
def test_lora_is_a_name(api: Api, model: str) -> None:
    assert api.send_text(model, "Hello", lora="my-finetune").status_code == 200
    assert_refused(api, model, {"messages": to_messages("Hello"), "lora": 5}, "Type mismatch of '/lora'")


@pytest.mark.parametrize("stop", ["a", ["a"], ["a", "b", "c", "d"], []])
def test_stop_of_gemma_4(api: Api, stop: object) -> None:
    assert api.send_text(GEMMA_4, "Hello", stop=stop).status_code == 200


@pytest.mark.parametrize("stop", [["a", "b", "c", "d", "e"], 5, ["a", None], {"a": 1}])
def test_stop_that_gemma_4_refuses(api: Api, stop: object) -> None:
    assert_refused(api, GEMMA_4, {"messages": to_messages("Hello"), "stop": stop}, "/stop")


# --- images -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("model", [GEMMA_4, GEMMA_3])
def test_an_image_is_accepted(api: Api, model: str) -> None:
    assert api.run(model, {"messages": build_image_messages(make_png_uri())}).status_code == 200


@pytest.mark.parametrize("model", [GEMMA_4, GEMMA_3])
@pytest.mark.parametrize(
    "url", ["https://example.com/a.png", "data:image/png,abc", "data:text/plain;base64,YWJj", "", "a.png"]
)
def test_only_data_uris_of_images(api: Api, model: str, url: str) -> None:
    assert_refused(api, model, {"messages": build_image_messages(url)}, "Invalid data", code=8006)


@pytest.mark.parametrize("model", [GEMMA_4, GEMMA_3])
@pytest.mark.parametrize("data", ["not base64!", "abc", "aGVsbG8=="])
def test_bad_base64(api: Api, model: str, data: str) -> None:
    assert_refused(api, model, {"messages": build_image_messages(f"data:image/png;base64,{data}")}, "base64", code=5004)


@pytest.mark.parametrize("model", [GEMMA_4, GEMMA_3])
@pytest.mark.parametrize("part", [{}, {"image_url": {}}, {"image_url": "data:..."}, {"image_url": {"url": 5}}])
def test_an_image_without_its_url(api: Api, model: str, part: dict[str, object]) -> None:
    messages = [{"role": "user", "content": [{"type": "image_url", **part}]}]
    assert_refused(api, model, {"messages": messages}, "/messages/0/content/0/image_url")


@pytest.mark.parametrize(("width", "height", "fine"), [(10, 10, True), (9, 100, False), (100, 9, False)])
def test_gemma_4_refuses_tiny_images(api: Api, width: int, height: int, fine: bool) -> None:
    body = {"messages": build_image_messages(make_png_uri(width, height))}
    assert api.run(GEMMA_3, body).status_code == 200
    if fine:
        assert api.run(GEMMA_4, body).status_code == 200
    else:
        assert_refused(api, GEMMA_4, body, "too small", code=8006)


def test_a_model_that_reads_no_images_refuses_them(api: Api) -> None:
    assert_refused(
        api,
        SEA_LION,
        {"messages": build_image_messages(make_png_uri())},
        "enum image_url not in text at '/messages/0/content/1/type'",
    )


def test_images_belong_to_the_user(api: Api) -> None:
    messages = [
        {"role": "system", "content": build_image_messages(make_png_uri())[0]["content"]},
        *to_messages("Hello"),
    ]
    assert_refused(api, GEMMA_4, {"messages": messages}, "/messages/0/content/1/type")


# --- context ----------------------------------------------------------------------------------------------------------
def test_context_overflow_of_gemma_4(api: Api) -> None:
    words = "This model's maximum context length is 131072 tokens. However, you requested"
    assert_refused(api, GEMMA_4, {"messages": to_messages("Hello"), "max_tokens": 131_072}, words)
    assert api.send_text(GEMMA_4, "Hello", max_tokens=131_000).status_code == 200


def test_context_overflow_of_the_older_models(api: Api) -> None:
    assert_refused(
        api,
        GEMMA_3,
        {"messages": to_messages("word " * 120_000)},
        "exceeded this model context window limit (80000)",
    )
    assert_refused(
        api, GEMMA_7B, {"messages": to_messages("word " * 12_288)}, "exceeded this model context window limit (8192)"
    )


def test_all_problems_are_reported_together(api: Api) -> None:
    body = {"messages": [{"role": "user"}], "temperature": 9, "top_k": 0}
    assert_refused(api, GEMMA_3, body, "/messages/0", "'/temperature' must be <= 5", "'/top_k' must be >= 1")


@pytest.mark.parametrize("text", ["", [], [""], [5], None, {"a": 1}, ["x"] * 101])
def test_texts_to_embed(api: Api, text: object) -> None:
    assert_refused(api, EMBEDDING, {"text": text}, "/text")
    assert get_error(api.run(EMBEDDING, {}))[:2] == (400, 5006)
