"""Servers that refuse parts that the package adds: the request is sent again without them, and later ones too."""

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
from tests.helpers.model_calls import (
    ACCOUNT_ID,
    API_TOKEN,
    CALL_METHODS,
    GEMMA_4,
    WEATHER_TOOL,
    call_model,
    get_tool_calls,
)

pytestmark = pytest.mark.lowest

URL = "http://127.0.0.1:8000/v1"
GUIDED_CALL = json.dumps({"tool_calls": [{"name": "get_weather", "get_weather": {"city": "Paris"}}]})
SCHEMA = {"title": "City", "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
Refusal = tuple[int, Any]
for_each_call_method = pytest.mark.parametrize("call_method", CALL_METHODS)


class PickyServer:
    """Answers as vLLM would, but refuses each request for which `refuse` returns a status and a body."""

    def __init__(self, router: respx.MockRouter, refuse: Callable[[dict[str, Any]], Refusal | None]) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.refuse = refuse
        router.route().mock(side_effect=self._answer)

    def sent_values(self, key: str) -> list[Any]:
        """Return the value of a key in each request, `None` if it was not sent."""
        return [body.get(key) for body in self.bodies]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        self.bodies.append(body)
        refusal = self.refuse(body)
        if refusal is not None:
            status, payload = refusal
            return httpx.Response(status, **({"text": payload} if isinstance(payload, str) else {"json": payload}))
        function = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
        calls = [{"index": 0, "id": "c1", "type": "function", "function": function}]
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


StartServer = Callable[[Callable[[dict[str, Any]], Refusal | None]], PickyServer]


def make_compatible_model(model: str = "gemma3:12b", **arguments: Any) -> ChatWorkersGemma:
    """Return a model on an OpenAI-compatible server, without retries."""
    return ChatWorkersGemma(
        **{"host": "openai_compatible", "base_url": URL, "model": model, "max_retries": 0, **arguments}
    )


# --- A token budget beyond the server's window ------------------------------------------------------------------------


def refuse_max_tokens_above(
    limit: int, payload: Callable[[int], Any], status: int = 400
) -> Callable[[dict[str, Any]], Refusal | None]:
    """Return a function that refuses a `max_tokens` above a limit with a server's error."""

    def refuse(body: dict[str, Any]) -> Refusal | None:
        budget = body.get("max_tokens")
        return (status, payload(budget)) if budget is not None and budget > limit else None

    return refuse


def make_error(text: str) -> Any:
    """Return an error body of vLLM."""
    return {"object": "error", "message": text, "type": "BadRequestError", "param": None, "code": 400}


LIMIT_ERRORS: dict[str, tuple[int, Callable[[int], Any], list[int | None], list[int | None]]] = {
    # name: status, body, budgets of the first call after 4,096, budgets of the second call
    "vllm": (
        400,
        lambda budget: make_error(
            f"'max_tokens' or 'max_completion_tokens' is too large: {budget}. This model's maximum context length is "
            f"2048 tokens and your request has 100 input tokens ({budget} > 2048 - 100)."
        ),
        [1948],
        [1024],
    ),
    "vllm, older": (
        400,
        lambda budget: make_error(
            f"This model's maximum context length is 2048 tokens. However, you requested {budget + 100} tokens (100 in "
            f"the messages, {budget} in the completion). Please reduce the length of the messages or completion."
        ),
        [1948],
        [1024],
    ),
    "sglang": (
        400,
        lambda budget: make_error(
            f"Requested token count exceeds the model's maximum context length of 2048 tokens. You requested a total "
            f"of {budget + 100} tokens: 100 tokens from the input messages and {budget} tokens for the completion."
        ),
        [1948],
        [1024],
    ),
    "llama-cpp-python": (
        400,
        lambda budget: {
            "error": {
                "message": f"This model's maximum context length is 2048 tokens, however you requested {budget + 100} "
                f"tokens (100 in your prompt; {budget} for the completion). Please reduce your prompt; or completion "
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
        lambda budget: {
            "error": {
                "message": f"This endpoint's maximum context length is 2,048 tokens. However, you requested about "
                f"{budget + 100:,} tokens (100 of text input, {budget:,} in the output). Please reduce the length of "
                "either one.",
                "code": 400,
            }
        },
        [1948],
        [1024],
    ),
    "text generation inference": (
        422,
        lambda budget: {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 100 `inputs` "
            f"tokens and {budget} `max_new_tokens`",
            "error_type": "validation",
        },
        [1948],
        [1024],
    ),
    "openai": (
        400,
        lambda budget: {
            "error": {
                "message": f"max_tokens is too large: {budget}. This model supports at most 2048 completion tokens, "
                f"whereas you provided {budget}.",
                "param": "max_tokens",
            }
        },
        [2048],
        [2048],
    ),
    "pydantic": (
        422,
        lambda budget: {
            "detail": [
                {
                    "type": "less_than_equal",
                    "loc": ["body", "max_tokens"],
                    "msg": "Input should be less than or equal to 2048",
                    "input": budget,
                    "ctx": {"le": 2048},
                }
            ]
        },
        [2048],
        [2048],
    ),
    "credits": (
        402,
        lambda budget: {
            "error": {
                "message": f"This request requires more credits, or fewer max_tokens. You requested up to {budget} "
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
    "a window larger than the request": (
        400,
        lambda _: {"error": "context length: 100000 tokens"},
        [None],
        [2048, None],
    ),
}
for_each_limit_error = pytest.mark.parametrize("limit_error", LIMIT_ERRORS)


@for_each_call_method
@for_each_limit_error
def test_a_small_window_is_learned_with_one_extra_request(
    server: StartServer, limit_error: str, call_method: str
) -> None:
    status, payload, first, second = LIMIT_ERRORS[limit_error]
    service = server(refuse_max_tokens_above(2048, payload, status))
    llm = make_compatible_model()
    bound = llm.bind_tools([WEATHER_TOOL])
    assert get_tool_calls(call_model(bound, call_method)) == [("get_weather", {"city": "Paris"})]
    assert service.sent_values("max_tokens") == [4096, *first]
    if limit_error == "a window larger than the request":
        return
    service.bodies.clear()
    assert get_tool_calls(call_model(bound, call_method)) == [("get_weather", {"city": "Paris"})]
    assert llm.with_structured_output(SCHEMA).invoke("Where?") == {"city": "Paris"}
    assert service.sent_values("max_tokens") == second * 2


@for_each_call_method
def test_a_small_window_is_learned_with_native_tools(server: StartServer, call_method: str) -> None:
    _, payload, _, _ = LIMIT_ERRORS["vllm"]
    service = server(refuse_max_tokens_above(2048, payload))
    bound = make_compatible_model("google/gemma-4-31b-it").bind_tools([WEATHER_TOOL])
    assert get_tool_calls(call_model(bound, call_method)) == [("get_weather", {"city": "Paris"})]
    assert service.sent_values("max_tokens") == [12_288, 1948]
    assert all(service.sent_values("tools"))


@for_each_call_method
def test_max_tokens_of_the_caller_is_never_changed(server: StartServer, call_method: str) -> None:
    _, payload, _, _ = LIMIT_ERRORS["vllm"]
    for arguments in ({"max_tokens": 4096}, {"model_kwargs": {"max_tokens": 4096}}):
        service = server(refuse_max_tokens_above(2048, payload))
        with pytest.raises(ContextOverflowError):
            call_model(make_compatible_model(**arguments).bind_tools([WEATHER_TOOL]), call_method)
        assert len(service.bodies) == 1


@for_each_call_method
def test_a_prompt_larger_than_the_window_raises_at_once(server: StartServer, call_method: str) -> None:
    text = "This model's maximum context length is 2048 tokens. However, you requested 9000 tokens"
    service = server(
        refuse_max_tokens_above(
            0, lambda budget: make_error(f"{text} (4904 in the messages, {budget} in the completion).")
        )
    )
    with pytest.raises(ContextOverflowError, match="4904 in the messages"):
        call_model(make_compatible_model().bind_tools([WEATHER_TOOL]), call_method)
    assert len(service.bodies) == 1


@for_each_call_method
def test_max_tokens_is_omitted_if_half_of_the_window_is_refused(server: StartServer, call_method: str) -> None:
    """The prompt takes more than half of the window, and the server does not report how much."""
    service = server(
        refuse_max_tokens_above(500, lambda _: {"detail": "Requested tokens exceed context window of 2048"})
    )
    bound = make_compatible_model().bind_tools([WEATHER_TOOL])
    assert call_model(bound, call_method).tool_calls
    assert service.sent_values("max_tokens") == [4096, 1024, None]
    service.bodies.clear()
    assert call_model(bound, call_method).tool_calls  # a shorter prompt would fit
    assert service.sent_values("max_tokens") == [1024, None]


@for_each_call_method
def test_requests_end_if_every_max_tokens_is_refused(server: StartServer, call_method: str) -> None:
    service = server(lambda body: (400, make_error(f"max_tokens must be at most {body.get('max_tokens', 9) - 1}")))
    with pytest.raises(BadRequestError, match="must be at most 8"):
        call_model(make_compatible_model().bind_tools([WEATHER_TOOL]), call_method)
    assert service.sent_values("max_tokens") == [4096, 4095, None]


@for_each_call_method
def test_a_long_prompt_on_a_model_with_a_known_window_lowers_the_budget_once(
    server: StartServer, call_method: str
) -> None:
    """The published window is right: the rest of it limits this call only, and the next call has the whole budget."""
    limit_error = "This model's maximum context length is 131072 tokens. However, you requested 140000 tokens "
    service = server(
        refuse_max_tokens_above(
            5000,
            lambda budget: make_error(f"{limit_error}(127712 in the messages, {budget} in the completion)."),
        )
    )
    llm = ChatWorkersGemma(model=GEMMA_4, account_id=ACCOUNT_ID, api_token=API_TOKEN, max_retries=0)
    assert call_model(llm.bind_tools([WEATHER_TOOL]), call_method).tool_calls
    assert service.sent_values("max_tokens") == [12_288, 3360]
    service.refuse = lambda _: None
    assert call_model(llm.bind_tools([WEATHER_TOOL]), call_method).tool_calls
    assert service.sent_values("max_tokens")[2:] == [12_288]


def test_a_lower_budget_does_not_use_up_a_retry(server: StartServer, sleeps: list[float]) -> None:
    _, payload, _, _ = LIMIT_ERRORS["vllm"]
    service = server(refuse_max_tokens_above(2048, payload, 500))
    assert make_compatible_model(max_retries=2).bind_tools([WEATHER_TOOL]).invoke("Hi").tool_calls
    assert service.sent_values("max_tokens") == [4096, 1948]
    assert sleeps == []


def test_a_call_truncated_at_the_learned_window_is_invalid(server: StartServer) -> None:
    _, payload, _, _ = LIMIT_ERRORS["a window without the prompt"]
    service = server(refuse_max_tokens_above(2048, payload))
    bound = make_compatible_model("google/gemma-4-31b-it").bind_tools([WEATHER_TOOL])
    assert bound.invoke("Hi").tool_calls
    respond = service._answer

    def respond_truncated(request: httpx.Request) -> httpx.Response:
        body = respond(request).json()
        body["choices"][0]["finish_reason"] = "tool_calls"
        return httpx.Response(200, json={**body, "usage": make_usage(2000, 48)})

    respx.mock.clear()
    with respx.mock() as router:
        router.route().mock(side_effect=respond_truncated)
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
def test_refused_stream_options_are_omitted(server: StartServer, refusal: Refusal, call_method: str) -> None:
    service = server(lambda body: refusal if "stream_options" in body else None)
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
    server: StartServer, refusal: Refusal, call_method: str
) -> None:
    service = server(lambda body: refusal if body["messages"][0]["role"] == "system" else None)
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
def test_refused_tools_are_described_in_the_prompt(server: StartServer, refusal: Refusal, call_method: str) -> None:
    service = server(lambda body: refusal if "tools" in body else None)
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
def test_refused_tools_raise_with_tool_calling_native(server: StartServer, refusal: Refusal, call_method: str) -> None:
    service = server(lambda body: refusal if "tools" in body else None)
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
    server: StartServer, refusal: Refusal, call_method: str
) -> None:
    service = server(lambda body: refusal if any("reasoning" in message for message in body["messages"]) else None)
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
def test_several_refused_parts_are_omitted_one_by_one(server: StartServer, call_method: str) -> None:
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
    server: StartServer, status: int, payload: Any, error_type: type[Exception], call_method: str
) -> None:
    service = server(lambda _: (status, payload))
    with pytest.raises(error_type):
        call_model(
            make_compatible_model("google/gemma-4-31b-it").bind_tools([WEATHER_TOOL]),
            call_method,
            [("system", "Be brief."), ("human", "Hi")],
        )
    assert len(service.bodies) == 1


@for_each_call_method
def test_words_of_the_request_in_an_error_are_ignored(server: StartServer, call_method: str) -> None:
    """Validation errors repeat the whole input, which may contain any word."""

    def refuse(body: dict[str, Any]) -> Refusal | None:
        return 422, {"detail": [{"loc": ["body", "temperature"], "msg": "Input should be a number", "input": body}]}

    service = server(refuse)
    with pytest.raises(BadRequestError, match="should be a number"):
        call_model(make_compatible_model().bind_tools([WEATHER_TOOL]), call_method)
    assert len(service.bodies) == 1


def test_copies_and_pickles_do_not_keep_learned_limits(server: StartServer) -> None:
    _, payload, _, _ = LIMIT_ERRORS["openai"]
    service = server(refuse_max_tokens_above(2048, payload))
    llm = make_compatible_model()
    llm.bind_tools([WEATHER_TOOL]).invoke("Hi")
    for other in (copy.deepcopy(llm), pickle.loads(pickle.dumps(llm)), make_compatible_model()):
        service.bodies.clear()
        other.bind_tools([WEATHER_TOOL]).invoke("Hi")
        assert service.sent_values("max_tokens") == [4096, 2048]
    service.bodies.clear()
    llm.bind_tools([WEATHER_TOOL]).invoke("Hi")
    assert service.sent_values("max_tokens") == [2048]


def test_limits_of_one_server_are_not_applied_to_another(server: StartServer) -> None:
    _, payload, _, _ = LIMIT_ERRORS["openai"]
    service = server(refuse_max_tokens_above(2048, payload))
    llm = make_compatible_model()
    llm.bind_tools([WEATHER_TOOL]).invoke("Hi")
    llm.base_url = "http://127.0.0.1:9000/v1"
    service.bodies.clear()
    llm.bind_tools([WEATHER_TOOL]).invoke("Hi")
    assert service.sent_values("max_tokens") == [4096, 2048]
