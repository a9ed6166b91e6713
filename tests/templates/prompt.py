"""Parse a rendered prompt into turns, texts, calls, results and thoughts, by the tokens of each generation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["turn", "end", "text", "thought", "call", "result", "declaration", "image", "open result"]


@dataclass(frozen=True)
class Item:
    """A part of a prompt.

    Attributes:
        kind: The kind of part.
        role: The role of its turn; empty outside of a turn.
        text: Its text: the arguments of a call, or the value of a result.
        name: The name of the tool.
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
_GEMMA_2_AND_3 = re.compile(
    r"<start_of_turn>(?P<turn>\w+)\n|(?P<end><end_of_turn>\n)|(?P<image><start_of_image>)", re.DOTALL
)


def read_prompt(prompt: str) -> list[Item]:
    """Parse a prompt.

    Raises:
        AssertionError: If text is outside of a turn, or if a turn starts inside one that must be closed.
    """
    assert prompt.startswith("<bos>"), "a prompt starts with <bos>"
    pattern = _GEMMA_4 if "<|turn>" in prompt else _GEMMA_2_AND_3
    items: list[Item] = []
    role = ""
    for item in _split_items(prompt.removeprefix("<bos>"), pattern):
        if item.kind == "turn":
            # Gemma 4's templates leave the model's turn open after results, for the model to continue.
            may_be_open = role == "model" and items[-1].kind == "result"
            assert not role or may_be_open, f"a turn of {item.role} starts inside a turn of {role}: {prompt}"
            role = item.role
        else:
            assert role, f"{item} is outside of a turn: {prompt}"
        items.append(Item(item.kind, role, item.text, item.name))
        role = "" if item.kind == "end" else role
    return items


def _split_items(prompt: str, pattern: re.Pattern[str]) -> Iterator[Item]:
    at = 0
    for match in pattern.finditer(prompt):
        if text := prompt[at : match.start()]:
            yield Item("text", "", text)
        if (item := _make_item(match)) is not None:
            yield item
        at = match.end()
    if text := prompt[at:]:
        yield Item("text", "", text)


def _make_item(match: re.Match[str]) -> Item | None:
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
