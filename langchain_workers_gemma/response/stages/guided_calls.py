"""Read a reply that follows the schema of `request/guided_schema.py`.

The answer's text is emitted as it arrives. Calls are held until the reply ends: only then is it known that each is
complete, and that no part of it is under another key. Any other reply is read as under `tool_calling="prompt"`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from pydantic_core import from_json

from langchain_workers_gemma.json_text.encoding import encode_json
from langchain_workers_gemma.json_text.scanner import StringDecoder, ValueScanner
from langchain_workers_gemma.response.events import CallsEnd, Event, Stage, Text, ToolCallDelta

_ANSWER = re.compile(r'\s*\{\s*"answer"\s*:\s*(?=\S)')
_ANSWER_BEGUN = re.compile(r'\s*(?:\{\s*(?:"(?:a(?:n(?:s(?:w(?:e(?:r(?:"\s*(?::\s*)?)?)?)?)?)?)?)?)?)?')
_FENCE = re.compile(r"\s*```[a-z_]*[ \t]*\n?(.*?)\n?[ \t]*(?:```\s*)?", re.DOTALL)
_LIST = re.compile(r'\s*\{\s*"tool_calls"\s*:\s*\[')
_BETWEEN = re.compile(r"[\s,]*")
_NAME = re.compile(r'"name"\s*:\s*"([^"\\]*)"')
_ARGUMENTS_KEYS = ("arguments", "parameters", "args", "input", "params", "kwargs")
_TRUNCATED_ARGUMENTS = re.compile(rf'"(?:{"|".join(_ARGUMENTS_KEYS)})"\s*:\s*')
_CALL_KEYS = frozenset({"name", "id", "type", "index"})  # keys of a call that do not hold its arguments


class GuidedCalls:
    """Reads a reply that follows the guided schema: the answer as text, calls as calls.

    Args:
        names: The bound tools.
        unguided: Creates the stage for a reply that does not follow the schema. A service can ignore the constraint,
            and then the reply can hold calls in another notation.
    """

    def __init__(self, names: Collection[str], unguided: Callable[[], Stage] | None = None) -> None:
        self._names = frozenset(names)
        self._make_unguided = unguided
        self._unguided: Stage | None = None
        self._held: list[str] = []
        self._state: Callable[[str], list[Event]] = self._begin
        self._string = StringDecoder()
        self._value = ValueScanner()

    def feed(self, event: Event) -> Sequence[Event]:
        """Take one event and return the events that are ready."""
        if isinstance(event, Text):
            return self._state(event.text)
        return (*self.flush(), event) if isinstance(event, ToolCallDelta) else (event,)

    def flush(self) -> Sequence[Event]:
        """End the reply and return the events that were held back."""
        held, self._held = "".join(self._held), []
        state, self._state = self._state, self._pass_text
        if state == self._hold_rest:
            return self._read_rest_of_answer(held)
        events = self._read_envelope(held) if held else []
        if events is None:
            events = self._pass_text(held)
        return [*events, *(self._unguided.flush() if self._unguided is not None else ())]

    # --- States: each takes a text and returns the events that are ready ---

    def _begin(self, text: str) -> list[Event]:
        self._held.append(text)
        if not text.strip():  # white space decides nothing, and a model in a loop writes it without end
            return []
        begun = "".join(self._held)
        answer = _ANSWER.match(begun)
        if answer is not None:
            self._held = []
            self._state = self._read_answer_text if begun[answer.end()] == '"' else self._read_answer_value
            return self._state(begun[answer.end() + (begun[answer.end()] == '"') :])
        if _ANSWER_BEGUN.fullmatch(begun):
            return []
        if begun.lstrip()[:1] in "{[`":
            self._state = self._hold
            return []
        self._held = []
        return self._pass_text(begun)

    def _hold(self, text: str) -> list[Event]:
        self._held.append(text)
        return []

    def _pass_text(self, text: str) -> list[Event]:
        self._state = self._pass_text
        if self._unguided is None and self._make_unguided is not None:
            self._unguided = self._make_unguided()
        if not text:
            return []
        return [Text(text)] if self._unguided is None else [*self._unguided.feed(Text(text))]

    def _read_answer_text(self, text: str) -> list[Event]:
        answer, rest = self._string.feed(text)
        return self._finish_answer(answer, rest)

    def _read_answer_value(self, text: str) -> list[Event]:
        end = self._value.scan(text)
        return self._finish_answer(text, None) if end is None else self._finish_answer(text[:end].rstrip(), text[end:])

    def _finish_answer(self, answer: str, rest: str | None) -> list[Event]:
        if rest is not None:
            self._held = [rest]
            self._state = self._hold_rest
        return [Text(answer)] if answer else []

    def _hold_rest(self, text: str) -> list[Event]:
        self._held.append(text)
        return []

    # --- At the end of the reply ---

    def _read_rest_of_answer(self, rest: str) -> list[Event]:
        """Return the events after the answer: calls in further keys of its object, or text after the object."""
        end = ValueScanner().scan('{"answer":0' + rest)
        inside, after = (rest, "") if end is None else (rest[: end - 11], rest[end - 11 :])
        further = _parse_object('{"answer":0' + inside) or {}
        events = self._read_calls(further["tool_calls"]) if isinstance(further.get("tool_calls"), list) else []
        return [*events, Text(after.rstrip())] if after.strip() else events

    def _read_envelope(self, held: str) -> list[Event] | None:
        """Return the events of a whole reply, `None` if it does not follow the schema."""
        fence = _FENCE.fullmatch(held)
        text = fence[1] if fence is not None else held
        value = _parse_object(text)
        if value is None:
            text = text.lstrip()
            end = ValueScanner().scan(text)
            rest = "" if end is None else text[end:].strip()
            return self._read_followed(text[:end], rest) if rest else self._read_truncated(text)
        if isinstance(value.get("tool_calls"), list):
            answer = value.get("answer")
            texts: list[Event] = [Text(answer)] if isinstance(answer, str) and answer else []
            return [*texts, *self._read_calls(value["tool_calls"])]
        if set(value) == {"answer"}:
            answer = value["answer"]
            return [Text(answer if isinstance(answer, str) else encode_json(answer).decode())]
        return self._read_call(0, value)

    def _read_followed(self, written: str, rest: str) -> list[Event] | None:
        """Return the events of an envelope that text follows; any other value is not of the schema."""
        events = self._read_envelope(written) if _LIST.match(written) else None
        return None if events is None else [*events, Text(rest)]

    def _read_calls(self, items: Iterable[Any]) -> list[Event]:
        """Return the calls in a list. An item that is not a call to a bound tool is text."""
        events: list[Event] = []
        for index, item in enumerate(items):
            events += self._read_call(index, item) or [Text(encode_json(item).decode())]
        return events

    def _read_call(self, index: int, item: object) -> list[Event] | None:
        function = item.get("function") if isinstance(item, Mapping) else None
        call = function if isinstance(function, Mapping) else item
        if not isinstance(call, Mapping):
            return None
        name = self._resolve_name(call.get("name"))
        if name is None:
            return None
        keys = [key for key in call if key not in _CALL_KEYS]
        if len(keys) > 1 or not {*keys} <= {*_ARGUMENTS_KEYS, name}:
            return None
        arguments = call[keys[0]] if keys else {}
        text = arguments if isinstance(arguments, str) else encode_json({} if arguments is None else arguments).decode()
        # The model wrote the end of the call, so a later truncation does not concern it.
        return [ToolCallDelta(index, None, name, text, closed=True), CallsEnd()]

    def _resolve_name(self, name: object) -> str | None:
        """Return the matching bound tool, `None` if there is none; a namespace before the name is dropped."""
        if not isinstance(name, str):
            return None
        bare = re.split(r"[.:/]", name)[-1]
        return name if name in self._names else bare if bare in self._names else None

    def _read_truncated(self, text: str) -> list[Event] | None:
        """Return the events of a truncated reply: its complete calls, and the truncated one, which must not run."""
        opening = _LIST.match(text)
        if opening is None:
            return self._read_truncated_call(0, text) if text.lstrip().startswith("{") else None
        events: list[Event] = []
        position, index = opening.end(), 0
        while True:
            between = _BETWEEN.match(text, position)
            position = between.end() if between is not None else position
            if text[position : position + 1] != "{":
                return events
            end = ValueScanner().scan(text, position)
            if end is None:
                return [*events, *(self._read_truncated_call(index, text[position:]) or ())]
            written = text[position:end]
            item = _parse_object(written)
            call = self._read_truncated_call(index, written) if item is None else self._read_call(index, item)
            events += call or [Text(written)]
            position, index = end, index + 1

    def _read_truncated_call(self, index: int, text: str) -> list[Event] | None:
        """Return a call that was truncated or is no JSON, so that it must not run, `None` if its name is incomplete."""
        found = _NAME.search(text)
        name = self._resolve_name(found[1]) if found is not None else None
        if name is None:
            return None
        arguments = _TRUNCATED_ARGUMENTS.search(text)
        begun = text[arguments.end() :] if arguments is not None else ""
        return [ToolCallDelta(index, None, name, begun if begun.startswith("{") else "{")]


def _parse_object(text: str) -> dict[str, Any] | None:
    try:
        value = from_json(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
