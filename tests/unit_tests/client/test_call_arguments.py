"""Arguments of a single call, and arguments that only some models support."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from langchain_core.messages import HumanMessage

from tests.helpers.mock_service import MockService
from tests.helpers.model_calls import (
    CALL_METHODS,
    GEMMA_3,
    GEMMA_4,
    GEMMA_7B,
    GEMMA_7B_LORA,
    call_model,
    get_construction_error,
    make_model,
)

# --- Arguments of a call ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_an_unknown_argument_of_a_call_raises(service: MockService, call_method: str) -> None:
    with pytest.raises(ValueError, match=r"temprature is not an argument of a call\. Did you mean temperature\?"):
        call_model(make_model(), call_method, temprature=1)
    assert not service.requests


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize(
    "options",
    [
        {"model": "../../x"},
        {"model": 7},
        {"tool_choice": "any"},
        {"tool_choice": "nothing"},
        {"response_format": "json"},
        {"session_affinity": "a\r\nb: c"},
        {"ai_gateway": "a b"},
        {"thinking": 7},
        {"model_kwargs": 3},
        {"reasoning_effort": 3},
        {"n": 2},
        {"timeout": -1},
        {"timeout": "soon"},
        {"extra_headers": {"x y": "1"}},
        {"lora": "x"},
        {"raw": True},
        {"tools": [42]},
        {"tool_calling": "telepathy"},
    ],
    ids=lambda options: "-".join(options),
)
def test_invalid_arguments_of_a_call_raise(service: MockService, call_method: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        call_model(make_model(), call_method, **options)
    assert not service.requests


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("stop", [[""], "", [1], ["a", None]])
def test_invalid_stop_sequences_raise(service: MockService, call_method: str, stop: Any) -> None:
    if stop != "":
        assert "stop" in get_construction_error(stop=stop)
    with pytest.raises(ValueError, match="stop"):
        call_model(make_model(), call_method, stop=stop)
    assert not service.requests


@pytest.mark.parametrize(
    ("field", "call_argument", "expected"),
    [
        ("a", None, ["a"]),
        (["a", "b"], None, ["a", "b"]),
        (None, ["a"], ["a"]),
        ("a", ["b"], ["a", "b"]),
        (["a"], ["a"], ["a"]),
        ([], None, None),
        (None, None, None),
    ],
)
def test_stop_sequences_of_field_and_call_are_merged(
    service: MockService, field: Any, call_argument: Any, expected: Any
) -> None:
    call_model(make_model(stop=field), "invoke", stop=call_argument)
    assert service.request_body.get("stop") == expected


def test_a_bound_stop_sequence_is_sent(service: MockService) -> None:
    call_model(make_model().bind(stop=["a"]), "invoke")
    assert service.request_body["stop"] == ["a"]


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "soon"])
def test_invalid_timeouts_raise(timeout: Any) -> None:
    assert "timeout" in get_construction_error(timeout=timeout)


@pytest.mark.parametrize(
    ("timeout", "read"), [(5, 5), (0.5, 0.5), (None, None), (httpx.Timeout(7, connect=1), 7), (300.0, 300)]
)
def test_timeouts_are_passed_to_httpx(service: MockService, timeout: Any, read: float | None) -> None:
    call_model(make_model(timeout=timeout), "invoke")
    limits = service.only_request.extensions["timeout"]
    assert limits["read"] == read
    assert limits["connect"] is None if timeout is None else limits["connect"] <= 10


# --- Raw, thinking, LoRA: models that support them --------------------------------------------------------------------


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize(
    "messages",
    [
        [("system", "a"), ("human", "b")],
        [("human", "a"), ("ai", "b")],
        [("system", "a")],
        [("ai", "a")],
        [HumanMessage([{"type": "text", "text": "a"}])],
        "",
    ],
    ids=str,
)
def test_raw_accepts_only_one_human_message(service: MockService, call_method: str, messages: Any) -> None:
    with pytest.raises(ValueError, match="raw=True"):
        call_model(make_model(model=GEMMA_7B, raw=True), call_method, messages)
    assert not service.requests


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("raw=True", {"model": GEMMA_4, "raw": True}),
        ("raw=True", {"model": GEMMA_7B, "raw": True, "api": "openai"}),
        ("raw=True", {"host": "aimlapi", "raw": True}),
        ("thinking", {"model": GEMMA_3, "thinking": True}),
        ("thinking", {"model": GEMMA_3, "thinking": False}),
        ("reasoning_effort", {"model": GEMMA_3, "reasoning_effort": "low"}),
        ("logprobs", {"model": GEMMA_3, "logprobs": True}),
        ("lora", {"lora": "x"}),
        ("lora", {"model": GEMMA_3, "api": "openai", "lora": "x"}),
        ("lora", {"host": "dataoorts", "lora": "x"}),
        ("tool_calling", {"host": "aimlapi", "tool_calling": "native"}),
        ("tool_calling", {"model": GEMMA_7B_LORA, "tool_calling": "guided_json"}),
    ],
)
def test_arguments_that_a_model_does_not_support_raise(
    service: MockService, call_method: str, name: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=name):
        call_model(make_model(**arguments), call_method)
    assert not service.requests
