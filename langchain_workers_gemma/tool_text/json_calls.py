"""Read calls in JSON, `{"name": ..., "parameters": {...}}`, also in OpenAI's form under the key `function`.

The keys `tool` and `tool_name` can hold the tool as well (google-deepmind/gemma#512).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_workers_gemma.tool_text.calls import CallState, is_short_enough, to_arguments
from langchain_workers_gemma.tool_text.literals import read_literal, skip
from langchain_workers_gemma.tool_text.source import Steps, UnreadableError
from langchain_workers_gemma.tool_text.tool_names import list_prefixes

_ARGUMENTS = ("parameters", "arguments", "args")
_NAMES = ("name", "tool", "tool_name")
_FUNCTION_KEYS = ("name", *_ARGUMENTS)
_KEYS = (*_NAMES, *_ARGUMENTS, "id", "type", "function")
"""The keys of a call. An object with other keys is data. In OpenAI's form, `function` holds the name and arguments."""

_KEY_PREFIXES: dict[tuple[str, ...], frozenset[str]] = {keys: list_prefixes(keys) for keys in (_KEYS, _FUNCTION_KEYS)}


def read_json_call(state: CallState) -> Steps[None]:
    """Read one call.

    Args:
        state: The state of the block, to which the call is added.

    Raises:
        UnreadableError: If there is no call of a bound tool.
    """
    start = state.source.tell()
    fields = yield from _read_fields(state, start, _KEYS)
    function = fields.pop("function", fields)
    arguments = [function[key] for key in _ARGUMENTS if key in function]
    names = [function[key] for key in _NAMES if key in function]
    if (function is not fields and fields.keys() - {"id", "type"}) or len(arguments) != 1 or len(names) != 1:
        raise UnreadableError("an object that is not a call")
    state.finish(names[0], arguments[0])


def _read_fields(state: CallState, start: int, keys: tuple[str, ...]) -> Steps[dict[str, Any]]:
    """Read an object that has no other keys than `keys`. The call that it belongs to begins at `start`."""
    source = state.source
    viable = _KEY_PREFIXES[keys].__contains__
    fields: dict[str, Any] = {}
    source.advance()
    yield from skip(source)
    while True:
        key = yield from _read_word(state, viable)
        yield from skip(source)
        if key not in keys or key in fields or not (yield from source.accept(":")):
            raise source.make_unreadable_error()
        yield from skip(source)
        fields[key] = yield from _read_value(state, key, start)
        yield from skip(source)
        comma = yield from source.accept(",")
        yield from skip(source)
        if (yield from source.accept("}")):
            return fields
        if not comma:
            raise source.make_unreadable_error()


def _read_value(state: CallState, key: str, start: int) -> Steps[Any]:
    source = state.source
    if key in _NAMES:
        name = state.tools.find((yield from _read_word(state, is_short_enough)))
        if name is None:
            raise UnreadableError("no bound tool")
        state.name, state.start = name, start
        return name
    opener = yield from source.peek()
    if key == "function":
        if opener != "{":
            raise source.make_unreadable_error()
        return (yield from _read_fields(state, start, _FUNCTION_KEYS))
    state.start = source.tell() if opener in ("{", '"') and key in _ARGUMENTS else start
    value = yield from read_literal(source)
    state.start = start
    if key in _ARGUMENTS:
        return to_arguments(value)
    if value is None or isinstance(value, str):
        return value
    raise UnreadableError("an object that is not a call")


def _read_word(state: CallState, viable: Callable[[str], bool]) -> Steps[str]:
    """Read a string in quotes. `viable` returns whether its characters so far can be the beginning of a name."""
    quote = yield from state.source.accept('"', "'")
    word = (yield from state.read_word(viable, quote)) if quote else ""
    if not (quote and (yield from state.source.accept(quote))):
        raise state.source.make_unreadable_error()
    return word
