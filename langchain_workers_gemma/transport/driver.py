"""Run an exchange: execute each of its actions, most of them over a connection.

`http` has the connections over HTTP, `binding` the one inside a Worker. Sync and async differ only in `await`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Iterator
from contextvars import ContextVar
from typing import Any, Final, Protocol, Self, TypeVar

from langchain_workers_gemma.errors import WorkersGemmaError
from langchain_workers_gemma.exchange.actions import (
    Action,
    CloseConnection,
    Deliver,
    FetchImages,
    Flow,
    Read,
    ReadClock,
    ResponseHead,
    Send,
    Sleep,
    T,
)
from langchain_workers_gemma.exchange.request import Request
from langchain_workers_gemma.response.builders import Piece
from langchain_workers_gemma.transport.image_inlining import afetch_images, fetch_images

_Error = TypeVar("_Error", bound=BaseException)

GRACE_TIMEOUT = 2.0
"""The maximum time in seconds that a complete response may take to end, including late usage reports."""


class RequestGate(Protocol):
    """Decides when each request of a call may be sent, including retries and repairs."""

    def wait(self) -> None:
        """Wait until the next request may be sent, or raise to end the call."""

    async def await_turn(self) -> None:
        """Wait without blocking the event loop. See `wait`."""


REQUEST_GATE: Final[ContextVar[RequestGate | None]] = ContextVar("workers_gemma_request_gate", default=None)
"""The gate of the calls in this context, such as one that enforces a rate limit over many calls."""


class Connection(Protocol):
    """Sends requests and reads their responses, one after the other. Every failure is a `WorkersGemmaError`."""

    def send(self, request: Request) -> ResponseHead:
        """Send a request and wait for the head of its response; an earlier response is closed."""

    def read(self, *, is_complete: bool = False) -> bytes | None:
        """Return the next bytes of the response, or `None` at its end. See `Read`."""

    def abort(self) -> None:
        """Close the connection of the response; the next request uses another."""

    def close(self) -> None:
        """End the call: close the response, and release its connection."""


class AsyncConnection(Protocol):
    """A `Connection` with async methods."""

    async def send(self, request: Request) -> ResponseHead:
        """Send a request and wait for the head of its response; an earlier response is closed."""

    async def read(self, *, is_complete: bool = False) -> bytes | None:
        """Return the next bytes of the response, or `None` at its end. See `Read`."""

    async def abort(self) -> None:
        """Close the connection of the response; the next request uses another."""

    async def close(self) -> None:
        """End the call: close the response, and release its connection."""


class Driver(Protocol):
    """Runs exchanges: `http.Transport` over HTTP, `binding.BindingTransport` inside a Worker."""

    def run(self, flow: Flow) -> Generator[list[Piece]]:
        """Run an exchange, and yield the pieces that it delivers."""

    def arun(self, flow: Flow) -> AsyncExchange:
        """Run an exchange, and yield the pieces that it delivers."""


def run_flow(flow: Flow, connection: Connection) -> Generator[list[Piece]]:
    """Execute the actions of an exchange, and yield the pieces that it delivers.

    Raises:
        WorkersGemmaError: The error that ends the exchange.
    """
    try:
        action = next(flow)
        while True:
            if isinstance(action, Deliver):
                yield action.pieces
                action = next(flow)
                continue
            try:
                outcome = _execute(action, connection)
            except BaseException as failure:  # noqa: BLE001 - the flow raises what it cannot handle
                action = flow.throw(failure)
            else:
                action = flow.send(outcome)
    except StopIteration:
        return
    except WorkersGemmaError as error:
        outcome = None
        raise strip_frames(error)  # noqa: B904 - it is the same error
    finally:
        try:
            flow.close()
        finally:
            connection.close()


class AsyncExchange:
    """An exchange whose actions are awaited: an iterator of the pieces that it delivers.

    It is not an async generator: an event loop closes all of its async generators at the same time, so a nested one
    would be closed twice, which raises.

    Args:
        flow: The exchange.
        connection: The connection that executes its actions.
    """

    def __init__(self, flow: Flow, connection: AsyncConnection) -> None:
        self._flow = flow
        self._connection = connection

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Piece]:
        try:
            action = next(self._flow)
            while not isinstance(action, Deliver):
                try:
                    outcome = await _aexecute(action, self._connection)
                except BaseException as failure:  # noqa: BLE001 - the flow raises what it cannot handle
                    action = self._flow.throw(failure)
                else:
                    action = self._flow.send(outcome)
        except StopIteration:
            await self.aclose()
            raise StopAsyncIteration from None
        except WorkersGemmaError as error:
            outcome = None
            await self.aclose()
            raise strip_frames(error)  # noqa: B904 - it is the same error
        except BaseException:
            await self.aclose()
            raise
        return action.pieces

    async def aclose(self) -> None:
        """End the exchange, and close its connection."""
        self._flow.close()
        await self._connection.close()


def strip_frames(error: _Error) -> _Error:
    """Return an error without the data that may hold a credential.

    These are the frames of this package, whose local variables hold the caller's headers and the server's data, which
    may repeat the token, and contexts that no traceback shows, but that Dask's `tblib` puts into pickles.
    """
    for one in iterate_chain(error):
        one.__traceback__ = None
        if one.__suppress_context__:
            one.__context__ = None
    return error


def iterate_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes and contexts, each once."""
    one: BaseException | None = error
    seen: set[int] = set()
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def _execute(action: Action, connection: Connection) -> Any:
    match action:
        case Read():
            return connection.read(is_complete=action.is_complete)
        case Send():
            if (gate := REQUEST_GATE.get()) is not None:
                gate.wait()
            return connection.send(action.request)
        case CloseConnection():
            return connection.abort()
        case Sleep():
            return time.sleep(action.seconds)
        case ReadClock():
            return time.monotonic()
        case FetchImages():
            return fetch_images(action.urls)
        case _:
            raise AssertionError(f"{action} is not for a connection")


async def _aexecute(action: Action, connection: AsyncConnection) -> Any:
    match action:
        case Read():
            return await connection.read(is_complete=action.is_complete)
        case Send():
            if (gate := REQUEST_GATE.get()) is not None:
                await gate.await_turn()
            return await connection.send(action.request)
        case CloseConnection():
            return await connection.abort()
        case Sleep():
            return await asyncio.sleep(action.seconds)
        case ReadClock():
            return time.monotonic()
        case FetchImages():
            return await afetch_images(action.urls)
        case _:
            raise AssertionError(f"{action} is not for a connection")


def run(driver: Driver, flow: Generator[Action, Any, T]) -> T:
    """Run a flow and return its result."""
    outcome: list[T] = []
    for _ in driver.run(_keep_outcome(flow, outcome)):
        pass
    return outcome[0]


async def arun(driver: Driver, flow: Generator[Action, Any, T]) -> T:
    """Run a flow and return its result."""
    outcome: list[T] = []
    async for _ in driver.arun(_keep_outcome(flow, outcome)):
        pass
    return outcome[0]


def _keep_outcome(flow: Generator[Action, Any, T], outcome: list[T]) -> Flow:
    outcome.append((yield from flow))
