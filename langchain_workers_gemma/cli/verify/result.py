"""The results of a check, one for each fact."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypeAlias

Status: TypeAlias = Literal["holds", "differs", "observed", "inconclusive"]
"""`holds`: as expected. `differs`: not as expected. `observed`: no value is expected. `inconclusive`: the call failed
for another reason, such as no capacity or no connection."""


@dataclass(frozen=True, slots=True)
class Result:
    """One fact, with the expected and the observed value.

    Attributes:
        id: A short name that stays the same in later versions.
        fact: The subject of the fact, or a question if no value is expected.
        source: The source of the expected value, such as `docs/wire.md 4`.
        status: Whether the observed value is as expected.
        expected: The expected value; empty if there is none.
        observed: The value that the service sent.
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
    id: str,  # noqa: A002 - the key in the report
    fact: str,
    source: str,
    expected: object,
    observed: object,
    *,
    reported: Collection[str] = (),
) -> Result:
    """Return the result of a fact with an expected value.

    Args:
        id: The short name of the fact.
        fact: The subject of the fact.
        source: The source of the expected value.
        expected: The expected value.
        observed: The value that the service sent.
        reported: Other values that users have reported.
    """
    status: Status = "holds" if str(observed) == str(expected) else "differs"
    known = status == "differs" and str(observed) in reported
    return Result(id, fact, source, status, str(expected), str(observed), known)


def observe(id: str, fact: str, source: str, observed: object) -> Result:  # noqa: A002 - the key in the report
    """Return the result of a question that no source answers, or on which sources disagree."""
    return Result(id, fact, source, "observed", "", str(observed))
