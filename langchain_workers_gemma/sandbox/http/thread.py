"""Run the server in a thread with its own event loop, and stop it without leaving threads, tasks or sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .routes import make_app

if TYPE_CHECKING:
    from langchain_workers_gemma.sandbox.inspector import Inspector
    from langchain_workers_gemma.sandbox.service.service import Service

    from .connection import Connection

_LOOP_ITERATIONS = 3
_GRACE_TIMEOUT = 1.0
"""Seconds that open replies have to end when the sandbox closes."""


class _Protocol(H11Protocol):
    """Puts the transport into the scope, so that the application can reset and close connections."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class _Server(uvicorn.Server):
    """A server that stops at once on `stop`. Uvicorn's own server polls ten times a second."""

    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        inspector: Inspector,
        connections: set[Connection],
        ready: threading.Event,
    ) -> None:
        super().__init__(config)
        self._service = service
        self._inspector = inspector
        self._connections = connections
        self._ready = ready
        self._stopping: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def stop(self) -> None:
        """Stop the server. Can be called from any thread."""
        self.should_exit = True
        loop, stopping = self._loop, self._stopping
        if loop is not None and stopping is not None:
            with contextlib.suppress(RuntimeError):  # the loop is already closed
                loop.call_soon_threadsafe(stopping.set)

    async def main_loop(self) -> None:
        """Wait until `stop` is called."""
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        seconds = 0
        while not self.should_exit:
            await self.on_tick(seconds * 10)  # updates the date header
            seconds += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close all connections and wait until their tasks have ended."""
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        self._inspector.close()
        for open_request in list(self._connections):
            open_request.abort()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        tasks = set(self.server_state.tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_GRACE_TIMEOUT)
            for task in late:  # pragma: no cover - no task takes longer
                task.cancel()
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await self._service.engine.close()
        # The loop calls `connection_lost` of the aborted connections in its next iterations.
        for _ in range(_LOOP_ITERATIONS):
            await asyncio.sleep(0)


class ServerThread:
    """The thread of a running server.

    Attributes:
        connections: The open connections of requests.
    """

    def __init__(self, service: Service, inspector: Inspector, listener: socket.socket) -> None:
        self._listener = listener
        self._ready = threading.Event()
        self.connections: set[Connection] = set()
        config = uvicorn.Config(
            inspector.wrap(make_app(service, self.connections)),
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            loop="asyncio",
            server_header=False,
        )
        self._server = _Server(config, service, inspector, self.connections, self._ready)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="workers-gemma-sandbox", daemon=True)

    def start(self) -> None:
        """Start the thread and wait until the server is ready."""
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise RuntimeError("The sandbox could not start.") from self._error

    def stop(self) -> None:
        """Stop the server and wait for the thread to end."""
        self._server.stop()
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._server.serve(sockets=[self._listener]))
        except BaseException as error:  # noqa: BLE001 - raised by `start`
            self._error = error
        finally:
            self._listener.close()
            self._ready.set()
