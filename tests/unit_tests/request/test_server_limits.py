"""Servers whose context window is smaller than the token limit that the package adds: it is learned and kept."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import respx

from langchain_workers_gemma import BadRequestError, ChatWorkersGemma, ContextOverflowError
from tests.helpers.mock_service import make_usage
from tests.helpers.model_calls import (
    ACCOUNT_ID,
    API_TOKEN,
    GEMMA_4,
    WEATHER_TOOL,
    call_model,
    get_tool_calls,
    make_compatible_model,
)
from tests.helpers.picky_server import (
    Refusal,
    StartServer,
    for_each_call_method,
    make_error,
)

pytestmark = pytest.mark.lowest

SCHEMA = {"title": "City", "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def refuse_max_tokens_above(
    limit: int, payload: Callable[[int], Any], status: int = 400
) -> Callable[[dict[str, Any]], Refusal | None]:
    """Return a function that refuses a `max_tokens` above a limit with a server's error."""

    def refuse(body: dict[str, Any]) -> Refusal | None:
        budget = body.get("max_tokens")
        return (status, payload(budget)) if budget is not None and budget > limit else None

    return refuse


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
    start_server: StartServer, limit_error: str, call_method: str
) -> None:
    status, payload, first, second = LIMIT_ERRORS[limit_error]
    service = start_server(refuse_max_tokens_above(2048, payload, status))
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
def test_a_small_window_is_learned_with_native_tools(start_server: StartServer, call_method: str) -> None:
    _, payload, _, _ = LIMIT_ERRORS["vllm"]
    service = start_server(refuse_max_tokens_above(2048, payload))
    bound = make_compatible_model("google/gemma-4-31b-it").bind_tools([WEATHER_TOOL])
    assert get_tool_calls(call_model(bound, call_method)) == [("get_weather", {"city": "Paris"})]
    assert service.sent_values("max_tokens") == [12_288, 1948]
    assert all(service.sent_values("tools"))


@for_each_call_method
def test_max_tokens_of_the_caller_is_never_changed(start_server: StartServer, call_method: str) -> None:
    _, payload, _, _ = LIMIT_ERRORS["vllm"]
    for arguments in ({"max_tokens": 4096}, {"model_kwargs": {"max_tokens": 4096}}):
        service = start_server(refuse_max_tokens_above(2048, payload))
        with pytest.raises(ContextOverflowError):
            call_model(make_compatible_model(**arguments).bind_tools([WEATHER_TOOL]), call_method)
        assert len(service.bodies) == 1


@for_each_call_method
def test_a_prompt_larger_than_the_window_raises_at_once(start_server: StartServer, call_method: str) -> None:
    text = "This model's maximum context length is 2048 tokens. However, you requested 9000 tokens"
    service = start_server(
        refuse_max_tokens_above(
            0, lambda budget: make_error(f"{text} (4904 in the messages, {budget} in the completion).")
        )
    )
    with pytest.raises(ContextOverflowError, match="4904 in the messages"):
        call_model(make_compatible_model().bind_tools([WEATHER_TOOL]), call_method)
    assert len(service.bodies) == 1


@for_each_call_method
def test_max_tokens_is_omitted_if_half_of_the_window_is_refused(start_server: StartServer, call_method: str) -> None:
    """The prompt takes more than half of the window, and the server does not report how much."""
    service = start_server(
        refuse_max_tokens_above(500, lambda _: {"detail": "Requested tokens exceed context window of 2048"})
    )
    bound = make_compatible_model().bind_tools([WEATHER_TOOL])
    assert call_model(bound, call_method).tool_calls
    assert service.sent_values("max_tokens") == [4096, 1024, None]
    service.bodies.clear()
    assert call_model(bound, call_method).tool_calls  # a shorter prompt would fit
    assert service.sent_values("max_tokens") == [1024, None]


@for_each_call_method
def test_requests_end_if_every_max_tokens_is_refused(start_server: StartServer, call_method: str) -> None:
    service = start_server(
        lambda body: (400, make_error(f"max_tokens must be at most {body.get('max_tokens', 9) - 1}"))
    )
    with pytest.raises(BadRequestError, match="must be at most 8"):
        call_model(make_compatible_model().bind_tools([WEATHER_TOOL]), call_method)
    assert service.sent_values("max_tokens") == [4096, 4095, None]


@for_each_call_method
def test_a_long_prompt_on_a_model_with_a_known_window_lowers_the_budget_once(
    start_server: StartServer, call_method: str
) -> None:
    """The published window is right: the rest of it limits this call only, and the next call has the whole budget."""
    limit_error = "This model's maximum context length is 131072 tokens. However, you requested 140000 tokens "
    service = start_server(
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


def test_a_lower_budget_does_not_use_up_a_retry(start_server: StartServer, sleeps: list[float]) -> None:
    _, payload, _, _ = LIMIT_ERRORS["vllm"]
    service = start_server(refuse_max_tokens_above(2048, payload, 500))
    assert make_compatible_model(max_retries=2).bind_tools([WEATHER_TOOL]).invoke("Hi").tool_calls
    assert service.sent_values("max_tokens") == [4096, 1948]
    assert sleeps == []


def test_a_call_truncated_at_the_learned_window_is_invalid(start_server: StartServer) -> None:
    _, payload, _, _ = LIMIT_ERRORS["a window without the prompt"]
    service = start_server(refuse_max_tokens_above(2048, payload))
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


def test_copies_and_pickles_do_not_keep_learned_limits(start_server: StartServer) -> None:
    _, payload, _, _ = LIMIT_ERRORS["openai"]
    service = start_server(refuse_max_tokens_above(2048, payload))
    llm = make_compatible_model()
    llm.bind_tools([WEATHER_TOOL]).invoke("Hi")
    for other in (copy.deepcopy(llm), pickle.loads(pickle.dumps(llm)), make_compatible_model()):
        service.bodies.clear()
        other.bind_tools([WEATHER_TOOL]).invoke("Hi")
        assert service.sent_values("max_tokens") == [4096, 2048]
    service.bodies.clear()
    llm.bind_tools([WEATHER_TOOL]).invoke("Hi")
    assert service.sent_values("max_tokens") == [2048]


def test_limits_of_one_server_are_not_applied_to_another(start_server: StartServer) -> None:
    _, payload, _, _ = LIMIT_ERRORS["openai"]
    service = start_server(refuse_max_tokens_above(2048, payload))
    llm = make_compatible_model()
    llm.bind_tools([WEATHER_TOOL]).invoke("Hi")
    llm.base_url = "http://127.0.0.1:9000/v1"
    service.bodies.clear()
    llm.bind_tools([WEATHER_TOOL]).invoke("Hi")
    assert service.sent_values("max_tokens") == [4096, 2048]
