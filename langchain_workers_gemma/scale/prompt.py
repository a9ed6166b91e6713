"""The prompt of `--prompt`: text with `{field}` in it -> messages."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_MAX_SHOWN = 20  # field names that an error lists


class MissingFieldError(ValueError):
    """A row lacks a field that the prompt names."""


@dataclass(frozen=True, slots=True)
class RowPrompt:
    """Makes a row's messages.

    `{name}` is replaced by the row's field of that name: text as it is, anything else as JSON. `{{` and `}}` stand for
    braces. Braces in a field's text stay as they are.

    Attributes:
        prompt: The text of the human message.
        system: The text of a system message before it, which is sent as it is; `None` for no such message.

    Example:
        >>> RowPrompt("{title}: {tags} {{}}").build_messages({"title": "Bread", "tags": ["food"]})[0].content
        'Bread: ["food"] {}'
    """

    prompt: str
    system: str | None = None
    fields: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        names: dict[str, None] = {}
        for found in _PIECE.finditer(self.prompt):
            name = found[1]
            if name is not None and name and '"' not in name and "\n" not in name:
                names[name] = None
            elif found[0] not in ("{{", "}}"):
                raise ValueError(
                    f"prompt: {_quote_around(self.prompt, found.start())!r} is not a field in braces. "
                    "Write {name} for a field, and {{ and }} for braces."
                )
        object.__setattr__(self, "fields", tuple(names))

    def build_messages(self, row: Mapping[str, Any]) -> list[BaseMessage]:
        """Return the messages for a row.

        Raises:
            MissingFieldError: If the row lacks a field.
        """
        for name in self.fields:
            if name not in row:
                listed = ", ".join(map(repr, list(row)[:_MAX_SHOWN])) or "no fields"
                raise MissingFieldError(f"The prompt names the field {name!r}, and the row has {listed}.")
        human = HumanMessage(_PIECE.sub(lambda found: _replace(found, row), self.prompt))
        return [human] if self.system is None else [SystemMessage(self.system), human]


def _replace(found: re.Match[str], row: Mapping[str, Any]) -> str:
    if found[1] is None:
        return found[0][0]
    value = row[found[1]]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _quote_around(text: str, position: int) -> str:
    return text[position : position + 30]
