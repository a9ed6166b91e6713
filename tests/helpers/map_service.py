"""A service for `map` over data sets that counts its requests, with a latency, faults and a rate limit.

It serves Workers AI's native route over real sockets, with as little work as possible, so that a benchmark of 100,000
rows measures the client. The prompt of a row must contain `row N`; the answer is `answer N`.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Self

USAGE = {"prompt_tokens": 40, "completion_tokens": 10, "total_tokens": 50}
_ROW = re.compile(rb"row (\d+)")
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_FAULTS = ("capacity", "server error", "reset")


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How the service behaves.

    Attributes:
        latency: The average delay of an answer in seconds. Each delay is between 0.5 and 1.5 times the average.
        fault_rate: The share of requests that end in an error: no capacity, a server error, a reset connection.
        requests_per_minute: The number of requests that are accepted in any minute. Others get HTTP 429.
        quota: The number of answers after which the free allocation is used up (error 3036).
        bad_rows: Rows whose requests are always refused.
    """

    latency: float = 0.0
    fault_rate: float = 0.0
    requests_per_minute: int | None = None
    quota: int | None = None
    bad_rows: frozenset[int] = frozenset()


@dataclass(slots=True)
class Counts:
    """The requests and answers of the service.

    Attributes:
        answered: How often each row has been answered, and would be billed.
        arrivals: The time at which each request arrived, in seconds.
        refused: Requests over the rate limit.
        faults: Requests that ended in a fault.
    """

    answered: Counter[int] = field(default_factory=Counter)
    arrivals: list[float] = field(default_factory=list)
    refused: int = 0
    faults: int = 0

    def summary(self) -> dict[str, Any]:
        """Return the counts as JSON."""
        return {
            "rows": len(self.answered),
            "answers": self.answered.total(),
            "requests": len(self.arrivals),
            "refused": self.refused,
            "faults": self.faults,
            "seconds": self.arrivals[-1] - self.arrivals[0] if self.arrivals else 0.0,
            "most_in_a_minute": count_busiest_minute(self.arrivals),
        }


def count_busiest_minute(moments: list[float]) -> int:
    """Return the largest number of requests in any 60 seconds."""
    most, first = 0, 0
    for last, moment in enumerate(moments):
        while moment - moments[first] >= 60.0 - 1e-6:  # times on a fake clock have rounding errors
            first += 1
        most = max(most, last - first + 1)
    return most


class MapService:
    """The service. As a context manager it runs on an event loop in its own thread."""

    def __init__(self, behaviour: Behaviour | None = None, *, seed: int = 0) -> None:
        self.behaviour = behaviour or Behaviour()
        self.counts = Counts()
        self.base_url = ""
        self.max_concurrent_requests = 0
        self._at_once = 0
        self.changed = threading.Condition()
        self._random = random.Random(seed)
        self._accepted: deque[float] = deque()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.start(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def start(self) -> None:
        """Listen on a free port of loopback."""
        self._server = await asyncio.start_server(self._serve_connection, "127.0.0.1", 0, limit=1 << 24, backlog=1024)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _stop(self) -> None:
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def wait_for_answers(self, count: int, timeout: float = 300.0) -> None:
        """Wait until `count` answers have been sent in total.

        Raises:
            TimeoutError: If they are not sent in time.
        """
        with self.changed:
            if not self.changed.wait_for(lambda: self.counts.answered.total() >= count, timeout):
                raise TimeoutError(f"{self.counts.answered.total()} of {count} answers were sent.")

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                body = await reader.readexactly(int(length[1])) if length else b""
                if head.startswith(b"GET /counts"):
                    _write(writer, 200, self.counts.summary())
                elif not await self._reply(body, writer):
                    break
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _reply(self, body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Answer a request, and return whether the connection stays open."""
        now = time.monotonic()
        self.counts.arrivals.append(now)
        if not self._accept(now):
            self.counts.refused += 1
            _write(writer, 429, _error(10000 + 429, "Rate limit exceeded"), retry_after=1)
            return True
        fault = self._random.choice(_FAULTS) if self._random.random() < self.behaviour.fault_rate else None
        self._at_once += 1
        self.max_concurrent_requests = max(self.max_concurrent_requests, self._at_once)
        await asyncio.sleep(self.behaviour.latency * (0.5 + self._random.random()))
        self._at_once -= 1
        if fault is not None:
            self.counts.faults += 1
            return _fail(fault, writer)
        return self._answer(int(_ROW.findall(body)[-1]), writer)

    def _answer(self, row: int, writer: asyncio.StreamWriter) -> bool:
        if row in self.behaviour.bad_rows:
            _write(writer, 400, _error(8001, "Invalid input"))
            return True
        if self.behaviour.quota is not None and self.counts.answered.total() >= self.behaviour.quota:
            _write(writer, 429, _error(3036, "You have used up your daily free allocation of 10,000 neurons."))
            return True
        with self.changed:
            self.counts.answered[row] += 1
            self.changed.notify_all()
        _write(writer, 200, {"result": {"response": f"answer {row}", "usage": USAGE}, "success": True})
        return True

    def _accept(self, now: float) -> bool:
        limit = self.behaviour.requests_per_minute
        if limit is None:
            return True
        while self._accepted and now - self._accepted[0] >= 60.0:
            self._accepted.popleft()
        if len(self._accepted) >= limit:
            return False
        self._accepted.append(now)
        return True


def _fail(fault: str, writer: asyncio.StreamWriter) -> bool:
    if fault == "reset":
        writer.transport.abort()
        return False
    if fault == "capacity":
        _write(writer, 429, _error(3040, "Capacity temporarily exceeded"), retry_after=0)
    else:
        _write(writer, 500, _error(3043, "Internal server error"))
    return True


def _error(code: int, message: str) -> dict[str, Any]:
    return {"result": None, "success": False, "errors": [{"code": code, "message": message}], "messages": []}


def _write(writer: asyncio.StreamWriter, status: int, payload: Any, retry_after: int | None = None) -> None:
    body = json.dumps(payload).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    if retry_after is not None:
        head += f"retry-after: {retry_after}\r\n"
    writer.write(head.encode() + b"\r\n" + body)
