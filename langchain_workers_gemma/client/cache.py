"""Cache values that are computed from an object's fields, until a field changes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Mapping, Sequence
from operator import is_, itemgetter
from typing import Any, Generic, TypeVar

T = TypeVar("T")

MAX_KEYS = 16
"""The maximum number of keys in a cache. The oldest key is removed first."""


class FieldCache(Generic[T]):
    """Caches values that are computed from some fields of an object, each under a key.

    Each use compares the fields, since a model object is not frozen, and `model_copy` changes fields without
    `__setattr__`. That takes a tenth of the time for computing a call's settings.

    Args:
        fields: The names of the fields. A field is unchanged if it holds the same object.
        changed_in_place: The names of those fields whose objects can change in place: dicts and lists. They are
            compared by value, so values that are equal in Python (`1 == True`) must mean the same to the service.
    """

    def __init__(self, fields: Sequence[str], changed_in_place: Sequence[str]) -> None:
        self._names = (tuple(fields), tuple(changed_in_place))
        self._values = itemgetter(*fields)
        self._containers = itemgetter(*changed_in_place)
        self._kept: dict[Hashable, tuple[tuple[Any, ...], tuple[Any, ...], T]] = {}

    def get(self, key: Hashable, fields: Mapping[str, Any], make: Callable[[], T]) -> T:
        """Return the value for a key, and compute it again if a field has changed.

        Args:
            key: The key.
            fields: The object's fields.
            make: Computes the value.
        """
        values, containers = self._values(fields), self._containers(fields)
        kept = self._kept.get(key)
        if kept is not None and all(map(is_, kept[0], values)) and kept[1] == containers:
            return kept[2]
        containers = copy.deepcopy(containers)  # before `make`, so that a concurrent change is noticed
        value = make()
        self._kept[key] = (values, containers, value)
        for oldest in list(self._kept)[:-MAX_KEYS]:
            self._kept.pop(oldest, None)
        return value

    def __deepcopy__(self, _memo: object) -> FieldCache[T]:
        """Return an empty cache, since the values belong to the fields of another object."""
        return FieldCache(*self._names)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle an empty cache, since its values may refer to objects that cannot be pickled."""
        return FieldCache, self._names


def get_cache(owner: object, name: str, make: Callable[[], FieldCache[T]]) -> FieldCache[T]:
    """Return the cache that an object keeps under a name. It is created on first use.

    Args:
        owner: The object.
        name: The name of the attribute, which must not be a field's name.
        make: Creates the cache.
    """
    kept: FieldCache[T] | None = vars(owner).get(name)
    return vars(owner).setdefault(name, make()) if kept is None else kept
