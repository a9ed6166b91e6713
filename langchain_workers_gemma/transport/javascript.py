"""Convert JavaScript's values and promises in Pyodide. Outside Pyodide there are none."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import Any

if sys.platform == "emscripten":
    from js import JSON
    from pyodide.ffi import JsException as JsError
    from pyodide.ffi import JsProxy

    _JS_TYPES: tuple[type, ...] = (JsProxy, JsError)
else:
    JSON: Any = None
    _JS_TYPES: tuple[type, ...] = ()

    class JsError(Exception):
        """An error of JavaScript. It is never raised outside Pyodide."""


_CLOSE_TIMEOUT = 5.0

_in_background: set[asyncio.Future[None]] = set()  # asyncio keeps no references to them


def is_js(value: object) -> bool:
    """Return whether a value is a JavaScript value."""
    return isinstance(value, _JS_TYPES)


def to_js_object(text: str) -> Any:
    """Return the value of a JSON text as a JavaScript object.

    The input must be the same as over HTTP. Pyodide's `to_js` would convert None to `undefined`, and a large number to
    a BigInt.
    """
    return JSON.parse(text)


def to_js_json(value: Any) -> str | None:
    """Return a JavaScript value as JSON, `None` if JSON cannot represent it."""
    text = JSON.stringify(value)
    return text if isinstance(text, str) else None


def to_python(value: Any) -> Any:
    """Convert a value from Pyodide to a Python value.

    Raises:
        TypeError: If it cannot be converted.
    """
    if hasattr(value, "to_py"):
        return value.to_py()
    if is_null(value):
        return None
    if type(value).__module__ == "builtins":
        return value
    return dict(value) if isinstance(value, Mapping) else _refuse(value)


def _refuse(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} cannot be read")


def is_null(value: object) -> bool:
    """Return whether a value is JavaScript's `undefined` or `null`, which Pyodide distinguishes."""
    return value is None or type(value).__name__ == "JsNull"


def get_member(step: Any, name: str) -> Any:
    """Return a member of a step of a stream: a JavaScript object, or the `dict` of Cloudflare's Python SDK."""
    return step.get(name) if isinstance(step, Mapping) else getattr(step, name, None)


async def cancel(close: Any, *, wait: bool = True) -> None:
    """Call the function that cancels a stream, and wait for it.

    Args:
        close: The function, `None` if there is none.
        wait: Whether to wait. JavaScript continues on its own, and waiting is not possible if the garbage collector
            closes the stream.
    """
    if close is None:
        return
    with suppress(Exception):
        closed = close()
        if not wait:
            run_in_background(_ignore_failure(closed))
        elif inspect.isawaitable(closed):
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await closed


async def discard(promise: Awaitable[Any]) -> None:
    """Wait for a result that is no longer needed, and cancel it if it is a stream."""
    with suppress(Exception):
        result = await promise
        if hasattr(result, "cancel"):
            await result.cancel()


async def _ignore_failure(promise: Awaitable[Any]) -> None:
    with suppress(Exception):
        await promise


def run_in_background(awaited: Any) -> None:
    """Run an awaitable without waiting for it."""
    future = asyncio.ensure_future(awaited)
    _in_background.add(future)
    future.add_done_callback(_in_background.discard)
