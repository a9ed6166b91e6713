"""What is worked out from an object's fields, kept until one of them changes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """Values that are worked out from fields.

    Fields are compared on each use, which costs a tenth of working a call's settings out: a model object is not frozen,
    and `model_copy` changes fields behind its back. Copies and pickles start with nothing.

    Args:
        changed_in_place: The fields that hold dicts and lists, which may change and still be the same.
    """

    def __init__(self, changed_in_place: tuple[str, ...] = ()) -> None:
        self._changed_in_place = changed_in_place
        self._kept: dict[Hashable, tuple[Mapping[str, Any], T]] = {}

    def get(self, key: Hashable, fields: Mapping[str, Any], make: Callable[[], T]) -> T:
        """The value for a key, made anew if a field has changed."""
        kept = self._kept.get(key)
        if kept is not None and kept[0] == fields:
            return kept[1]
        value = make()
        copied = {name: copy.deepcopy(fields[name]) for name in self._changed_in_place}
        self._kept[key] = ({**fields, **copied}, value)
        return value

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy remembers nothing."""
        return type(self)(self._changed_in_place)

    def __reduce__(self) -> tuple[type[Self], tuple[tuple[str, ...]]]:
        """A pickle remembers nothing: the settings hold the token."""
        return type(self), (self._changed_in_place,)
