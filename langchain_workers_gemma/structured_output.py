"""Structured output: which method and parameter for which model, and reading the object out of the reply."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, is_typeddict

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.output_parsers import BaseGenerationOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import Runnable, RunnableConfig, RunnableMap, RunnablePassthrough
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import BaseModel, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from langchain_workers_gemma.json_text import NoJsonError, find_json, is_cut_json
from langchain_workers_gemma.schemas import json_schema_of, schema_name

if TYPE_CHECKING:
    from langchain_workers_gemma.models import GemmaModel

Method: TypeAlias = Literal["guided_json", "json_schema", "json_mode", "function_calling"]
"""How an answer is bound to a schema."""

_METHODS: tuple[Method, ...] = ("guided_json", "json_schema", "json_mode", "function_calling")
_LOOP = 32  # white space in a row that no JSON writer leaves at the end


def resolve_method(method: str | None, facts: GemmaModel) -> Method | None:
    """The method for a model; `None` where only the prompt can ask for JSON.

    Raises:
        ValueError: If the method is unknown, or one that the model does not have.
    """
    if method is None:
        if facts.constraint is None:
            return None
        return "guided_json" if facts.constraint == "guided_json" else "json_schema"
    if method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, _METHODS))}, or None, not {method!r}.")
    if method == "guided_json" and facts.constraint != "guided_json":
        cure = "leave method out" if facts.constraint is None else "use method='json_schema', or leave it out"
        raise ValueError(f"method='guided_json': {facts.id} has no such parameter; {cure}.")
    if method in ("json_schema", "json_mode") and facts.constraint is None:
        raise ValueError(
            f"method={method!r}: {facts.id} has no JSON mode on {facts.host}. Leave method out to ask for JSON in the "
            "prompt, or use method='function_calling'."
        )
    return _METHODS[_METHODS.index(method)]


def structure(
    llm: Any,
    schema: Any,
    facts: GemmaModel,
    *,
    method: str | None,
    include_raw: bool,
    strict: bool | None,
    options: Mapping[str, Any],
) -> Runnable[LanguageModelInput, Any]:
    """The runnable that answers in the form of a schema. See `ChatWorkersGemma.with_structured_output`."""
    resolved = resolve_method(method, facts)
    if schema is None and resolved != "json_mode":
        raise ValueError("schema is missing: give a Pydantic class, a TypedDict, a JSON Schema, or OpenAI's tool form.")
    json_schema = None if schema is None else json_schema_of(schema)
    traced = {"ls_structured_output_format": {"kwargs": {"method": resolved or "prompt"}, "schema": json_schema or {}}}
    if resolved == "function_calling":
        name = schema_name(schema)
        tool = {"type": "function", "function": _function(name, json_schema or {}, strict=strict)}
        bound = llm.bind_tools([tool], tool_choice=name, keep_broken_calls=True, **options, **traced)
    elif resolved == "json_mode" or json_schema is None:
        bound = llm.bind(response_format={"type": "json_object"}, **options, **traced)
    else:
        envelope: dict[str, Any] = {"name": schema_name(schema), "schema": json_schema}
        if strict is not None:
            envelope["strict"] = strict
        bound = llm.bind(response_format={"type": "json_schema", "json_schema": envelope}, **options, **traced)
    parser = StructuredOutputParser(schema=schema, from_call=resolved == "function_calling")
    if not include_raw:
        return cast("Runnable[LanguageModelInput, Any]", bound | parser)
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    unparsed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=bound) | parsed.with_fallbacks([unparsed], exception_key="parsing_error")


def _function(name: str, json_schema: Mapping[str, Any], *, strict: bool | None) -> dict[str, Any]:
    parameters = {key: value for key, value in json_schema.items() if key not in ("title", "description")}
    function = {"name": name, "description": json_schema.get("description") or name, "parameters": parameters}
    return function if strict is None else {**function, "strict": strict}


@dataclass(slots=True)
class _Gathered:
    """A reply that is still growing."""

    pieces: list[str] = field(default_factory=list)
    finish_reason: str | None = None

    def add(self, message: BaseMessage, *, from_call: bool) -> bool:
        """Take a message or chunk. Gives whether there is more to read now."""
        reason = message.response_metadata.get("finish_reason")
        self.finish_reason = reason or self.finish_reason
        text = _call_text(message) if from_call else message.text
        if text:
            self.pieces.append(text)
        return bool(text)

    @property
    def text(self) -> str:
        """The JSON so far."""
        return "".join(self.pieces)


def _call_text(message: BaseMessage) -> str:
    """The arguments of the first call, as JSON text, or the next piece of them."""
    if isinstance(message, AIMessageChunk) and message.tool_call_chunks:
        return "".join(piece["args"] or "" for piece in message.tool_call_chunks if not piece["index"])
    if isinstance(message, AIMessage) and message.tool_calls:
        return to_json(message.tool_calls[0]["args"]).decode()
    if isinstance(message, AIMessage) and message.invalid_tool_calls:
        return message.invalid_tool_calls[0]["args"] or ""
    return ""


class StructuredOutputParser(BaseGenerationOutputParser[Any]):
    """Reads an object of the caller's type out of a reply.

    Attributes:
        schema_: The caller's type: a Pydantic class, a TypedDict, a JSON Schema, OpenAI's tool form, or `None`.
        from_call: Whether the object is a tool call's arguments rather than the text.
    """

    schema_: Any = None
    from_call: bool = False

    def __init__(self, *, schema: Any = None, **fields: Any) -> None:
        super().__init__(**{"schema_": schema, **fields})

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        """The object in a whole reply.

        Raises:
            OutputParserException: If there is none, or it was cut, or it is not of the caller's type.
        """
        gathered = _Gathered()
        generation = result[0]
        if isinstance(generation, ChatGeneration):
            gathered.add(generation.message, from_call=self.from_call)
        else:
            gathered.pieces.append(generation.text)
        return self._partial(gathered.text) if partial else self._whole(gathered)

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
        growth = _Growth(self)
        for message in messages:
            yield from growth.add(message)
        yield from growth.finish()

    async def _agrowing(self, messages: AsyncIterator[str | BaseMessage]) -> AsyncIterator[Any]:
        growth = _Growth(self)
        async for message in messages:
            for value in growth.add(message):
                yield value
        for value in growth.finish():
            yield value

    @property
    def yields_dicts(self) -> bool:
        """Whether the caller's type is a dict, of which a part is worth having."""
        return not (isinstance(self.schema_, type) and is_basemodel_subclass(self.schema_))

    def _partial(self, text: str) -> dict[str, Any] | None:
        try:
            value = find_json(text, partial=True)
        except NoJsonError:
            return None
        return value if isinstance(value, dict) else None

    def _whole(self, gathered: _Gathered) -> Any:
        text = gathered.text
        try:
            value = from_json(text) if self.from_call else find_json(text)
        except ValueError as error:
            raise _unreadable(text, gathered.finish_reason, str(error)) from None
        if not isinstance(value, dict):
            raise _unreadable(text, gathered.finish_reason, f"it is a {type(value).__name__}, not an object")
        try:
            return _as_type(value, self.schema_)
        except ValidationError as error:
            raise OutputParserException(
                f"The reply is JSON, but not of the type asked for: {error}", llm_output=text
            ) from error


class _Growth:
    """The partial values of one streamed reply."""

    def __init__(self, parser: StructuredOutputParser) -> None:
        self._parser = parser
        self._gathered = _Gathered()
        self._last: Any = None

    def add(self, message: str | BaseMessage) -> Iterator[Any]:
        if isinstance(message, str):
            self._gathered.pieces.append(message)
            more = bool(message)
        else:
            more = self._gathered.add(message, from_call=self._parser.from_call)
        if more and self._parser.yields_dicts:
            value = self._parser._partial(self._gathered.text)  # noqa: SLF001 - one class in two parts
            if value is not None and value != self._last:
                self._last = value
                yield value

    def finish(self) -> Iterator[Any]:
        whole = self._parser._whole(self._gathered)  # noqa: SLF001
        if whole != self._last:
            yield whole


def _as_type(value: dict[str, Any], schema: Any) -> Any:
    """The value in the caller's type. What had to be stripped from the schema on its way out is checked here."""
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        # As JSON, since a strict model takes a date or an enum from a string only there.
        return schema.model_validate_json(to_json(value))
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        return schema.parse_obj(value)  # type: ignore[attr-defined]  # pydantic.v1
    if is_typeddict(schema):
        try:
            TypeAdapter(schema).validate_json(to_json(value))
        except (PydanticSchemaGenerationError, PydanticUserError):
            return value  # LangChain takes TypedDicts that pydantic cannot check
    return value


def _unreadable(text: str, finish_reason: str | None, why: str) -> OutputParserException:
    trailing = len(text) - len(text.rstrip())
    if trailing >= _LOOP:
        why = (
            f"it ends in {trailing} characters of white space: the model ran in a loop until max_tokens. "
            "Simplify the schema, leave JSON examples out of the prompt, or ask again"
        )
    elif not text.strip():
        why = "it is empty; if the model was still thinking, raise max_tokens"
    elif finish_reason == "length" or is_cut_json(text):
        why = "it was cut: raise max_tokens"
    return OutputParserException(f"The reply holds no JSON object that can be read: {why}.", llm_output=text)
