"""A submitted batch: the data that another process needs to fetch its results."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class BatchPart:
    """One request of a batch.

    Attributes:
        request_id: The id that the service returned.
        count: Number of its inputs.
    """

    request_id: str
    count: int

    @property
    def is_valid(self) -> bool:
        """Whether the fields have valid types and values."""
        is_count = isinstance(self.count, int) and not isinstance(self.count, bool)
        return isinstance(self.request_id, str) and bool(self.request_id) and is_count and self.count > 0


@dataclass(frozen=True, slots=True)
class BatchJob:
    """A submitted batch: the data that another process needs to fetch its results.

    Attributes:
        model: The model id.
        parts: Its requests, in the order of the inputs.

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
        """Return the job as JSON text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> BatchJob:
        """Return the job that `to_json` wrote.

        Raises:
            ValueError: If the text is not such a job.
        """
        try:
            data = json.loads(text)
            parts = tuple(BatchPart(part["request_id"], part["count"]) for part in data["parts"])
            job = cls(data["model"], parts)
        except (TypeError, LookupError, ValueError, RecursionError) as error:
            raise ValueError(f"text is not a BatchJob that to_json wrote ({type(error).__name__}: {error}).") from None
        if not isinstance(job.model, str) or not all(part.is_valid for part in parts):
            raise ValueError("text is not a BatchJob that to_json wrote: its ids must be strings, its counts positive.")
        return job
