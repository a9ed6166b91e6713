"""Structured output: the request for each schema, method and model, and the returned object."""

from __future__ import annotations

import json
from datetime import date
from typing import Any, Generic, TypeVar

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError, field_validator
from typing_extensions import TypedDict

from langchain_workers_gemma import BadRequestError
from langchain_workers_gemma.schemas import (
    get_schema_name,
    inline_refs,
    to_json_schema,
    to_strict_openai,
)
from tests.helpers import schema_examples
from tests.helpers.mock_service import MockService
from tests.helpers.model_calls import CALL_METHODS, GEMMA_3, make_model
from tests.helpers.schema_examples import EXAMPLES
from tests.helpers.schema_instances import get_instance
from tests.helpers.structured_calls import (
    SERVICE_VARIANTS,
    STRUCTURED_METHODS,
    VARIANTS_BY_NAME,
    Joke,
    ServiceVariant,
    build_expected_parameters,
    collect_outputs,
    for_each_pair,
    get_request_input,
    get_structured_parameters,
    make_call_schema,
    make_constraint_parameters,
    parse_as_caller,
    respond_with_object,
)

# --- Each schema, method and model ------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", SERVICE_VARIANTS, ids=str)
@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_schema_is_sent_and_its_object_returned(service: MockService, name: str, variant: ServiceVariant) -> None:
    schema, text = EXAMPLES[name].schema, get_instance(name)
    llm: Any = make_model(**variant.arguments)
    schema_text = json.dumps(inline_refs(to_json_schema(schema)), ensure_ascii=False)
    for method in STRUCTURED_METHODS:
        if variant.lacks(method):
            continue
        respond_with_object(service, variant, method, schema, text, "invoke")
        service.requests.clear()

        found = llm.with_structured_output(schema, method=method).invoke("Go")

        assert found == parse_as_caller(schema, text)
        assert type(found) is (schema if isinstance(schema, type) and issubclass(schema, BaseModel) else dict)
        assert len(service.requests) == 1
        data = get_request_input(service)
        assert get_structured_parameters(data) == build_expected_parameters(variant, method, schema)
        assert data["max_tokens"] == (12288 if variant.name.startswith("gemma-4") else 4096)
        assert all(isinstance(message["content"], str) for message in data["messages"])
        assert (schema_text in data["messages"][0]["content"]) is (method != "function_calling")


@for_each_pair
@pytest.mark.parametrize("name", ["nested", "typed_dict_of_typing"])
@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_every_call_method_returns_the_object(
    service: MockService, call_method: str, name: str, variant: ServiceVariant, method: Any
) -> None:
    schema, text = EXAMPLES[name].schema, get_instance(name)
    respond_with_object(service, variant, method, schema, text, call_method)

    found = collect_outputs(make_model(**variant.arguments).with_structured_output(schema, method=method), call_method)

    assert found[-1] == parse_as_caller(schema, text)
    is_class = isinstance(schema, type) and issubclass(schema, BaseModel)
    if is_class or call_method in ("invoke", "ainvoke"):
        assert len(found) == 1
    assert (get_request_input(service).get("stream") is True) is (call_method in ("stream", "astream"))


def test_the_constraint_for_a_forced_call_has_the_schema_of_the_arguments(service: MockService) -> None:
    variant = VARIANTS_BY_NAME["gemma-3"]
    schema = EXAMPLES["nested"].schema
    respond_with_object(service, variant, "function_calling", schema, get_instance("nested"), "invoke")
    make_model(**variant.arguments).with_structured_output(schema, method="function_calling").invoke("Go")
    arguments = get_request_input(service)["guided_json"]["properties"]["arguments"]
    assert arguments["required"] == ["name", "age", "address"]
    assert get_request_input(service)["guided_json"] == make_call_schema(
        "Person", {key: value for key, value in inline_refs(to_json_schema(schema)).items() if key not in _ANNOTATIONS}
    )


_ANNOTATIONS = ("title", "description")


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
    ("variant", "part"),
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
def test_the_exact_request_parameters(service: MockService, variant: str, part: dict[str, Any]) -> None:
    service.respond_with_results({"response": '{"setup": "x"}'})
    llm = make_model(**VARIANTS_BY_NAME[variant].arguments)
    assert llm.with_structured_output(Joke).invoke("Go") == Joke(setup="x")
    assert get_structured_parameters(get_request_input(service)) == part


@pytest.mark.parametrize("variant", SERVICE_VARIANTS, ids=str)
@pytest.mark.parametrize("method", STRUCTURED_METHODS)
def test_an_unsupported_method_raises_an_error_with_the_cure(variant: ServiceVariant, method: Any) -> None:
    llm = make_model(**variant.arguments)
    if not variant.lacks(method):
        llm.with_structured_output(Joke, method=method)
        return
    with pytest.raises(ValueError, match=rf"method='{method}': .*{llm.model.rsplit('/', 1)[-1]}.*(leave|Leave)"):
        llm.with_structured_output(Joke, method=method)


def test_unknown_methods_and_invalid_schemas_raise() -> None:
    llm = make_model()
    with pytest.raises(ValueError, match="'guided_json', 'json_schema', 'json_mode', 'function_calling'"):
        llm.with_structured_output(Joke, method="xml")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="schema is missing"):
        llm.with_structured_output(None)
    with pytest.raises(ValueError, match="Pydantic"):
        llm.with_structured_output(42)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="JSON object"):
        llm.with_structured_output(RootModel[list[int]])


@pytest.mark.parametrize("variant", ["gemma-4", "gemma-3", "gemma-7b"])
@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_json_mode_needs_no_schema(service: MockService, variant: str, call_method: str) -> None:
    service_variant = VARIANTS_BY_NAME[variant]
    respond_with_object(service, service_variant, "json_mode", Joke, '{"any": ["thing"]}', call_method)
    llm = make_model(**service_variant.arguments).with_structured_output(None, method="json_mode")
    assert collect_outputs(llm, call_method)[-1] == {"any": ["thing"]}


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
@pytest.mark.parametrize("variant", ["gemma-4", "gemma-3", "gemma-7b"])
def test_strict_schemas_are_sent(service: MockService, name: str, variant: str) -> None:
    schema, text = EXAMPLES[name].schema, get_instance(name)
    service_variant = VARIANTS_BY_NAME[variant]
    respond_with_object(service, service_variant, None, schema, text, "invoke")
    found = make_model(**service_variant.arguments).with_structured_output(schema, strict=True).invoke("Go")
    assert found == parse_as_caller(schema, text)
    strict_schema = to_strict_openai(to_json_schema(schema))
    part = get_structured_parameters(get_request_input(service))
    assert part == make_constraint_parameters(service_variant, strict_schema, get_schema_name(schema), strict=True)


def test_strict_false_is_sent(service: MockService) -> None:
    service.respond_with_results({"response": '{"setup": "x"}'})
    make_model().with_structured_output(Joke, strict=False).invoke("Go")
    assert get_request_input(service)["response_format"]["json_schema"]["strict"] is False


def test_strict_is_sent_with_function_calling(service: MockService) -> None:
    service_variant = VARIANTS_BY_NAME["gemma-4"]
    respond_with_object(service, service_variant, "function_calling", Joke, '{"setup": "x"}', "invoke")
    make_model().with_structured_output(Joke, method="function_calling", strict=True).invoke("Go")
    assert get_request_input(service)["tools"][0]["function"]["strict"] is True


def test_null_means_an_omitted_value_with_strict(service: MockService) -> None:
    service.respond_with_results(
        {"response": '{"name":"A","nickname":null,"friends":[{"name":"B","friends":null}],"age":null}'}
    )
    found = make_model().with_structured_output(Person, strict=True).invoke("Go")
    assert found == Person(name="A", friends=[Person(name="B")])
    with pytest.raises(OutputParserException, match="nickname"):
        make_model().with_structured_output(Person).invoke("Go")
    service.respond_with_results({"response": '{"name": "A", "age": null}'})
    assert make_model().with_structured_output(Visitor, strict=True).invoke("Go") == {"name": "A"}
    service.respond_with_results({"response": '{"name": null}'})
    with pytest.raises(OutputParserException, match="name"):
        make_model().with_structured_output(Person, strict=True).invoke("Go")


# --- Validation by the caller's type ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "bad", "message_part"),
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
def test_rules_that_no_engine_enforces_are_validated_by_the_client(
    service: MockService, name: str, bad: Any, message_part: str
) -> None:
    text = json.dumps({**json.loads(get_instance(name)), **bad})
    service.respond_with_results({"response": text})
    llm = make_model(model=GEMMA_3)
    with pytest.raises(OutputParserException, match=message_part) as caught:
        llm.with_structured_output(EXAMPLES[name].schema).invoke("Go")
    assert caught.value.llm_output == text
    with pytest.raises(OutputParserException, match=message_part):
        list(llm.with_structured_output(EXAMPLES[name].schema).stream("Go"))


class Event(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    color: schema_examples.Color
    day: date


def test_pydantic_models_in_strict_mode_are_validated(service: MockService) -> None:
    service.respond_with_results({"response": {"name": "x", "color": "red", "day": "2026-11-21"}})
    found = make_model(model=GEMMA_3).with_structured_output(Event).invoke("Go")
    assert found == Event(name="x", color=schema_examples.Color.RED, day=date(2026, 11, 21))


def test_a_custom_validator_is_applied(service: MockService) -> None:
    class Even(BaseModel):
        number: int

        @field_validator("number")
        @classmethod
        def _check(cls, number: int) -> int:
            if number % 2:
                raise ValueError("odd!")
            return number

    service.respond_with_results({"response": '{"number": 3}'})
    with pytest.raises(OutputParserException, match="odd!"):
        make_model().with_structured_output(Even).invoke("Go")


def test_pydantic_v1_models_are_supported(service: MockService, recwarn: pytest.WarningsRecorder) -> None:
    v1 = pytest.importorskip("pydantic.v1")
    if recwarn.list:
        pytest.skip("pydantic.v1 warns on this Python")

    class Old(v1.BaseModel):  # type: ignore[name-defined, misc]
        name: str
        number: int = v1.Field(2, ge=0)

    llm = make_model(model=GEMMA_3).with_structured_output(Old, include_raw=True)
    service.respond_with_results({"response": '{"name": "x"}'})
    assert llm.invoke("Go")["parsed"] == Old(name="x")
    service.respond_with_results({"response": '{"name": "x", "number": -1}'})
    found = llm.invoke("Go")
    assert found["parsed"] is None
    assert isinstance(found["parsing_error"], OutputParserException)


def test_typed_dicts_are_returned_as_plain_dicts(service: MockService) -> None:
    class Dated(TypedDict):
        day: date
        color: schema_examples.Color

    service.respond_with_results({"response": '{"day": "2026-11-21", "color": "red"}'})
    assert make_model().with_structured_output(Dated).invoke("Go") == {"day": "2026-11-21", "color": "red"}


def test_generic_models_are_supported(service: MockService) -> None:
    T = TypeVar("T")

    class Box(BaseModel, Generic[T]):
        content: T

    service.respond_with_results({"response": '{"content": 3}'})
    assert make_model().with_structured_output(Box[int]).invoke("Go") == Box[int](content=3)
    assert get_request_input(service)["response_format"]["json_schema"]["name"] == "Box_int"


# --- include_raw ------------------------------------------------------------------------------------------------------


@for_each_pair
@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_include_raw_returns_message_and_object(
    service: MockService, call_method: str, variant: ServiceVariant, method: Any
) -> None:
    respond_with_object(service, variant, method, Joke, '{"setup": "x"}', call_method)
    llm = make_model(**variant.arguments).with_structured_output(Joke, method=method, include_raw=True)
    found = collect_outputs(llm, call_method)
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


@for_each_pair
@pytest.mark.parametrize("call_method", ["ainvoke", "stream"])
def test_include_raw_keeps_the_parsing_error(
    service: MockService, call_method: str, variant: ServiceVariant, method: Any
) -> None:
    respond_with_object(service, variant, method, Joke, '{"rating": "low"}', call_method)
    llm = make_model(**variant.arguments).with_structured_output(Joke, method=method, include_raw=True, max_repairs=0)
    found = collect_outputs(llm, call_method)
    last = {key: value for chunk in found for key, value in chunk.items()}
    assert isinstance(last["raw"], AIMessage)
    assert last["parsed"] is None
    assert isinstance(last["parsing_error"], OutputParserException)
    assert isinstance(last["parsing_error"].__cause__, ValidationError)


@pytest.mark.parametrize("call_method", ["stream", "astream"])
def test_include_raw_streams_partial_objects(service: MockService, call_method: str) -> None:
    schema = EXAMPLES["json_schema"].schema
    respond_with_object(
        service, VARIANTS_BY_NAME["gemma-3"], None, schema, '{"setup": "knock knock", "rating": 7}', call_method
    )
    found = collect_outputs(make_model(model=GEMMA_3).with_structured_output(schema, include_raw=True), call_method)
    parsed = [chunk["parsed"] for chunk in found if "parsed" in chunk]
    assert {"setup": "knoc"} in parsed
    assert parsed[-1] == {"setup": "knock knock", "rating": 7}
    total = found[0]
    for chunk in found[1:]:
        total = total + chunk
    assert total["parsed"] == parsed[-1]
    assert total["raw"].text == '{"setup": "knock knock", "rating": 7}'


def test_errors_of_the_service_are_raised_with_include_raw(service: MockService) -> None:
    service.respond_with_bodies(
        {"success": False, "result": None, "errors": [{"code": 5006, "message": "JSON Mode couldn't be met"}]}
    )
    for llm in (make_model().with_structured_output(Joke, include_raw=True), make_model().with_structured_output(Joke)):
        for call_method in CALL_METHODS:
            with pytest.raises(BadRequestError, match="JSON Mode couldn't be met") as caught:
                collect_outputs(llm, call_method)
            assert caught.value.message == "JSON Mode couldn't be met"


# --- Token budget -----------------------------------------------------------------------------------------------------


@for_each_pair
def test_max_tokens_that_is_set_is_kept(service: MockService, variant: ServiceVariant, method: Any) -> None:
    respond_with_object(service, variant, method, Joke, '{"setup": "x"}', "invoke")
    for llm in (
        make_model(**variant.arguments, max_tokens=99).with_structured_output(Joke, method=method),
        make_model(**variant.arguments).with_structured_output(Joke, method=method, max_tokens=99),
    ):
        llm.invoke("Go")
        assert get_request_input(service)["max_tokens"] == 99


def test_thinking_raises_max_tokens(service: MockService) -> None:
    service.respond_with_results({"response": '{"setup": "x"}'})
    budgets = []
    for thinking in (None, True, False):
        make_model(thinking=thinking).with_structured_output(Joke).invoke("Go")
        budgets.append(get_request_input(service)["max_tokens"])
    assert budgets == [12288, 12288, 4096]
