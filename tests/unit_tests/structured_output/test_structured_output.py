"""Structured output: what is sent for each schema, method and model, and what comes of the reply."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError, field_validator
from typing_extensions import TypedDict

from langchain_workers_gemma.schemas import (
    get_schema_name,
    inline_refs,
    to_json_schema,
    to_strict_openai,
)
from tests.helpers import schema_examples
from tests.helpers.asking import (
    GEMMA_3,
    Service,
    gemma,
)
from tests.helpers.schema_examples import EXAMPLES
from tests.helpers.schema_instances import instance_of
from tests.helpers.structured_asking import (
    BY_NAME,
    GENERATIONS,
    METHODS,
    WAYS,
    Generation,
    Joke,
    answer,
    as_the_caller_reads,
    ask,
    call_schema,
    constrained_by,
    expected_part,
    input_of,
    pairs,
    structured_part,
)

# --- Each schema, method and model ------------------------------------------------------------------------------------


@pytest.mark.parametrize("generation", GENERATIONS, ids=str)
@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_request_and_object(service: Service, name: str, generation: Generation) -> None:
    schema, text = EXAMPLES[name].schema, instance_of(name)
    llm: Any = gemma(**generation.arguments)
    instructed = json.dumps(inline_refs(to_json_schema(schema)), ensure_ascii=False)
    for method in METHODS:
        if generation.lacks(method):
            continue
        answer(service, generation, method, schema, text, "invoke")
        service.requests.clear()

        found = llm.with_structured_output(schema, method=method).invoke("Go")

        assert found == as_the_caller_reads(schema, text)
        assert type(found) is (schema if isinstance(schema, type) and issubclass(schema, BaseModel) else dict)
        assert len(service.requests) == 1
        data = input_of(service)
        assert structured_part(data) == expected_part(generation, method, schema)
        assert data["max_tokens"] == (12288 if generation.name.startswith("gemma-4") else 4096)
        assert all(isinstance(message["content"], str) for message in data["messages"])
        assert (instructed in data["messages"][0]["content"]) is (method != "function_calling")


@pairs
@pytest.mark.parametrize("name", ["nested", "typed_dict_of_typing"])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_asking(service: Service, way: str, name: str, generation: Generation, method: Any) -> None:
    schema, text = EXAMPLES[name].schema, instance_of(name)
    answer(service, generation, method, schema, text, way)

    found = ask(gemma(**generation.arguments).with_structured_output(schema, method=method), way)

    assert found[-1] == as_the_caller_reads(schema, text)
    is_class = isinstance(schema, type) and issubclass(schema, BaseModel)
    if is_class or way in ("invoke", "ainvoke"):
        assert len(found) == 1
    assert (input_of(service).get("stream") is True) is (way in ("stream", "astream"))


def test_forced_calls_by_constraint_hold_the_arguments_own_schema(service: Service) -> None:
    generation = BY_NAME["gemma-3"]
    schema = EXAMPLES["nested"].schema
    answer(service, generation, "function_calling", schema, instance_of("nested"), "invoke")
    gemma(**generation.arguments).with_structured_output(schema, method="function_calling").invoke("Go")
    arguments = input_of(service)["guided_json"]["properties"]["arguments"]
    assert arguments["required"] == ["name", "age", "address"]
    assert input_of(service)["guided_json"] == call_schema(
        "Person", {key: value for key, value in inline_refs(to_json_schema(schema)).items() if key not in _HEAD}
    )


_HEAD = ("title", "description")


JOKE = {
    "type": "object",
    "properties": {
        "setup": {"type": "string", "description": "The setup"},
        "rating": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    },
    "required": ["setup"],
    "additionalProperties": False,
    "description": "A joke.",
}


@pytest.mark.parametrize(
    ("generation", "part"),
    [
        ("gemma-3", {"guided_json": JOKE}),
        ("dataoorts", {"guided_json": JOKE}),
        ("gemma-7b", {"response_format": {"type": "json_schema", "json_schema": JOKE}}),
        (
            "gemma-4",
            {"response_format": {"type": "json_schema", "json_schema": {"name": "Joke", "schema": JOKE}}},
        ),
        ("aimlapi", {}),
    ],
)
def test_the_exact_parameter(service: Service, generation: str, part: dict[str, Any]) -> None:
    service.replies({"response": '{"setup": "x"}'})
    llm = gemma(**BY_NAME[generation].arguments)
    assert llm.with_structured_output(Joke).invoke("Go") == Joke(setup="x")
    assert structured_part(input_of(service)) == part


@pytest.mark.parametrize("generation", GENERATIONS, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_a_method_that_a_model_lacks_is_refused_with_a_reason(generation: Generation, method: Any) -> None:
    llm = gemma(**generation.arguments)
    if not generation.lacks(method):
        llm.with_structured_output(Joke, method=method)
        return
    with pytest.raises(ValueError, match=rf"method='{method}': .*{llm.model.rsplit('/', 1)[-1]}.*(leave|Leave)"):
        llm.with_structured_output(Joke, method=method)


def test_unknown_methods_and_schemas() -> None:
    llm = gemma()
    with pytest.raises(ValueError, match="'guided_json', 'json_schema', 'json_mode', 'function_calling'"):
        llm.with_structured_output(Joke, method="xml")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="schema is missing"):
        llm.with_structured_output(None)
    with pytest.raises(ValueError, match="Pydantic"):
        llm.with_structured_output(42)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="JSON object"):
        llm.with_structured_output(RootModel[list[int]])


@pytest.mark.parametrize("generation", ["gemma-4", "gemma-3", "gemma-7b"])
@pytest.mark.parametrize("way", WAYS)
def test_json_mode_without_a_schema(service: Service, generation: str, way: str) -> None:
    kind = BY_NAME[generation]
    answer(service, kind, "json_mode", Joke, '{"any": ["thing"]}', way)
    llm = gemma(**kind.arguments).with_structured_output(None, method="json_mode")
    assert ask(llm, way)[-1] == {"any": ["thing"]}


# --- Strict -----------------------------------------------------------------------------------------------------------


class Person(BaseModel):
    name: str
    nickname: str = Field(default_factory=str)
    friends: list[Person] = Field(default_factory=list)
    age: int | None = None


class Visitor(TypedDict, total=False):
    name: str
    age: int


@pytest.mark.parametrize("name", sorted(EXAMPLES))
@pytest.mark.parametrize("generation", ["gemma-4", "gemma-3", "gemma-7b"])
def test_strict(service: Service, name: str, generation: str) -> None:
    schema, text = EXAMPLES[name].schema, instance_of(name)
    kind = BY_NAME[generation]
    answer(service, kind, None, schema, text, "invoke")
    found = gemma(**kind.arguments).with_structured_output(schema, strict=True).invoke("Go")
    assert found == as_the_caller_reads(schema, text)
    strictly = to_strict_openai(to_json_schema(schema))
    part = structured_part(input_of(service))
    assert part == constrained_by(kind, strictly, get_schema_name(schema), strict=True)


def test_strict_false_is_sent(service: Service) -> None:
    service.replies({"response": '{"setup": "x"}'})
    gemma().with_structured_output(Joke, strict=False).invoke("Go")
    assert input_of(service)["response_format"]["json_schema"]["strict"] is False


def test_strict_functions(service: Service) -> None:
    kind = BY_NAME["gemma-4"]
    answer(service, kind, "function_calling", Joke, '{"setup": "x"}', "invoke")
    gemma().with_structured_output(Joke, method="function_calling", strict=True).invoke("Go")
    assert input_of(service)["tools"][0]["function"]["strict"] is True


def test_null_means_an_omitted_value_in_the_strict_form(service: Service) -> None:
    service.replies({"response": '{"name":"A","nickname":null,"friends":[{"name":"B","friends":null}],"age":null}'})
    found = gemma().with_structured_output(Person, strict=True).invoke("Go")
    assert found == Person(name="A", friends=[Person(name="B")])
    with pytest.raises(OutputParserException, match="nickname"):
        gemma().with_structured_output(Person).invoke("Go")
    service.replies({"response": '{"name": "A", "age": null}'})
    assert gemma().with_structured_output(Visitor, strict=True).invoke("Go") == {"name": "A"}
    service.replies({"response": '{"name": null}'})
    with pytest.raises(OutputParserException, match="name"):
        gemma().with_structured_output(Person, strict=True).invoke("Go")


# --- The caller's type checks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "bad", "says"),
    [
        ("constraints", {"age": 500}, "less than or equal to 120"),
        ("constraints", {"tags": []}, "at least 1 item"),
        ("constraints", {"code": "ABC"}, "pattern"),
        ("enums", {"color": "blue"}, "red"),
        ("typed_dict", {"days": "many"}, "days"),
        ("typed_dict", {"stops": [{"name": 5}]}, r"stops\.0\.name"),
        ("typed_dict", {"note": "much too long"}, "at most 5"),
        ("typed_dict_of_typing", {"color": "blue"}, "red"),
    ],
)
def test_what_no_engine_enforces_is_checked_afterwards(service: Service, name: str, bad: Any, says: str) -> None:
    text = json.dumps({**json.loads(instance_of(name)), **bad})
    service.replies({"response": text})
    llm = gemma(model=GEMMA_3)
    with pytest.raises(OutputParserException, match=says) as caught:
        llm.with_structured_output(EXAMPLES[name].schema).invoke("Go")
    assert caught.value.llm_output == text
    with pytest.raises(OutputParserException, match=says):
        list(llm.with_structured_output(EXAMPLES[name].schema).stream("Go"))


class Event(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    color: schema_examples.Color
    day: date


def test_strict_pydantic_models(service: Service) -> None:
    service.replies({"response": {"name": "x", "color": "red", "day": "2026-11-21"}})
    found = gemma(model=GEMMA_3).with_structured_output(Event).invoke("Go")
    assert found == Event(name="x", color=schema_examples.Color.RED, day=date(2026, 11, 21))


def test_the_callers_own_validator(service: Service) -> None:
    class Even(BaseModel):
        number: int

        @field_validator("number")
        @classmethod
        def _check(cls, number: int) -> int:
            if number % 2:
                raise ValueError("odd!")
            return number

    service.replies({"response": '{"number": 3}'})
    with pytest.raises(OutputParserException, match="odd!"):
        gemma().with_structured_output(Even).invoke("Go")


def test_pydantic_v1(service: Service, recwarn: pytest.WarningsRecorder) -> None:
    v1 = pytest.importorskip("pydantic.v1")
    if recwarn.list:
        pytest.skip("pydantic.v1 warns on this Python")

    class Old(v1.BaseModel):  # type: ignore[name-defined, misc]
        name: str
        number: int = v1.Field(2, ge=0)

    llm = gemma(model=GEMMA_3).with_structured_output(Old, include_raw=True)
    service.replies({"response": '{"name": "x"}'})
    assert llm.invoke("Go")["parsed"] == Old(name="x")
    service.replies({"response": '{"name": "x", "number": -1}'})
    found = llm.invoke("Go")
    assert found["parsed"] is None
    assert isinstance(found["parsing_error"], OutputParserException)


def test_typed_dicts_are_returned_as_plain_dicts(service: Service) -> None:
    class Dated(TypedDict):
        day: date
        color: schema_examples.Color

    service.replies({"response": '{"day": "2026-11-21", "color": "red"}'})
    assert gemma().with_structured_output(Dated).invoke("Go") == {"day": "2026-11-21", "color": "red"}


def test_generic_models(service: Service) -> None:
    from typing import Generic, TypeVar

    T = TypeVar("T")

    class Box(BaseModel, Generic[T]):
        content: T

    service.replies({"response": '{"content": 3}'})
    assert gemma().with_structured_output(Box[int]).invoke("Go") == Box[int](content=3)
    assert input_of(service)["response_format"]["json_schema"]["name"] == "Box_int"


# --- include_raw ------------------------------------------------------------------------------------------------------


@pairs
@pytest.mark.parametrize("way", WAYS)
def test_include_raw(service: Service, way: str, generation: Generation, method: Any) -> None:
    answer(service, generation, method, Joke, '{"setup": "x"}', way)
    llm = gemma(**generation.arguments).with_structured_output(Joke, method=method, include_raw=True)
    found = ask(llm, way)
    total = found[0]
    for chunk in found[1:]:
        total = total + chunk
    assert total.keys() == {"raw", "parsed", "parsing_error"}
    assert isinstance(total["raw"], AIMessage)
    assert total["parsed"] == Joke(setup="x")
    assert total["parsing_error"] is None
    if method == "function_calling":
        assert total["raw"].tool_calls[0]["args"] == {"setup": "x"}
    else:
        assert total["raw"].text == '{"setup": "x"}'


@pairs
@pytest.mark.parametrize("way", ["ainvoke", "stream"])
def test_include_raw_keeps_the_parsing_error(service: Service, way: str, generation: Generation, method: Any) -> None:
    answer(service, generation, method, Joke, '{"rating": "low"}', way)
    llm = gemma(**generation.arguments).with_structured_output(Joke, method=method, include_raw=True, max_repairs=0)
    found = ask(llm, way)
    last = {key: value for chunk in found for key, value in chunk.items()}
    assert isinstance(last["raw"], AIMessage)
    assert last["parsed"] is None
    assert isinstance(last["parsing_error"], OutputParserException)
    assert isinstance(last["parsing_error"].__cause__, ValidationError)


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_include_raw_streams_growing_dicts(service: Service, way: str) -> None:
    schema = EXAMPLES["json_schema"].schema
    answer(service, BY_NAME["gemma-3"], None, schema, '{"setup": "knock knock", "rating": 7}', way)
    found = ask(gemma(model=GEMMA_3).with_structured_output(schema, include_raw=True), way)
    parsed = [chunk["parsed"] for chunk in found if "parsed" in chunk]
    assert {"setup": "knoc"} in parsed
    assert parsed[-1] == {"setup": "knock knock", "rating": 7}
    total = found[0]
    for chunk in found[1:]:
        total = total + chunk
    assert total["parsed"] == parsed[-1]
    assert total["raw"].text == '{"setup": "knock knock", "rating": 7}'


def test_errors_of_the_service_are_raised_with_include_raw(service: Service) -> None:
    from langchain_workers_gemma import BadRequestError

    service.says({"success": False, "result": None, "errors": [{"code": 5006, "message": "JSON Mode couldn't be met"}]})
    for llm in (gemma().with_structured_output(Joke, include_raw=True), gemma().with_structured_output(Joke)):
        for way in WAYS:
            with pytest.raises(BadRequestError, match="JSON Mode couldn't be met") as caught:
                ask(llm, way)
            assert caught.value.message == "JSON Mode couldn't be met"


# --- Room -------------------------------------------------------------------------------------------------------------


@pairs
def test_max_tokens_that_is_set_is_kept(service: Service, generation: Generation, method: Any) -> None:
    answer(service, generation, method, Joke, '{"setup": "x"}', "invoke")
    for llm in (
        gemma(**generation.arguments, max_tokens=99).with_structured_output(Joke, method=method),
        gemma(**generation.arguments).with_structured_output(Joke, method=method, max_tokens=99),
    ):
        llm.invoke("Go")
        assert input_of(service)["max_tokens"] == 99


def test_thinking_raises_max_tokens_too(service: Service) -> None:
    service.replies({"response": '{"setup": "x"}'})
    rooms = []
    for thinking in (None, True, False):
        gemma(thinking=thinking).with_structured_output(Joke).invoke("Go")
        rooms.append(input_of(service)["max_tokens"])
    assert rooms == [12288, 12288, 4096]
