"""Read an object of the caller's type from a message, or describe why the message has none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from typing_extensions import is_typeddict

from langchain_workers_gemma.json_text.encoding import encode_json, replace_lone_surrogates
from langchain_workers_gemma.json_text.finder import find_json, is_truncated_json
from langchain_workers_gemma.json_text.growing import PartialJsonParser
from langchain_workers_gemma.request.response_format import Answer
from langchain_workers_gemma.response.truncation import is_truncation
from langchain_workers_gemma.schemas.typed_dicts import make_typed_dict_adapter
from langchain_workers_gemma.schemas.validation import find_value_problems

_MIN_LOOP_LENGTH = 32  # characters of white space at the end; complete JSON never has that many
_MAX_PROBLEMS = 8  # the number of Pydantic's errors that are shown to a model


@dataclass(frozen=True, slots=True)
class Reading:
    """The result of reading a message.

    Attributes:
        value: The object in the caller's type; `None` if there is none.
        error: The error if there is no object.
        problem: A description of the error for the model.
        is_truncated: Whether the reply was truncated, so that another request in another form does not help.
        is_ignored_constraint: Whether the reply shows that the engine ignored the constraint.
    """

    value: Any = None
    error: Exception | None = None
    problem: str | None = None
    is_truncated: bool = False
    is_ignored_constraint: bool = False


@dataclass(frozen=True, slots=True)
class AnswerReader:
    """Reads an object of the caller's type from a message.

    Attributes:
        schema: The caller's type: a Pydantic class, a TypedDict, a JSON Schema, OpenAI's tool form, or `None`.
        answer: The form that was requested.
        from_call: Whether the object is in a tool call's arguments, not in the text.
    """

    schema: Any
    answer: Answer
    from_call: bool = False

    @property
    def yields_dicts(self) -> bool:
        """Whether the caller's type is a dict, whose partial values are useful."""
        return not (isinstance(self.schema, type) and is_basemodel_subclass(self.schema))

    def read(self, message: AIMessage) -> Reading:
        """Read a whole message."""
        called = _get_call_text(message) if self.from_call else None
        text = str(message.text) if called is None else called
        if called is not None and (reason := _find_truncated_call(message)):
            return _make_unreadable(message, text, reason, is_truncated=True)
        if self.from_call and called is None:  # JSON in the text does not count as arguments
            why = f"the model answered without the requested call: {text[:200]!r}"
            return _make_unreadable(message, text, why)
        try:
            value = find_json(text) if called is None else from_json(replace_lone_surrogates(text))
        except ValueError as error:
            return _make_unreadable(message, text, str(error))
        if message.response_metadata.get("truncated_json"):
            return _make_unreadable(message, text, "it was truncated", is_truncated=True)
        if not isinstance(value, dict):
            return _make_unreadable(message, text, f"it is a {type(value).__name__}, not an object")
        is_ignored = self.answer.is_ignored_by(value)
        try:
            return Reading(self._validate(value))
        except ValueError as error:  # from both Pydantic versions, and for values that JSON cannot hold
            why = f"The reply is JSON, but does not match the schema: {error}"
            failed = OutputParserException(why, llm_output=text)
            failed.__cause__ = error
            return Reading(error=failed, problem=_describe_problem(error), is_ignored_constraint=is_ignored)
        except Exception as error:  # noqa: BLE001 - the caller's validators may raise anything
            return Reading(error=error)

    def _validate(self, value: dict[str, Any]) -> Any:
        schema = json_schema if (json_schema := self.answer.schema) and isinstance(self.schema, Mapping) else None
        if schema is None:
            return validate_as(value, self.schema, strict=bool(self.answer.strict))
        found = find_value_problems(value, schema, strict=bool(self.answer.strict))
        if found:
            raise ValueError("; ".join(map(str, found)))
        return value


class PartialValues:
    """The partial values of one streamed reply.

    Attributes:
        last: The last value that was yielded.
    """

    def __init__(self, reader: AnswerReader) -> None:
        self._from_call = reader.from_call
        self._json = PartialJsonParser() if reader.yields_dicts else None
        self._chunks: list[AIMessageChunk] = []
        self.last: Any = None

    def add(self, chunk: AIMessageChunk) -> Iterator[Any]:
        """Add the next chunk, and yield the value if it has grown."""
        self._chunks.append(chunk)
        if self._json is None:
            return
        text = _get_call_piece(chunk) if self._from_call else str(chunk.text)
        if text and self._json.feed(text):
            self.last = self._json.get_snapshot()
            yield self.last

    @property
    def message(self) -> AIMessage:
        """The whole reply."""
        chunks = _join_texts(self._chunks)
        whole = chunks[0] + chunks[1:] if chunks else AIMessageChunk(content="")
        assert isinstance(whole, AIMessage)  # noqa: S101 - for the type checker
        return whole


def _join_texts(chunks: Sequence[AIMessageChunk]) -> list[AIMessageChunk]:
    """Return the chunks with consecutive text merged: core adds strings one by one, which takes quadratic time."""
    joined: list[AIMessageChunk] = []
    for is_text, run in groupby(chunks, _is_text_alone):
        first, *rest = run
        text = "".join(str(chunk.content) for chunk in rest) if is_text else ""
        joined += [AIMessageChunk(content=f"{first.content}{text}", id=first.id)] if is_text else [first, *rest]
    return joined


def _is_text_alone(chunk: AIMessageChunk) -> bool:
    holds_more = chunk.additional_kwargs or chunk.response_metadata or chunk.tool_call_chunks or chunk.usage_metadata
    return isinstance(chunk.content, str) and not (holds_more or chunk.chunk_position)


def _get_call_text(message: AIMessage) -> str | None:
    """Return the arguments of the first call as JSON text; `None` if there is no call."""
    if message.tool_calls:
        return encode_json(message.tool_calls[0]["args"]).decode()
    if message.invalid_tool_calls:
        return message.invalid_tool_calls[0]["args"] or ""
    return None


def _get_call_piece(chunk: AIMessageChunk) -> str:
    """Return the next piece of the arguments of the first call."""
    return "".join(piece["args"] or "" for piece in chunk.tool_call_chunks if not piece["index"])


def _find_truncated_call(message: AIMessage) -> str | None:
    """Return why the call was truncated, `None` if it was not. Its JSON does not show it, since engines close JSON."""
    reasons = [] if message.tool_calls else message.response_metadata.get("invalid_tool_call_errors", [])
    return next((reason for reason in reasons if is_truncation(reason)), None)


def validate_as(value: dict[str, Any], schema: Any, *, strict: bool = False) -> Any:
    """Return the value in the caller's type. This also checks rules that the schema in the request does not have.

    Args:
        value: The object that the model wrote.
        schema: The caller's type.
        strict: Whether null means that the model left the field out, if the type does not allow null.

    Raises:
        ValueError: If the value does not match the type.
    """
    try:
        return _check(value, schema)
    except ValidationError as error:
        if not strict or not _drop_nulls(value, error):
            raise
        return _check(value, schema)


def _check(value: dict[str, Any], schema: Any) -> Any:
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        # As JSON, since only then a strict model accepts a string for a date or an enum.
        return schema.model_validate_json(encode_json(value))
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        return schema.parse_obj(value)  # type: ignore[attr-defined]  # pydantic.v1
    if is_typeddict(schema):
        make_typed_dict_adapter(schema).validate_json(encode_json(value))
    return value


def _drop_nulls(value: dict[str, Any], error: ValidationError) -> bool:
    """Remove each null that was refused: in OpenAI's strict form, where every key is required, null means "nothing"."""
    dropped = False
    for one in error.errors(include_url=False, include_context=False):
        place: Any = value
        *path, last = one["loc"] or ("",)
        for step in path:  # the path also holds names of a union's alternatives, which are not keys
            if (isinstance(place, dict) and step in place) or (isinstance(place, list) and isinstance(step, int)):
                place = place[step]  # type: ignore[index]
        if isinstance(place, dict) and last in place and place[str(last)] is None:
            del place[str(last)]
            dropped = True
    return dropped


def _describe_problem(error: ValueError) -> str:
    """Describe an error for the model, without the links and error types of Pydantic's messages."""
    if not isinstance(error, ValidationError):
        return str(error)
    found = error.errors(include_url=False, include_context=False, include_input=False)[:_MAX_PROBLEMS]
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'the value'}: {one['msg']}" for one in found)


def _make_unreadable(message: AIMessage, text: str, why: str, *, is_truncated: bool = False) -> Reading:
    # In a stream, a truncated call ends with a suffix that makes it invalid.
    bare = text.rstrip("]}") if message.invalid_tool_calls else text
    trailing = len(bare) - len(bare.rstrip())
    is_truncated = (
        is_truncated
        or message.response_metadata.get("finish_reason") == "length"
        or trailing >= _MIN_LOOP_LENGTH
        or _holds_truncated_json(message, text)
    )
    if trailing >= _MIN_LOOP_LENGTH:
        why = (
            f"it ends in {trailing} characters of white space: the model ran in a loop until max_tokens. "
            "Simplify the schema, leave JSON examples out of the prompt, or try again"
        )
    elif not text.strip():
        why = "it is empty; if the model was still thinking, raise max_tokens"
    elif is_truncated:
        why = "it was truncated: raise max_tokens"
    error = OutputParserException(f"The reply holds no JSON object that can be read: {why}.", llm_output=text)
    return Reading(error=error, problem=why, is_truncated=is_truncated, is_ignored_constraint=not is_truncated)


def _holds_truncated_json(message: AIMessage, text: str) -> bool:
    return is_truncated_json(text) or (bool(message.invalid_tool_calls) and is_truncated_json(text[:-1]))
