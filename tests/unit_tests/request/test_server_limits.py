"""Servers that refuse what the package adds to a request: it is sent again without that, and remembered."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import respx
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_workers_gemma import (
    BadRequestError,
    ChatWorkersGemma,
    ContextOverflowError,
    PermissionDeniedError,
    WorkersGemmaError,
)
from tests.helpers.mock_service import encode_sse, make_completion, make_delta, make_usage
from tests.helpers.model_calls import ACCOUNT_ID, API_TOKEN, CALL_METHODS, GEMMA_4, WEATHER_TOOL, call_model

pytestmark = pytest.mark.lowest

URL = "http://127.0.0.1:8000/v1"
GUIDED_CALL = json.dumps({"tool_calls": [{"name": "get_weather", "get_weather": {"city": "Paris"}}]})
SCHEMA = {"title": "City", "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
Refusal = tuple[int, Any]
ways = pytest.mark.parametrize("call_method", CALL_METHODS)


class PickyServer:
    """Answers as vLLM would, but refuses each request for which `refuse` returns a status and a body."""

    def __init__(self, router: respx.MockRouter, refuse: Callable[[dict[str, Any]], Refusal | None]) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.refuse = refuse
        router.route().mock(side_effect=self._answer)

    def sent(self, key: str) -> list[Any]:
        """The value of a key in each request, `None` where it was not sent."""
        return [body.get(key) for body in self.bodies]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        self.bodies.append(body)
        refusal = self.refuse(body)
        if refusal is not None:
            status, payload = refusal
            return httpx.Response(status, **({"text": payload} if isinstance(payload, str) else {"json": payload}))
        called = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
        calls = [{"index": 0, "id": "c1", "type": "function", "function": called}]
        text = GUIDED_CALL if "get_weather" in json.dumps(body["messages"]) else '{"city": "Paris"}'
        message: dict[str, Any] = {"content": "", "tool_calls": calls} if body.get("tools") else {"content": text}
        if not body.get("stream"):
            return httpx.Response(200, json=make_completion(finish_reason="stop", usage=make_usage(9, 3), **message))
        frames = [make_delta(**message), make_delta(finish_reason="stop")]
        frames += [{"choices": [], "usage": make_usage(9, 3)}] if "stream_options" in body else []
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=encode_sse(*frames, "[DONE]"))


@pytest.fixture
def server(respx_mock: respx.MockRouter) -> Callable[[Callable[[dict[str, Any]], Refusal | None]], PickyServer]:
    return lambda refuse: PickyServer(respx_mock, refuse)


Start = Callable[[Callable[[dict[str, Any]], Refusal | None]], PickyServer]


def compatible(model: str = "gemma3:12b", **arguments: Any) -> ChatWorkersGemma:
    return ChatWorkersGemma(
        **{"host": "openai_compatible", "base_url": URL, "model": model, "max_retries": 0, **arguments}
    )


def called(message: AIMessage) -> list[tuple[str, dict[str, Any]]]:
    return [(call["name"], call["args"]) for call in message.tool_calls]


# --- Room for a call, more than the server's window -------------------------------------------------------------------


def above(limit: int, payload: Callable[[int], Any], status: int = 400) -> Callable[[dict[str, Any]], Refusal | None]:
    """Refuse a `max_tokens` above a limit, in a server's words."""

    def refuse(body: dict[str, Any]) -> Refusal | None:
        sent = body.get("max_tokens")
        return (status, payload(sent)) if sent is not None and sent > limit else None

    return refuse


def error(text: str) -> Any:
    return {"object": "error", "message": text, "type": "BadRequestError", "param": None, "code": 400}


WORDS: dict[str, tuple[int, Callable[[int], Any], list[int | None], list[int | None]]] = {
    # name: status, body, the budgets of a first call after 4,096, those of a second call
    "vllm": (
        400,
        lambda sent: error(
            f"'max_tokens' or 'max_completion_tokens' is too large: {sent}. This model's maximum context length is "
            f"2048 tokens and your request has 100 input tokens ({sent} > 2048 - 100)."
        ),
        [1948],
        [1024],
    ),
    "vllm, older": (
        400,
        lambda sent: error(
            f"This model's maximum context length is 2048 tokens. However, you requested {sent + 100} tokens (100 in "
            f"the messages, {sent} in the completion). Please reduce the length of the messages or completion."
        ),
        [1948],
        [1024],
    ),
    "sglang": (
        400,
        lambda sent: error(
            f"Requested token count exceeds the model's maximum context length of 2048 tokens. You requested a total "
            f"of {sent + 100} tokens: 100 tokens from the input messages and {sent} tokens for the completion."
        ),
        [1948],
        [1024],
    ),
    "llama-cpp-python": (
        400,
        lambda sent: {
            "error": {
                "message": f"This model's maximum context length is 2048 tokens, however you requested {sent + 100} "
                f"tokens (100 in your prompt; {sent} for the completion). Please reduce your prompt; or completion "
                "length.",
                "type": "invalid_request_error",
                "param": "messages",
                "code": "context_length_exceeded",
            }
        },
        [1948],
        [1024],
    ),
    "openrouter": (
        400,
        lambda sent: {
            "error": {
                "message": f"This endpoint's maximum context length is 2,048 tokens. However, you requested about "
                f"{sent + 100:,} tokens (100 of text input, {sent:,} in the output). Please reduce the length of "
                "either one.",
                "code": 400,
            }
        },
        [1948],
        [1024],
    ),
    "text generation inference": (
        422,
        lambda sent: {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 100 `inputs` "
            f"tokens and {sent} `max_new_tokens`",
            "error_type": "validation",
        },
        [1948],
        [1024],
    ),
    "openai": (
        400,
        lambda sent: {
            "error": {
                "message": f"max_tokens is too large: {sent}. This model supports at most 2048 completion tokens, "
                f"whereas you provided {sent}.",
                "param": "max_tokens",
            }
        },
        [2048],
        [2048],
    ),
    "pydantic": (
        422,
        lambda sent: {
            "detail": [
                {
                    "type": "less_than_equal",
                    "loc": ["body", "max_tokens"],
                    "msg": "Input should be less than or equal to 2048",
                    "input": sent,
                    "ctx": {"le": 2048},
                }
            ]
        },
        [2048],
        [2048],
    ),
    "credits": (
        402,
        lambda sent: {
            "error": {
                "message": f"This request requires more credits, or fewer max_tokens. You requested up to {sent} "
                "tokens, but can only afford 2048.",
                "code": 402,
            }
        },
        [2048],
        [2048],
    ),
    "no numbers": (400, lambda _: {"error": "max_tokens is out of range"}, [None], [None]),
    "another parameter": (
        400,
        lambda _: {"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model."}},
        [None],
        [None],
    ),
    "a window without the prompt": (
        400,
        lambda _: {"detail": "Requested tokens exceed context window of 2048"},
        [1024],
        [1024],
    ),
    "a page": (400, lambda _: "<html><body>max_tokens must be at most 2048</body></html>", [2048], [2048]),
    "a window that tells nothing": (400, lambda _: {"error": "context length: 100000 tokens"}, [None], [2048, None]),
}
words = pytest.mark.parametrize("said", WORDS)


@ways
@words
def test_a_small_window_costs_one_request_in_all(server: Start, said: str, call_method: str) -> None:
    status, payload, first, second = WORDS[said]
    service = server(above(2048, payload, status))
    llm = compatible()
    bound = llm.bind_tools([WEATHER_TOOL])
    assert called(call_model(bound, call_method)) == [("get_weather", {"city": "Paris"})]
    assert service.sent("max_tokens") == [4096, *first]
    if said == "a window that tells nothing":
        return
    service.bodies.clear()
    assert called(call_model(bound, call_method)) == [("get_weather", {"city": "Paris"})]
    assert llm.with_structured_output(SCHEMA).invoke("Where?") == {"city": "Paris"}
    assert service.sent("max_tokens") == second * 2


@ways
def test_native_tools_and_thinking(server: Start, call_method: str) -> None:
    _, payload, _, _ = WORDS["vllm"]
    service = server(above(2048, payload))
    bound = compatible("google/gemma-4-31b-it").bind_tools([WEATHER_TOOL])
    assert called(call_model(bound, call_method)) == [("get_weather", {"city": "Paris"})]
    assert service.sent("max_tokens") == [12_288, 1948]
    assert all(service.sent("tools"))


@ways
def test_what_the_caller_set_is_never_changed(server: Start, call_method: str) -> None:
    _, payload, _, _ = WORDS["vllm"]
    for arguments in ({"max_tokens": 4096}, {"model_kwargs": {"max_tokens": 4096}}):
        service = server(above(2048, payload))
        with pytest.raises(ContextOverflowError):
            call_model(compatible(**arguments).bind_tools([WEATHER_TOOL]), call_method)
        assert len(service.bodies) == 1


@ways
def test_a_prompt_that_fills_the_window_is_refused_at_once(server: Start, call_method: str) -> None:
    text = "This model's maximum context length is 2048 tokens. However, you requested 9000 tokens"
    service = server(above(0, lambda sent: error(f"{text} (4904 in the messages, {sent} in the completion).")))
    with pytest.raises(ContextOverflowError, match="4904 in the messages"):
        call_model(compatible().bind_tools([WEATHER_TOOL]), call_method)
    assert len(service.bodies) == 1


@ways
def test_a_window_too_small_for_half_of_it_ends_without_a_limit(server: Start, call_method: str) -> None:
    """The prompt takes more than half of a window, and the server does not report how much."""
    service = server(above(500, lambda _: {"detail": "Requested tokens exceed context window of 2048"}))
    bound = compatible().bind_tools([WEATHER_TOOL])
    assert call_model(bound, call_method).tool_calls
    assert service.sent("max_tokens") == [4096, 1024, None]
    service.bodies.clear()
    assert call_model(bound, call_method).tool_calls  # a shorter prompt would fit
    assert service.sent("max_tokens") == [1024, None]


@ways
def test_a_refusal_of_every_request(server: Start, call_method: str) -> None:
    service = server(lambda body: (400, error(f"max_tokens must be at most {body.get('max_tokens', 9) - 1}")))
    with pytest.raises(BadRequestError, match="must be at most 8"):
        call_model(compatible().bind_tools([WEATHER_TOOL]), call_method)
    assert service.sent("max_tokens") == [4096, 4095, None]


@ways
def test_a_long_prompt_on_a_model_of_known_window(server: Start, call_method: str) -> None:
    """The published window is right: what is left of it serves this call, and the next has its budget again."""
    said = "This model's maximum context length is 131072 tokens. However, you requested 140000 tokens "
    service = server(above(5000, lambda sent: error(f"{said}(127712 in the messages, {sent} in the completion).")))
    llm = ChatWorkersGemma(model=GEMMA_4, account_id=ACCOUNT_ID, api_token=API_TOKEN, max_retries=0)
    assert call_model(llm.bind_tools([WEATHER_TOOL]), call_method).tool_calls
    assert service.sent("max_tokens") == [12_288, 3360]
    service.refuse = lambda _: None
    assert call_model(llm.bind_tools([WEATHER_TOOL]), call_method).tool_calls
    assert service.sent("max_tokens")[2:] == [12_288]


def test_a_retry_is_not_used_up(server: Start, sleeps: list[float]) -> None:
    _, payload, _, _ = WORDS["vllm"]
    service = server(above(2048, payload, 500))
    assert compatible(max_retries=2).bind_tools([WEATHER_TOOL]).invoke("Hi").tool_calls
    assert service.sent("max_tokens") == [4096, 1948]
    assert sleeps == []


def test_a_call_cut_at_the_window_that_was_learned_is_invalid(server: Start) -> None:
    _, payload, _, _ = WORDS["a window without the prompt"]
    service = server(above(2048, payload))
    bound = compatible("google/gemma-4-31b-it").bind_tools([WEATHER_TOOL])
    assert bound.invoke("Hi").tool_calls
    answer = service._answer

    def cut(request: httpx.Request) -> httpx.Response:
        body = answer(request).json()
        body["choices"][0]["finish_reason"] = "tool_calls"
        return httpx.Response(200, json={**body, "usage": make_usage(2000, 48)})

    respx.mock.clear()
    with respx.mock() as router:
        router.route().mock(side_effect=cut)
        reply = bound.invoke("Hi")
    assert reply.tool_calls == []
    assert "context window of 2048" in reply.response_metadata["invalid_tool_call_errors"][0]


# --- Other parts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_method", ["stream", "astream"])
@pytest.mark.parametrize(
    "refusal",
    [
        (400, {"error": {"message": "Unrecognized request argument supplied: stream_options"}}),
        (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs"}]}),
        (500, {"error": 'json: unknown field "stream_options"'}),
    ],
)
def test_stream_options(server: Start, refusal: Refusal, call_method: str) -> None:
    service = server(lambda body: refusal if "stream_options" in body else None)
    llm = compatible()
    for _ in range(2):
        message = call_model(llm, call_method)
        assert message.text
        assert message.usage_metadata is None
    assert service.sent("stream_options") == [{"include_usage": True}, None, None]


@ways
@pytest.mark.parametrize(
    "refusal",
    [
        (400, {"error": {"code": 400, "message": "Developer instruction is not enabled for models/gemma-3-27b-it"}}),
        (500, {"error": {"message": "System role not supported", "type": "server_error"}}),
        (400, {"detail": "This model does not support system messages."}),
    ],
)
def test_system_role(server: Start, refusal: Refusal, call_method: str) -> None:
    service = server(lambda body: refusal if body["messages"][0]["role"] == "system" else None)
    llm = compatible()
    for _ in range(2):
        assert call_model(llm, call_method, [("system", "Be brief."), ("human", "Hi")]).text
    roles = [[message["role"] for message in body["messages"]] for body in service.bodies]
    assert roles == [["system", "user"], ["user"], ["user"]]
    assert service.bodies[-1]["messages"][0]["content"] == "Be brief.\n\nHi"


TOOL_REFUSALS = [
    (400, {"error": {"message": "hub.example/library/gemma4:12b does not support tools"}}),
    (404, {"error": {"message": "No endpoints found that support tool use.", "code": 404}}),
    (400, error('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set')),
    (500, {"error": {"code": 500, "message": "tools param requires --jinja flag", "type": "server_error"}}),
    (400, {"error": {"code": 400, "message": "Function calling is not enabled for models/gemma-4-31b-it"}}),
]


@ways
@pytest.mark.parametrize("refusal", TOOL_REFUSALS)
def test_a_server_without_tools_gets_them_in_the_prompt(server: Start, refusal: Refusal, call_method: str) -> None:
    service = server(lambda body: refusal if "tools" in body else None)
    llm = compatible("google/gemma-4-31b-it")
    for _ in range(2):
        assert called(call_model(llm.bind_tools([WEATHER_TOOL]), call_method)) == [("get_weather", {"city": "Paris"})]
    assert called(call_model(llm.bind_tools([WEATHER_TOOL], tool_choice="any"), call_method)) == [
        ("get_weather", {"city": "Paris"})
    ]
    assert [bool(tools) for tools in service.sent("tools")] == [True, False, False, False]
    assert all(body["response_format"]["type"] == "json_schema" for body in service.bodies[1:])


@ways
@pytest.mark.parametrize("refusal", TOOL_REFUSALS)
def test_native_tools_that_the_caller_demands_are_kept(server: Start, refusal: Refusal, call_method: str) -> None:
    service = server(lambda body: refusal if "tools" in body else None)
    llm = compatible("google/gemma-4-31b-it", tool_calling="native")
    with pytest.raises(WorkersGemmaError):
        call_model(llm.bind_tools([WEATHER_TOOL]), call_method)
    assert len(service.bodies) == 1


@ways
@pytest.mark.parametrize(
    "refusal",
    [
        (400, [{"error": {"code": 400, "message": "Unknown name \"reasoning\" at 'messages[1]': Cannot find field."}}]),
        (422, {"detail": [{"loc": ["body", "messages", 1, "reasoning_content"], "msg": "Extra inputs"}]}),
    ],
)
def test_thoughts_of_earlier_messages(server: Start, refusal: Refusal, call_method: str) -> None:
    service = server(lambda body: refusal if any("reasoning" in message for message in body["messages"]) else None)
    llm = compatible("google/gemma-4-31b-it").bind_tools([WEATHER_TOOL])
    call = {"name": "get_weather", "args": {"city": "Rome"}, "id": "c1"}
    thought = {"reasoning_content": "I need the weather."}
    history = [
        HumanMessage("Where is it warm?"),
        AIMessage("", tool_calls=[call], additional_kwargs=thought),
        ToolMessage("24 degrees", tool_call_id="c1"),
    ]
    for _ in range(2):
        assert call_model(llm, call_method, history).tool_calls
    assert [("reasoning" in body["messages"][1]) for body in service.bodies] == [True, False, False]
    assert service.bodies[1]["messages"][1]["tool_calls"][0]["id"] == "c1"


@ways
def test_all_at_once(server: Start, call_method: str) -> None:
    def refuse(body: dict[str, Any]) -> Refusal | None:
        if "tools" in body:
            return 400, {"error": "gemma4 does not support tools"}
        if body["messages"][0]["role"] == "system":
            return 400, {"error": "System role not supported"}
        if "stream_options" in body:
            return 400, {"error": "unknown field: stream_options"}
        if body.get("max_tokens", 0) > 2048:
            return 400, {"error": "max_tokens must be at most 2048"}
        wanted = body.get("response_format", {"type": "json_object"})
        return (400, {"error": "Grammar error"}) if wanted["type"] == "json_schema" else None

    service = server(refuse)
    llm = compatible("google/gemma-4-31b-it").bind_tools([WEATHER_TOOL])
    assert called(call_model(llm, call_method, [("system", "Be brief."), ("human", "Hi")])) == [
        ("get_weather", {"city": "Paris"})
    ]
    first = len(service.bodies)
    assert first == (6 if "stream" in call_method else 5)
    assert called(call_model(llm, call_method, [("system", "Be brief."), ("human", "Hi")])) == [
        ("get_weather", {"city": "Paris"})
    ]
    assert len(service.bodies) == first + 1


@ways
@pytest.mark.parametrize(
    ("status", "payload", "cls"),
    [
        (400, {"error": "temperature must be at most 1"}, BadRequestError),
        (400, {"error": "messages: field required"}, BadRequestError),
        (403, {"error": "This key may not use this model"}, PermissionDeniedError),
    ],
)
def test_another_refusal_is_raised_at_once(
    server: Start, status: int, payload: Any, cls: type[Exception], call_method: str
) -> None:
    service = server(lambda _: (status, payload))
    with pytest.raises(cls):
        call_model(
            compatible("google/gemma-4-31b-it").bind_tools([WEATHER_TOOL]),
            call_method,
            [("system", "Be brief."), ("human", "Hi")],
        )
    assert len(service.bodies) == 1


@ways
def test_what_a_server_repeats_of_the_request_is_not_its_reason(server: Start, call_method: str) -> None:
    """Validators repeat the whole input, which may hold any word."""

    def refuse(body: dict[str, Any]) -> Refusal | None:
        return 422, {"detail": [{"loc": ["body", "temperature"], "msg": "Input should be a number", "input": body}]}

    service = server(refuse)
    with pytest.raises(BadRequestError, match="should be a number"):
        call_model(compatible().bind_tools([WEATHER_TOOL]), call_method)
    assert len(service.bodies) == 1


def test_copies_and_pickles_start_without_what_was_learned(server: Start) -> None:
    _, payload, _, _ = WORDS["openai"]
    service = server(above(2048, payload))
    llm = compatible()
    llm.bind_tools([WEATHER_TOOL]).invoke("Hi")
    for other in (copy.deepcopy(llm), pickle.loads(pickle.dumps(llm)), compatible()):
        service.bodies.clear()
        other.bind_tools([WEATHER_TOOL]).invoke("Hi")
        assert service.sent("max_tokens") == [4096, 2048]
    service.bodies.clear()
    llm.bind_tools([WEATHER_TOOL]).invoke("Hi")
    assert service.sent("max_tokens") == [2048]


def test_what_was_learned_of_one_server_is_not_held_against_another(server: Start) -> None:
    _, payload, _, _ = WORDS["openai"]
    service = server(above(2048, payload))
    llm = compatible()
    llm.bind_tools([WEATHER_TOOL]).invoke("Hi")
    llm.base_url = "http://127.0.0.1:9000/v1"
    service.bodies.clear()
    llm.bind_tools([WEATHER_TOOL]).invoke("Hi")
    assert service.sent("max_tokens") == [4096, 2048]
