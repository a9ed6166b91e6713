"""Convert LangChain's docstring sections to sections that mkdocstrings reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import griffe

_KEY_ARGS = re.compile(r"^Key init args, (\w+):\n((?:    .*\n|\n)+)", re.MULTILINE)
_ITEM = re.compile(r"^    (\w[\w, ]*): ", re.MULTILINE)


class Sections(griffe.Extension):
    """Converts `Example:` and `Key init args, ...:` to sections."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Drop attributes without a docstring, since those of protocols hide fields.

        The fields of a dataclass stay, since they are its signature.
        """
        for module in _iterate_modules(pkg):
            for cls in module.classes.values():
                if any("dataclass" in str(one.value) for one in cls.decorators):
                    continue
                for name, member in list(cls.members.items()):
                    if (
                        not member.is_alias
                        and member.is_attribute
                        and not member.has_docstring
                    ):
                        del cls.members[name]

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite a docstring before it is parsed, and show a field's default."""
        if isinstance(obj, griffe.Attribute):
            obj.value = _get_default(obj.value)
        if obj.docstring is not None:
            text = re.sub(
                r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE
            )
            obj.docstring.value = _KEY_ARGS.sub(_format_list, text)


def _get_default(value: str | griffe.Expr | None) -> str | griffe.Expr | None:
    """Return the default in a call of Pydantic's `Field`, else the value itself."""
    if not isinstance(value, griffe.ExprCall) or str(value.function) != "Field":
        return value
    options = {
        argument.name: argument.value
        for argument in value.arguments
        if isinstance(argument, griffe.ExprKeyword)
    }
    if str(options.get("default_factory")) == "dict":
        return "{}"
    return options.get("default", value)


def _iterate_modules(module: griffe.Module) -> Iterator[griffe.Module]:
    yield module
    for member in module.modules.values():
        if not member.is_alias:
            yield from _iterate_modules(member)


def _format_list(found: re.Match[str]) -> str:
    items = _ITEM.sub(r"    - `\1`: ", found[2]).replace("        ", "      ")
    return f"Key init args for {found[1]}:\n{items}"
