"""A validated chat request and its completion, in one form for all routes, models and engines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from langchain_workers_gemma.models import GemmaModel

    from .images import Image

Shape: TypeAlias = Literal["native", "choices", "text"]
"""The form of a reply: with `response`, with chat `choices`, or with completion `choices`."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call in a history or a reply. `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of the conversation."""

    role: str
    text: str
    images: tuple[Image, ...] = ()
    calls: tuple[Call, ...] = ()
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the request binds."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """Behaviours of the model and its engine that a dialect switches on in the mock model.

    Attributes:
        calls_as: Write calls as text, in one of `engines.mock.notation.NOTATIONS`.
        prose_for_required: Reply with plain text although a call is required.
        schema_fails: Refuse a schema with the error `JSON Mode couldn't be met`.
        runaway: Fill a constrained reply with white space until `max_tokens`.
        thinking_as_text: Write the thinking channel into the text.
        closed_calls: Close the JSON of a truncated call, and use this finish reason.
        cut_names: Truncate the name of a call, so that it can be the name of another tool.
        context_end: End a reply at the end of the context window, after a few tokens, with a closed call.
        words_before_calls: Write text before a call.
        words_after_calls: Write text after a call. Only a stream has it.
        swallowed_calls: Drop calls if the request binds no tools.
        announced_calls: Finish a stream with `tool_calls` without any call.
        garbled: Include the quotation marks of `keys` and strings, or only of `strings`, in their text. Or end a string
            at a quote token in it, and use the rest as a key (`split`).
        null_arguments: Write null for each parameter that may be null and has no argument. If the schema has only
            `nullable`, the engine changes it to the string "null".
        stringified_values: Send every argument as a string.
        namespaced_calls: Put a namespace before the name of a tool.
        other_tool_for_named: Call another tool than `tool_choice` names.
        doubled_calls: Send a call both as text and as data.
        stop_beside_calls: Use the finish reason `stop` for a reply with calls.
        stray_pieces: Leave a part of a special token in the text before a call.
        leaked_tokens: Leave special tokens at the end of the text.
        orphan_channel: Start inside a thought, so that only its end is marked.
        bare_thought: Start inside a thought, with the name of the thinking channel.
        all_in_reasoning: Put the whole reply into the reasoning.
        empty_for_required: Return an empty reply although a call is required.
        whole_reply_constraint: Apply a schema to the whole reply, so that it forbids calls.
        call_breaks_constraint: Fail with a 500 when the model would call a tool under a schema.
        grammar_errors: Refuse a schema with the message of the grammar engine, `Grammar error: ...`.
    """

    calls_as: str | None = None
    prose_for_required: bool = False
    schema_fails: bool = False
    runaway: bool = False
    thinking_as_text: bool = False
    closed_calls: Literal["length", "tool_calls"] | None = None
    cut_names: bool = False
    context_end: bool = False
    words_before_calls: bool = False
    words_after_calls: bool = False
    swallowed_calls: bool = False
    announced_calls: bool = False
    garbled: Literal["keys", "strings", "split"] | None = None
    null_arguments: bool = False
    stringified_values: bool = False
    namespaced_calls: bool = False
    other_tool_for_named: bool = False
    doubled_calls: bool = False
    stop_beside_calls: bool = False
    stray_pieces: bool = False
    leaked_tokens: bool = False
    orphan_channel: bool = False
    bare_thought: bool = False
    all_in_reasoning: bool = False
    empty_for_required: bool = False
    whole_reply_constraint: bool = False
    call_breaks_constraint: bool = False
    grammar_errors: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A valid request.

    Attributes:
        model: The published facts about the model.
        body: The input as it was sent, without the route's wrapper.
        turns: The conversation; a `prompt` is one user turn.
        prompt: The `prompt` parameter, if it was sent instead of messages.
        tools: The bound tools.
        tool_choice: `auto`, `none`, `required` or the name of the tool to call.
        parallel: Whether one reply may have several calls.
        schema: The JSON Schema for the reply.
        json_mode: Whether the schema was sent as `response_format`.
        stream: Whether the reply is streamed.
        include_usage: Whether a stream in OpenAI's form ends with the usage.
        max_tokens: Maximum number of tokens to generate.
        stop: The stop sequences.
        seed: The request's seed.
        temperature: The request's temperature.
        thinking: Whether the model thinks before it replies.
        n: The number of choices.
        cached_tokens: The number of input tokens that were cached.
        habits: The behaviours that the dialect switches on in the mock model.
    """

    model: GemmaModel
    body: Mapping[str, Any]
    turns: tuple[Turn, ...]
    prompt: str | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    parallel: bool = True
    schema: Mapping[str, Any] | None = None
    json_mode: bool = False
    stream: bool = False
    include_usage: bool = True
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    seed: int | None = None
    temperature: float | None = None
    thinking: bool = False
    n: int = 1
    cached_tokens: int = 0
    habits: Habits = field(default_factory=Habits)

    @property
    def is_call_forced(self) -> bool:
        """Whether the reply must be a call."""
        return self.tool_choice not in ("auto", "none")


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole reply.

    Attributes:
        text: The text.
        reasoning: The reasoning before the text.
        calls: The tool calls.
        finish_reason: The finish reason.
        prompt_tokens: Number of input tokens.
        completion_tokens: Number of output tokens, including reasoning.
        reasoning_tokens: Number of reasoning tokens.
        cached_tokens: Number of input tokens that were cached.
        stop_reason: The stop sequence that ended the reply, or the number of the token with which the model ended it.
        after_calls: Text after the calls. Only a stream has it.
    """

    text: str = ""
    reasoning: str = ""
    calls: tuple[Call, ...] = ()
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    stop_reason: str | int | None = None
    after_calls: str = ""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A part of the text."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A part of the reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class CallDelta:
    """A part of a call. The first part has `id` and `name`."""

    index: int
    arguments: str
    id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class End:
    """The end of the reply. `completion` has its finish reason and usage."""

    completion: Completion = field(default_factory=Completion)


Delta: TypeAlias = TextDelta | ReasoningDelta | CallDelta | End


class Engine(Protocol):
    """The interface of an engine, which replies to chat requests: the mock model or an upstream server."""

    @property
    def description(self) -> str:
        """The name of the engine in the response header `x-sandbox-model`."""
        ...

    async def complete(self, request: ChatRequest) -> Completion:
        """Return the whole reply."""
        ...

    def stream(self, request: ChatRequest) -> AsyncIterator[Delta]:
        """Yield the reply in parts. The last one is an `End`."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...
