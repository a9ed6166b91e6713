"""The behaviours of the service and its engines that users report, as switches (docs/wire.md sections 3, 4, 6, 10)."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from .chat import Habits, Shape

if TYPE_CHECKING:
    from collections.abc import Mapping


SchemaForm: TypeAlias = Literal["guided_json", "json_object", "bare_schema", "schema_envelope"]
"""How a request can constrain a reply: with the parameter `guided_json`, or with `response_format` for any JSON object,
with the bare schema, or with OpenAI's envelope around the schema."""
SCHEMA_FORMS: tuple[SchemaForm, ...] = get_args(SchemaForm)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The form of replies and streams. By default it is the documented form.

    Attributes:
        shape: The form of replies, instead of the model's own form.
        numbers: Send text that is a number as a JSON number (cloudflare/ai#651).
        response: The value of the native `response`: a `text`, `null` if there is no text, the `object` if the text is
            JSON, or a list with `generated_text`.
        usage: Report the usage in the `last` event, cumulatively in `every` event, as `deltas` in each event, or not at
            all (`none`).
        finishes: The number of events with a finish reason.
        dones: The number of `[DONE]` events that end a stream.
        tool_calls: The value of `tool_calls` in a reply without calls: as documented, `empty`, `null` or `missing`.
        finaliser: Send a last chunk of tool calls without index, id, name and arguments.
        whole_calls: Send each call in one event.
        empty_deltas: Send events without content in a stream.
        shared_deltas: Send consecutive parts of a stream in one event: a thought, text and a call.
        call_ids: Ids of calls: unique, `missing`, `repeated` in every turn, or `changing` in each chunk of a call.
        call_index: The index of streamed calls: counted, `zero` for every call, or `missing`.
        call_form: The form of calls in a native reply: `flat` or OpenAI's `function`.
        arguments: Send arguments as an `object` or a `string`.
        body: The body for a streamed request: a `stream`, one `json` body or an `empty` result.
        newline: The line ending in a stream.
        comments: Send comments between events.
        event_lines: Send an `event:` line before each event.
        packets: Send each `event` in its own packet, all events `joined` in one, or `split` anywhere, even within a
            character.
        reasoning_key: The key of the reasoning.
        error_status_200: Send errors with status 200.
        error_code_in_text: Put the code into the message, `AiError: 3040: ...`.
        error_internal_codes: Send errors with `internalCode` and `httpCode`.
        error_object: Send `errors` as one object, as users of the OpenAI route report (anomalyco/opencode#30381).
        refused_forms: Constraint forms that are refused with a 400.
        ignored_forms: Constraint forms that are ignored.
        refusals_in_stream: Refuse a streamed request with an error event and status 200.
        stop_reason: Send a `stop_reason` in choices (docs/wire.md section 10).
        lenient_templates: Accept histories and tools that Gemma 4's chat template renders wrongly (docs/wire.md
            section 11).
        strict_declarations: Refuse a tool if Gemma 4's chat template does not show every rule of its schema.
        max_model_len: The context window of the engine, where it is smaller than the published one.
        large_max_tokens: Whether a `max_tokens` that does not fit is `refused`, or `reduced` without an error.
        habits: Behaviours of the mock model.
    """

    shape: Shape | None = None
    numbers: bool = False
    response: Literal["text", "null", "object", "generated_text"] = "text"
    usage: Literal["last", "every", "deltas", "none"] = "last"
    finishes: int = 1
    dones: int = 1
    tool_calls: Literal["documented", "empty", "null", "missing"] = "documented"
    finaliser: bool = False
    whole_calls: bool = False
    empty_deltas: bool = False
    shared_deltas: bool = False
    call_ids: Literal["unique", "missing", "repeated", "changing"] = "unique"
    call_index: Literal["counted", "zero", "missing"] = "counted"
    call_form: Literal["flat", "function"] | None = None
    arguments: Literal["object", "string"] | None = None
    body: Literal["stream", "json", "empty"] = "stream"
    newline: str = "\n"
    comments: bool = False
    event_lines: bool = False
    packets: Literal["event", "joined", "split"] = "event"
    reasoning_key: Literal["reasoning_content", "reasoning"] = "reasoning_content"
    error_status_200: bool = False
    error_code_in_text: bool = False
    error_internal_codes: bool = False
    error_object: bool = False
    refused_forms: frozenset[SchemaForm] = frozenset()
    ignored_forms: frozenset[SchemaForm] = frozenset()
    refusals_in_stream: bool = False
    stop_reason: bool = True
    lenient_templates: bool = False
    strict_declarations: bool = False
    max_model_len: int | None = None
    large_max_tokens: Literal["refused", "reduced"] = "refused"
    habits: Habits = field(default_factory=Habits)

    def combine(self, other: Dialect) -> Dialect:
        """Return a dialect with the behaviours of both. Where they differ, the other one takes precedence."""
        combined: Dialect = _merge(Dialect, self, other)
        return combined


def _merge(cls: type[Any], left: Any, right: Any) -> Any:
    values: dict[str, Any] = {}
    default = cls()
    for item in fields(cls):
        a, b = getattr(left, item.name), getattr(right, item.name)
        if isinstance(a, Habits):
            values[item.name] = _merge(Habits, a, b)
        elif isinstance(a, frozenset):
            values[item.name] = a | b
        else:
            values[item.name] = b if b != getattr(default, item.name) else a
    return cls(**values)


DOCUMENTED = Dialect()
_SMALL_WINDOW = 1_024

DIALECTS: Mapping[str, Dialect] = {
    "documented": DOCUMENTED,
    "native": Dialect(shape="native"),
    "choices": Dialect(shape="choices"),
    "text_choices": Dialect(shape="text"),
    "numbers": Dialect(numbers=True),
    "null_response": Dialect(response="null"),
    "object_response": Dialect(response="object"),
    "generated_text": Dialect(response="generated_text"),
    "usage_on_every_event": Dialect(usage="every"),
    "usage_deltas": Dialect(usage="deltas"),
    "no_usage": Dialect(usage="none"),
    "several_finishes": Dialect(finishes=3),
    "two_dones": Dialect(dones=2),
    "no_done": Dialect(dones=0),
    "empty_tool_calls": Dialect(tool_calls="empty"),
    "null_tool_calls": Dialect(tool_calls="null"),
    "missing_tool_calls": Dialect(tool_calls="missing"),
    "finaliser": Dialect(finaliser=True),
    "whole_calls": Dialect(whole_calls=True),
    "empty_deltas": Dialect(empty_deltas=True),
    "shared_deltas": Dialect(shared_deltas=True, habits=Habits(words_before_calls=True, words_after_calls=True)),
    "no_call_ids": Dialect(call_ids="missing"),
    "repeated_call_ids": Dialect(call_ids="repeated"),
    "function_calls": Dialect(call_form="function"),
    "arguments_as_object": Dialect(arguments="object"),
    "arguments_as_string": Dialect(arguments="string"),
    "json_for_stream": Dialect(body="json"),
    "empty_stream": Dialect(body="empty"),
    "crlf": Dialect(newline="\r\n"),
    "comments": Dialect(comments=True),
    "event_lines": Dialect(event_lines=True),
    "joined_packets": Dialect(packets="joined"),
    "split_packets": Dialect(packets="split"),
    "reasoning_key": Dialect(reasoning_key="reasoning"),
    "errors_with_200": Dialect(error_status_200=True),
    "error_code_in_text": Dialect(error_code_in_text=True),
    "error_internal_codes": Dialect(error_internal_codes=True),
    "error_object": Dialect(error_object=True),
    "changing_call_ids": Dialect(call_ids="changing"),
    "calls_at_index_zero": Dialect(call_index="zero", whole_calls=True),
    "calls_without_index": Dialect(call_index="missing", whole_calls=True),
    "no_stop_reason": Dialect(stop_reason=False),
    "lenient_templates": Dialect(lenient_templates=True),
    "strict_declarations": Dialect(strict_declarations=True),
    "small_window": Dialect(max_model_len=_SMALL_WINDOW),
    "reduced_max_tokens": Dialect(max_model_len=_SMALL_WINDOW, large_max_tokens="reduced"),
    "refusals_in_stream": Dialect(refusals_in_stream=True),
    **{f"refuse_{form}": Dialect(refused_forms=frozenset({form})) for form in SCHEMA_FORMS},
    **{f"ignore_{form}": Dialect(ignored_forms=frozenset({form})) for form in SCHEMA_FORMS},
    "closed_calls": Dialect(habits=Habits(closed_calls="length")),
    "closed_calls_as_tool_calls": Dialect(habits=Habits(closed_calls="tool_calls")),
    "cut_names": Dialect(habits=Habits(closed_calls="tool_calls", cut_names=True)),
    "context_end": Dialect(habits=Habits(closed_calls="tool_calls", context_end=True)),
    "words_before_calls": Dialect(habits=Habits(words_before_calls=True)),
    "words_after_calls": Dialect(habits=Habits(words_after_calls=True)),
    "swallowed_calls": Dialect(habits=Habits(swallowed_calls=True)),
    "announced_calls": Dialect(habits=Habits(announced_calls=True)),
    "garbled_keys": Dialect(habits=Habits(garbled="keys")),
    "split_strings": Dialect(habits=Habits(garbled="split")),
    "garbled_strings": Dialect(habits=Habits(garbled="strings")),
    "null_arguments": Dialect(habits=Habits(null_arguments=True)),
    "stringified_values": Dialect(habits=Habits(stringified_values=True)),
    "namespaced_calls": Dialect(habits=Habits(namespaced_calls=True)),
    "other_tool_for_named": Dialect(habits=Habits(other_tool_for_named=True)),
    "doubled_calls": Dialect(habits=Habits(doubled_calls=True)),
    "stop_beside_calls": Dialect(habits=Habits(stop_beside_calls=True)),
    "stray_pieces": Dialect(habits=Habits(stray_pieces=True)),
    "leaked_tokens": Dialect(habits=Habits(leaked_tokens=True)),
    "orphan_channel": Dialect(habits=Habits(orphan_channel=True)),
    "bare_thought": Dialect(habits=Habits(bare_thought=True)),
    "all_in_reasoning": Dialect(response="null", reasoning_key="reasoning", habits=Habits(all_in_reasoning=True)),
    "empty_for_required": Dialect(tool_calls="empty", habits=Habits(empty_for_required=True)),
    "whole_reply_constraint": Dialect(habits=Habits(whole_reply_constraint=True)),
    "call_breaks_constraint": Dialect(refusals_in_stream=True, habits=Habits(call_breaks_constraint=True)),
    "grammar_errors": Dialect(refusals_in_stream=True, habits=Habits(grammar_errors=True)),
    "prose_for_required": Dialect(habits=Habits(prose_for_required=True)),
    "schema_fails": Dialect(habits=Habits(schema_fails=True)),
    "runaway": Dialect(habits=Habits(runaway=True)),
    "thinking_as_text": Dialect(habits=Habits(thinking_as_text=True)),
    "calls_as_tool_code": Dialect(habits=Habits(calls_as="tool_code")),
    "calls_as_printed_tool_code": Dialect(habits=Habits(calls_as="tool_code_print")),
    "calls_as_python": Dialect(habits=Habits(calls_as="python")),
    "calls_as_json": Dialect(habits=Habits(calls_as="json")),
    "calls_as_bare_json": Dialect(habits=Habits(calls_as="bare_json")),
    "calls_as_tool_call": Dialect(habits=Habits(calls_as="tool_call")),
    "calls_as_function_gemma": Dialect(habits=Habits(calls_as="function_gemma")),
    "calls_as_gemma_4": Dialect(habits=Habits(calls_as="gemma_4")),
    "calls_as_gemma_4_json": Dialect(habits=Habits(calls_as="gemma_4_json")),
    "calls_as_gemma_4_response": Dialect(habits=Habits(calls_as="gemma_4_response")),
    "calls_as_gemma_4_unclosed": Dialect(habits=Habits(calls_as="gemma_4_unclosed")),
    "calls_as_gemma_4_stripped": Dialect(habits=Habits(calls_as="gemma_4_stripped")),
}
"""The behaviours by name. `get_dialect("crlf", "numbers")` combines several."""


def get_dialect(*names: str) -> Dialect:
    """Return a dialect that combines the named behaviours.

    Raises:
        ValueError: If a name is not in `DIALECTS`.
    """
    combined = DOCUMENTED
    for name in names:
        if name not in DIALECTS:
            raise ValueError(f"There is no dialect {name!r}. The dialects are: {', '.join(DIALECTS)}")
        combined = combined.combine(DIALECTS[name])
    return combined


def list_active_dialects(dialect: Dialect) -> tuple[str, ...]:
    """Return the names of the behaviours that a dialect has."""
    if dialect == DOCUMENTED:
        return ()
    return tuple(name for name, item in DIALECTS.items() if item != DOCUMENTED and dialect.combine(item) == dialect)
