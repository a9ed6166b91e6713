"""A TCP server on loopback that follows exact scripts, to cause network faults that no HTTP library can produce.

A script is a sequence of steps: bytes to send, or one of the objects below. The n-th request with a prompt gets the
n-th script that was passed to `play`. The last script is repeated.
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
from langchain_workers_gemma.transport import driver
from tests.helpers.model_calls import make_model


@dataclass(frozen=True)
class Reset:
    """Close the connection with an RST."""


@dataclass(frozen=True)
class Close:
    """Close the connection normally."""


@dataclass(frozen=True)
class Stall:
    """Send nothing more until the client disconnects."""


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
class ReceivedRequest:
    """A request that the server received."""

    request_line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The parsed body."""
        return json.loads(self.body)

    @property
    def prompt(self) -> str:
        """The text of the last message. It identifies the requests that belong to one call."""
        try:
            return str(self.json["messages"][-1]["content"])
        except (ValueError, LookupError, TypeError):
            return self.request_line

    @property
    def wants_stream(self) -> bool:
        """Whether the request asks for a stream."""
        return b'"stream":true' in self.body


class FaultServer:
    """Answers requests with scripts. Use it as a context manager.

    Args:
        choose_script: Returns the script for a request, instead of `play`.
        keep_requests: Whether to keep the requests in `requests`.
    """

    def __init__(
        self, choose_script: Callable[[ReceivedRequest], Script] | None = None, *, keep_requests: bool = True
    ) -> None:
        self._keep_requests = keep_requests
        self.requests: list[ReceivedRequest] = []
        self.max_open_connections = 0
        self.accepted_connections = 0
        self.disconnects: queue.Queue[str] = queue.Queue()  # one for each client that disconnects during a reply
        self.choose_script = choose_script or self._next_script
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
        with suppress(OSError), socket.socket() as wake_socket:
            wake_socket.connect(("127.0.0.1", self.port))  # ends `accept` without a name lookup
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
    def open_connections(self) -> int:
        """The number of open connections."""
        with self._lock:
            return len(self._connections)

    def play(self, *scripts: Script) -> None:
        """Answer the requests of each prompt with these scripts, one after another."""
        with self._lock:
            self._scripts = scripts
            self._played.clear()
            self.requests.clear()

    def wait_for_disconnect(self) -> str:
        """Wait until a client closes its connection during a reply.

        Returns:
            `closed` or `reset`. Which of them depends on timing.
        """
        return self.disconnects.get(timeout=30)

    def wait_until_at_most_open(self, limit: int) -> int:
        """Wait until at most `limit` connections are open, and return how many are open."""
        for _ in range(500):
            if self.open_connections <= limit:
                break
            self._closing.wait(0.01)
        return self.open_connections

    def _next_script(self, request: ReceivedRequest) -> Script:
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
                self.accepted_connections += 1
                self.max_open_connections = max(self.max_open_connections, len(self._connections))
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            while (request := _read_request(connection)) is not None:
                if self._keep_requests:
                    with self._lock:
                        self.requests.append(request)
                if not all(self._step(connection, step) for step in self.choose_script(request)):
                    break
        except OSError:
            self.disconnects.put("reset")
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
            self.disconnects.put(self._stall(connection))
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


def _read_request(connection: socket.socket) -> ReceivedRequest | None:
    """Return the next request, or `None` if the client has disconnected."""
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
    return ReceivedRequest(line, headers, body)


# --- The bytes of scripts ---------------------------------------------------------------------------------------------


def make_http_response(status: int = 200, body: bytes | Any = b"", **headers: str) -> bytes:
    """Return a response with its length. A body that is not bytes is encoded as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"content-type": "application/json", "content-length": str(len(content))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    return make_response_head(status, **fields) + content


def make_response_head(status: int = 200, **headers: str) -> bytes:
    """Return the status line and the headers of a response."""
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join((*lines, "", "")).encode("latin-1")


STREAM_HEAD = make_response_head(content_type="text/event-stream", transfer_encoding="chunked")
STREAM_END = b"0\r\n\r\n"


def encode_chunk(data: bytes) -> bytes:
    """Return one chunk of a chunked body."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def encode_event(payload: Any) -> bytes:
    """Return one event as a chunk: bytes unchanged, anything else as JSON."""
    return encode_chunk(b"data: " + (payload if isinstance(payload, bytes) else json.dumps(payload).encode()) + b"\n\n")


def make_envelope(result: Any) -> dict[str, Any]:
    """Return a result in Cloudflare's envelope."""
    return {"result": result, "success": True, "errors": [], "messages": []}


def make_error_envelope(code: int | None, message: str = "No.") -> dict[str, Any]:
    """Return an error in Cloudflare's envelope."""
    error = {"message": message} if code is None else {"code": code, "message": message}
    return {"result": None, "success": False, "errors": [error], "messages": []}


HELLO_TEXT = "Hello"
FIRST_EVENT = encode_event({"response": "Hel"})
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
HELLO_BODY = json.dumps(make_envelope({"response": HELLO_TEXT, "usage": USAGE})).encode()
HELLO_RESPONSE = make_http_response(200, HELLO_BODY)
HALF_RESPONSE = HELLO_RESPONSE[: len(HELLO_RESPONSE) // 2 + 40]
HEAD_THEN_STALL: Script = (make_response_head(200, content_length="100"), STALL)
HELLO_STREAM = (
    STREAM_HEAD
    + FIRST_EVENT
    + encode_event({"response": "lo"})
    + encode_event({"response": "", "usage": USAGE})
    + encode_event(b"[DONE]")
    + STREAM_END
)


def choose_hello_script(request: ReceivedRequest) -> Script:
    """Return the script of a successful reply, as a stream if the request asks for one."""
    return (HELLO_STREAM if request.wants_stream else HELLO_RESPONSE,)


STALL_TIMEOUT = 0.5
"""The timeout, in seconds, of models in tests where the server stalls."""


def make_server_model(server: FaultServer, **arguments: Any) -> ChatWorkersGemma:
    """Return a model that calls this server, with one retry."""
    return make_model(**{"base_url": server.url, "max_retries": 1, "timeout": 20, **arguments})


@contextmanager
def reserve_closed_port() -> Iterator[int]:
    """Yield a port of loopback on which no server listens, and which no other process can use meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def fake_sleep(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Make retries skip their delays, and return the list to which the delays are appended."""
    sleeps: list[float] = []

    async def record_sleep(seconds: float) -> None:
        sleeps.append(seconds)

    def override(module: types.ModuleType, **functions: Callable[..., Any]) -> types.SimpleNamespace:
        return types.SimpleNamespace(**{**vars(module), **functions})

    monkeypatch.setattr(driver, "time", override(time, sleep=sleeps.append, monotonic=lambda: sum(sleeps)))
    monkeypatch.setattr(driver, "asyncio", override(asyncio, sleep=record_sleep))
    return sleeps
