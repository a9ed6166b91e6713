"""Structured output: forms of replies, unreadable replies, and partial objects of streams."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk
from pydantic import BaseModel
from pydantic_core import from_json
from typing_extensions import TypedDict

from langchain_workers_gemma.json_text.finder import NoJsonError, find_json, is_truncated_json
from langchain_workers_gemma.json_text.growing import PartialJsonParser
from langchain_workers_gemma.request.response_format import Answer
from langchain_workers_gemma.response.events import Text
from langchain_workers_gemma.response.stages.json_answer import JsonAnswer
from langchain_workers_gemma.schemas import to_json_schema
from langchain_workers_gemma.structured_output.parser import AnswerReader, PartialValues
from tests.helpers.mock_service import (
    MockService,
    encode_sse,
    make_completion,
    make_delta,
    make_response,
    make_stream_response,
    make_usage,
)
from tests.helpers.model_calls import GEMMA_3, GEMMA_4, make_model
from tests.helpers.structured_calls import (
    VARIANTS_BY_NAME,
    ServiceVariant,
    collect_outputs,
    for_each_pair,
    respond_with_object,
    write_object,
)


class Person(BaseModel):
    """A person."""

    name: str
    age: int = 0


class Card(TypedDict):
    name: str
    age: int


SCHEMA = {"title": "Person", "type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}
ADA = {"name": "Ada", "age": 36}
TEXT = '{"name": "Ada", "age": 36}'

# --- Forms of replies -------------------------------------------------------------------------------------------------

FORMS: dict[str, Any] = {
    "string": TEXT,
    "object": ADA,
    "trailing white space": TEXT + "\n\n   \n" + " " * 100,
    "leading white space": "\n\n  " + TEXT,
    "indented": json.dumps(ADA, indent=4),
    "fenced": f"```json\n{TEXT}\n```",
    "fenced without a language": f"```\n{TEXT}\n```",
    "fenced with space": f"``` JSON \r\n{json.dumps(ADA, indent=2)}\r\n```\r\n",
    "fenced on one line": f"```json{TEXT}```",
    "text before": f"Sure! Here is the object:\n\n{TEXT}",
    "text after": f"{TEXT}\n\nLet me know if you need {{anything}} else.",
    "text and a fence": f"Certainly.\n```json\n{TEXT}\n```\nThis {{person}} is Ada.",
    "braces in the text": f"I use {{name}} and {{}} as you said: {TEXT}.",
    "raw control characters": '{"name": "Ada",\n\t"age": 36}',
    "generated texts": [{"generated_text": TEXT}],
    "text parts": [{"type": "text", "text": TEXT[:9]}, {"type": "text", "text": TEXT[9:]}],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("variant", ["gemma-4", "gemma-3", "gemma-7b-lora", "aimlapi"])
@pytest.mark.parametrize("call_method", ["invoke", "astream"])
def test_every_form_of_reply_is_read(service: MockService, call_method: str, variant: str, form: str) -> None:
    service_variant = VARIANTS_BY_NAME[variant]
    reply = FORMS[form]
    if service_variant.openai:
        service.respond_with_results(make_completion(reply))
    else:
        service.respond_with_results({"response": reply})
    llm = make_model(**service_variant.arguments)
    # A JSON body instead of a stream is accepted too.
    assert collect_outputs(llm.with_structured_output(Person), call_method) == [Person(**ADA)]
    assert collect_outputs(llm.with_structured_output(SCHEMA), call_method)[-1] == ADA
    assert collect_outputs(llm.with_structured_output(Card), call_method)[-1] == ADA


@pytest.mark.parametrize("form", [form for form, reply in FORMS.items() if isinstance(reply, str)])
@pytest.mark.parametrize("size", [1, 4, 1000])
def test_every_form_of_reply_is_read_from_a_stream(service: MockService, form: str, size: int) -> None:
    text = FORMS[form]
    pieces = [{"response": text[start : start + size]} for start in range(0, len(text), size)]
    service.respond_with_events(*pieces, {"response": "", "usage": make_usage(1, 1)}, "[DONE]")
    llm = make_model(model=GEMMA_3)
    assert list(llm.with_structured_output(Person).stream("Go")) == [Person(**ADA)]
    found = list(llm.with_structured_output(SCHEMA).stream("Go"))
    assert found[-1] == ADA
    for earlier, later in pairwise(found):
        assert is_partial_of(earlier, later)
    if size == 1 and not form.startswith(("text before", "text after", "text and", "braces")):
        assert {"name": "Ad"} in found


@pytest.mark.parametrize("variant", ["gemma-4", "gemma-3", "gemma-7b", "aimlapi"])
@pytest.mark.parametrize("form", [form for form, reply in FORMS.items() if isinstance(reply, str)])
@pytest.mark.parametrize("call_method", ["ainvoke", "stream"])
def test_a_bound_format_returns_only_the_json(service: MockService, call_method: str, variant: str, form: str) -> None:
    """Programs that bind `response_format`, such as LangChain's agents, pass the text to `json.loads`."""
    service_variant = VARIANTS_BY_NAME[variant]
    respond_with_object(service, service_variant, None, Person, FORMS[form], call_method)
    llm = make_model(**service_variant.arguments).bind(response_format={"type": "json_schema", "json_schema": SCHEMA})
    assert json.loads("".join(message.text for message in collect_outputs(llm, call_method))) == ADA


@pytest.mark.parametrize("call_method", ["stream", "astream"])
@pytest.mark.parametrize("empty", [b"", {"result": {}, "success": True}, b"data: [DONE]\n\n"], ids=str)
def test_an_empty_stream_is_requested_again(service: MockService, call_method: str, empty: Any) -> None:
    first = make_stream_response(empty) if isinstance(empty, bytes) else make_response(empty)
    second = make_response({"result": {"response": ADA}, "success": True})
    for schema, expected in ((Person, Person(**ADA)), (SCHEMA, ADA)):
        service.respond_with(first, second)
        assert collect_outputs(make_model(model=GEMMA_3).with_structured_output(schema), call_method)[-1] == expected


# --- Unreadable replies -----------------------------------------------------------------------------------------------

TRUNCATED_TEXTS = [
    '{"name": "Ad',
    '{"name": "Ada", "age"',
    '{"name": "Ada", "age": 3',
    "{",
    '{"name": "Ada\\',
    '{"name": "A\\u00',
]
WHITE_SPACE_LOOPS = ['{"name": "Ada",' + "\n" * 400, '{"name": "Ada", "age": ' + " \t" * 200, "{" + " " * 2000]


def respond_truncated(
    service: MockService, variant: ServiceVariant, method: Any, text: str, call_method: str, reason: str | None
) -> None:
    """Make the service send a truncated reply."""
    text_sent, calls = write_object(variant, method, Person, text)
    if not calls and method == "function_calling":
        text_sent = text_sent.removesuffix("}")
    more: dict[str, Any] = {"tool_calls": calls} if calls else {}
    if variant.openai and call_method in ("invoke", "ainvoke"):
        result = make_completion(text_sent, finish_reason=reason, **more)
        service.respond_with_bodies(result) if variant.arguments.get(
            "api"
        ) == "openai" else service.respond_with_results(result)
    elif variant.openai:
        part = {"tool_calls": [{**call, "index": 0} for call in calls]} if calls else {"content": text_sent}
        service.respond_with_events(make_delta(**part), make_delta(finish_reason=reason), "[DONE]")
    elif call_method in ("invoke", "ainvoke"):
        service.respond_with_results({"response": text_sent, "finish_reason": reason})
    else:
        service.respond_with_events({"response": text_sent}, {"response": "", "finish_reason": reason}, "[DONE]")


@for_each_pair
@pytest.mark.parametrize("call_method", ["invoke", "astream"])
@pytest.mark.parametrize("reason", ["length", None])
def test_truncated_replies_raise(
    service: MockService, call_method: str, reason: str | None, variant: ServiceVariant, method: Any
) -> None:
    llm = make_model(**variant.arguments)
    for schema in (Person, SCHEMA):
        for text in TRUNCATED_TEXTS:
            respond_truncated(service, variant, method, text, call_method, reason)
            with pytest.raises(OutputParserException, match=r"it was truncated: raise max_tokens"):
                collect_outputs(llm.with_structured_output(schema, method=method), call_method)
            last = {
                key: value
                for chunk in collect_outputs(
                    llm.with_structured_output(schema, method=method, include_raw=True), call_method
                )
                for key, value in chunk.items()
            }
            assert isinstance(last["raw"], AIMessage)
            assert last["parsed"] is None
            assert "max_tokens" in str(last["parsing_error"])


@for_each_pair
@pytest.mark.parametrize("call_method", ["ainvoke", "stream"])
def test_loops_of_white_space_raise(
    service: MockService, call_method: str, variant: ServiceVariant, method: Any
) -> None:
    llm = make_model(**variant.arguments).with_structured_output(Person, method=method)
    for text in WHITE_SPACE_LOOPS:
        respond_truncated(service, variant, method, text, call_method, "length")
        with pytest.raises(OutputParserException, match=r"white space.*loop until max_tokens"):
            collect_outputs(llm, call_method)


@for_each_pair
def test_an_empty_truncated_reply_raises(service: MockService, variant: ServiceVariant, method: Any) -> None:
    """A model that thinks can use all tokens before its first word of text."""
    result: Any = make_completion("", finish_reason="length", reasoning_content="Hm") if variant.openai else None
    result = result or {"response": "", "finish_reason": "length"}
    service.respond_with_bodies(result) if variant.arguments.get("api") == "openai" else service.respond_with_results(
        result
    )
    with pytest.raises(OutputParserException, match=r"empty; .*max_tokens"):
        make_model(**variant.arguments).with_structured_output(Person, method=method).invoke("Go")


@for_each_pair
@pytest.mark.parametrize("call_method", ["invoke", "stream"])
def test_text_without_an_object_raises(
    service: MockService, call_method: str, variant: ServiceVariant, method: Any
) -> None:
    text_sent = "I cannot help with {that}."
    result: Any = make_completion(text_sent) if variant.openai else {"response": text_sent}
    service.respond_with_bodies(result) if variant.arguments.get("api") == "openai" else service.respond_with_results(
        result
    )
    llm = make_model(**variant.arguments)
    with pytest.raises(OutputParserException, match="no JSON object") as caught:
        collect_outputs(llm.with_structured_output(Person, method=method), call_method)
    assert caught.value.llm_output == text_sent
    last = collect_outputs(llm.with_structured_output(Person, method=method, include_raw=True), call_method)
    assert isinstance(last[-1]["parsing_error"], OutputParserException)


@pytest.mark.parametrize("value", ["[1, 2]", '[{"name": "Ada"}]', "3", '"Ada"', "null"])
def test_json_that_is_not_an_object_raises(service: MockService, value: str) -> None:
    service.respond_with_results({"response": value})
    with pytest.raises(OutputParserException, match="no JSON object"):
        make_model().with_structured_output(Person).invoke("Go")


def test_text_instead_of_a_call_is_not_read_as_arguments(service: MockService) -> None:
    class Lenient(BaseModel):
        name: str = "nobody"

    service.respond_with_results(make_completion('{"other": 1}'))
    with pytest.raises(OutputParserException, match="without the requested call"):
        make_model().with_structured_output(Lenient, method="function_calling", max_repairs=0).invoke("Go")


def test_an_object_inside_an_unreadable_object_is_not_returned() -> None:
    for text in ('{"a": {"b": 1}, oops}', '{"a": {"b": 1}, "c": tru}', '{"a": {"b": 1}, "c": "', '{"a": {"b": {}}'):
        with pytest.raises(NoJsonError):
            find_json(text)


def test_lone_surrogates_are_replaced_and_control_characters_kept(service: MockService) -> None:
    service.respond_with_results({"response": r'{"name": "a\ud83d b\ude00 c\ud83d\ude00 \\ud83d' + '\n\x07"}'})
    expected = "a\ufffd b\ufffd c\U0001f600 \\ud83d\n\x07"
    assert make_model().with_structured_output(Person).invoke("Go") == Person(name=expected)
    assert make_model().with_structured_output(SCHEMA).invoke("Go") == {"name": expected}


def test_deep_and_large_replies_raise(service: MockService) -> None:
    for text in (
        '{"a":' * 5000 + "1" + "}" * 5000,
        '{"a":' * 300 + "1" + "}" * 300,
        '{"a":' + "[" * 100_000,
        '{"age": ' + "9" * 5000 + ', "name": ""}',
        "{" * 100_000,
        '{"' * 50_000,
    ):
        service.respond_with_results({"response": text})
        for method in ("json_schema", "function_calling"):
            with pytest.raises(OutputParserException):
                make_model().with_structured_output(Person, method=method).invoke("Go")


# --- The finder -------------------------------------------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)
objects = st.dictionaries(st.text(), values, min_size=1)
plain_texts = st.lists(
    st.sampled_from(["Sure!", "{name}", "{}", "{ x", "}", "```", "[1]", '"quoted"', "\n", "\\", "```python", "é🙂"])
    | st.text(st.characters(exclude_characters="{", exclude_categories=()), max_size=20)
).map(" ".join)


@settings(max_examples=120, deadline=None)
@given(
    objects, plain_texts.filter(lambda text: not text.rstrip().endswith("{")), plain_texts, st.booleans(), st.booleans()
)
def test_any_object_is_found(value: Any, before: str, after: str, fenced: bool, ascii_only: bool) -> None:
    written = json.dumps(value, ensure_ascii=ascii_only, indent=2 if fenced else None)
    text = f"{before}\n```json\n{written}\n```\n{after}" if fenced else f"{before} {written} {after}"
    assert find_json(text) == value
    parser = PartialJsonParser()
    for character in text:
        parser.feed(character)
    assert parser.get_snapshot() == value
    answer = JsonAnswer()
    events = [event for piece in text for event in answer.feed(Text(piece))]
    events += answer.flush()
    assert json.loads("".join(event.text for event in events)) == value  # type: ignore[union-attr]


jsonish = st.lists(
    st.sampled_from(
        [*'{}[]":,\\ \n0-1.eE', '"a"', "true", "null", "tru", "\\u", "\\ud83d", "\ud83d", "NaN", "```", "é"]
    )
    | st.text(max_size=3)
).map("".join)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=())) | jsonish, st.booleans())
def test_any_text_returns_an_object_or_raises_a_parse_error(text: str, from_call: bool) -> None:
    is_truncated_json(text)
    for schema in (Person, Card, SCHEMA, None):
        answer = Answer("x", None if schema is None else to_json_schema(schema))
        reader = AnswerReader(schema, answer, from_call=from_call)
        calls = [{"name": "f", "args": text, "id": "1", "index": 0, "type": "tool_call_chunk"}]
        chunk = AIMessageChunk(content=text, tool_call_chunks=calls if from_call else [])
        values = PartialValues(reader)
        list(values.add(chunk))
        whole, streamed = reader.read(chunk), reader.read(values.message)
        assert repr(whole.value) == repr(streamed.value)
        assert str(whole.error) == str(streamed.error)
        assert whole.error is None or isinstance(whole.error, OutputParserException)


@settings(max_examples=100, deadline=None)
@given(objects, st.booleans(), st.lists(st.integers(1, 9), min_size=1))
def test_snapshots_only_grow(value: Any, indented: bool, sizes: list[int]) -> None:
    text = json.dumps(value, indent=1 if indented else None)
    parser = PartialJsonParser()
    snapshots: list[Any] = []
    position = turn = 0
    while position < len(text):
        size = sizes[turn % len(sizes)]
        if parser.feed(text[position : position + size]):
            snapshots.append(parser.get_snapshot())
        position, turn = position + size, turn + 1
    assert snapshots[-1] == parser.get_snapshot() == value
    for earlier, later in pairwise(snapshots):
        assert is_partial_of(earlier, later)
        assert earlier != later


@settings(max_examples=60, deadline=None)
@given(objects, st.data())
def test_a_snapshot_is_part_of_what_pydantic_parses(value: Any, data: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    cut = data.draw(st.integers(2, len(text)))
    parser = PartialJsonParser()
    parser.feed(text[:cut])
    snapshot = parser.get_snapshot()
    assert is_partial_of(snapshot, from_json(text[:cut], allow_partial="trailing-strings"))


@settings(max_examples=100, deadline=None)
@given(jsonish, st.integers(1, 5))
def test_any_text_gives_the_same_snapshot_in_pieces(text: str, size: int) -> None:
    whole, pieces = PartialJsonParser(), PartialJsonParser()
    whole.feed(text)
    for start in range(0, len(text), size):
        pieces.feed(text[start : start + size])
    assert repr(whole.get_snapshot()) == repr(pieces.get_snapshot())


def is_partial_of(earlier: Any, later: Any) -> bool:
    """Return whether `earlier` can be a partial value of `later`."""
    if isinstance(earlier, str) and isinstance(later, str):
        return later.startswith(earlier)
    if isinstance(earlier, list) and isinstance(later, list):
        return len(earlier) <= len(later) and all(map(is_partial_of, earlier, later))
    if isinstance(earlier, dict) and isinstance(later, dict):
        return list(earlier) == list(later)[: len(earlier)] and all(
            is_partial_of(earlier[k], later[k]) for k in earlier
        )
    return type(earlier) is type(later) and bool(earlier == later)


# --- Long replies -----------------------------------------------------------------------------------------------------


def test_finished_values_are_shared_between_snapshots() -> None:
    parser = PartialJsonParser()
    parser.feed('{"items": [{"id": 1}, {"id": 2')
    earlier = parser.get_snapshot()
    parser.feed('0}, {"id":')
    later = parser.get_snapshot()
    assert later == {"items": [{"id": 1}, {"id": 20}, {}]}
    assert later["items"][0] is earlier["items"][0]


def test_a_long_document_is_streamed(service: MockService) -> None:
    value = {"items": [{"id": number, "name": "Ada"} for number in range(1500)]}
    text = json.dumps(value)
    service.respond_with_events(*({"response": text[start : start + 4]} for start in range(0, len(text), 4)), "[DONE]")
    schema = {"title": "x", "type": "object", "properties": {"items": {"type": "array"}}}
    found = list(make_model(model=GEMMA_3).with_structured_output(schema).stream("Go"))
    assert found[-1] == value
    assert len(found) > 3000


def test_partial_objects_of_calls_grow(service: MockService) -> None:
    pieces = [TEXT[start : start + 3] for start in range(0, len(TEXT), 3)]
    head = {"index": 0, "id": "c", "type": "function", "function": {"name": "Person", "arguments": ""}}
    events = [make_delta(tool_calls=[{"index": 0, "function": {"arguments": piece}}]) for piece in pieces]
    service.respond_with_pieces(
        encode_sse(make_delta(tool_calls=[head]), *events, make_delta(finish_reason="tool_calls"), "[DONE]")
    )
    found = list(make_model(model=GEMMA_4).with_structured_output(SCHEMA, method="function_calling").stream("Go"))
    assert found[-1] == ADA
    assert len(found) >= 3
    for earlier, later in pairwise(found):
        assert is_partial_of(earlier, later)
