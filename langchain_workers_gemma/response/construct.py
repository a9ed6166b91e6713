"""Construct messages and chunks without the cost of validation."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel

_Model = TypeVar("_Model", bound=BaseModel)


def _make(cls: type[_Model], **values: Any) -> _Model:
    """Return an instance of a pydantic model from its fields, each known to be of its type.

    Validating them again would cost four times as much, on every chunk of a stream, and 3 % of a call;
    `model_construct`, which does the same as this for models in general, three times (see benchmarks/README.md).
    """
    fields, takes_any = _get_form(cls)
    made = cls.__new__(cls)
    set_ = object.__setattr__
    set_(made, "__dict__", values if len(values) == len(fields) else _complete(cls, values))
    # Attributes of any name are kept by pydantic in the one, and noted in the other.
    set_(made, "__pydantic_extra__", {} if takes_any else None)
    set_(made, "__pydantic_fields_set__", fields.copy() if takes_any else fields)
    set_(made, "__pydantic_private__", None)
    return made


@cache
def _get_form(cls: type[BaseModel]) -> tuple[set[str], bool]:
    """Return all fields of a model, and whether it takes attributes of any name."""
    return set(cls.model_fields), cls.model_config.get("extra") == "allow"


def _complete(cls: type[BaseModel], values: dict[str, Any]) -> dict[str, Any]:
    """Return the values, and the defaults of fields that a later version of core may have beside those of today."""
    return {
        name: values[name] if name in values else field.get_default(call_default_factory=True)
        for name, field in cls.model_fields.items()
    }
