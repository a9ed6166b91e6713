"""A model object whose fields change after it was used: calls follow, though most of their work is done once."""

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
from langchain_workers_gemma.request import planner as planning
from tests.helpers.asking import ACCOUNT, GEMMA_3, GEMMA_4, STREAMED, TOKEN, WAYS, WHOLE, Service, ask, gemma

pytestmark = pytest.mark.lowest

Change = Callable[[ChatWorkersGemma], object]


def sent(service: Service) -> tuple[str, dict[str, str], bytes]:
    """Address, headers and body of the last request."""
    request = service.requests[-1]
    return str(request.url), dict(request.headers), request.content


def options() -> dict[str, Any]:
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
    "a key to what Python takes for equal": lambda llm: llm.model_kwargs.update(logprobs=1),
    "a value within a key in place": lambda llm: llm.model_kwargs["chat_template_kwargs"]["custom"].append(2),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_object_sends_what_a_new_one_would(service: Service, way: str, change: Change) -> None:
    llm = gemma(**options())
    ask(llm, way)
    before = sent(service)
    change(llm)
    ask(llm, way)
    after = sent(service)
    assert after != before
    unused = gemma(**options())
    change(unused)
    ask(unused, way)
    assert after == sent(service)


@pytest.mark.parametrize("way", WAYS)
def test_a_gateway_that_changes_in_place(service: Service, way: str) -> None:
    gateway = AIGateway("gateway", metadata={"user": 1})
    llm = gemma(ai_gateway=gateway)
    ask(llm, way)
    assert gateway.metadata is not None
    gateway.metadata["user"] = True
    gateway.cache_ttl = 60
    ask(llm, way)
    assert json.loads(service.requests[-1].headers["cf-aig-metadata"]) == {"user": True}
    assert service.requests[-1].headers["cf-aig-metadata"] != service.requests[0].headers["cf-aig-metadata"]
    assert service.requests[-1].headers["cf-aig-cache-ttl"] == "60"


def tool(name: str, description: str = "Does it.") -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


@pytest.mark.parametrize("way", WAYS)
def test_tools_that_change_in_place(service: Service, way: str) -> None:
    bound: Any = gemma().bind_tools([tool("weather")])
    ask(bound, way)
    function = bound.kwargs["tools"][0]["function"]
    function["parameters"]["properties"]["city"]["description"] = "A city."
    ask(bound, way)
    del function["parameters"]["properties"]["city"]["description"]
    ask(bound, way)
    ask(gemma().bind_tools([tool("weather")]), way)
    first, second, third, fresh = (request.content for request in service.requests)
    assert b"A city." in second
    assert first == third == fresh != second


@pytest.mark.parametrize("way", WAYS)
def test_many_sets_of_tools_in_turn(service: Service, way: str) -> None:
    llm = gemma()
    names = [f"tool_{number}" for number in range(MAX_KEYS + 4)]
    for name in names * 2:
        ask(llm.bind_tools([tool(name)]), way)
    asked = [json.loads(request.content)["tools"][0]["function"]["name"] for request in service.requests]
    assert asked == names * 2


@pytest.mark.parametrize("choice", ["weather", "any", "auto", True, None])
def test_a_choice_is_that_of_the_call(service: Service, choice: Any) -> None:
    llm = gemma()
    ask(llm.bind_tools([tool("weather")]), "invoke")
    ask(llm.bind_tools([tool("weather")], tool_choice="none"), "invoke")
    service.replies({"tool_calls": [{"name": "weather", "arguments": {"city": "Rome"}}]})
    ask(llm.bind_tools([tool("weather")], tool_choice=choice, parallel_tool_calls=False), "invoke")
    ask(gemma().bind_tools([tool("weather")], tool_choice=choice, parallel_tool_calls=False), "invoke")
    *_, cached, fresh = (request.content for request in service.requests)
    assert cached == fresh


def test_a_token_limit_that_changes_in_place_cuts_calls(service: Service) -> None:
    call = {"name": "weather", "arguments": {"city": "Rome"}}
    usage = {"prompt_tokens": 5, "completion_tokens": 20, "total_tokens": 25}
    service.replies({"tool_calls": [call], "usage": usage})
    llm = gemma(model=GEMMA_4, model_kwargs={"max_tokens": 500})
    bound: Any = llm.bind_tools([tool("weather")])
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


@pytest.mark.parametrize("way", WAYS)
def test_fields_that_do_not_decide_a_request_are_not_looked_at(service: Service, way: str) -> None:
    class Tagged(ChatWorkersGemma):
        tag: Any = None

    llm = Tagged(account_id=ACCOUNT, api_token=TOKEN, metadata={"array": Incomparable()}, tag=Incomparable())
    ask(llm, way)
    llm.metadata, llm.tag = {"array": Incomparable()}, Incomparable()
    ask(llm, way)
    assert service.requests[0].content == service.requests[1].content


def test_a_change_while_the_first_call_is_worked_out(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    llm = gemma(default_headers={"x-team": "a"})

    def slow(*arguments: Any, **options: Any) -> Any:
        prepared = planning.prepare(*arguments, **options)
        llm.default_headers["x-team"] = "b"  # as another thread would
        return prepared

    with monkeypatch.context() as patch:
        patch.setattr(preparation, "prepare", slow)
        ask(llm, "invoke")
    ask(llm, "invoke")
    assert [request.headers["x-team"] for request in service.requests] == ["a", "b"]


def test_a_used_object_is_freed_when_it_is_released(service: Service) -> None:
    """Its clients and its token do not wait for the garbage collector."""
    llm = gemma()
    for way in WAYS:
        ask(llm, way)
    gone = weakref.ref(llm)
    gc.collect()
    gc.disable()
    try:
        del llm
        assert gone() is None
    finally:
        gc.enable()
    assert len(service.requests) == len(WAYS)


@pytest.mark.parametrize("way", WAYS)
def test_a_changed_profile(service: Service, way: str) -> None:
    llm = gemma(model=GEMMA_4)
    picture = [{"role": "user", "content": [{"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}]}]
    ask(llm, way, picture)
    assert llm.profile is not None
    llm.profile["image_inputs"] = False
    with pytest.raises(ValueError, match="reads text only"):
        ask(llm, way, picture)


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_with_changes_leaves_the_other_as_it_was(service: Service, way: str) -> None:
    llm = gemma(**options())
    ask(llm, way)
    before = sent(service)
    duplicate = llm.model_copy(update={"max_tokens": 7})
    ask(duplicate, way)
    assert service.bodies[-1]["max_tokens"] == 7
    ask(llm, way)
    assert sent(service) == before


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_and_a_whole_reply_do_not_mix(service: Service, way: str) -> None:
    llm = gemma()
    for other in (*WAYS, way):
        ask(llm, other)
    assert service.bodies[-1].get("stream", False) == (way in STREAMED)


def test_arguments_of_a_call_do_not_stay(service: Service) -> None:
    llm = gemma()
    ask(llm, "invoke")
    before = sent(service)
    ask(llm, "invoke", temperature=0.25, stop=["END"])
    assert sent(service) != before
    ask(llm, "invoke")
    assert sent(service) == before


def test_a_used_object_is_equal_to_an_unused_one(service: Service) -> None:
    used, unused = gemma(), gemma()
    for way in WAYS:
        ask(used, way)
    assert used == unused
    assert repr(used) == repr(unused)
    assert used.model_dump() == unused.model_dump()
    assert copy.deepcopy(used) == unused
    written = pickle.dumps(used)
    assert pickle.loads(written) == unused
    assert written.count(TOKEN.encode()) == 1, "the field alone holds the token"
    assert ACCOUNT.encode() in written


@pytest.mark.parametrize("way", WHOLE)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_object_shares_no_cached_answer(service: Service, way: str, change: Change) -> None:
    """Core keeps a serialized form of an object, which is part of the key in its caches."""
    llm = gemma(**options(), cache=InMemoryCache())
    ask(llm, way)
    ask(llm, way)
    assert len(service.requests) == 1
    change(llm)
    ask(llm, way)
    assert len(service.requests) == 2


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, ChatWorkersGemma.model_copy], ids=["copy", "deep", "model"]
)
def test_a_copy_that_changes_shares_no_cached_answer(service: Service, copied: Callable[[Any], Any]) -> None:
    llm = gemma(cache=InMemoryCache())
    ask(llm, "invoke")
    other = copied(llm)
    other.cache = llm.cache
    ask(other, "invoke")
    assert len(service.requests) == 1
    other.temperature = 0.5
    ask(other, "invoke")
    assert len(service.requests) == 2
    ask(llm.model_copy(update={"seed": 7}), "invoke")
    assert len(service.requests) == 3


def test_traces_show_the_fields_as_they_are(service: Service) -> None:
    seen: list[dict[str, Any]] = []

    class Tracer(BaseCallbackHandler):
        def on_chat_model_start(self, serialized: dict[str, Any], *_: Any, **__: Any) -> None:
            seen.append(serialized["kwargs"])

    llm = gemma(temperature=0.1, callbacks=[Tracer()])
    ask(llm, "invoke")
    llm.temperature = 0.2
    ask(llm, "invoke")
    ask(llm.model_copy(update={"temperature": 0.3}), "invoke")
    assert [one["temperature"] for one in seen] == [0.1, 0.2, 0.3]
