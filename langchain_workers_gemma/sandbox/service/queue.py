"""The asynchronous queue: batches that are worked on between polls (docs/wire.md section 8)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from langchain_workers_gemma.sandbox.errors import bad_input


@dataclass(slots=True)
class _Batch:
    model: str
    responses: list[dict[str, Any]]
    polls: int
    left: int


class BatchQueue:
    """Every batch submitted."""

    def __init__(self) -> None:
        self._batches: dict[str, _Batch] = {}

    def clear(self) -> None:
        """Forget every batch."""
        self._batches.clear()

    def submit(self, model: str, responses: list[dict[str, Any]], polls: int) -> str:
        """Queue a batch whose answers are told after so many polls."""
        batch_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{model}/{len(self._batches)}"))
        self._batches[batch_id] = _Batch(model, responses, polls, polls)
        return batch_id

    def poll(self, batch_id: object) -> dict[str, Any]:
        """The state of a batch: queued, running, then its answers.

        Raises:
            ServiceError: For an id that was never given out.
        """
        batch = self._batches.get(batch_id) if isinstance(batch_id, str) else None
        if batch is None:
            raise bad_input(f"no request with the id {batch_id}")
        if batch.left:
            status = "queued" if batch.left == batch.polls else "running"
            batch.left -= 1
            return {"status": status, "request_id": batch_id, "model": batch.model}
        return {"responses": batch.responses, "usage": _total(batch.responses)}


def _total(responses: list[dict[str, Any]]) -> dict[str, float]:
    total: dict[str, float] = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    for response in responses:
        usage = response["result"].get("usage") or {} if response["success"] else {}
        for key in total:
            total[key] += usage.get(key, 0)
    return total
