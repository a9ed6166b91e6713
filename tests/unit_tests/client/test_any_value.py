"""Whatever a field or an argument is given, a call ends in a reply or in an error with a cure."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from pydantic import SecretStr

from langchain_workers_gemma import BatchJob, ChatWorkersGemma, WorkersGemmaEmbeddings, WorkersGemmaError
from tests.helpers.model_calls import API_TOKEN, CALL_METHODS, GEMMA_3, WEATHER_TOOL, call_model, make_model


class Odd:
    """An object that nothing takes."""


ODD: list[Any] = [
    Odd(), object(), b"x", bytearray(b"x"), 1j, range(3), [], ["x"], {}, {"x": 1}, {1}, (1,), None, True, "", "x",
    "\ud800", "a\0b", -1, 0.5, 10**400, float("nan"), float("inf"), Decimal("0.5"), datetime(2026, 1, 1, tzinfo=UTC),
    Path("x"), len, iter([1]), SecretStr("x"), np.float32(0.5), np.int64(5), np.bool_(True), np.array([1, 2]),
    np.array(5), np.str_("x"),
]  # fmt: skip
OWN_FIELDS = sorted(ChatWorkersGemma._get_own_fields())
CALL_ARGUMENTS = (
    "n",
    "response_format",
    "guided_json",
    "tools",
    "tool_choice",
    "extra_headers",
    "max_repairs",
    "stream",
)


def ends_well(do: Callable[[], object]) -> None:
    """Check that a call ends in a reply, or in a typed error."""
    try:
        do()
    except (ValueError, WorkersGemmaError) as error:
        assert API_TOKEN not in str(error)  # noqa: PT017 - it may as well end in a reply
        assert len(str(error)) < 5_000  # noqa: PT017


@pytest.mark.parametrize("field", OWN_FIELDS)
@pytest.mark.usefixtures("service")
def test_any_value_of_a_field(field: str) -> None:
    """In the constructor, assigned, in a copy and as an argument of a call: a reply, or an error with a cure."""

    def assign(value: object) -> object:
        llm = make_model()
        setattr(llm, field, value)
        return llm.invoke("Hi")

    def copy(value: object) -> object:
        return make_model().model_copy(update={field: value}).invoke("Hi")

    def construct(value: object) -> object:
        given = {"account_id": "a", "api_token": API_TOKEN, "max_retries": 0, field: value}
        return ChatWorkersGemma(**given).invoke("Hi")

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names no known Gemma|model_copy", category=UserWarning)
        for value in ODD:
            ends_well(partial(construct, value))
            ends_well(partial(assign, value))
            ends_well(partial(copy, value))
            ends_well(partial(make_model().invoke, "Hi", **{field: value}))


@pytest.mark.parametrize("argument", CALL_ARGUMENTS)
@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.usefixtures("service")
def test_any_value_of_an_argument(argument: str, call_method: str) -> None:
    for value in ODD:
        ends_well(partial(call_model, make_model(), call_method, "Hi", **{argument: value}))


TAKERS: dict[str, Callable[[Any], object]] = {
    "tools": lambda value: make_model().bind_tools(value).invoke("Hi"),
    "one tool": lambda value: make_model().bind_tools([value]).invoke("Hi"),
    "the type of a tool": lambda value: make_model().bind_tools([{"type": value}]).invoke("Hi"),
    "the parameters of a tool": lambda value: make_model().bind_tools([function(value)]).invoke("Hi"),
    "a property of a tool": lambda value: (
        make_model().bind_tools([function({"properties": {"a": value}})]).invoke("Hi")
    ),
    "tool_choice": lambda value: make_model().bind_tools([WEATHER_TOOL], tool_choice=value).invoke("Hi"),
    "parallel_tool_calls": lambda value: (
        make_model().bind_tools([WEATHER_TOOL], parallel_tool_calls=value).invoke("Hi")
    ),
    "a schema": lambda value: make_model().with_structured_output(value).invoke("Hi"),
    "a property of a schema": lambda value: make_model().with_structured_output(schema(value)).invoke("Hi"),
    "the type of a block": lambda value: make_model().preview([HumanMessage([{"type": value, "text": "x"}])]),
    "the type of an answer's block": lambda value: make_model().preview(["a", AIMessage([{"type": value}]), "b"]),
    "an argument of a past call": lambda value: make_model(model=GEMMA_3).invoke(past_call(value)),
    "a past argument of Gemma 4": lambda value: make_model().invoke(past_call(value)),
    "inputs": lambda value: make_model().queue_batch(value),
    "a job": lambda value: make_model().fetch_batch(value),
    "the text of a job": BatchJob.from_json,
    "poll_interval": lambda value: make_model().queue_batch(["Hi"], poll_interval=value),
    "max_wait": lambda value: make_model().queue_batch(["Hi"], max_wait=value),
    "texts": lambda value: embeddings().embed_documents(value),
    "one text": lambda value: embeddings().embed_documents([value]),
    "a query": lambda value: embeddings().embed_query(value),
    "a key of the input": lambda value: embeddings(model_kwargs={"a": value}).embed_query("Hi"),
}


def function(parameters: object) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "description": "d", "parameters": parameters}}


def schema(of_a: object) -> dict[str, Any]:
    return {"title": "t", "description": "d", "type": "object", "properties": {"a": of_a}}


def past_call(argument: object) -> list[BaseMessage]:
    call = AIMessage("", tool_calls=[{"name": "f", "args": {"x": argument}, "id": "1"}])
    return [HumanMessage("a"), call, ToolMessage("b", tool_call_id="1")]


def embeddings(**arguments: Any) -> WorkersGemmaEmbeddings:
    return WorkersGemmaEmbeddings(account_id="a", api_token=API_TOKEN, max_retries=0, **arguments)


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.usefixtures("service", "sleeps")
def test_any_value_elsewhere(taker: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for value in ODD:
            if taker != "inputs" or not hasattr(value, "__next__"):  # an iterator may hold anything
                ends_well(partial(TAKERS[taker], value))


def test_what_is_assigned_is_kept_as_the_constructor_keeps_it() -> None:
    llm = make_model()
    for field, given, kept in (
        ("max_tokens", 256.0, 256),
        ("temperature", np.float32(0.5), 0.5),
        ("seed", np.int64(5), 5),
        ("api_token", API_TOKEN, SecretStr(API_TOKEN)),
        ("timeout", "5", 5.0),
    ):
        setattr(llm, field, given)
        assert getattr(llm, field) == kept
        assert type(getattr(llm, field)) is type(kept)
        assert getattr(llm.model_copy(update={field: given}), field) == kept


@pytest.mark.parametrize("field", ["api_token", "default_headers", "ai_gateway"])
def test_an_error_does_not_repeat_what_may_hold_a_token(field: str) -> None:
    with pytest.raises(ValueError, match=field) as raised:
        setattr(make_model(), field, [{"id": "x", "token": "the-credential"}])
    assert "the-credential" not in str(raised.value)
