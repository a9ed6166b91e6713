"""Construct messages and chunks without the cost of validation."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import BaseModel

_Model = TypeVar("_Model", bound=BaseModel)
_set = object.__setattr__


class Constructor(Generic[_Model]):
    """Constructs instances of a pydantic model from fields that are known to be of their types.

    Validating them again would cost four times as much, on every chunk of a stream, and 3 % of a call;
    `model_construct`, which does the same as this for models in general, three times (see benchmarks/README.md).

    Args:
        cls: The model.
        names: The fields that `make` is given. A later version of core may have others, which get their defaults.
    """

    __slots__ = ("_cls", "_fields", "_new", "_others", "_takes_any")

    def __init__(self, cls: type[_Model], *names: str) -> None:
        self._cls = cls
        self._new = cls.__new__
        self._fields = set(cls.model_fields)
        self._takes_any = cls.model_config.get("extra") == "allow"
        self._others = [(name, field) for name, field in cls.model_fields.items() if name not in names]

    def make(self, values: dict[str, Any], given: set[str] | None = None) -> _Model:
        """Return an instance.

        Args:
            values: Its fields by name; the instance keeps this dict.
            given: The fields that are set, for pydantic's `model_fields_set`; the instance keeps this set. All by
                default. A small set saves half a kilobyte for each chunk of a stream, all of which core keeps.
        """
        for name, field in self._others:
            values[name] = field.get_default(call_default_factory=True)
        made = self._new(self._cls)
        _set(made, "__dict__", values)
        _set(made, "__pydantic_extra__", {} if self._takes_any else None)
        if given is None:  # attributes of any name are noted in the set, so that instances cannot share it
            given = self._fields.copy() if self._takes_any else self._fields
        _set(made, "__pydantic_fields_set__", given)
        _set(made, "__pydantic_private__", None)
        return made
