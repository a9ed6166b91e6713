"""Structured output from a service that refuses, ignores, cuts or misplaces a constraint, with requests counted."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import pytest
import respx
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.exceptions import OutputParserException
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from langchain_workers_gemma import BadRequestError, InternalServerError
from langchain_workers_gemma.schemas import get_schema_name
from tests.helpers.model_calls import CALL_METHODS, GEMMA_3, GEMMA_4, GEMMA_7B, GEMMA_7B_LORA, make_model
from tests.helpers.structured_calls import collect_outputs
from tests.helpers.unreliable_service import Habit, UnreliableService


class Person(BaseModel):
    """A person."""

    name: str
    tags: list[str] = Field(min_length=1)


class Card(TypedDict):
    """A person."""

    name: str
    tags: Annotated[list[str], Field(min_length=1)]


SCHEMA = {
    "title": "Person",
    "description": "A person.",
    "type": "object",
    "properties": {"name": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1}},
    "required": ["name", "tags"],
}
TOOL = {"type": "function", "function": {"name": "Person", "description": "A person.", "parameters": SCHEMA}}
KINDS: dict[str, Any] = {"pydantic": Person, "typed dict": Card, "json schema": SCHEMA, "tool": TOOL}
kinds = pytest.mark.parametrize("kind", KINDS)
ways = pytest.mark.parametrize("call_method", CALL_METHODS)
ADA = {"name": "Ada", "tags": ["x"]}
RIGHT = json.dumps(ADA)
IGNORED = '{"names": ["Ada"]}'  # no engine that obeys the schema writes this
VALUE = '{"name": "Ada", "tags": []}'  # engines ignore `minItems`
FORMS = {
    GEMMA_4: ["openai_schema", "json_object", "prompt"],
    GEMMA_3: ["guided_json", "prompt"],
    GEMMA_7B: ["bare_schema", "json_object", "prompt"],
    GEMMA_7B_LORA: ["prompt"],
}
models = pytest.mark.parametrize("model", [GEMMA_4, GEMMA_3, GEMMA_7B])

Start = Callable[..., UnreliableService]


@pytest.fixture
def start() -> Iterator[Start]:
    with respx.mock(assert_all_called=False) as router:

        def start(wrong: str = IGNORED, **habits: Habit) -> UnreliableService:
            return UnreliableService(router, habits, RIGHT, wrong)

        yield start


def found(kind: str, value: Any) -> Any:
    return value.model_dump() if kind == "pydantic" else value


# --- The next form ----------------------------------------------------------------------------------------------------


@ways
@kinds
@models
@pytest.mark.parametrize("habit", ["refuses", "fails", "says prose", "says nothing", "misfits"])
def test_a_form_that_fails_costs_one_request_in_all(
    start: Start, habit: Habit, model: str, kind: str, call_method: str
) -> None:
    forms = FORMS[model]
    service = start(**{forms[0]: habit})
    llm = make_model(model=model)
    runnable = llm.with_structured_output(KINDS[kind])
    assert found(kind, collect_outputs(runnable, call_method)[-1]) == ADA
    assert service.constraint_forms == forms[:2]
    assert found(kind, collect_outputs(runnable, call_method)[-1]) == ADA
    assert found(kind, collect_outputs(llm.with_structured_output(KINDS[kind]), call_method)[-1]) == ADA
    assert service.constraint_forms == [forms[0], forms[1], forms[1], forms[1]]


@ways
def test_a_router_without_an_endpoint_for_the_form(start: Start, call_method: str) -> None:
    service = start(openai_schema="finds no endpoint")
    assert collect_outputs(make_model().with_structured_output(Person), call_method)[-1] == Person(**ADA)
    assert service.constraint_forms == ["openai_schema", "json_object"]


@models
def test_forms_that_a_server_refuses_are_no_repairs(start: Start, model: str) -> None:
    *refused, last = FORMS[model]
    service = start(**dict.fromkeys(refused, "refuses"))
    runnable = make_model(model=model).with_structured_output(Person)
    assert runnable.invoke("Go") == Person(**ADA)
    assert service.constraint_forms == FORMS[model]
    assert runnable.invoke("Go") == Person(**ADA)
    assert service.constraint_forms == [*FORMS[model], last]


@kinds
@ways
@models
def test_a_value_that_engines_accept_wrongly_is_requested_again(
    start: Start, model: str, call_method: str, kind: str
) -> None:
    forms = FORMS[model]
    service = start(VALUE, **{forms[0]: "misfits"})
    runnable = make_model(model=model).with_structured_output(KINDS[kind])
    assert found(kind, collect_outputs(runnable, call_method)[-1]) == ADA
    first, second = service.bodies
    assert second["messages"][: len(first["messages"])] == first["messages"]
    said, asked = second["messages"][len(first["messages"]) :]
    assert said == {"role": "assistant", "content": VALUE}
    assert asked["role"] == "user"
    assert "tags" in asked["content"]
    assert "1 item" in asked["content"] or "fewer than 1" in asked["content"]
    # The engine obeyed: nothing is known against the form.
    service.habits = {}
    collect_outputs(runnable, call_method)
    assert service.constraint_forms[-1] == forms[0]


@ways
@kinds
@pytest.mark.parametrize("max_repairs", [0, 1, 2, 4])
@pytest.mark.parametrize("habit", ["says prose", "misfits", "says nothing"])
def test_the_number_of_repairs(start: Start, habit: Habit, max_repairs: int, kind: str, call_method: str) -> None:
    forms = FORMS[GEMMA_4]
    service = start(**dict.fromkeys(forms, habit))
    with pytest.raises(OutputParserException):
        collect_outputs(make_model().with_structured_output(KINDS[kind], max_repairs=max_repairs), call_method)
    assert service.constraint_forms == [*forms, "prompt", "prompt"][: max_repairs + 1]


def test_a_model_without_a_constraint_is_corrected_in_the_prompt(start: Start) -> None:
    service = start(prompt="misfits")
    with pytest.raises(OutputParserException, match="does not match the schema"):
        make_model(model=GEMMA_7B_LORA).with_structured_output(Person).invoke("Go")
    assert service.constraint_forms == ["prompt", "prompt"]


@ways
def test_json_mode_is_checked_too(start: Start, call_method: str) -> None:
    service = start(json_object="misfits")
    found = collect_outputs(make_model().with_structured_output(SCHEMA, method="json_mode"), call_method)[-1]
    assert found == ADA
    assert service.constraint_forms == ["json_object", "prompt"]
    assert '"minItems": 1' in service.bodies[0]["messages"][0]["content"]


@ways
@kinds
def test_arguments_of_a_forced_call_are_checked_too(start: Start, call_method: str, kind: str) -> None:
    service = start()
    name = get_schema_name(KINDS[kind])
    service.calls = lambda body: [(name, json.loads(IGNORED))] if body.get("tools") else ()
    found_ = collect_outputs(make_model().with_structured_output(KINDS[kind], method="function_calling"), call_method)[
        -1
    ]
    assert found(kind, found_) == ADA
    assert service.constraint_forms == ["prompt", "openai_schema"]
    assert "names" in service.bodies[1]["messages"][-2]["content"]


# --- What is not requested again --------------------------------------------------------------------------------------


@ways
@kinds
@models
@pytest.mark.parametrize("habit", ["cuts", "loops"])
def test_a_cut_reply_names_max_tokens(start: Start, habit: Habit, model: str, kind: str, call_method: str) -> None:
    service = start(**{FORMS[model][0]: habit})
    with pytest.raises(OutputParserException, match="max_tokens"):
        collect_outputs(make_model(model=model).with_structured_output(KINDS[kind]), call_method)
    assert len(service.bodies) == 1


@ways
@kinds
def test_json_in_the_thoughts_of_an_empty_reply_counts(start: Start, kind: str, call_method: str) -> None:
    service = start(openai_schema="thinks only")
    assert found(kind, collect_outputs(make_model().with_structured_output(KINDS[kind]), call_method)[-1]) == ADA
    assert len(service.bodies) == 1


@ways
@pytest.mark.parametrize(
    "about", ["image: not a valid base64", "messages: roles must alternate", "max_tokens: too large"]
)
def test_a_refusal_of_something_else_is_raised_at_once(start: Start, about: str, call_method: str) -> None:
    service = start(openai_schema="refuses")
    service.refusal = about
    with pytest.raises(BadRequestError, match=about[:5]) as caught:
        collect_outputs(make_model(max_tokens=4096).with_structured_output(Person), call_method)
    assert not isinstance(caught.value, OutputParserException)
    assert len(service.bodies) == 1


@ways
def test_refused_in_every_form(start: Start, call_method: str) -> None:
    service = start(**dict.fromkeys(FORMS[GEMMA_4], "refuses"))
    for include_raw in (False, True):
        service.bodies.clear()
        with pytest.raises(OutputParserException) as caught:
            collect_outputs(make_model().with_structured_output(Person, include_raw=include_raw), call_method)
        error = caught.value
        assert isinstance(error, BadRequestError)
        assert str(error) == error.message == service.refusal
        assert (error.status_code, error.code) == (400, 5006)
        copied = pickle.loads(pickle.dumps(error))
        assert (type(copied), str(copied), copied.code) == (type(error), str(error), 5006)
        assert service.constraint_forms == FORMS[GEMMA_4]


@ways
def test_without_repairs_nothing_else_is_tried(start: Start, call_method: str) -> None:
    service = start(openai_schema="refuses")
    with pytest.raises(BadRequestError, match="Grammar error"):
        collect_outputs(make_model().with_structured_output(Person, max_repairs=0), call_method)
    assert len(service.bodies) == 1


def test_a_failure_that_is_not_about_the_constraint_is_retried_as_usual(start: Start, sleeps: list[float]) -> None:
    service = start(openai_schema="fails")
    service.refusal = "worker crashed"
    with pytest.raises(InternalServerError):
        make_model(max_retries=2).with_structured_output(Person).invoke("Go")
    assert service.constraint_forms == ["openai_schema"] * 3
    service.bodies.clear()
    service.refusal = "Grammar error: no"
    assert make_model(max_retries=2).with_structured_output(Person).invoke("Go") == Person(**ADA)
    assert service.constraint_forms == ["openai_schema", "json_object"]


@pytest.mark.parametrize("bad", [-1, True, "1", 1.5])
def test_bad_max_repairs(bad: Any) -> None:
    with pytest.raises(ValueError, match="max_repairs must be an integer of at least 0"):
        make_model().with_structured_output(Person, max_repairs=bad)


# --- What is logged ---------------------------------------------------------------------------------------------------


@ways
def test_usage_of_all_attempts_adds_up(start: Start, call_method: str) -> None:
    start(**dict.fromkeys(FORMS[GEMMA_4][:2], "misfits"))
    handler = UsageMetadataCallbackHandler()
    llm = make_model().with_structured_output(SCHEMA, include_raw=True, max_repairs=2)
    pieces = collect_outputs(llm.with_config(callbacks=[handler]), call_method)
    total = pieces[0]
    for piece in pieces[1:]:
        total = total + piece
    raw = total["raw"]
    assert total["parsed"] == ADA
    assert total["parsing_error"] is None
    assert raw.text == RIGHT
    assert raw.usage_metadata["input_tokens"] == 30
    assert raw.usage_metadata["output_tokens"] == 15
    assert handler.usage_metadata[GEMMA_4]["total_tokens"] == 45
    assert raw.response_metadata["cost_usd"] == pytest.approx((30 * 0.10 + 15 * 0.30) / 1e6)
    attempts = raw.response_metadata["attempts"]
    assert [one["form"] for one in attempts] == FORMS[GEMMA_4]
    assert ["required key 'name'" in (one["problem"] or "") for one in attempts] == [True, True, False]


@ways
def test_include_raw_after_the_last_attempt(start: Start, call_method: str) -> None:
    start(**dict.fromkeys(FORMS[GEMMA_4], "says prose"))
    pieces = collect_outputs(make_model().with_structured_output(SCHEMA, include_raw=True), call_method)
    total = pieces[0]
    for piece in pieces[1:]:
        total = total + piece
    assert total["parsed"] is None
    assert isinstance(total["parsing_error"], OutputParserException)
    assert total["raw"].text == "It is Ada, who is 36."
    assert total["raw"].usage_metadata["total_tokens"] == 30


@pytest.mark.parametrize("call_method", ["stream", "astream"])
def test_a_stream_of_partial_results_is_repaired_after_its_end(start: Start, call_method: str) -> None:
    service = start(VALUE, openai_schema="misfits")
    pieces = collect_outputs(make_model().with_structured_output(SCHEMA), call_method)
    assert pieces[-1] == ADA
    assert {"name": "Ada"} in pieces[:-1]
    assert pieces[-2] == json.loads(VALUE)
    assert [body.get("stream", False) for body in service.bodies] == [True, False]


def test_the_schema_is_shown_whole_in_every_form(start: Start) -> None:
    service = start(**dict.fromkeys(FORMS[GEMMA_4][:2], "refuses"))
    make_model().with_structured_output(SCHEMA).invoke("Go")
    for body in service.bodies:
        assert '"minItems": 1' in body["messages"][0]["content"]


# --- What is remembered -----------------------------------------------------------------------------------------------


def test_copies_and_pickles_do_not_remember(start: Start) -> None:
    service = start(openai_schema="refuses")
    llm = make_model()
    llm.with_structured_output(Person).invoke("Go")
    for other in (copy.deepcopy(llm), pickle.loads(pickle.dumps(llm)), make_model()):
        service.bodies.clear()
        other.with_structured_output(Person).invoke("Go")
        assert service.constraint_forms == ["openai_schema", "json_object"]
    service.bodies.clear()
    llm.with_structured_output(Person).invoke("Go")
    assert service.constraint_forms == ["json_object"]


def test_a_pickled_runnable_works(start: Start) -> None:
    service = start(openai_schema="says prose")
    runnable = pickle.loads(pickle.dumps(make_model().with_structured_output(SCHEMA)))
    assert [runnable.invoke("Go"), runnable.invoke("Go")] == [ADA, ADA]
    assert service.constraint_forms == ["openai_schema", "json_object", "json_object"]


def test_threads_share_what_is_remembered(start: Start) -> None:
    service = start(openai_schema="refuses")
    llm = make_model()
    llm.with_structured_output(Person).invoke("Go")
    with ThreadPoolExecutor(8) as pool:
        found_ = list(pool.map(lambda _: llm.with_structured_output(Person).invoke("Go"), range(40)))
    assert found_ == [Person(**ADA)] * 40
    assert len(service.bodies) == 42


def test_another_model_of_the_same_object_is_remembered_apart(start: Start) -> None:
    service = start(openai_schema="refuses")
    llm = make_model()
    llm.with_structured_output(Person).invoke("Go")
    service.bodies.clear()
    llm.with_structured_output(Person).invoke("Go", model="@cf/google/gemma-4-other")
    assert service.constraint_forms[0] == "openai_schema"


# --- A bound format ---------------------------------------------------------------------------------------------------

BOUND = {"type": "json_schema", "json_schema": {"name": "Person", "schema": SCHEMA}}


@pytest.mark.parametrize("call_method", ["invoke", "ainvoke", "stream", "astream"])
@pytest.mark.parametrize("habit", ["refuses", "fails", "says prose", "says nothing", "fences"])
def test_a_bound_format_is_requested_again(start: Start, habit: Habit, call_method: str) -> None:
    service = start(openai_schema=habit)
    llm = make_model().bind(response_format=BOUND)
    messages = collect_outputs(llm, call_method)
    assert json.loads("".join(message.text for message in messages)) == ADA
    count = 1 if habit == "fences" else 2
    assert service.constraint_forms == FORMS[GEMMA_4][:count]
    paid = 1 if habit in ("refuses", "fails", "fences") else 2
    assert sum((message.usage_metadata or {}).get("input_tokens", 0) for message in messages) == 10 * paid
    collect_outputs(llm, call_method)
    assert len(service.bodies) == count + 1


@pytest.mark.parametrize("call_method", ["invoke", "ainvoke"])
def test_a_bound_format_is_checked_against_its_schema(start: Start, call_method: str) -> None:
    service = start(VALUE, openai_schema="misfits")
    assert json.loads(collect_outputs(make_model().bind(response_format=BOUND), call_method)[0].text) == ADA
    assert service.constraint_forms == ["openai_schema", "json_object"]
    service.bodies.clear()
    assert json.loads(
        collect_outputs(make_model().bind(response_format=BOUND, max_repairs=0), call_method)[0].text
    ) == json.loads(VALUE)
    assert len(service.bodies) == 1


@pytest.mark.parametrize("call_method", ["stream", "astream"])
def test_a_bound_format_streams_json_while_it_grows(start: Start, call_method: str) -> None:
    start()
    assert (
        len([piece for piece in collect_outputs(make_model().bind(response_format=BOUND), call_method) if piece.text])
        > 3
    )


def test_asking_again_is_logged(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    start(openai_schema="refuses", json_object="says prose")
    with caplog.at_level(logging.INFO, "langchain_workers_gemma"):
        make_model().bind(response_format=BOUND).invoke("Go")
    assert "refused the form of the constraint" in caplog.text
    assert "does not have the requested form" in caplog.text
