"""Arguments of a single call, and those that only some models have."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from langchain_core.messages import HumanMessage

from tests.helpers.asking import GEMMA_3, GEMMA_4, GEMMA_7B, GEMMA_7B_LORA, WAYS, Service, ask, gemma, refused

# --- Arguments of a call ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_an_unknown_argument_of_a_call(service: Service, way: str) -> None:
    with pytest.raises(ValueError, match=r"temprature is not an argument of a call\. Did you mean temperature\?"):
        ask(gemma(), way, temprature=1)
    assert not service.requests


@pytest.mark.parametrize("way", WAYS)
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
def test_bad_arguments_of_a_call(service: Service, way: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        ask(gemma(), way, **options)
    assert not service.requests


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stop", [[""], "", [1], ["a", None]])
def test_bad_stops(service: Service, way: str, stop: Any) -> None:
    if stop != "":
        assert "stop" in refused(stop=stop)
    with pytest.raises(ValueError, match="stop"):
        ask(gemma(), way, stop=stop)
    assert not service.requests


@pytest.mark.parametrize(
    ("field", "of_call", "sent"),
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
def test_forms_of_stop(service: Service, field: Any, of_call: Any, sent: Any) -> None:
    ask(gemma(stop=field), "invoke", stop=of_call)
    assert service.sent.get("stop") == sent


def test_stop_bound_to_a_model(service: Service) -> None:
    ask(gemma().bind(stop=["a"]), "invoke")
    assert service.sent["stop"] == ["a"]


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "soon"])
def test_bad_timeouts(timeout: Any) -> None:
    assert "timeout" in refused(timeout=timeout)


@pytest.mark.parametrize(
    ("timeout", "read"), [(5, 5), (0.5, 0.5), (None, None), (httpx.Timeout(7, connect=1), 7), (300.0, 300)]
)
def test_timeouts_reach_the_client(service: Service, timeout: Any, read: float | None) -> None:
    ask(gemma(timeout=timeout), "invoke")
    limits = service.request.extensions["timeout"]
    assert limits["read"] == read
    assert limits["connect"] is None if timeout is None else limits["connect"] <= 10


# --- Raw, thinking, LoRA: where a model has them ----------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "asked",
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
def test_raw_takes_one_human_message_and_nothing_else(service: Service, way: str, asked: Any) -> None:
    with pytest.raises(ValueError, match="raw=True"):
        ask(gemma(model=GEMMA_7B, raw=True), way, asked)
    assert not service.requests


@pytest.mark.parametrize("way", WAYS)
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
def test_what_a_model_does_not_have(service: Service, way: str, name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=name):
        ask(gemma(**arguments), way)
    assert not service.requests
