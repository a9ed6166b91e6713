"""Construct messages and chunks without pydantic's validation."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import BaseModel

_Model = TypeVar("_Model", bound=BaseModel)
_set = object.__setattr__


class Constructor(Generic[_Model]):
    """Constructs instances of a pydantic model from values that already have the right types.

    Validation would take four times as long on every chunk of a stream, and 3 % of a call. `model_construct`, which
    works for every model, would take three times as long (see benchmarks/README.md).

    Args:
        cls: The pydantic model.
        names: The fields that callers of `make` pass. A later version of core may have others: they get their defaults.
    """

    __slots__ = ("_allows_extra", "_cls", "_fields", "_new", "_others")

    def __init__(self, cls: type[_Model], *names: str) -> None:
        self._cls = cls
        self._new = cls.__new__
        self._fields = set(cls.model_fields)
        self._allows_extra = cls.model_config.get("extra") == "allow"
        self._others = [(name, field) for name, field in cls.model_fields.items() if name not in names]

    def make(self, values: dict[str, Any], given: set[str] | None = None) -> _Model:
        """Return an instance.

        Args:
            values: The fields by name; the instance keeps this dict.
            given: The names of the fields that are set, for pydantic's `model_fields_set`; the instance keeps this set.
                `None` means all. A small set saves half a kilobyte per chunk, and core keeps all chunks of a stream.
        """
        for name, field in self._others:
            values[name] = field.get_default(call_default_factory=True)
        made = self._new(self._cls)
        _set(made, "__dict__", values)
        _set(made, "__pydantic_extra__", {} if self._allows_extra else None)
        if given is None:  # pydantic adds extra attributes to the set, so instances with extras cannot share it
            given = self._fields.copy() if self._allows_extra else self._fields
        _set(made, "__pydantic_fields_set__", given)
        _set(made, "__pydantic_private__", None)
        return made
