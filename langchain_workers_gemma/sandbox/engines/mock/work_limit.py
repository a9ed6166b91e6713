"""Limit the work for one reply, so that no schema can block the sandbox.

A schema of 2 kB can cause unbounded work: references that double at each level, or millions of items. Every step that
follows a schema counts. A request that takes too many steps is refused, as an engine refuses such a schema.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING

from langchain_workers_gemma.sandbox.errors import BAD_INPUT, ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_STEPS = 100_000
"""Maximum number of steps for one reply: one or two seconds of work."""
MAX_SCHEMA_CHARACTERS = 200_000
MAX_STRING = 20_000
"""Maximum string length that a schema may require."""
MAX_ITEMS = 1_000
"""Maximum number of items that a schema may require."""


class _Steps:
    def __init__(self) -> None:
        self.left = MAX_STEPS


_current: ContextVar[_Steps | None] = ContextVar("steps of the reply", default=None)


def make_too_complex_error() -> ServiceError:
    """Return the error for a schema that takes too much work."""
    return ServiceError(BAD_INPUT, "AiError: JSON Mode couldn't be met: the schema is too complex")


@contextlib.contextmanager
def limit_work() -> Iterator[None]:
    """Limit the work within a `with` block.

    Raises:
        ServiceError: 400 if the block takes too many steps, or nests too deeply.
    """
    token = _current.set(_Steps())
    try:
        yield
    except RecursionError:
        raise make_too_complex_error() from None
    finally:
        _current.reset(token)


def spend_steps(steps: int = 1) -> None:
    """Count steps.

    Raises:
        ServiceError: 400 if the reply has taken too many steps.
    """
    current = _current.get()
    if current is not None:
        current.left -= steps
        if current.left < 0:
            raise make_too_complex_error()
