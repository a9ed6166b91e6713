"""The sandbox: a server on loopback that runs in its own thread."""

from __future__ import annotations

import contextlib
import json
import math
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self

from langchain_workers_gemma.sandbox.engines.mock import MockModel
from langchain_workers_gemma.sandbox.http.thread import ServerThread
from langchain_workers_gemma.sandbox.inspector import Inspector
from langchain_workers_gemma.sandbox.service.call import Options
from langchain_workers_gemma.sandbox.service.service import Service

from .dialects import Dialect, get_dialect
from .errors import STATUSES
from .faults import KINDS, Fault, FaultKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType

    from .chat import Engine
    from .records import ReceivedRequest

_LOOPBACK = "127.0.0.1"
_ACCOUNT = "5a9db0c5a9db0c5a9db0c5a9db0c5a9d"
_TOKEN = "sandbox-token"  # noqa: S105 - worth nothing anywhere else


class Sandbox:
    """A local Workers AI: real HTTP on loopback, as strict as the service, with a deterministic mock model.

    Example:
        >>> from langchain_workers_gemma.sandbox import Sandbox
        >>> with Sandbox() as sandbox:
        ...     print(sandbox.base_url.startswith("http://127.0.0.1:"))
        True

    Args:
        port: The port to listen on, or 0 for any free port.
        upstream: The base URL of an OpenAI-compatible server that replies instead of the mock model.
        upstream_model: The name of the model on that server.
        upstream_api_key: The API key of that server, if it needs one.
        upstream_schema: How that server accepts a JSON Schema: OpenAI's `json_schema`, llama-cpp-python's `json_object`
            with a schema, any `json_object` with the schema in the `prompt`, or `auto` for the first that works.
        seed: The seed of the mock model. Another seed results in other replies.
        dialect: Behaviours of the service to reproduce: a `Dialect`, or names from `DIALECTS`.
        latency: Seconds before each reply.
        tokens_per_second: The speed of streams, or `None` for as fast as possible.
        account_id: The account id that requests must have.
        api_token: The token that requests must have.
        gateway_token: A token that every AI Gateway request must have in `cf-aig-authorization`.
        enforce_retirement: Whether to refuse models that the service has retired.
        max_body: Maximum size of a request in bytes.
        queue_polls: Number of polls after which a queued batch is finished.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        upstream: str | None = None,
        upstream_model: str | None = None,
        upstream_api_key: str | None = None,
        upstream_schema: Literal["auto", "json_schema", "json_object", "prompt"] = "auto",
        seed: int = 0,
        dialect: Dialect | str | Iterable[str] | None = None,
        latency: float = 0.0,
        tokens_per_second: float | None = None,
        account_id: str = _ACCOUNT,
        api_token: str = _TOKEN,
        gateway_token: str | None = None,
        enforce_retirement: bool = False,
        max_body: int = 10_000_000,
        queue_polls: int = 1,
    ) -> None:
        self._options = Options(
            account_id=account_id,
            api_token=api_token,
            gateway_token=gateway_token,
            enforce_retirement=enforce_retirement,
            max_body=max_body,
            queue_polls=queue_polls,
            latency=latency,
            tokens_per_second=_check_speed(tokens_per_second),
            dialect=_resolve_dialect(dialect),
        )
        self._service = Service(
            self._options, engine=_make_engine(seed, upstream, upstream_model, upstream_api_key, upstream_schema)
        )
        self._inspector = Inspector(
            self._options,
            self._service.faults,
            secrets=lambda: (self._options.api_token, self._options.gateway_token, upstream_api_key),
        )
        self._requested_port = port
        self._port: int | None = None
        self._running: ServerThread | None = None

    # --- lifecycle ----------------------------------------------------------------------------------------------------
    def start(self) -> Self:
        """Start the server. `close` stops it.

        Raises:
            OSError: If the port is in use.
            RuntimeError: If the sandbox is already running.
        """
        if self._running is not None:
            raise RuntimeError("This sandbox is already running.")
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((_LOOPBACK, self._requested_port))
        except BaseException:
            listener.close()
            raise
        self._port = listener.getsockname()[1]
        self._running = ServerThread(self._service, self._inspector, listener)
        self._running.start()
        return self

    def close(self) -> None:
        """Stop the server and close its connections. You can call it more than once."""
        running, self._running = self._running, None
        if running is not None:
            running.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = f"on {self._root_url}" if self._running is not None else "not running"
        return f"<Sandbox {state}>"

    # --- addresses ------------------------------------------------------------------------------------------------
    @property
    def _root_url(self) -> str:
        if self._port is None:
            raise RuntimeError("The sandbox has not been started: use it as a context manager, or call start().")
        return f"http://{_LOOPBACK}:{self._port}"

    @property
    def port(self) -> int:
        """The port that the sandbox listens on."""
        return int(self._root_url.rpartition(":")[2])

    @property
    def base_url(self) -> str:
        """The base URL that replaces `https://api.cloudflare.com/client/v4`."""
        return f"{self._root_url}/client/v4"

    @property
    def gateway_url(self) -> str:
        """The base URL of the legacy form of AI Gateway, which replaces `https://gateway.ai.cloudflare.com/v1/...`."""
        return f"{self._root_url}/v1/{self.account_id}/default/workers-ai"

    @property
    def dataoorts_url(self) -> str:
        """The base URL of Dataoorts, which replaces `https://cloud.dataoorts.com/api/v1`."""
        return f"{self._root_url}/dataoorts/api/v1"

    @property
    def aimlapi_url(self) -> str:
        """The base URL of AI/ML API, which replaces `https://api.aimlapi.com/v1`."""
        return f"{self._root_url}/aimlapi/v1"

    @property
    def openai_url(self) -> str:
        """The base URL of an OpenAI-compatible server with `/chat/completions`, `/embeddings` and `/models`."""
        return f"{self._root_url}/v1"

    @property
    def binding_url(self) -> str:
        """The base URL of the backend of a Workers binding, which replaces `https://workers-binding.ai`."""
        return self._root_url

    @property
    def account_id(self) -> str:
        """The account id."""
        return self._options.account_id

    @property
    def api_token(self) -> str:
        """The token that every route of the sandbox accepts."""
        return self._options.api_token

    # --- received requests -------------------------------------------------------------------------------------------
    @property
    def requests(self) -> list[ReceivedRequest]:
        """All received requests, oldest first."""
        return self._service.requests.all()

    def clear(self) -> None:
        """Reset the state: received requests, injected faults, cached replies, sessions and batches."""
        self._service.reset()

    # --- behaviour ---------------------------------------------------------------------------------------------
    @property
    def dialect(self) -> Dialect:
        """The active behaviours."""
        return self._options.dialect

    @dialect.setter
    def dialect(self, dialect: Dialect | str | Iterable[str] | None) -> None:
        self._options.dialect = _resolve_dialect(dialect)

    @contextlib.contextmanager
    def using_dialect(self, *names: str, **switches: Any) -> Iterator[Self]:
        """Add behaviours to the active ones within a `with` block.

        Args:
            *names: Names from `DIALECTS`.
            **switches: Fields of `Dialect`.
        """
        before = self._options.dialect
        self._options.dialect = replace(before.combine(get_dialect(*names)), **switches)
        try:
            yield self
        finally:
            self._options.dialect = before

    speaking = using_dialect
    """The former name of `using_dialect`."""

    @property
    def latency(self) -> float:
        """Seconds before each reply."""
        return self._options.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        self._options.latency = seconds

    @property
    def tokens_per_second(self) -> float | None:
        """The speed of streams, or `None` for as fast as possible."""
        return self._options.tokens_per_second

    @tokens_per_second.setter
    def tokens_per_second(self, tokens_per_second: float | None) -> None:
        self._options.tokens_per_second = _check_speed(tokens_per_second)

    # --- faults -----------------------------------------------------------------------------------------------------
    def inject(self, fault: Fault, *, times: int = 1) -> None:
        """Apply a fault to the next requests, after those injected before."""
        self._service.faults.inject(fault, times)

    order = inject
    """The former name of `inject`."""

    def fail(
        self,
        next: int = 1,  # noqa: A002 - clear in a call: fail(next=3)
        *,
        status: int | None = None,
        code: int | None = None,
        message: str | None = None,
        retry_after: float | None = None,
        path: str = "",
    ) -> None:
        """Reply to the next requests with an error.

        Args:
            next: The number of requests.
            status: The HTTP status. By default the status of the code, or 500 without a code.
            code: The service's code.
            message: The message. By default the service's message for the code.
            retry_after: The seconds of the `Retry-After` header.
            path: Apply the fault only to requests whose path contains this text.
        """
        if status is None:
            status = STATUSES.get(code or 0, 500)
        fault = Fault(kind="error", status=status, code=code, message=message, retry_after=retry_after, path=path)
        self.inject(fault, times=next)

    def cut(self, after_events: int = 0, *, clean: bool = False, times: int = 1) -> None:
        """End the next stream after some events: close the connection, or with `clean` end the body as if complete."""
        self.inject(Fault(kind="cut", after_events=after_events, clean=clean), times=times)

    def stall(self, seconds: float, *, after_events: int = 0, times: int = 1) -> None:
        """Pause before an event of the next reply."""
        self.inject(Fault(kind="stall", seconds=seconds, after_events=after_events), times=times)

    def reset(self, after_events: int = 0, *, times: int = 1) -> None:
        """Reset the connection of the next request after some events."""
        self.inject(Fault(kind="reset", after_events=after_events), times=times)

    def stream_error(
        self,
        after_events: int = 0,
        *,
        code: int | None = None,
        message: str | None = None,
        status: int = 500,
        times: int = 1,
    ) -> None:
        """Send an error object instead of an event of the next stream."""
        fault = Fault(kind="stream_error", after_events=after_events, code=code, message=message, status=status)
        self.inject(fault, times=times)

    def garbage(self, *, status: int = 200, times: int = 1) -> None:
        """Reply to the next request with bytes that are not JSON."""
        self.inject(Fault(kind="garbage", status=status), times=times)

    def html(self, *, status: int = 502, times: int = 1) -> None:
        """Reply to the next request with the HTML page of a proxy."""
        self.inject(Fault(kind="html", status=status), times=times)

    def empty(self, *, status: int = 200, times: int = 1) -> None:
        """Reply to the next request with an empty body."""
        self.inject(Fault(kind="empty", status=status), times=times)

    def script(
        self,
        body: bytes | str | Mapping[str, Any] | list[Any] | None = None,
        *,
        status: int = 200,
        content_type: str | None = None,
        pieces: Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        times: int = 1,
    ) -> None:
        """Reply to the next request with exact bytes.

        Args:
            body: Bytes, text, or a value to send as JSON.
            status: The HTTP status.
            content_type: The content type. By default an event stream if the body has `data:` events, otherwise JSON.
            pieces: The body as a list of packets, instead of `body`.
            headers: Further headers.
            times: The number of requests that get this reply.
        """
        packets = tuple(pieces) if pieces is not None else (_to_bytes(body),)
        if content_type is None:
            start = b"".join(packets).lstrip()
            content_type = "text/event-stream" if start.startswith((b"data:", b"event:", b":")) else "application/json"
        self.inject(
            Fault(kind="exact", status=status, content_type=content_type, pieces=packets, headers=dict(headers or {})),
            times=times,
        )

    def chaos(self, rate: float = 0.2, *, seed: int = 0, kinds: Iterable[FaultKind | Fault] = KINDS) -> None:
        """Apply faults to a random share of all requests, the same for the same seed. A rate of 0 stops this."""
        self._service.faults.mix(rate, seed, kinds)


def _check_speed(tokens_per_second: float | None) -> float | None:
    if tokens_per_second is not None and not 0 < tokens_per_second < math.inf:
        raise ValueError(
            f"tokens_per_second={tokens_per_second!r} must be a positive number, or None for as fast as possible."
        )
    return tokens_per_second


def _resolve_dialect(dialect: Dialect | str | Iterable[str] | None) -> Dialect:
    if isinstance(dialect, Dialect):
        return dialect
    names = [dialect] if isinstance(dialect, str) else list(dialect or ())
    return get_dialect(*names)


def _make_engine(
    seed: int,
    upstream: str | None,
    model: str | None,
    api_key: str | None,
    schema_form: Literal["auto", "json_schema", "json_object", "prompt"],
) -> Engine:
    if upstream is None:
        return MockModel(seed)
    if model is None:
        raise ValueError("upstream needs upstream_model, the name of the model on that server.")
    from langchain_workers_gemma.sandbox.engines.upstream import Upstream

    return Upstream(upstream, model, api_key, schema_form)


def _to_bytes(body: object) -> bytes:
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()
    return b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
