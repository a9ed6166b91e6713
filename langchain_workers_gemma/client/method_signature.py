"""Cache the signature of a method, since core inspects the signature of `_generate` on every call."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Self, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])


def cache_signature(method: Method) -> Method:
    """Cache the signature of a method, so that `inspect.signature` takes 3 us instead of 46 us."""
    vars(method)["__signature__"] = _CachedSignature.from_callable(method)
    return method


class _CachedSignature(inspect.Signature):
    """The signature of a method, which caches the signature without `self` that `inspect` derives from it."""

    __slots__ = ("_kept",)

    def replace(self, **changes: Any) -> Self:
        """Return the signature with other parameters, the same object for the same changes."""
        kept: tuple[dict[str, Any], Self] | None = getattr(self, "_kept", None)
        if kept is None or kept[0] != changes:
            kept = self._kept = (changes, super().replace(**changes))
        return kept[1]
