"""Translate the docstring sections of LangChain into those that mkdocstrings reads."""

from __future__ import annotations

import re
from typing import Any

import griffe

_KEY_ARGS = re.compile(r"^Key init args, (\w+):\n((?:    .*\n|\n)+)", re.MULTILINE)
_ITEM = re.compile(r"^    (\w[\w, ]*): ", re.MULTILINE)


class Sections(griffe.Extension):
    """Makes sections of `Example:` and of `Key init args, ...:`."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite a docstring before it is parsed."""
        if obj.docstring is not None:
            text = re.sub(
                r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE
            )
            obj.docstring.value = _KEY_ARGS.sub(_listed, text)


def _listed(found: re.Match[str]) -> str:
    items = _ITEM.sub(r"    - `\1`: ", found[2]).replace("        ", "      ")
    return f"Key init args for {found[1]}:\n{items}"
