"""A model object whose fields change after use: later calls use the new values, although preparation is cached."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler

from langchain_workers_gemma import AIGateway, ChatWorkersGemma
from langchain_workers_gemma.client import preparation
from langchain_workers_gemma.client.cache import MAX_KEYS
from langchain_workers_gemma.request import planner
from tests.helpers.mock_service import MockService
from tests.helpers.model_calls import (
    ACCOUNT_ID,
    API_TOKEN,
    CALL_METHODS,
    GEMMA_3,
    GEMMA_4,
    INVOKE_METHODS,
    STREAM_METHODS,
    call_model,
    make_model,
)

pytestmark = pytest.mark.lowest

Change = Callable[[ChatWorkersGemma], object]


def get_last_request(service: MockService) -> tuple[str, dict[str, str], bytes]:
    """Return the URL, the headers and the body of the last request."""
    request = service.requests[-1]
    return str(request.url), dict(request.headers), request.content


def make_arguments() -> dict[str, Any]:
    """Return the arguments of a model."""
    return {
        "model": GEMMA_4,
        "max_tokens": 256,
        "stop": ["END"],
        "default_headers": {"x-team": "a"},
        "model_kwargs": {"chat_template_kwargs": {"custom": [1]}, "logprobs": True},
    }


CHANGES: dict[str, Change] = {
    "temperature": lambda llm: setattr(llm, "temperature", 0.5),
    "model": lambda llm: setattr(llm, "model", GEMMA_3),
    "account_id": lambda llm: setattr(llm, "account_id", "another"),
    "base_url": lambda llm: setattr(llm, "base_url", "https://example.com/v4"),
    "thinking": lambda llm: setattr(llm, "thinking", False),
    "session_affinity": lambda llm: setattr(llm, "session_affinity", "one"),
    "ai_gateway": lambda llm: setattr(llm, "ai_gateway", "gateway"),
    "a stop in place": lambda llm: llm.stop.append("FIN"),  # type: ignore[union-attr]
    "a header in place": lambda llm: llm.default_headers.update({"x-team": "b"}),
    "a key in place": lambda llm: llm.model_kwargs.update(logprobs=False),
    "a value that Python compares as equal": lambda llm: llm.model_kwargs.update(logprobs=1),
    "a value within a key in place": lambda llm: llm.model_kwargs["chat_template_kwargs"]["custom"].append(2),
}


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_object_sends_the_request_of_a_new_object(
    service: MockService, call_method: str, change: Change
) -> None:
    llm = make_model(**make_arguments())
    call_model(llm, call_method)
    before = get_last_request(service)
    change(llm)
    call_model(llm, call_method)
    after = get_last_request(service)
    assert after != before
    unused = make_model(**make_arguments())
    change(unused)
    call_model(unused, call_method)
    assert after == get_last_request(service)


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_a_gateway_changed_in_place_is_used(service: MockService, call_method: str) -> None:
    gateway = AIGateway("gateway", metadata={"user": 1})
    llm = make_model(ai_gateway=gateway)
    call_model(llm, call_method)
    assert gateway.metadata is not None
    gateway.metadata["user"] = True
    gateway.cache_ttl = 60
    call_model(llm, call_method)
    assert json.loads(service.requests[-1].headers["cf-aig-metadata"]) == {"user": True}
    assert service.requests[-1].headers["cf-aig-metadata"] != service.requests[0].headers["cf-aig-metadata"]
    assert service.requests[-1].headers["cf-aig-cache-ttl"] == "60"


def make_tool(name: str, description: str = "Does it.") -> dict[str, Any]:
    """Return a tool."""
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_tools_changed_in_place_are_used(service: MockService, call_method: str) -> None:
    bound: Any = make_model().bind_tools([make_tool("weather")])
    call_model(bound, call_method)
    function = bound.kwargs["tools"][0]["function"]
    function["parameters"]["properties"]["city"]["description"] = "A city."
    call_model(bound, call_method)
    del function["parameters"]["properties"]["city"]["description"]
    call_model(bound, call_method)
    call_model(make_model().bind_tools([make_tool("weather")]), call_method)
    first, second, third, new = (request.content for request in service.requests)
    assert b"A city." in second
    assert first == third == new != second


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_many_sets_of_tools_are_sent_in_turn(service: MockService, call_method: str) -> None:
    llm = make_model()
    names = [f"tool_{number}" for number in range(MAX_KEYS + 4)]
    for name in names * 2:
        call_model(llm.bind_tools([make_tool(name)]), call_method)
    sent_names = [json.loads(request.content)["tools"][0]["function"]["name"] for request in service.requests]
    assert sent_names == names * 2


@pytest.mark.parametrize("choice", ["weather", "any", "auto", True, None])
def test_tool_choice_is_not_cached(service: MockService, choice: Any) -> None:
    llm = make_model()
    call_model(llm.bind_tools([make_tool("weather")]), "invoke")
    call_model(llm.bind_tools([make_tool("weather")], tool_choice="none"), "invoke")
    service.respond_with_results({"tool_calls": [{"name": "weather", "arguments": {"city": "Rome"}}]})
    call_model(llm.bind_tools([make_tool("weather")], tool_choice=choice, parallel_tool_calls=False), "invoke")
    call_model(make_model().bind_tools([make_tool("weather")], tool_choice=choice, parallel_tool_calls=False), "invoke")
    *_, cached, new = (request.content for request in service.requests)
    assert cached == new


def test_a_token_limit_changed_in_place_is_used(service: MockService) -> None:
    call = {"name": "weather", "arguments": {"city": "Rome"}}
    usage = {"prompt_tokens": 5, "completion_tokens": 20, "total_tokens": 25}
    service.respond_with_results({"tool_calls": [call], "usage": usage})
    llm = make_model(model=GEMMA_4, model_kwargs={"max_tokens": 500})
    bound: Any = llm.bind_tools([make_tool("weather")])
    assert bound.invoke("Hi").tool_calls
    llm.model_kwargs["max_tokens"] = 20
    message = bound.invoke("Hi")
    assert not message.tool_calls
    assert "max_tokens=20" in message.invalid_tool_calls[0]["error"]


class Incomparable:
    def __eq__(self, other: object) -> bool:
        raise ValueError("The truth value of an array is ambiguous")

    def __hash__(self) -> int:
        return 0


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_fields_that_do_not_affect_a_request_are_not_compared(service: MockService, call_method: str) -> None:
    class Tagged(ChatWorkersGemma):
        tag: Any = None

    llm = Tagged(account_id=ACCOUNT_ID, api_token=API_TOKEN, metadata={"array": Incomparable()}, tag=Incomparable())
    call_model(llm, call_method)
    llm.metadata, llm.tag = {"array": Incomparable()}, Incomparable()
    call_model(llm, call_method)
    assert service.requests[0].content == service.requests[1].content


def test_a_change_during_the_first_preparation_is_used_by_the_next_call(
    service: MockService, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = make_model(default_headers={"x-team": "a"})

    def prepare_and_change(*arguments: Any, **options: Any) -> Any:
        prepared = planner.prepare(*arguments, **options)
        llm.default_headers["x-team"] = "b"  # as if another thread changed it
        return prepared

    with monkeypatch.context() as patch:
        patch.setattr(preparation, "prepare", prepare_and_change)
        call_model(llm, "invoke")
    call_model(llm, "invoke")
    assert [request.headers["x-team"] for request in service.requests] == ["a", "b"]


def test_a_used_object_is_freed_when_it_is_released(service: MockService) -> None:
    """Its clients and its token are freed without the garbage collector."""
    llm = make_model()
    for call_method in CALL_METHODS:
        call_model(llm, call_method)
    reference = weakref.ref(llm)
    gc.collect()
    gc.disable()
    try:
        del llm
        assert reference() is None
    finally:
        gc.enable()
    assert len(service.requests) == len(CALL_METHODS)


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_a_changed_profile_is_used(service: MockService, call_method: str) -> None:
    llm = make_model(model=GEMMA_4)
    picture = [{"role": "user", "content": [{"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}]}]
    call_model(llm, call_method, picture)
    assert llm.profile is not None
    llm.profile["image_inputs"] = False
    with pytest.raises(ValueError, match="reads text only"):
        call_model(llm, call_method, picture)


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_a_changed_copy_does_not_affect_the_original(service: MockService, call_method: str) -> None:
    llm = make_model(**make_arguments())
    call_model(llm, call_method)
    before = get_last_request(service)
    duplicate = llm.model_copy(update={"max_tokens": 7})
    call_model(duplicate, call_method)
    assert service.request_bodies[-1]["max_tokens"] == 7
    call_model(llm, call_method)
    assert get_last_request(service) == before


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_streams_and_whole_replies_are_prepared_separately(service: MockService, call_method: str) -> None:
    llm = make_model()
    for other in (*CALL_METHODS, call_method):
        call_model(llm, other)
    assert service.request_bodies[-1].get("stream", False) == (call_method in STREAM_METHODS)


def test_arguments_of_a_call_do_not_affect_later_calls(service: MockService) -> None:
    llm = make_model()
    call_model(llm, "invoke")
    before = get_last_request(service)
    call_model(llm, "invoke", temperature=0.25, stop=["END"])
    assert get_last_request(service) != before
    call_model(llm, "invoke")
    assert get_last_request(service) == before


def test_a_used_object_is_equal_to_an_unused_one(service: MockService) -> None:
    used, unused = make_model(), make_model()
    for call_method in CALL_METHODS:
        call_model(used, call_method)
    assert used == unused
    assert repr(used) == repr(unused)
    assert used.model_dump() == unused.model_dump()
    assert copy.deepcopy(used) == unused
    pickled = pickle.dumps(used)
    assert pickle.loads(pickled) == unused
    assert pickled.count(API_TOKEN.encode()) == 1, "only the field has the token"
    assert ACCOUNT_ID.encode() in pickled


@pytest.mark.parametrize("call_method", INVOKE_METHODS)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_object_does_not_share_cached_replies(service: MockService, call_method: str, change: Change) -> None:
    """langchain-core uses the serialized form of an object in the keys of its caches."""
    llm = make_model(**make_arguments(), cache=InMemoryCache())
    call_model(llm, call_method)
    call_model(llm, call_method)
    assert len(service.requests) == 1
    change(llm)
    call_model(llm, call_method)
    assert len(service.requests) == 2


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, ChatWorkersGemma.model_copy], ids=["copy", "deep", "model"]
)
def test_a_changed_copy_does_not_share_cached_replies(service: MockService, copied: Callable[[Any], Any]) -> None:
    llm = make_model(cache=InMemoryCache())
    call_model(llm, "invoke")
    other = copied(llm)
    other.cache = llm.cache
    call_model(other, "invoke")
    assert len(service.requests) == 1
    other.temperature = 0.5
    call_model(other, "invoke")
    assert len(service.requests) == 2
    call_model(llm.model_copy(update={"seed": 7}), "invoke")
    assert len(service.requests) == 3


def test_traces_have_the_current_fields(service: MockService) -> None:
    states: list[dict[str, Any]] = []

    class Tracer(BaseCallbackHandler):
        def on_chat_model_start(self, serialized: dict[str, Any], *_: Any, **__: Any) -> None:
            states.append(serialized["kwargs"])

    llm = make_model(temperature=0.1, callbacks=[Tracer()])
    call_model(llm, "invoke")
    llm.temperature = 0.2
    call_model(llm, "invoke")
    call_model(llm.model_copy(update={"temperature": 0.3}), "invoke")
    assert [kwargs["temperature"] for kwargs in states] == [0.1, 0.2, 0.3]
