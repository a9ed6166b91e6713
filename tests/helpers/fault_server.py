"""A raw TCP server on loopback that plays exact scripts: what a real network does, and no HTTP library would.

A script is a sequence of steps: bytes to send, and the objects below. The n-th request of one prompt is met with the
n-th script given to `play`, and every later one with the last.
"""

from __future__ import annotations

import asyncio
import json
import queue
import select
import socket
import struct
import threading
import time
import types
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import pytest

from langchain_workers_gemma import ChatWorkersGemma
from langchain_workers_gemma.transport import driver as driving
from tests.helpers.asking import gemma


@dataclass(frozen=True)
class Reset:
    """Tear the connection down with an RST."""


@dataclass(frozen=True)
class Close:
    """Close the connection in order."""


@dataclass(frozen=True)
class Stall:
    """Say nothing more until the client leaves."""


@dataclass(frozen=True)
class Drip:
    """Send bytes one by one."""

    data: bytes
    seconds: float = 0.0


@dataclass(frozen=True)
class Wait:
    """Wait until an event is set."""

    event: threading.Event


RESET, CLOSE, STALL = Reset(), Close(), Stall()
Step: TypeAlias = bytes | Reset | Close | Stall | Drip | Wait
Script: TypeAlias = Sequence[Step]


@dataclass(frozen=True)
class Received:
    """One request."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def prompt(self) -> str:
        """Return the last message's text, which identifies the requests of one call."""
        try:
            return str(self.json["messages"][-1]["content"])
        except (ValueError, LookupError, TypeError):
            return self.line

    @property
    def streams(self) -> bool:
        """Whether a stream is requested."""
        return b'"stream":true' in self.body


class FaultServer:
    """Plays scripts. Use it as a context manager.

    Args:
        choose: Gives the script for a request, in place of `play`.
        keep: Whether to keep the requests.
    """

    def __init__(self, choose: Callable[[Received], Script] | None = None, *, keep: bool = True) -> None:
        self._keep = keep
        self.requests: list[Received] = []
        self.peak = 0
        self.accepted = 0
        self.departures: queue.Queue[str] = queue.Queue()  # one for each client that left during a reply
        self._choose = choose or self._next_script
        self._scripts: Sequence[Script] = ()
        self._played: dict[str, int] = defaultdict(int)
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with suppress(OSError), socket.socket() as waking:
            waking.connect(("127.0.0.1", self.port))  # ends `accept`, and looks nothing up
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)  # wakes `recv`
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        """How many connections are open."""
        with self._lock:
            return len(self._connections)

    def play(self, *scripts: Script) -> None:
        """Meet the requests of each prompt with these scripts, one after another."""
        with self._lock:
            self._scripts = scripts
            self._played.clear()
            self.requests.clear()

    def wait_until_left(self) -> str:
        """Wait until a client has left in the middle of a reply. Gives how: `closed` or `reset`, a matter of timing."""
        return self.departures.get(timeout=30)

    def wait_until_open(self, most: int) -> int:
        """Wait until no more than so many connections are open. Gives how many are."""
        for _ in range(500):
            if self.open <= most:
                break
            self._closing.wait(0.01)
        return self.open

    def _next_script(self, request: Received) -> Script:
        with self._lock:
            count = self._played[request.prompt]
            self._played[request.prompt] += 1
            return self._scripts[min(count, len(self._scripts) - 1)]

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._closing.is_set():
                connection.close()
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._connections.add(connection)
                self.accepted += 1
                self.peak = max(self.peak, len(self._connections))
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            while (request := _received(connection)) is not None:
                if self._keep:
                    with self._lock:
                        self.requests.append(request)
                if not all(self._step(connection, step) for step in self._choose(request)):
                    break
        except OSError:
            self.departures.put("reset")
        connection.close()
        with self._lock:
            self._connections.discard(connection)

    def _step(self, connection: socket.socket, step: Step) -> bool:
        """Take one step, and return whether the connection continues."""
        if isinstance(step, bytes):
            connection.sendall(step)
        elif isinstance(step, Drip):
            for byte in step.data:
                connection.sendall(bytes((byte,)))
                self._closing.wait(step.seconds)
        elif isinstance(step, Wait):
            step.event.wait(10)
        elif isinstance(step, Stall):
            self.departures.put(self._stall(connection))
            return False
        else:
            if isinstance(step, Reset):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        return True

    def _stall(self, connection: socket.socket) -> str:
        while not self._closing.is_set():
            if select.select([connection], [], [], 1)[0]:
                try:
                    return "closed" if not connection.recv(1024) else "spoke"
                except OSError:
                    return "reset"
        return "closing"


def _received(connection: socket.socket) -> Received | None:
    """The next request, or `None` if the client has left."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (entry.partition(":") for entry in lines)}
    size = int(headers.get("content-length", "0"))
    while len(body) < size:
        more = connection.recv(65536)
        if not more:
            return None
        body += more
    return Received(line, headers, body)


# --- What scripts are made of -----------------------------------------------------------------------------------------


def http(status: int = 200, body: bytes | Any = b"", **headers: str) -> bytes:
    """A whole reply with its length; anything but bytes becomes JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"content-type": "application/json", "content-length": str(len(content))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    return head(status, **fields) + content


def head(status: int = 200, **headers: str) -> bytes:
    """A reply's head."""
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join((*lines, "", "")).encode("latin-1")


STREAM_HEAD = head(content_type="text/event-stream", transfer_encoding="chunked")
STREAM_END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def event(payload: Any) -> bytes:
    """One event as a chunk; bytes as they are, anything else as JSON."""
    return chunk(b"data: " + (payload if isinstance(payload, bytes) else json.dumps(payload).encode()) + b"\n\n")


def envelope(result: Any) -> dict[str, Any]:
    """A success in Cloudflare's envelope."""
    return {"result": result, "success": True, "errors": [], "messages": []}


def refusal(code: int | None, message: str = "No.") -> dict[str, Any]:
    """An error in Cloudflare's envelope."""
    error = {"message": message} if code is None else {"code": code, "message": message}
    return {"result": None, "success": False, "errors": [error], "messages": []}


HELLO = "Hello"
EVENT = event({"response": "Hel"})
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
WHOLE_HELLO = http(200, envelope({"response": HELLO, "usage": USAGE}))
HALF = WHOLE_HELLO[: len(WHOLE_HELLO) // 2 + 40]
HEAD_THEN_STALL: Script = (head(200, content_length="100"), STALL)
STREAMED_HELLO = (
    STREAM_HEAD
    + EVENT
    + event({"response": "lo"})
    + event({"response": "", "usage": USAGE})
    + event(b"[DONE]")
    + STREAM_END
)


def hello(request: Received) -> Script:
    """Return the right answer, in the requested form."""
    return (STREAMED_HELLO if request.streams else WHOLE_HELLO,)


TIMEOUT = 0.5
"""Seconds that a model waits where a server stalls."""


def model(server: FaultServer, **arguments: Any) -> ChatWorkersGemma:
    """Return a model object that calls this server, with two retries."""
    return gemma(**{"base_url": server.url, "max_retries": 1, "timeout": 20, **arguments})


@contextmanager
def refusing_port() -> Iterator[int]:
    """Yield a port of loopback without a server, kept free meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def without_naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Have retries wait for no time, and return the list of the requested waits."""
    naps: list[float] = []

    async def nap(seconds: float) -> None:
        naps.append(seconds)

    def only(module: types.ModuleType, **own: Callable[..., Any]) -> types.SimpleNamespace:
        return types.SimpleNamespace(**{**vars(module), **own})

    monkeypatch.setattr(driving, "time", only(time, sleep=naps.append, monotonic=lambda: sum(naps)))
    monkeypatch.setattr(driving, "asyncio", only(asyncio, sleep=nap))
    return naps
