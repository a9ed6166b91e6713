"""A validated chat request and its completion: one form for every route, model and engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from langchain_workers_gemma.models import GemmaModel

    from .images import Image

Shape: TypeAlias = Literal["native", "choices", "text"]
"""The form of a reply: with `response`, chat `choices` or completion `choices`."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call in a history or a reply; `arguments` is JSON text."""

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
        prose_for_required: Answer a required call in plain text.
        schema_fails: Refuse with the error that JSON mode could not be met.
        runaway: End a constrained reply in white space until `max_tokens`.
        thinking_as_text: Let the thinking channel leak into the text.
        closed_calls: Close the JSON of a cut call, and finish with this reason.
        cut_names: Let a call whose name was cut pass for a call of another tool.
        context_end: End at the end of the context window, after a few tokens, with a call closed.
        words_before_calls: Say something before a call.
        words_after_calls: Say something after a call, which a whole reply loses.
        swallowed_calls: Drop calls where no tools are bound.
        announced_calls: Say `tool_calls` in a stream without any call.
        garbled: Put the quotes of `keys` and strings, or of `strings` alone, into their text.
        stringified_values: Send every argument as a string.
        namespaced_calls: Put a namespace before a tool's name.
        other_tool_for_named: Call another tool than the one that the choice names.
        doubled_calls: Send a call as text and as data.
        stop_beside_calls: Finish with `stop` beside calls.
        stray_pieces: Leave a piece of a special token in the text before a call.
        leaked_tokens: Leave special tokens at the end of the text.
        orphan_channel: Begin inside a thought, so that only its end is marked.
        bare_thought: Begin inside a thought with its name.
        all_in_reasoning: Put the whole reply into the reasoning.
        empty_for_required: Answer a required call with nothing.
        whole_reply_constraint: Let a schema cover the whole reply, so that it forbids calls.
        call_breaks_constraint: Fail with a 500 when a call is due under a schema.
        grammar_errors: Refuse a schema in the words of the engine, `Grammar error: ...`.
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
    garbled: Literal["keys", "strings"] | None = None
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
        prompt: The bare prompt, if one was sent.
        tools: The tools bound.
        tool_choice: `auto`, `none`, `required` or the name of the tool to call.
        parallel: Whether one reply may have several calls.
        schema: The JSON Schema that the reply must obey.
        json_mode: Whether the schema was sent as `response_format`.
        stream: Whether the reply is streamed.
        include_usage: Whether a stream in OpenAI's form ends with the usage.
        max_tokens: The most tokens to generate.
        stop: The stop sequences.
        seed: The request's seed.
        temperature: The request's temperature.
        thinking: Whether the model thinks before it answers.
        n: How many choices.
        cached_tokens: How many of the prompt's tokens were cached.
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
    def forced(self) -> bool:
        """Whether the reply must be a call."""
        return self.tool_choice not in ("auto", "none")


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole reply.

    Attributes:
        text: The answer.
        reasoning: The reasoning before it.
        calls: The tool calls.
        finish_reason: Why it ended.
        prompt_tokens: Tokens of input.
        completion_tokens: Tokens of output, reasoning included.
        reasoning_tokens: Tokens of reasoning.
        cached_tokens: Tokens of input that were cached.
        stop_reason: The stop sequence that ended it, or the number of the token with which the model did.
        after_calls: Text behind the calls, which only a stream has.
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
    """A piece of text."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class CallDelta:
    """A piece of a call; `id` and `name` come with its first."""

    index: int
    arguments: str
    id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class End:
    """The reply is over; `completion` has its finish reason and usage."""

    completion: Completion = field(default_factory=Completion)


Delta: TypeAlias = TextDelta | ReasoningDelta | CallDelta | End


class Engine(Protocol):
    """What answers: the mock model, or a server behind the sandbox."""

    @property
    def description(self) -> str:
        """Its name in the response header `x-sandbox-model`."""
        ...

    async def complete(self, request: ChatRequest) -> Completion:
        """Return the whole reply."""
        ...

    def stream(self, request: ChatRequest) -> AsyncIterator[Delta]:
        """Yield the reply piece by piece; the last piece is an `End`."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...
