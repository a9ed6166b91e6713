"""What a check found: one result for each fact."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypeAlias

Status: TypeAlias = Literal["holds", "differs", "observed", "inconclusive"]
"""Holds, does not hold, has no published expectation, or could not be tried (no capacity, no connection)."""


@dataclass(frozen=True, slots=True)
class Result:
    """One fact beside what the service sent.

    Attributes:
        id: A short name that stays the same from version to version.
        fact: The expected fact, or the question where nothing is published.
        source: Where that is written, such as `docs/wire.md 4`.
        status: Whether it holds.
        expected: The value by the source, empty where it has none.
        observed: The value that was sent.
        known: Whether users have reported the observed value before, so that the package handles it.
    """

    id: str
    fact: str
    source: str
    status: Status
    expected: str
    observed: str
    known: bool = False


def cite(section: int) -> str:
    """Return the name of a section of docs/wire.md."""
    return f"docs/wire.md {section}"


def compare(
    id: str,  # noqa: A002 - the word of the report
    fact: str,
    source: str,
    expected: object,
    observed: object,
    *,
    reported: Collection[str] = (),
) -> Result:
    """Return the result of a fact with a published value.

    Args:
        id: The fact's short name.
        fact: The expected fact.
        source: Where it is written.
        expected: The published value.
        observed: The value that was sent.
        reported: Other values that users have reported.
    """
    status: Status = "holds" if str(observed) == str(expected) else "differs"
    known = status == "differs" and str(observed) in reported
    return Result(id, fact, source, status, str(expected), str(observed), known)


def observe(id: str, fact: str, source: str, observed: object) -> Result:  # noqa: A002 - the word of the report
    """Return the result of a question to which no source, or contradictory ones, have an answer."""
    return Result(id, fact, source, "observed", "", str(observed))
