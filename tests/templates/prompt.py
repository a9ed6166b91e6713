"""Reads a rendered prompt back into turns, texts, calls, results and thoughts, by the tokens of each generation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["turn", "end", "text", "thought", "call", "result", "declaration", "image", "open result"]


@dataclass(frozen=True)
class Item:
    """One thing in a prompt.

    Attributes:
        kind: What it is.
        role: The role of its turn; empty outside of any.
        text: Its text: of a call its arguments, of a result its value.
        name: The tool.
    """

    kind: Kind
    role: str
    text: str = ""
    name: str = ""


_GEMMA_4 = re.compile(
    r"<\|turn>(?P<turn>\w+)\n"
    r"|(?P<end><turn\|>\n)"
    r"|<\|channel>thought\n(?P<thought>.*?)<channel\|>"
    r"|<\|tool_call>call:(?P<call>[^{]*)\{(?P<arguments>.*?)\}<tool_call\|>"
    r'|<\|tool_response>response:(?P<result>[^{]*)\{value:<\|"\|>(?P<value>.*?)<\|"\|>\}<tool_response\|>'
    r"|<\|tool>declaration:(?P<declaration>[^{]*)\{(?P<body>.*?)\}<tool\|>"
    r"|(?P<image><\|image\|>)|(?P<open><\|tool_response>)|(?P<think><\|think\|>\n)",
    re.DOTALL,
)
_EARLIER = re.compile(r"<start_of_turn>(?P<turn>\w+)\n|(?P<end><end_of_turn>\n)|(?P<image><start_of_image>)", re.DOTALL)


def read_prompt(prompt: str) -> list[Item]:
    """Read a prompt.

    Raises:
        AssertionError: If text is outside of any turn, or a turn opens within one that cannot be left open.
    """
    assert prompt.startswith("<bos>"), "a prompt starts with <bos>"
    grammar = _GEMMA_4 if "<|turn>" in prompt else _EARLIER
    items: list[Item] = []
    role = ""
    for item in _items(prompt.removeprefix("<bos>"), grammar):
        if item.kind == "turn":
            # Gemma 4's templates leave the model's turn open after results, for the model to continue.
            may_be_open = role == "model" and items[-1].kind == "result"
            assert not role or may_be_open, f"a turn of {item.role} opens within a turn of {role}: {prompt}"
            role = item.role
        else:
            assert role, f"{item} stands outside of any turn: {prompt}"
        items.append(Item(item.kind, role, item.text, item.name))
        role = "" if item.kind == "end" else role
    return items


def _items(prompt: str, grammar: re.Pattern[str]) -> Iterator[Item]:
    at = 0
    for match in grammar.finditer(prompt):
        if text := prompt[at : match.start()]:
            yield Item("text", "", text)
        if (item := _item(match)) is not None:
            yield item
        at = match.end()
    if text := prompt[at:]:
        yield Item("text", "", text)


def _item(match: re.Match[str]) -> Item | None:
    found = match.groupdict()
    kind = match.lastgroup
    if kind == "turn":
        return Item("turn", found["turn"])
    if kind == "end":
        return Item("end", "")
    if kind == "thought":
        return Item("thought", "", found["thought"]) if found["thought"] else None
    if kind == "arguments":
        return Item("call", "", found["arguments"], found["call"])
    if kind == "value":
        return Item("result", "", found["value"], found["result"])
    if kind == "body":
        return Item("declaration", "", found["body"], found["declaration"])
    if kind == "open":
        return Item("open result", "")
    return Item("image", "") if kind == "image" else None
