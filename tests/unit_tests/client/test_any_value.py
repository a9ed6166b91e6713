"""Any value of a field or an argument: a call returns a reply or raises an error with a cure."""

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


class Unsupported:
    """An object that no argument accepts."""


UNUSUAL_VALUES: list[Any] = [
    Unsupported(),
    object(), b"x", bytearray(b"x"), 1j, range(3), [], ["x"], {}, {"x": 1}, {1}, (1,), None, True, "", "x",
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


def check_outcome(call: Callable[[], object]) -> None:
    """Check that a call returns a reply or raises a typed error without the token."""
    try:
        call()
    except (ValueError, WorkersGemmaError) as error:
        assert API_TOKEN not in str(error)  # noqa: PT017 - the call may also return
        assert len(str(error)) < 5_000  # noqa: PT017


@pytest.mark.parametrize("field", OWN_FIELDS)
@pytest.mark.usefixtures("service")
def test_any_value_of_a_field(field: str) -> None:
    """In the constructor, assigned, in a copy, and as an argument of a call."""

    def assign(value: object) -> object:
        llm = make_model()
        setattr(llm, field, value)
        return llm.invoke("Hi")

    def copy(value: object) -> object:
        return make_model().model_copy(update={field: value}).invoke("Hi")

    def construct(value: object) -> object:
        assigned = {"account_id": "a", "api_token": API_TOKEN, "max_retries": 0, field: value}
        return ChatWorkersGemma(**assigned).invoke("Hi")

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names no known Gemma|model_copy", category=UserWarning)
        for value in UNUSUAL_VALUES:
            check_outcome(partial(construct, value))
            check_outcome(partial(assign, value))
            check_outcome(partial(copy, value))
            check_outcome(partial(make_model().invoke, "Hi", **{field: value}))


@pytest.mark.parametrize("argument", CALL_ARGUMENTS)
@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.usefixtures("service")
def test_any_value_of_an_argument(argument: str, call_method: str) -> None:
    for value in UNUSUAL_VALUES:
        check_outcome(partial(call_model, make_model(), call_method, "Hi", **{argument: value}))


CALLS_WITH_VALUE: dict[str, Callable[[Any], object]] = {
    "tools": lambda value: make_model().bind_tools(value).invoke("Hi"),
    "one tool": lambda value: make_model().bind_tools([value]).invoke("Hi"),
    "the type of a tool": lambda value: make_model().bind_tools([{"type": value}]).invoke("Hi"),
    "the parameters of a tool": lambda value: make_model().bind_tools([make_tool(value)]).invoke("Hi"),
    "a property of a tool": lambda value: (
        make_model().bind_tools([make_tool({"properties": {"a": value}})]).invoke("Hi")
    ),
    "tool_choice": lambda value: make_model().bind_tools([WEATHER_TOOL], tool_choice=value).invoke("Hi"),
    "parallel_tool_calls": lambda value: (
        make_model().bind_tools([WEATHER_TOOL], parallel_tool_calls=value).invoke("Hi")
    ),
    "a schema": lambda value: make_model().with_structured_output(value).invoke("Hi"),
    "a property of a schema": lambda value: make_model().with_structured_output(make_schema(value)).invoke("Hi"),
    "the type of a block": lambda value: make_model().preview([HumanMessage([{"type": value, "text": "x"}])]),
    "the type of an answer's block": lambda value: make_model().preview(["a", AIMessage([{"type": value}]), "b"]),
    "an argument of a past call": lambda value: make_model(model=GEMMA_3).invoke(make_history_with_call(value)),
    "a past argument of Gemma 4": lambda value: make_model().invoke(make_history_with_call(value)),
    "inputs": lambda value: make_model().queue_batch(value),
    "a job": lambda value: make_model().fetch_batch(value),
    "the text of a job": BatchJob.from_json,
    "poll_interval": lambda value: make_model().queue_batch(["Hi"], poll_interval=value),
    "max_wait": lambda value: make_model().queue_batch(["Hi"], max_wait=value),
    "texts": lambda value: make_embeddings().embed_documents(value),
    "one text": lambda value: make_embeddings().embed_documents([value]),
    "a query": lambda value: make_embeddings().embed_query(value),
    "a key of the input": lambda value: make_embeddings(model_kwargs={"a": value}).embed_query("Hi"),
}


def make_tool(parameters: object) -> dict[str, Any]:
    """Return a tool with these parameters."""
    return {"type": "function", "function": {"name": "f", "description": "d", "parameters": parameters}}


def make_schema(property_schema: object) -> dict[str, Any]:
    """Return a schema with this property."""
    return {"title": "t", "description": "d", "type": "object", "properties": {"a": property_schema}}


def make_history_with_call(argument: object) -> list[BaseMessage]:
    """Return a history with a call that has this argument."""
    call = AIMessage("", tool_calls=[{"name": "f", "args": {"x": argument}, "id": "1"}])
    return [HumanMessage("a"), call, ToolMessage("b", tool_call_id="1")]


def make_embeddings(**arguments: Any) -> WorkersGemmaEmbeddings:
    return WorkersGemmaEmbeddings(account_id="a", api_token=API_TOKEN, max_retries=0, **arguments)


@pytest.mark.parametrize("case", CALLS_WITH_VALUE)
@pytest.mark.usefixtures("service", "sleeps")
def test_any_value_in_other_arguments(case: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for value in UNUSUAL_VALUES:
            if case != "inputs" or not hasattr(value, "__next__"):  # an iterator may yield anything
                check_outcome(partial(CALLS_WITH_VALUE[case], value))


def test_assigned_values_are_converted_like_in_the_constructor() -> None:
    llm = make_model()
    for field, assigned, expected in (
        ("max_tokens", 256.0, 256),
        ("temperature", np.float32(0.5), 0.5),
        ("seed", np.int64(5), 5),
        ("api_token", API_TOKEN, SecretStr(API_TOKEN)),
        ("timeout", "5", 5.0),
    ):
        setattr(llm, field, assigned)
        assert getattr(llm, field) == expected
        assert type(getattr(llm, field)) is type(expected)
        assert getattr(llm.model_copy(update={field: assigned}), field) == expected


@pytest.mark.parametrize("field", ["api_token", "default_headers", "ai_gateway"])
def test_an_error_does_not_repeat_values_that_may_contain_a_token(field: str) -> None:
    with pytest.raises(ValueError, match=field) as raised:
        setattr(make_model(), field, [{"id": "x", "token": "the-credential"}])
    assert "the-credential" not in str(raised.value)
