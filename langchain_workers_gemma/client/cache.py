"""A cache of values computed from an object's fields, valid until a field changes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Mapping, Sequence
from operator import is_, itemgetter
from typing import Any, Generic, TypeVar

T = TypeVar("T")

MAX_KEYS = 16
"""Keys that a cache keeps; the one that was made first goes first."""


class FieldCache(Generic[T]):
    """Values computed from some fields of an object, each for a key.

    The fields are compared on each use, which costs a tenth of computing a call's settings: a model object is not
    frozen, and `model_copy` changes fields without `__setattr__`.

    Args:
        fields: The fields that count. A field is the same while it holds the very same object.
        changed_in_place: Those of them that may be the very same object and yet have changed: dicts and lists whose
            members are equal only if they are the same to the service, too (`1 == True` in Python).
    """

    def __init__(self, fields: Sequence[str], changed_in_place: Sequence[str]) -> None:
        self._names = (tuple(fields), tuple(changed_in_place))
        self._values = itemgetter(*fields)
        self._containers = itemgetter(*changed_in_place)
        self._kept: dict[Hashable, tuple[tuple[Any, ...], tuple[Any, ...], T]] = {}

    def get(self, key: Hashable, fields: Mapping[str, Any], make: Callable[[], T]) -> T:
        """Return the value for a key, made anew if a field has changed."""
        values, containers = self._values(fields), self._containers(fields)
        kept = self._kept.get(key)
        if kept is not None and all(map(is_, kept[0], values)) and kept[1] == containers:
            return kept[2]
        containers = copy.deepcopy(containers)  # before the value is made, so that a change meanwhile is noticed
        value = make()
        self._kept[key] = (values, containers, value)
        for oldest in list(self._kept)[:-MAX_KEYS]:
            self._kept.pop(oldest, None)
        return value

    def __deepcopy__(self, _memo: object) -> FieldCache[T]:
        """Return an empty cache, since the values belong to the fields of another object."""
        return FieldCache(*self._names)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle no values, since they may refer to objects that cannot be pickled."""
        return FieldCache, self._names


def get_cache(owner: object, name: str, make: Callable[[], FieldCache[T]]) -> FieldCache[T]:
    """Return the cache that an object keeps under a name, made on first use.

    Args:
        owner: The object.
        name: The name of the attribute; one that no field has.
        make: Makes the cache.
    """
    kept: FieldCache[T] | None = vars(owner).get(name)
    return vars(owner).setdefault(name, make()) if kept is None else kept
