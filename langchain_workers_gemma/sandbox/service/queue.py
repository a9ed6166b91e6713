"""The asynchronous queue: batches that are finished after some polls (docs/wire.md section 8)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from itertools import count
from typing import Any

from langchain_workers_gemma.sandbox.bounded import BoundedDict
from langchain_workers_gemma.sandbox.errors import make_bad_input_error

_MAX_BATCHES = 1_000


@dataclass(slots=True)
class _Batch:
    model: str
    responses: list[dict[str, Any]]
    polls: int
    remaining_polls: int


class BatchQueue:
    """The submitted batches. If there are too many, the oldest are removed."""

    def __init__(self) -> None:
        self._batches: BoundedDict[str, _Batch] = BoundedDict(_MAX_BATCHES)
        self._counter = count()

    def clear(self) -> None:
        """Remove all batches."""
        self._batches.clear()

    def submit(self, model: str, responses: list[dict[str, Any]], polls: int) -> str:
        """Queue a batch.

        Args:
            model: The id of the model.
            responses: The replies to its inputs.
            polls: The number of polls after which the batch is finished.

        Returns:
            The id of the batch.
        """
        batch_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{model}/{next(self._counter)}"))
        self._batches[batch_id] = _Batch(model, responses, polls, polls)
        return batch_id

    def poll(self, batch_id: object) -> dict[str, Any]:
        """Return the state of a batch: queued, running, or its replies.

        Raises:
            ServiceError: If the id is unknown.
        """
        batch = self._batches.get(batch_id) if isinstance(batch_id, str) else None
        if batch is None:
            raise make_bad_input_error(f"no request with the id {batch_id}")
        if batch.remaining_polls:
            status = "queued" if batch.remaining_polls == batch.polls else "running"
            batch.remaining_polls -= 1
            return {"status": status, "request_id": batch_id, "model": batch.model}
        return {"responses": batch.responses, "usage": _sum_usage(batch.responses)}


def _sum_usage(responses: list[dict[str, Any]]) -> dict[str, float]:
    total: dict[str, float] = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    for response in responses:
        usage = response["result"].get("usage") or {} if response["success"] else {}
        for key in total:
            total[key] += usage.get(key, 0)
    return total
