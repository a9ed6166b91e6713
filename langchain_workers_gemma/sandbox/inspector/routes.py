"""The routes of the inspector: the page, its files, the live feed, and changes of the sandbox's settings.

What the page shows is imported with its first request, since most sandboxes run without an open page.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from .exchanges import Exchange, ExchangeLog
from .guard import find_foreign_header
from .recorder import Recorder
from .redaction import Redactor, find_secrets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from .bodies import BodyT
    from .settings import FaultInjection, SandboxOptions

_FILES = {
    "inspector.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    **dict.fromkeys(
        ("inspector.js", "dom.js", "list.js", "detail.js", "settings.js"), "text/javascript; charset=utf-8"
    ),
}
_PREFIX = "/inspector"
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_MAX_BODY_BYTES = 65_536
_FEED_INTERVAL = 0.05
"""Seconds between two updates of the feed, so that a stream of 1000 events does not cause 1000 updates."""
_HEARTBEAT_INTERVAL = 15.0
"""Seconds after which a feed without changes sends a comment, to detect whether the page is still open."""


class _RequestError(Exception):
    """A request to the inspector that is refused."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Inspector:
    """Records the requests and responses of the sandbox, and serves the page that shows them.

    Attributes:
        log: The requests and responses.
    """

    def __init__(
        self, options: SandboxOptions, faults: FaultInjection, secrets: Callable[[], Iterable[str | None]]
    ) -> None:
        """Create an inspector.

        Args:
            options: The options of the sandbox, which the page shows and changes.
            faults: The fault queue of the sandbox.
            secrets: Returns the tokens of the sandbox, which are never shown.
        """
        self.log = ExchangeLog()
        self._options = options
        self._faults = faults
        self._secrets = secrets

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """Return an application that serves the inspector at its root, and records and forwards all other requests.

        Requests of foreign web pages are refused on all paths.
        """
        recorder = Recorder(app, self.log, self.make_redactor)
        own_app = _add_headers(self._build_application())

        async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
            foreign = find_foreign_header(
                {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
            )
            if foreign is not None:
                await PlainTextResponse(f"Refused: foreign {foreign} header.\n", 403)(scope, receive, send)
            else:
                await (own_app if _is_own(scope) else recorder)(scope, receive, send)

        return dispatch

    def make_redactor(self, exchange: Exchange) -> Redactor:
        """Return a redactor for the tokens in one exchange."""
        own = [secret for secret in self._secrets() if secret]
        return Redactor([*own, *find_secrets(exchange.headers, exchange.query)])

    def close(self) -> None:
        """End all feeds, because the server stops."""
        self.log.close()

    def _build_application(self) -> ASGIApp:
        routes = [
            Route("/", self._serve_page),
            Route("/favicon.ico", _respond_no_content),
            Route(f"{_PREFIX}/files/{{name}}", self._serve_file),
            Route(f"{_PREFIX}/feed", self._serve_feed),
            Route(f"{_PREFIX}/requests/{{id:int}}", self._serve_detail),
            Route(f"{_PREFIX}/requests", self._clear, methods=["DELETE"]),
            Route(f"{_PREFIX}/settings", self._show_settings),
            Route(f"{_PREFIX}/dialect", self._set_dialect, methods=["POST"]),
            Route(f"{_PREFIX}/pace", self._set_pace, methods=["POST"]),
            Route(f"{_PREFIX}/chaos", self._set_chaos, methods=["POST"]),
            Route(f"{_PREFIX}/faults", self._inject, methods=["POST"]),
            Route(f"{_PREFIX}/faults", self._clear_faults, methods=["DELETE"]),
        ]
        return Starlette(routes=routes, exception_handlers={_RequestError: _respond_error})

    async def _serve_page(self, _request: Request) -> Response:
        return Response(_read_file("index.html"), media_type="text/html; charset=utf-8")

    async def _serve_file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _FILES:
            raise _RequestError(404, "There is no such file.")
        return Response(_read_file(name), media_type=_FILES[name])

    async def _serve_feed(self, _request: Request) -> Response:
        return StreamingResponse(self._iterate_messages(), media_type="text/event-stream")

    async def _iterate_messages(self) -> AsyncIterator[str]:
        import asyncio

        from .views import build_summary_view

        with self.log.watch() as watcher:
            watcher.notify(None)
            while not watcher.closed:
                reset, changed = watcher.take()
                if reset:
                    yield _format_message("reset", {"dropped": self.log.dropped})
                    changed = self.log.list_all()
                for exchange in changed:
                    yield _format_message("exchange", build_summary_view(exchange, self.make_redactor(exchange)))
                    await asyncio.sleep(0)  # so that the feed does not delay the sandbox's own replies
                if reset:
                    yield _format_message("ready", {})  # the exchanges after this are new
                if not reset and not changed:
                    yield ": no changes\n\n"
                await watcher.wait(_HEARTBEAT_INTERVAL)
                if not watcher.closed:
                    await asyncio.sleep(_FEED_INTERVAL)

    async def _serve_detail(self, request: Request) -> Response:
        from .views import build_detail_view

        exchange = self.log.get(request.path_params["id"])
        if exchange is None:
            raise _RequestError(404, "This request is no longer stored.")
        return _respond_json(build_detail_view(exchange, self.make_redactor(exchange)))

    async def _clear(self, _request: Request) -> Response:
        self.log.clear()
        return await _respond_no_content(_request)

    async def _show_settings(self, _request: Request) -> Response:
        from .settings import build_settings_view

        return _respond_json(build_settings_view(self._options, self._faults))

    async def _set_dialect(self, request: Request) -> Response:
        from .bodies import DialectBody
        from .settings import choose_dialect

        body = await _read_body(request, DialectBody)
        try:
            self._options.dialect = choose_dialect(self._options.dialect, body)
        except ValueError as error:
            raise _RequestError(422, str(error)) from None
        return await self._show_settings(request)

    async def _set_pace(self, request: Request) -> Response:
        from .bodies import PaceBody

        body = await _read_body(request, PaceBody)
        self._options.latency, self._options.tokens_per_second = body.latency, body.tokens_per_second
        return await self._show_settings(request)

    async def _set_chaos(self, request: Request) -> Response:
        from langchain_workers_gemma.sandbox.faults import KINDS

        from .bodies import ChaosBody

        self._faults.mix((await _read_body(request, ChaosBody)).rate, 0, KINDS)
        return await self._show_settings(request)

    async def _inject(self, request: Request) -> Response:
        from .bodies import FaultBody

        body = await _read_body(request, FaultBody)
        try:
            fault = body.make_fault()
        except ValueError as error:
            raise _RequestError(422, str(error)) from None
        self._faults.inject(fault, body.times)
        return await self._show_settings(request)

    async def _clear_faults(self, request: Request) -> Response:
        self._faults.clear()
        return await self._show_settings(request)


def _add_headers(app: ASGIApp) -> ASGIApp:
    """Return an application that adds the security headers to each response."""
    headers = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]

    async def app_with_headers(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *headers]}
            await send(message)

        await app(scope, receive, send_with_headers)

    return app_with_headers


def _is_own(scope: Scope) -> bool:
    path = scope["path"]
    if path == "/":
        return scope["method"] in ("GET", "HEAD")
    return path in (_PREFIX, "/favicon.ico") or path.startswith(f"{_PREFIX}/")


def _read_file(name: str) -> bytes:
    from importlib.resources import files  # not needed by a sandbox whose page is not open

    return files(__package__).joinpath("static", name).read_bytes()


async def _read_body(request: Request, kind: type[BodyT]) -> BodyT:
    """Read and validate the body of a request.

    Raises:
        _RequestError: If the body is not JSON, too large or not valid.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise _RequestError(415, "Send application/json.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            raise _RequestError(413, f"Send at most {_MAX_BODY_BYTES} bytes.")
    from .bodies import parse_body

    try:
        return parse_body(kind, body)
    except ValueError as error:
        raise _RequestError(422, str(error)) from None


async def _respond_error(_request: Request, error: Exception) -> Response:
    return _respond_json({"error": str(error)}, error.status if isinstance(error, _RequestError) else 500)


async def _respond_no_content(_request: Request) -> Response:
    return Response(status_code=204)


def _format_message(event: str, data: object) -> str:
    return f"event: {event}\ndata: {json.dumps(data, allow_nan=False)}\n\n"


def _respond_json(value: object, status: int = 200) -> Response:
    # ASCII only, because a request may contain lone surrogates, which UTF-8 cannot encode.
    return Response(json.dumps(value, allow_nan=False), status, media_type="application/json")
