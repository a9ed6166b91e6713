"""Structured output from a service that refuses, ignores or truncates a constraint: results and numbers of requests."""

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
SCHEMA_KINDS: dict[str, Any] = {"pydantic": Person, "typed dict": Card, "json schema": SCHEMA, "tool": TOOL}
pytestmark = pytest.mark.lowest
for_each_kind = pytest.mark.parametrize("kind", SCHEMA_KINDS)
for_each_call_method = pytest.mark.parametrize("call_method", CALL_METHODS)
ADA = {"name": "Ada", "tags": ["x"]}
VALID_JSON = json.dumps(ADA)
IGNORED = '{"names": ["Ada"]}'  # an engine that applies the schema never writes this
INVALID_JSON = '{"name": "Ada", "tags": []}'  # engines ignore `minItems`
FORMS = {
    GEMMA_4: ["openai_schema", "json_object", "prompt"],
    GEMMA_3: ["guided_json", "prompt"],
    GEMMA_7B: ["bare_schema", "json_object", "prompt"],
    GEMMA_7B_LORA: ["prompt"],
}
for_each_model = pytest.mark.parametrize("model", [GEMMA_4, GEMMA_3, GEMMA_7B])

StartService = Callable[..., UnreliableService]


@pytest.fixture
def start_service() -> Iterator[StartService]:
    with respx.mock(assert_all_called=False) as router:

        def start_service(wrong: str = IGNORED, **habits: Habit) -> UnreliableService:
            return UnreliableService(router, habits, VALID_JSON, wrong)

        yield start_service


def to_dict(kind: str, value: Any) -> Any:
    """Return an output as a dict."""
    return value.model_dump() if kind == "pydantic" else value


# --- The next form ----------------------------------------------------------------------------------------------------


@for_each_call_method
@for_each_kind
@for_each_model
@pytest.mark.parametrize("habit", ["refuses", "fails", "writes plain text", "writes nothing", "ignores the schema"])
def test_a_failed_form_is_learned_with_one_extra_request(
    start_service: StartService, habit: Habit, model: str, kind: str, call_method: str
) -> None:
    forms = FORMS[model]
    service = start_service(**{forms[0]: habit})
    llm = make_model(model=model)
    runnable = llm.with_structured_output(SCHEMA_KINDS[kind])
    assert to_dict(kind, collect_outputs(runnable, call_method)[-1]) == ADA
    assert service.constraint_forms == forms[:2]
    assert to_dict(kind, collect_outputs(runnable, call_method)[-1]) == ADA
    assert to_dict(kind, collect_outputs(llm.with_structured_output(SCHEMA_KINDS[kind]), call_method)[-1]) == ADA
    assert service.constraint_forms == [forms[0], forms[1], forms[1], forms[1]]


@for_each_call_method
def test_a_form_without_an_endpoint_is_replaced(start_service: StartService, call_method: str) -> None:
    service = start_service(openai_schema="has no endpoint")
    assert collect_outputs(make_model().with_structured_output(Person), call_method)[-1] == Person(**ADA)
    assert service.constraint_forms == ["openai_schema", "json_object"]


@for_each_model
def test_refused_forms_do_not_count_as_repairs(start_service: StartService, model: str) -> None:
    *refused, last = FORMS[model]
    service = start_service(**dict.fromkeys(refused, "refuses"))
    runnable = make_model(model=model).with_structured_output(Person)
    assert runnable.invoke("Go") == Person(**ADA)
    assert service.constraint_forms == FORMS[model]
    assert runnable.invoke("Go") == Person(**ADA)
    assert service.constraint_forms == [*FORMS[model], last]


@for_each_kind
@for_each_call_method
@for_each_model
def test_an_invalid_value_is_requested_again_with_the_error(
    start_service: StartService, model: str, call_method: str, kind: str
) -> None:
    forms = FORMS[model]
    service = start_service(INVALID_JSON, **{forms[0]: "ignores the schema"})
    runnable = make_model(model=model).with_structured_output(SCHEMA_KINDS[kind])
    assert to_dict(kind, collect_outputs(runnable, call_method)[-1]) == ADA
    first, second = service.bodies
    assert second["messages"][: len(first["messages"])] == first["messages"]
    previous, correction = second["messages"][len(first["messages"]) :]
    assert previous == {"role": "assistant", "content": INVALID_JSON}
    assert correction["role"] == "user"
    assert "tags" in correction["content"]
    assert "1 item" in correction["content"] or "fewer than 1" in correction["content"]
    # The engine applied the schema, so the form is used again.
    service.habits = {}
    collect_outputs(runnable, call_method)
    assert service.constraint_forms[-1] == forms[0]


@for_each_call_method
@for_each_kind
@pytest.mark.parametrize("max_repairs", [0, 1, 2, 4])
@pytest.mark.parametrize("habit", ["writes plain text", "ignores the schema", "writes nothing"])
def test_max_repairs_limits_the_requests(
    start_service: StartService, habit: Habit, max_repairs: int, kind: str, call_method: str
) -> None:
    forms = FORMS[GEMMA_4]
    service = start_service(**dict.fromkeys(forms, habit))
    with pytest.raises(OutputParserException):
        collect_outputs(make_model().with_structured_output(SCHEMA_KINDS[kind], max_repairs=max_repairs), call_method)
    assert service.constraint_forms == [*forms, "prompt", "prompt"][: max_repairs + 1]


def test_a_model_without_a_constraint_is_corrected_in_the_prompt(start_service: StartService) -> None:
    service = start_service(prompt="ignores the schema")
    with pytest.raises(OutputParserException, match="does not match the schema"):
        make_model(model=GEMMA_7B_LORA).with_structured_output(Person).invoke("Go")
    assert service.constraint_forms == ["prompt", "prompt"]


@for_each_call_method
def test_json_mode_is_validated(start_service: StartService, call_method: str) -> None:
    service = start_service(json_object="ignores the schema")
    output = collect_outputs(make_model().with_structured_output(SCHEMA, method="json_mode"), call_method)[-1]
    assert output == ADA
    assert service.constraint_forms == ["json_object", "prompt"]
    assert '"minItems": 1' in service.bodies[0]["messages"][0]["content"]


@for_each_call_method
@for_each_kind
def test_arguments_of_a_forced_call_are_validated(start_service: StartService, call_method: str, kind: str) -> None:
    service = start_service()
    name = get_schema_name(SCHEMA_KINDS[kind])
    service.calls = lambda body: [(name, json.loads(IGNORED))] if body.get("tools") else ()
    output = collect_outputs(
        make_model().with_structured_output(SCHEMA_KINDS[kind], method="function_calling"), call_method
    )[-1]
    assert to_dict(kind, output) == ADA
    assert service.constraint_forms == ["prompt", "openai_schema"]
    assert "names" in service.bodies[1]["messages"][-2]["content"]


# --- No second request ------------------------------------------------------------------------------------------------


@for_each_call_method
@for_each_kind
@for_each_model
@pytest.mark.parametrize("habit", ["truncates", "loops"])
def test_a_truncated_reply_names_max_tokens(
    start_service: StartService, habit: Habit, model: str, kind: str, call_method: str
) -> None:
    service = start_service(**{FORMS[model][0]: habit})
    with pytest.raises(OutputParserException, match="max_tokens"):
        collect_outputs(make_model(model=model).with_structured_output(SCHEMA_KINDS[kind]), call_method)
    assert len(service.bodies) == 1


@for_each_call_method
@for_each_kind
def test_json_in_the_reasoning_of_an_empty_reply_is_read(
    start_service: StartService, kind: str, call_method: str
) -> None:
    service = start_service(openai_schema="only reasons")
    assert (
        to_dict(kind, collect_outputs(make_model().with_structured_output(SCHEMA_KINDS[kind]), call_method)[-1]) == ADA
    )
    assert len(service.bodies) == 1


@for_each_call_method
@pytest.mark.parametrize(
    "refusal", ["image: not a valid base64", "messages: roles must alternate", "max_tokens: too large"]
)
def test_other_refusals_raise_at_once(start_service: StartService, refusal: str, call_method: str) -> None:
    service = start_service(openai_schema="refuses")
    service.refusal = refusal
    with pytest.raises(BadRequestError, match=refusal[:5]) as caught:
        collect_outputs(make_model(max_tokens=4096).with_structured_output(Person), call_method)
    assert not isinstance(caught.value, OutputParserException)
    assert len(service.bodies) == 1


@for_each_call_method
def test_an_error_is_raised_if_every_form_is_refused(start_service: StartService, call_method: str) -> None:
    service = start_service(**dict.fromkeys(FORMS[GEMMA_4], "refuses"))
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


@for_each_call_method
def test_no_other_form_is_requested_without_repairs(start_service: StartService, call_method: str) -> None:
    service = start_service(openai_schema="refuses")
    with pytest.raises(BadRequestError, match="Grammar error"):
        collect_outputs(make_model().with_structured_output(Person, max_repairs=0), call_method)
    assert len(service.bodies) == 1


def test_other_failures_are_retried_as_usual(start_service: StartService, sleeps: list[float]) -> None:
    service = start_service(openai_schema="fails")
    service.refusal = "worker crashed"
    with pytest.raises(InternalServerError):
        make_model(max_retries=2).with_structured_output(Person).invoke("Go")
    assert service.constraint_forms == ["openai_schema"] * 3
    service.bodies.clear()
    service.refusal = "Grammar error: no"
    assert make_model(max_retries=2).with_structured_output(Person).invoke("Go") == Person(**ADA)
    assert service.constraint_forms == ["openai_schema", "json_object"]


@pytest.mark.parametrize("bad", [-1, True, "1", 1.5])
def test_invalid_max_repairs_raises(bad: Any) -> None:
    with pytest.raises(ValueError, match="max_repairs must be an integer of at least 0"):
        make_model().with_structured_output(Person, max_repairs=bad)


# --- Usage and logs ---------------------------------------------------------------------------------------------------


@for_each_call_method
def test_usage_of_all_attempts_is_added(start_service: StartService, call_method: str) -> None:
    start_service(**dict.fromkeys(FORMS[GEMMA_4][:2], "ignores the schema"))
    handler = UsageMetadataCallbackHandler()
    llm = make_model().with_structured_output(SCHEMA, include_raw=True, max_repairs=2)
    pieces = collect_outputs(llm.with_config(callbacks=[handler]), call_method)
    total = pieces[0]
    for piece in pieces[1:]:
        total = total + piece
    raw = total["raw"]
    assert total["parsed"] == ADA
    assert total["parsing_error"] is None
    assert raw.text == VALID_JSON
    assert raw.usage_metadata["input_tokens"] == 30
    assert raw.usage_metadata["output_tokens"] == 15
    assert handler.usage_metadata[GEMMA_4]["total_tokens"] == 45
    assert raw.response_metadata["cost_usd"] == pytest.approx((30 * 0.10 + 15 * 0.30) / 1e6)
    attempts = raw.response_metadata["attempts"]
    assert [attempt["form"] for attempt in attempts] == FORMS[GEMMA_4]
    assert ["required key 'name'" in (attempt["problem"] or "") for attempt in attempts] == [True, True, False]


@for_each_call_method
def test_include_raw_returns_the_error_of_the_last_attempt(start_service: StartService, call_method: str) -> None:
    start_service(**dict.fromkeys(FORMS[GEMMA_4], "writes plain text"))
    pieces = collect_outputs(make_model().with_structured_output(SCHEMA, include_raw=True), call_method)
    total = pieces[0]
    for piece in pieces[1:]:
        total = total + piece
    assert total["parsed"] is None
    assert isinstance(total["parsing_error"], OutputParserException)
    assert total["raw"].text == "It is Ada, who is 36."
    assert total["raw"].usage_metadata["total_tokens"] == 30


@pytest.mark.parametrize("call_method", ["stream", "astream"])
def test_a_stream_of_partial_objects_is_repaired_after_its_end(start_service: StartService, call_method: str) -> None:
    service = start_service(INVALID_JSON, openai_schema="ignores the schema")
    pieces = collect_outputs(make_model().with_structured_output(SCHEMA), call_method)
    assert pieces[-1] == ADA
    assert {"name": "Ada"} in pieces[:-1]
    assert pieces[-2] == json.loads(INVALID_JSON)
    assert [body.get("stream", False) for body in service.bodies] == [True, False]


def test_the_whole_schema_is_in_the_prompt_in_every_form(start_service: StartService) -> None:
    service = start_service(**dict.fromkeys(FORMS[GEMMA_4][:2], "refuses"))
    make_model().with_structured_output(SCHEMA).invoke("Go")
    for body in service.bodies:
        assert '"minItems": 1' in body["messages"][0]["content"]


# --- Remembered forms -------------------------------------------------------------------------------------------------


def test_copies_and_pickles_do_not_keep_learned_forms(start_service: StartService) -> None:
    service = start_service(openai_schema="refuses")
    llm = make_model()
    llm.with_structured_output(Person).invoke("Go")
    for other in (copy.deepcopy(llm), pickle.loads(pickle.dumps(llm)), make_model()):
        service.bodies.clear()
        other.with_structured_output(Person).invoke("Go")
        assert service.constraint_forms == ["openai_schema", "json_object"]
    service.bodies.clear()
    llm.with_structured_output(Person).invoke("Go")
    assert service.constraint_forms == ["json_object"]


def test_a_pickled_runnable_works(start_service: StartService) -> None:
    service = start_service(openai_schema="writes plain text")
    runnable = pickle.loads(pickle.dumps(make_model().with_structured_output(SCHEMA)))
    assert [runnable.invoke("Go"), runnable.invoke("Go")] == [ADA, ADA]
    assert service.constraint_forms == ["openai_schema", "json_object", "json_object"]


def test_threads_share_learned_forms(start_service: StartService) -> None:
    service = start_service(openai_schema="refuses")
    llm = make_model()
    llm.with_structured_output(Person).invoke("Go")
    with ThreadPoolExecutor(8) as pool:
        output = list(pool.map(lambda _: llm.with_structured_output(Person).invoke("Go"), range(40)))
    assert output == [Person(**ADA)] * 40
    assert len(service.bodies) == 42


def test_forms_are_learned_for_each_model(start_service: StartService) -> None:
    service = start_service(openai_schema="refuses")
    llm = make_model()
    llm.with_structured_output(Person).invoke("Go")
    service.bodies.clear()
    llm.with_structured_output(Person).invoke("Go", model="@cf/google/gemma-4-other")
    assert service.constraint_forms[0] == "openai_schema"


# --- A bound format ---------------------------------------------------------------------------------------------------

BOUND_FORMAT = {"type": "json_schema", "json_schema": {"name": "Person", "schema": SCHEMA}}


@pytest.mark.parametrize("call_method", ["invoke", "ainvoke", "stream", "astream"])
@pytest.mark.parametrize("habit", ["refuses", "fails", "writes plain text", "writes nothing", "writes a fence"])
def test_a_bound_format_is_requested_again(start_service: StartService, habit: Habit, call_method: str) -> None:
    service = start_service(openai_schema=habit)
    llm = make_model().bind(response_format=BOUND_FORMAT)
    messages = collect_outputs(llm, call_method)
    assert json.loads("".join(message.text for message in messages)) == ADA
    count = 1 if habit == "writes a fence" else 2
    assert service.constraint_forms == FORMS[GEMMA_4][:count]
    reply_count = 1 if habit in ("refuses", "fails", "writes a fence") else 2
    assert sum((message.usage_metadata or {}).get("input_tokens", 0) for message in messages) == 10 * reply_count
    collect_outputs(llm, call_method)
    assert len(service.bodies) == count + 1


@pytest.mark.parametrize("call_method", ["invoke", "ainvoke"])
def test_a_bound_format_is_validated(start_service: StartService, call_method: str) -> None:
    service = start_service(INVALID_JSON, openai_schema="ignores the schema")
    assert json.loads(collect_outputs(make_model().bind(response_format=BOUND_FORMAT), call_method)[0].text) == ADA
    assert service.constraint_forms == ["openai_schema", "json_object"]
    service.bodies.clear()
    assert json.loads(
        collect_outputs(make_model().bind(response_format=BOUND_FORMAT, max_repairs=0), call_method)[0].text
    ) == json.loads(INVALID_JSON)
    assert len(service.bodies) == 1


@pytest.mark.parametrize("call_method", ["stream", "astream"])
def test_a_bound_format_streams_json(start_service: StartService, call_method: str) -> None:
    start_service()
    assert (
        len(
            [
                piece
                for piece in collect_outputs(make_model().bind(response_format=BOUND_FORMAT), call_method)
                if piece.text
            ]
        )
        > 3
    )


def test_repeated_requests_are_logged(start_service: StartService, caplog: pytest.LogCaptureFixture) -> None:
    start_service(openai_schema="refuses", json_object="writes plain text")
    with caplog.at_level(logging.INFO, "langchain_workers_gemma"):
        make_model().bind(response_format=BOUND_FORMAT).invoke("Go")
    assert "refused the form of the constraint" in caplog.text
    assert "does not have the requested form" in caplog.text
