"""Structured output: which method and parameter for which model, and reading the object out of the reply."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.output_parsers import BaseGenerationOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import RunnableConfig
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from typing_extensions import is_typeddict

from langchain_workers_gemma.json_text.encoding import encode_json, well_formed
from langchain_workers_gemma.json_text.finder import find_json, is_cut_json
from langchain_workers_gemma.json_text.growing import PartialJsonParser
from langchain_workers_gemma.schemas.typed_dicts import typed_dict_adapter

if TYPE_CHECKING:
    pass


_LOOP = 32  # white space in a row that no JSON writer leaves at the end


@dataclass(slots=True)
class _Accumulator:
    """A reply that is still growing."""

    from_call: bool
    said: list[str] = field(default_factory=list)
    called: list[str] = field(default_factory=list)
    finish_reason: str | None = None

    def add(self, message: str | BaseMessage) -> str:
        """Take a message or chunk. Gives the JSON text in it."""
        if isinstance(message, str):
            self.said.append(message)
            return message
        self.finish_reason = message.response_metadata.get("finish_reason") or self.finish_reason
        said = message.content if isinstance(message.content, str) else str(message.text)
        if said:
            self.said.append(said)
        if not self.from_call:
            return said
        called = _call_text(message)
        if called:
            self.called.append(called)
        return called

    @property
    def text(self) -> str:
        """The JSON so far; where a call should have come and none did, what the model said."""
        return "".join(self.called or self.said)


def _call_text(message: BaseMessage) -> str:
    """The arguments of the first call, as JSON text, or the next piece of them."""
    if isinstance(message, AIMessageChunk) and message.tool_call_chunks:
        return "".join(piece["args"] or "" for piece in message.tool_call_chunks if not piece["index"])
    if isinstance(message, AIMessage) and message.tool_calls:
        return encode_json(message.tool_calls[0]["args"]).decode()
    if isinstance(message, AIMessage) and message.invalid_tool_calls:
        return message.invalid_tool_calls[0]["args"] or ""
    return ""


class StructuredOutputParser(BaseGenerationOutputParser[Any]):
    """Reads an object of the caller's type out of a reply.

    Attributes:
        schema_: The caller's type: a Pydantic class, a TypedDict, a JSON Schema, OpenAI's tool form, or `None`.
        from_call: Whether the object is a tool call's arguments rather than the text.
        strict: Whether the schema was sent in OpenAI's strict form, where null stands for what was left out.
    """

    schema_: Any = None
    from_call: bool = False
    strict: bool = False

    def __init__(self, *, schema: Any = None, **fields: Any) -> None:
        super().__init__(**{"schema_": schema, **fields})

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        """The object in a whole reply.

        Raises:
            OutputParserException: If there is none, or it was cut, or it is not of the caller's type.
        """
        generation = result[0]
        message = generation.message if isinstance(generation, ChatGeneration) else generation.text
        accumulator = _Accumulator(self.from_call)
        text = accumulator.add(message)
        if not partial:
            return self.whole(accumulator)
        growing = PartialJsonParser()
        growing.feed(text)
        return growing.snapshot()

    def transform(
        self,
        input: Iterator[str | BaseMessage],  # noqa: A002 - core's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """For a dict schema, growing dicts as the reply streams; else the object at the end."""
        yield from self._transform_stream_with_config(input, self._growing, config, run_type="parser", **kwargs)

    async def atransform(
        self,
        input: AsyncIterator[str | BaseMessage],  # noqa: A002 - core's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """See `transform`."""
        growing = self._atransform_stream_with_config(input, self._agrowing, config, run_type="parser", **kwargs)
        async for value in growing:
            yield value

    def _growing(self, messages: Iterator[str | BaseMessage]) -> Iterator[Any]:
        growth = _PartialValues(self)
        for message in messages:
            yield from growth.add(message)
        yield from growth.finish()

    async def _agrowing(self, messages: AsyncIterator[str | BaseMessage]) -> AsyncIterator[Any]:
        growth = _PartialValues(self)
        async for message in messages:
            for value in growth.add(message):
                yield value
        for value in growth.finish():
            yield value

    @property
    def yields_dicts(self) -> bool:
        """Whether the caller's type is a dict, of which a part is worth having."""
        return not (isinstance(self.schema_, type) and is_basemodel_subclass(self.schema_))

    def whole(self, accumulator: _Accumulator) -> Any:
        """The object in a reply that has ended.

        Raises:
            OutputParserException: If there is none, or it was cut, or it is not of the caller's type.
        """
        text = accumulator.text
        if self.from_call and not accumulator.called:
            raise _unreadable(accumulator, f"the model answered without the call that was asked for: {text[:200]!r}")
        try:
            value = from_json(well_formed(text)) if self.from_call else find_json(text)
        except ValueError as error:
            raise _unreadable(accumulator, str(error)) from None
        if not isinstance(value, dict):
            raise _unreadable(accumulator, f"it is a {type(value).__name__}, not an object")
        try:
            return validate_as(value, self.schema_, strict=self.strict)
        except ValueError as error:  # Pydantic's own, of both versions, and what JSON cannot be written of
            why = f"The reply is JSON, but not of the type asked for: {error}"
            raise OutputParserException(why, llm_output=text) from error


class _PartialValues:
    """The partial values of one streamed reply."""

    def __init__(self, parser: StructuredOutputParser) -> None:
        self._parser = parser
        self._accumulator = _Accumulator(parser.from_call)
        self._json = PartialJsonParser() if parser.yields_dicts else None
        self._last: Any = None

    def add(self, message: str | BaseMessage) -> Iterator[Any]:
        text = self._accumulator.add(message)
        if text and self._json is not None and self._json.feed(text):
            self._last = self._json.snapshot()
            yield self._last

    def finish(self) -> Iterator[Any]:
        whole = self.end()
        if self._last is None or whole != self._last:
            yield whole

    def end(self) -> Any:
        """The object in the caller's type."""
        return self._parser.whole(self._accumulator)


def validate_as(value: dict[str, Any], schema: Any, *, strict: bool = False) -> Any:
    """The value in the caller's type. What had to be stripped from the schema on its way out is checked here.

    Args:
        value: What the model wrote.
        schema: The caller's type.
        strict: Whether a null where the type takes none means that the model left the field out.

    Raises:
        ValueError: If the value is not of the type.
    """
    try:
        return _checked(value, schema)
    except ValidationError as error:
        if not strict or not _drop_nulls(value, error):
            raise
        return _checked(value, schema)


def _checked(value: dict[str, Any], schema: Any) -> Any:
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        # As JSON, since a strict model takes a date or an enum from a string only there.
        return schema.model_validate_json(encode_json(value))
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        return schema.parse_obj(value)  # type: ignore[attr-defined]  # pydantic.v1
    if is_typeddict(schema):
        typed_dict_adapter(schema).validate_json(encode_json(value))
    return value


def _drop_nulls(value: dict[str, Any], error: ValidationError) -> bool:
    """Take out each null that was refused: in OpenAI's strict form, where all is required, it stands for "nothing"."""
    dropped = False
    for one in error.errors(include_url=False, include_context=False):
        place: Any = value
        *path, last = one["loc"] or ("",)
        for step in path:  # also holds the names of the alternatives of a union, which are no keys
            if (isinstance(place, dict) and step in place) or (isinstance(place, list) and isinstance(step, int)):
                place = place[step]  # type: ignore[index]
        if isinstance(place, dict) and last in place and place[str(last)] is None:
            del place[str(last)]
            dropped = True
    return dropped


def _unreadable(accumulator: _Accumulator, why: str) -> OutputParserException:
    text = accumulator.text
    # A call that was cut ends, in a stream, in a suffix that keeps it from being run.
    bare = text.rstrip("]}") if accumulator.called else text
    trailing = len(bare) - len(bare.rstrip())
    if trailing >= _LOOP:
        why = (
            f"it ends in {trailing} characters of white space: the model ran in a loop until max_tokens. "
            "Simplify the schema, leave JSON examples out of the prompt, or ask again"
        )
    elif not text.strip():
        why = "it is empty; if the model was still thinking, raise max_tokens"
    elif accumulator.finish_reason == "length" or is_cut_json(text) or (accumulator.called and is_cut_json(text[:-1])):
        why = "it was cut: raise max_tokens"
    return OutputParserException(f"The reply holds no JSON object that can be read: {why}.", llm_output=text)
