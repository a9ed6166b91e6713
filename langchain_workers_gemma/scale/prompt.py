"""Convert the prompt of a run, a text with `{field}` placeholders, and a row into messages."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_MAX_LISTED_FIELDS = 20  # names of fields that an error lists
_MAX_EXCERPT = 30  # characters of the prompt that an error quotes


class MissingFieldError(ValueError):
    """A row lacks a field that the prompt names."""


@dataclass(frozen=True, slots=True)
class RowPrompt:
    """Builds the messages for a row.

    `{name}` is replaced by the field of that name: a text unchanged, any other value as JSON. `{{` and `}}` mean
    literal braces. Braces in the text of a field stay as they are.

    Attributes:
        prompt: The text of the human message.
        system: The text of a system message before it, sent unchanged; `None` for no system message.

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
                    f"prompt: {self.prompt[found.start() : found.start() + _MAX_EXCERPT]!r} is not a field in braces. "
                    "Write {name} for a field, and {{ and }} for literal braces."
                )
        object.__setattr__(self, "fields", tuple(names))

    def build_messages(self, row: Mapping[str, Any]) -> list[BaseMessage]:
        """Return the messages for a row.

        Raises:
            MissingFieldError: If the row lacks a field.
        """
        for name in self.fields:
            if name not in row:
                listed = ", ".join(map(repr, list(row)[:_MAX_LISTED_FIELDS])) or "no fields"
                raise MissingFieldError(f"The prompt names the field {name!r}, but the row has {listed}.")
        human = HumanMessage(_PIECE.sub(lambda found: _replace(found, row), self.prompt))
        return [human] if self.system is None else [SystemMessage(self.system), human]


def _replace(found: re.Match[str], row: Mapping[str, Any]) -> str:
    if found[1] is None:
        return found[0][0]
    value = row[found[1]]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
