"""Check values against published rules and collect the problems, with the messages of the service's own checker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from langchain_workers_gemma.models import Range

MAX_PROBLEMS = 20
_MAX_NUMBER = 10**300
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "number": (int, float),
    "integer": (int,),
}


def get_type_name(value: object) -> str:
    """Return the JSON type of a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, float) and value.is_integer():
        return "integer"
    return next((name for name, types in reversed(_TYPES.items()) if isinstance(value, types)), "object")


def is_type(value: object, name: str) -> bool:
    """Return whether a value has a JSON type. As in JSON Schema, 5.0 is an integer and true is not a number."""
    actual = get_type_name(value)
    return actual == name or (name == "number" and actual == "integer")


class Checker:
    """Checks values and collects the problems.

    Attributes:
        problems: The problems so far.
        nullable: Whether `null` means that a value was not sent, as in OpenAI's types.
    """

    def __init__(self, *, nullable: bool = False) -> None:
        self.problems: list[str] = []
        self.nullable = nullable

    def add(self, problem: str) -> None:
        """Add a problem, up to `MAX_PROBLEMS`."""
        if len(self.problems) < MAX_PROBLEMS and problem not in self.problems:
            self.problems.append(problem)

    def check_value(self, value: object, path: str, *types: str) -> bool:
        """Check the type of a value. Return whether it is one of the types."""
        if any(is_type(value, name) for name in types):
            return True
        self.add(f"Type mismatch of '{path}', '{types[0]}' not in '{get_type_name(value)}'")
        return False

    def get_optional(self, holder: Mapping[str, Any], key: str, path: str, *types: str) -> Any:
        """Return an optional value, or `None` if it is missing or has a wrong type."""
        if key not in holder or (holder[key] is None and self.nullable):
            return None
        return holder[key] if self.check_value(holder[key], f"{path}/{key}", *types) else None

    def check_required(self, holder: Mapping[str, Any], keys: Iterable[str], path: str) -> bool:
        """Check that keys are present. Return whether they are."""
        keys = list(keys)
        if all(key in holder for key in keys):
            return True
        self.add(f"required properties at '{path or '/'}' are '{','.join(keys)}'")
        return False

    def get_number(self, holder: Mapping[str, Any], key: str, allowed: Range) -> float | None:
        """Return an optional number, or `None` if it is missing. Check it against its published range."""
        number = self.get_optional(holder, key, "", "integer" if allowed.integer else "number")
        if number is None:
            return None
        if abs(number) > _MAX_NUMBER:
            self.add(f"'/{key}' is out of range")
            return None
        if allowed.low is not None and number < allowed.low:
            self.add(f"'/{key}' must be >= {allowed.low:g}")
        if allowed.high is not None and number > allowed.high:
            self.add(f"'/{key}' must be <= {allowed.high:.10g}")
        return float(number)

    def check_enum(self, value: object, path: str, allowed: Iterable[str]) -> bool:
        """Check that a value is one of the allowed values. Return whether it is."""
        allowed = list(allowed)
        if value in allowed:
            return True
        self.add(f"enum {value} not in {','.join(allowed)} at '{path}'")
        return False
