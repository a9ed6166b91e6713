"""How a Gemma writes tool calls as text: a reader for one block of calls in any of the notations.

The notations are those of `docs/wire.md` section 6:

- Gemma 3 writes Python calls, `[get_weather(city='Paris'), f(x=1)]`, or JSON, `{"name": ..., "parameters": {...}}`
  (both taught by ai.google.dev/gemma/docs/capabilities/function-calling), alone, in a list or several on their lines,
  with or without a fence. It drifts into `print(f(...))` and into a `tool_call` fence.
- FunctionGemma writes `<start_function_call>call:f{x:<escape>a<escape>}<end_function_call>`.
- Gemma 4 writes `<|tool_call>call:f{x:<|"|>a<|"|>}<tool_call|>`. Special tokens can be missing, parentheses can stand
  for braces, and strings can be in plain quotes.

Every reader gives up at the first character that cannot belong to a call of a bound tool, so that a stream of text
waits no longer than it must.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_workers_gemma.tool_text.gemma_fields import read_fields
from langchain_workers_gemma.tool_text.literals import BLANK, constant, read_literal, read_text, skip
from langchain_workers_gemma.tool_text.source import Source, Steps, UnreadableError
from langchain_workers_gemma.tool_text.tokens import _NAMESPACES, CALL_TOKENS, RESULT_TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence


_FUNCTION_KEYS = ("name", "parameters", "arguments")
_KEYS = (*_FUNCTION_KEYS, "id", "type", "function")
"""The keys of a call in JSON; an object with others is data. In OpenAI's form the first three stand in `function`."""

MAX_NAME_LENGTH = 256
_NAME = re.compile(r"[\w.\-]")
_KEYWORD = re.compile(r"\w+")
IDENTIFIER = re.compile(r"[^\W\d]\w*")
_SPACE = re.compile(r"[ \t\r]+")


def _prefixes(words: Collection[str]) -> frozenset[str]:
    return frozenset(word[:end] for word in words for end in range(len(word) + 1))


_KEY_PREFIXES: dict[tuple[str, ...], frozenset[str]] = {keys: _prefixes(keys) for keys in (_KEYS, _FUNCTION_KEYS)}
_LINE_PREFIXES = _prefixes(("print", "call", *_NAMESPACES))


class Call(NamedTuple):
    """A call that was read."""

    name: str
    arguments: dict[str, Any]


class ToolNames:
    """The names of the bound tools.

    Args:
        names: The names.
        parameters: The names of each tool's parameters in order, where known. Python arguments without a keyword can be
            read for those tools alone.
    """

    def __init__(self, names: Collection[str], parameters: Mapping[str, Sequence[str]] | None = None) -> None:
        self.names = frozenset(names)
        self.parameters = parameters or {}
        self._prefixes = _prefixes(self.names)

    def named(self, path: str) -> str | None:
        """The tool that `path` names, by itself or as the last part of a dotted name."""
        last = path.rpartition(".")[2]
        return path if path in self.names else last if last in self.names else None

    def can_be_named(self, word: str) -> bool:
        """Whether `word` is the beginning of a tool's name, or the whole of it."""
        namespace = next((module for module in _NAMESPACES if word.startswith(module)), "")
        return word.removeprefix(namespace) in self._prefixes or any(module.startswith(word) for module in _NAMESPACES)

    def can_begin_line(self, word: str) -> bool:
        """Whether `word` is the beginning of what a line of calls without markup can start with."""
        return word in _LINE_PREFIXES or self.can_be_named(word)


class Block:
    """Reads one block of calls: what is between two marks, or one line without marks.

    Attributes:
        calls: What has been read.
    """

    def __init__(self, source: Source, tools: ToolNames) -> None:
        self.calls: list[Call] = []
        self._source = source
        self._tools = tools
        self._marked = False  # whether a fence, a token or a list says that calls stand here
        self._name: str | None = None  # the call that is being read, once its name is known
        self._start = 0  # where its arguments start

    def rest(self) -> tuple[str, str] | None:
        """The call inside which the text ended, if its tool is known: its name and the text of its arguments.

        That text is never JSON: its own brace or quote is still open, or the brace of the call around it.
        """
        return (self._name, self._source.held(self._start) or "{") if self._name is not None else None

    def is_cut_short(self) -> bool:
        """Whether calls were read or begun that count though the text ended before the block did."""
        return self._name is not None or (self._marked and bool(self.calls))

    def fenced(self, fence: str, *, inline: bool = False) -> Steps[None]:
        """Read a fenced block of Python calls or JSON, from its opening line to its closing one.

        Args:
            fence: What opens it.
            inline: Whether text stands before it on its line. Without a line end after `fence` it is inline code then.
        """
        source = self._source
        yield from source.accept(fence)
        blank = yield from source.run(BLANK)
        if not blank or (inline and "\n" not in blank):
            raise source.unreadable()
        self._marked = True
        yield from skip(source)
        while not (self.calls and (yield from source.closes("```"))):  # at the end of the text it may be missing
            yield from self._written()
            yield from skip(source)
            if (yield from source.accept(",", ";")):
                yield from skip(source)

    def tokens(self, opening: str, *, inline: bool = False) -> Steps[None]:
        """Read a call, or several, between the special tokens of Gemma 4 or FunctionGemma.

        Args:
            opening: What opens it.
            inline: Whether text stands before it on its line. With text behind it too, it is an example in prose: a
                Gemma that makes a call stops after it.
        """
        source = self._source
        yield from source.accept(opening)
        self._marked = True
        yield from source.run(BLANK)
        while not self.calls or (yield from source.startswith("call:")):
            yield from self._gemma()
            yield from source.run(BLANK)
        if (yield from source.startswith(*CALL_TOKENS, *RESULT_TOKENS)):  # its own closing token is missing
            return
        if not (yield from source.closes(*CALL_TOKENS.values(), *CALL_TOKENS, *RESULT_TOKENS)):
            raise source.unreadable()
        if inline and not (yield from self._ends_line()):
            raise source.unreadable()

    def line(self) -> Steps[None]:
        """Read calls without any marks: nothing else is on their line."""
        source = self._source
        while True:
            if (yield from source.startswith("call:")):  # Gemma 4 without its special tokens
                yield from self._gemma()
                yield from source.closes(*CALL_TOKENS.values())
            else:
                yield from self._written()
            if (yield from self._ends_line()):
                return

    def _ends_line(self) -> Steps[bool]:
        """Whether nothing but more special tokens comes after here on the line."""
        yield from self._source.run(_SPACE)
        if (yield from self._source.peek()) in ("", "\n"):
            return True
        return bool((yield from self._source.startswith(*CALL_TOKENS, *CALL_TOKENS.values(), *RESULT_TOKENS)))

    def _written(self) -> Steps[None]:
        """Read a call in Python or JSON, or a list of them."""
        source = self._source
        opener = yield from source.peek()
        if opener == "{":
            yield from self._json()
        elif opener == "[":
            source.advance()
            yield from skip(source)
            yield from self._listed()
        else:
            yield from self._python()

    def _listed(self) -> Steps[None]:
        source = self._source
        while True:
            if (yield from source.peek()) == "{":
                yield from self._json()
            else:
                yield from self._python()
            self._marked = True
            yield from skip(source)
            comma = yield from source.accept(",")
            yield from skip(source)
            if (yield from source.accept("]")):
                return
            if not comma:
                raise source.unreadable()

    def _json(self) -> Steps[None]:
        """Read `{"name": ..., "parameters": {...}}`, also in OpenAI's form with `function` around it."""
        start = self._source.tell()
        fields = yield from self._json_fields(start, _KEYS)
        function = fields.pop("function", fields)
        arguments = [function[key] for key in ("parameters", "arguments") if key in function]
        if (function is not fields and fields.keys() - {"id", "type"}) or len(arguments) != 1 or "name" not in function:
            raise UnreadableError("an object that is no call")
        self._finish(Call(function["name"], arguments[0]))

    def _json_fields(self, start: int, keys: tuple[str, ...]) -> Steps[dict[str, Any]]:
        """Read an object that has no other keys than `keys`; the call that it belongs to began at `start`."""
        source = self._source
        viable = _KEY_PREFIXES[keys].__contains__
        fields: dict[str, Any] = {}
        source.advance()
        yield from skip(source)
        while True:
            key = yield from self._json_word(viable)
            yield from skip(source)
            if key not in keys or key in fields or not (yield from source.accept(":")):
                raise source.unreadable()
            yield from skip(source)
            fields[key] = yield from self._json_value(key, start)
            yield from skip(source)
            comma = yield from source.accept(",")
            yield from skip(source)
            if (yield from source.accept("}")):
                return fields
            if not comma:
                raise source.unreadable()

    def _json_value(self, key: str, start: int) -> Steps[Any]:
        source = self._source
        if key == "name":
            name = self._tools.named((yield from self._json_word(self._tools.can_be_named)))
            if name is None:
                raise UnreadableError("no bound tool")
            self._name, self._start = name, start
            return name
        opener = yield from source.peek()
        if key == "function":
            if opener != "{":
                raise source.unreadable()
            return (yield from self._json_fields(start, _FUNCTION_KEYS))
        self._start = source.tell() if opener in ("{", '"') and key in _FUNCTION_KEYS else start
        value = yield from read_literal(source)
        self._start = start
        if key in _FUNCTION_KEYS:
            return _arguments(value)
        if value is None or isinstance(value, str):
            return value
        raise UnreadableError("an object that is no call")

    def _json_word(self, viable: Callable[[str], bool]) -> Steps[str]:
        """Read a string in quotes, for as long as `viable` agrees to it."""
        quote = yield from self._source.accept('"', "'")
        word = (yield from self._word(viable, quote)) if quote else ""
        if not (quote and (yield from self._source.accept(quote))):
            raise self._source.unreadable()
        return word

    def _word(self, viable: Callable[[str], bool], stop: str = "") -> Steps[str]:
        """Read a name up to `stop` or to what is no name, for as long as `viable` agrees to it."""
        word = ""
        while (character := (yield from self._source.peek())) and character != stop:
            if not stop and not _NAME.match(character):
                break
            word += character
            if not viable(word):
                raise UnreadableError("no bound tool")
            self._source.advance()
        return word

    def _python(self, *, printed: bool = False) -> Steps[None]:
        """Read `name(key=value, ...)`, also with `print(...)` around it."""
        source = self._source
        path = yield from self._word(_fits if self._marked else self._tools.can_begin_line)
        name = self._tools.named(path)
        if path == "print" and not (name or printed) and (yield from source.accept("(")):
            yield from skip(source)
            yield from self._python(printed=True)
            yield from skip(source)
            if not (yield from source.closes(")")):
                raise source.unreadable()
            return
        if name is None or not (yield from self._begins(name, "(")):
            raise source.unreadable()
        source.advance()
        self._finish(Call(name, (yield from self._python_arguments(name))))

    def _python_arguments(self, name: str) -> Steps[dict[str, Any]]:
        source = self._source
        arguments: dict[str, Any] = {}
        free = list(self._tools.parameters.get(name, ()))[::-1]
        yield from skip(source)
        while not (yield from source.accept(")")):
            new = yield from self._python_argument(free)
            if not arguments.keys().isdisjoint(new):
                raise UnreadableError("an argument given twice")
            arguments |= new
            yield from skip(source)
            if not (yield from source.accept(",")) and (yield from source.peek()) != ")":
                raise source.unreadable()
            yield from skip(source)
        return arguments

    def _python_argument(self, free: list[str]) -> Steps[dict[str, Any]]:
        """Read `key=value`, `**{...}`, or a value alone for the last of the `free` parameters."""
        source = self._source
        if (yield from source.accept("**")):
            free.clear()
            return _arguments((yield from read_literal(source)))
        word = ""
        if IDENTIFIER.match((yield from source.peek())):
            word = yield from source.run(_KEYWORD)
            yield from source.run(BLANK)
            if (yield from source.accept("=")):
                free.clear()  # as in Python, nothing without a key comes after it
                yield from skip(source)
                return {word: (yield from read_literal(source))}
        if not free or not (yield from source.peek()):
            raise source.unreadable()
        return {free.pop(): constant(word) if word else (yield from read_literal(source))}

    def _gemma(self) -> Steps[None]:
        """Read `call:name{key:value}`."""
        source = self._source
        if not (yield from source.accept("call:")):
            raise source.unreadable()
        name = self._tools.named((yield from self._word(_fits if self._marked else self._tools.can_be_named)))
        if name is None or not (yield from self._begins(name, "{", "(")):
            raise source.unreadable()
        self._finish(Call(name, (yield from read_fields(source, self._tools.parameters.get(name, ())))))

    def _begins(self, name: str, *openers: str) -> Steps[bool]:
        """Whether the arguments of `name` start here. Where marks announce calls, its name alone is a call too, cut."""
        self._start = self._source.tell()
        opener = yield from self._source.startswith(*openers)
        if opener or (self._marked and not (yield from self._source.peek())):
            self._name = name
        return bool(opener)

    def _finish(self, call: Call) -> None:
        self.calls.append(call)
        self._name = None


def _fits(word: str) -> bool:
    return len(word) <= MAX_NAME_LENGTH


def _arguments(value: Any) -> dict[str, Any]:
    """The arguments that `value` is or, as OpenAI's API writes them, is the JSON text of."""
    if isinstance(value, str):
        value = read_text(value)
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise UnreadableError("arguments that are no object")
