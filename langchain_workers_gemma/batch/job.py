"""A submitted batch: what another process needs to fetch its results."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class BatchPart:
    """One payload of a batch.

    Attributes:
        request_id: The service's id of it.
        count: How many inputs it holds.
    """

    request_id: str
    count: int


@dataclass(frozen=True, slots=True)
class BatchJob:
    """A submitted batch: all that another process needs to fetch its results.

    Attributes:
        model: The model that was asked.
        parts: Its payloads, in the order of the inputs.

    Example:
        >>> job = BatchJob("@cf/google/gemma-4-26b-a4b-it", (BatchPart("3c5d...", 1000),))
        >>> BatchJob.from_json(job.to_json()) == job
        True
        >>> len(job)
        1000
    """

    model: str
    parts: tuple[BatchPart, ...] = ()

    def __len__(self) -> int:
        return sum(part.count for part in self.parts)

    def __bool__(self) -> bool:
        return True

    def to_json(self) -> str:
        """The job as a text that can be kept."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> BatchJob:
        """The job that `to_json` wrote."""
        kept = json.loads(text)
        return cls(kept["model"], tuple(BatchPart(part["request_id"], part["count"]) for part in kept["parts"]))
