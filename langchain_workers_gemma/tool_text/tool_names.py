"""Recognise the names of the bound tools in the forms that Gemmas write."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from langchain_workers_gemma.schemas.argument_types import ArgumentType
from langchain_workers_gemma.tool_text.gemma_fields import read_container

_NAMESPACES = ("default_api.", "tools.", "functions.")
"""The namespaces that Gemmas write before a tool's name. Between marks, any other namespace is read too."""

_SEPARATOR = re.compile(r"[.:/]")


def list_prefixes(words: Collection[str]) -> frozenset[str]:
    """Return every beginning of every word."""
    return frozenset(word[:end] for word in words for end in range(len(word) + 1))


_LINE_PREFIXES = list_prefixes(("print", "call", *_NAMESPACES))


class ToolNames:
    """The names of the bound tools, and the types of their arguments.

    Args:
        parameters: The argument types of each tool, by its name.
    """

    def __init__(self, parameters: Mapping[str, ArgumentType]) -> None:
        self.parameters = parameters
        self._prefixes = list_prefixes(parameters)

    @classmethod
    def of(cls, tools: Sequence[Mapping[str, Any]]) -> ToolNames:
        """Return the names of tools in OpenAI's form."""
        functions = [tool["function"] for tool in tools]
        return cls(
            {str(one["name"]): ArgumentType.of(one.get("parameters"), read_text=read_container) for one in functions}
        )

    def __bool__(self) -> bool:
        return bool(self.parameters)

    def find(self, path: str) -> str | None:
        """Return the tool with the name in `path`, which may have a namespace: `default_api.f`, `google:mcp:f`."""
        if path in self.parameters:
            return path
        names = (path[separator.end() :] for separator in _SEPARATOR.finditer(path))
        return next((name for name in names if name in self.parameters), None)

    def can_be_named(self, word: str) -> bool:
        """Return whether `word` is a tool's name, or the beginning of one."""
        namespace = next((module for module in _NAMESPACES if word.startswith(module)), "")
        return word.removeprefix(namespace) in self._prefixes or any(module.startswith(word) for module in _NAMESPACES)

    def can_begin_line(self, word: str) -> bool:
        """Return whether a line of calls without marks can begin with `word`."""
        return word in _LINE_PREFIXES or self.can_be_named(word)
