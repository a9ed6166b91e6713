"""Any server with OpenAI's chat completions API: addresses, model families, requests and errors."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest

from langchain_workers_gemma import (
    AuthenticationError,
    BadRequestError,
    ContextOverflowError,
    ModelNotFoundError,
    WorkersGemmaEmbeddings,
)
from langchain_workers_gemma.models import resolve_model
from tests.helpers.mock_service import MockService, make_response
from tests.helpers.model_calls import (
    CALL_METHODS,
    COMPATIBLE_URL,
    PNG_DATA_URI,
    WEATHER_TOOL,
    call_model,
    make_compatible_model,
)

pytestmark = pytest.mark.lowest


def make_reply(text: str = "Hi", **more: Any) -> dict[str, Any]:
    """Return a reply body."""
    return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}], **more}


def get_last_body(service: MockService) -> Any:
    """Return the body of the last request."""
    return json.loads(service.requests[-1].content)


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gemma3:12b", "gemma-3"),
        ("gemma3", "gemma-3"),
        ("google/gemma-3-27b-it", "gemma-3"),
        ("gemma-3-1b-it-Q4_K_M.gguf", "gemma-3"),
        ("google/gemma-4-31b-it", "gemma-4"),
        ("gemma4:26b", "gemma-4"),
        ("google/gemma-4-E4B-it", "gemma-4"),
        ("gemma-3n-e4b", "gemma-3n"),
        ("gemma3n:e2b", "gemma-3n"),
        ("medgemma-27b-it", "gemma-3"),
        ("functiongemma", "functiongemma"),
        ("google/functiongemma-270m-it", "functiongemma"),
        ("gemma2:9b", "gemma-2"),
        ("google/gemma-2-2b-it", "gemma-2"),
        ("gemma:7b", "gemma"),
        ("google/gemma-2b-it", "gemma"),
        ("google/gemma-7b-it", "gemma"),
        ("google/gemma-1.1-7b-it", "gemma"),
        ("my-own-finetune", "unknown"),
    ],
)
def test_the_family_is_read_from_the_id(model: str, family: str) -> None:
    spec = resolve_model(model, "openai_compatible")
    assert (spec.id, spec.host, spec.family) == (model, "openai_compatible", family)
    assert spec.input_price is None


@pytest.mark.parametrize(
    ("model", "images"),
    [("gemma3:12b", True), ("gemma3:1b", False), ("gemma-3-270m-it", False), ("medgemma-27b-text-it", False)],
)
def test_image_support_depends_on_the_family(model: str, images: bool) -> None:
    assert resolve_model(model, "openai_compatible").images is images


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_a_request_without_a_token(service: MockService, call_method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "a-token-of-somebody-else")
    service.respond_with_bodies(make_reply())
    call_model(make_compatible_model(), call_method)
    assert str(service.only_request.url) == f"{COMPATIBLE_URL}/chat/completions"
    assert "authorization" not in service.only_request.headers
    expected: dict[str, Any] = {"model": "gemma3:12b", "messages": [{"role": "user", "content": "Hello"}]}
    if "stream" in call_method:
        expected |= {"stream": True, "stream_options": {"include_usage": True}}
    assert service.request_body == expected


def test_a_request_with_a_token(service: MockService) -> None:
    service.respond_with_bodies(make_reply())
    make_compatible_model(api_token="a-key").invoke("Hi")
    assert service.only_request.headers["authorization"] == "Bearer a-key"


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("/models/gemma-3-12b-it", "gemma-3"),
        ("./gemma-2-9b-it-Q4_K_M.gguf", "gemma-2"),
        (r"C:\models\gemma-4-12b.gguf", "gemma-4"),
        ("My Gemma 3 12B", "gemma-3"),
        ("hf.co/unsloth/gemma-3-12b-it-GGUF:Q4_K_M", "gemma-3"),
        ("google/gemma-3-27b-it:free", "gemma-3"),
        ("gemma-3-12b-größer", "gemma-3"),
    ],
)
@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_any_model_name_of_a_server_is_accepted(
    service: MockService, model: str, family: str, call_method: str
) -> None:
    service.respond_with_bodies(make_reply())
    assert call_model(make_compatible_model(model), call_method).text == "Hi"
    assert service.request_body["model"] == model
    assert resolve_model(model, "openai_compatible").family == family


@pytest.mark.parametrize("base_url", [f"{COMPATIBLE_URL}/", f"{COMPATIBLE_URL}//", COMPATIBLE_URL])
@pytest.mark.parametrize("token", ["", " ", None])
def test_trailing_slashes_and_empty_tokens_are_ignored(service: MockService, base_url: str, token: str | None) -> None:
    service.respond_with_bodies(make_reply())
    make_compatible_model(base_url=base_url, api_token=token).invoke("Hi")
    assert str(service.only_request.url) == f"{COMPATIBLE_URL}/chat/completions"
    assert "authorization" not in service.only_request.headers


def test_a_reply_has_no_cost(service: MockService) -> None:
    service.respond_with_bodies(make_reply(usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}))
    reply = make_compatible_model("google/gemma-4-31b-it").invoke("Hi")
    assert reply.usage_metadata == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    assert "cost_usd" not in reply.response_metadata


def test_tools_are_native_on_gemma_4(service: MockService) -> None:
    service.respond_with_bodies(make_reply())
    make_compatible_model("google/gemma-4-31b-it").bind_tools([WEATHER_TOOL]).invoke("Hi")
    assert [tool["function"]["name"] for tool in get_last_body(service)["tools"]] == ["get_weather"]
    assert "response_format" not in get_last_body(service)


@pytest.mark.parametrize("model", ["gemma3:12b", "gemma2:9b", "gemma:7b", "medgemma-27b-it", "gemma-3n-e4b"])
def test_tools_are_guided_on_gemma_1_to_3(service: MockService, model: str) -> None:
    service.respond_with_bodies(
        make_reply(json.dumps({"tool_calls": [{"name": "get_weather", "get_weather": {"city": "Paris"}}]}))
    )
    make_compatible_model(model).bind_tools([WEATHER_TOOL]).invoke("Hi")
    body = get_last_body(service)
    assert "tools" not in body
    assert body["response_format"]["type"] == "json_schema"
    assert "get_weather" in json.dumps(body["messages"])


def test_the_system_role_depends_on_the_family(service: MockService) -> None:
    service.respond_with_bodies(make_reply())
    history = [("system", "Be brief."), ("human", "Hi")]
    make_compatible_model("gemma3:12b").invoke(history)
    assert [entry["role"] for entry in get_last_body(service)["messages"]] == ["system", "user"]
    make_compatible_model("gemma2:9b").invoke(history)
    assert [entry["role"] for entry in get_last_body(service)["messages"]] == ["user"]


def test_thinking_depends_on_the_family(service: MockService) -> None:
    service.respond_with_bodies(make_reply())
    make_compatible_model("google/gemma-4-31b-it", thinking=True).invoke("Hi")
    assert get_last_body(service)["chat_template_kwargs"] == {"enable_thinking": True}
    with pytest.raises(ValueError, match="thinking: gemma3:12b has no thinking"):
        make_compatible_model("gemma3:12b", thinking=True)


def test_images_are_sent_as_parts(service: MockService) -> None:
    service.respond_with_bodies(make_reply())
    picture = {"type": "image_url", "image_url": {"url": PNG_DATA_URI}}
    make_compatible_model("gemma3:12b").invoke([("human", [{"type": "text", "text": "What?"}, picture])])
    assert picture in get_last_body(service)["messages"][0]["content"]
    with pytest.raises(ValueError, match="image"):
        make_compatible_model("gemma2:9b").invoke([("human", [picture])])


def test_an_unknown_model_works_and_warns_once(service: MockService) -> None:
    service.respond_with_bodies(make_reply())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            llm = make_compatible_model("my-own-finetune")
    assert len(caught) == 1
    assert "names no known Gemma" in str(caught[0].message)
    llm.invoke([("system", "Be brief."), ("human", "Hi")])
    assert [entry["role"] for entry in get_last_body(service)["messages"]] == ["user"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"base_url": None}, "base_url is missing"),
        ({"base_url": f"{COMPATIBLE_URL}/chat/completions/"}, "base_url must end before '/chat/completions'"),
        ({"model": "  "}, "model must be the model's name on the server"),
        ({"model": "gemma3\n12b"}, "model must be the model's name on the server"),
        ({"model": ""}, "model is missing"),
        ({"api": "native"}, "api='native'"),
        ({"ai_gateway": "x"}, "ai_gateway"),
        ({"reject_if_busy": True}, "reject_if_busy"),
    ],
)
def test_invalid_arguments_raise(arguments: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKERS_GEMMA_BASE_URL", raising=False)
    with pytest.raises(ValueError, match=message):
        make_compatible_model(**arguments)


OVERFLOW_ERRORS: tuple[tuple[int, Any], ...] = (
    (
        400,
        {
            "error": {
                "code": 400,
                "message": "request (5006 tokens) exceeds the available context size (2048 tokens), try increasing it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 5006,
                "n_ctx": 2048,
            }
        },
    ),
    (500, {"detail": "Requested tokens (5000) exceed context window of 2048"}),
    (400, {"error": {"message": "too long", "code": "context_length_exceeded"}}),
    (400, {"message": "The input (5000 tokens) is longer than the model's context length (4096 tokens)."}),
    (400, {"object": "error", "message": "The decoder prompt (length 9) is longer than the maximum model length of 4"}),
    (422, {"error": "Input validation error: `inputs` must have less than 4096 tokens. Given: 5000"}),
    (400, [{"error": {"message": "The input token count (9) exceeds the maximum number of tokens allowed (8)."}}]),
    (400, {"error": "Trying to keep the first 4096 tokens when context the overflows."}),
)


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("overflow", OVERFLOW_ERRORS)
def test_a_context_overflow_of_every_server_is_recognized(
    service: MockService, overflow: tuple[int, Any], call_method: str
) -> None:
    status, payload = overflow
    service.respond_with(make_response(payload, status))
    with pytest.raises(ContextOverflowError) as caught:
        call_model(make_compatible_model(max_retries=2), call_method)
    assert caught.value.advice == "Shorten the messages or lower max_tokens."
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("status", "payload", "error_type", "message_part"),
    [
        (400, {"error": {"message": "bad input", "type": "invalid_request_error"}}, BadRequestError, "bad input"),
        (404, {"error": "model 'gemma3:12b' not found"}, ModelNotFoundError, "model 'gemma3:12b' not found"),
        (422, {"detail": "Unprocessable"}, BadRequestError, "Unprocessable"),
        (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, BadRequestError, "field required"),
        (401, {"error": {"message": "no key"}}, AuthenticationError, "no key"),
        (400, {"error": {"message": "no such key", "code": "invalid_api_key"}}, AuthenticationError, "no such key"),
        (400, {"error": {"message": "`x` does not exist", "code": "model_not_found"}}, ModelNotFoundError, "`x`"),
        (404, {"object": "error", "message": "no `x`", "type": "NotFoundError", "code": 404}, ModelNotFoundError, "x"),
        (
            400,
            {"error": {"message": "This model's maximum context length is 4096 tokens. However, you requested 9."}},
            ContextOverflowError,
            "maximum context length",
        ),
    ],
)
def test_errors_of_other_servers_are_typed(
    service: MockService, status: int, payload: Any, error_type: type[Exception], message_part: str
) -> None:
    service.respond_with(make_response(payload, status))
    with pytest.raises(error_type, match=message_part):
        make_compatible_model().invoke("Hi")


def test_the_profile_depends_on_the_family() -> None:
    profile = make_compatible_model("google/gemma-4-31b-it").profile
    assert profile is not None
    assert (profile["max_input_tokens"], profile["max_output_tokens"]) == (131_072, 16_384)
    assert profile["tool_calling"] is True
    assert make_compatible_model("gemma3:1b").profile["max_input_tokens"] == 32_768  # type: ignore[index]


def test_embeddings_are_requested(service: MockService) -> None:
    service.respond_with_bodies({"data": [{"index": 0, "embedding": [0.5, 1.0]}]})
    embeddings = WorkersGemmaEmbeddings(host="openai_compatible", base_url=COMPATIBLE_URL, model="embeddinggemma")
    assert embeddings.embed_query("a") == [0.5, 1.0]
    assert str(service.only_request.url) == f"{COMPATIBLE_URL}/embeddings"
    assert service.request_body == {"model": "embeddinggemma", "input": ["a"]}
