"""A pytest plugin that keeps every history that tests put to a model: `pytest -p tests.templates.recording`."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from langchain_core.messages import BaseMessage

from langchain_workers_gemma import ChatWorkersGemma
from tests.templates.templates import CACHE

_MAX_MESSAGES = 40
_KEPT = frozenset({"id", "name", "role", "status", "tool_call_id", "type"})
_histories: dict[str, list[BaseMessage]] = {}


def pytest_configure() -> None:
    for name in ("_generate", "_agenerate", "_stream", "_astream"):
        setattr(ChatWorkersGemma, name, _recording(getattr(ChatWorkersGemma, name)))


def _recording(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def recorded(self: ChatWorkersGemma, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
        if 0 < len(messages) <= _MAX_MESSAGES:
            with contextlib.suppress(RecursionError):  # arguments that contain themselves are refused
                _histories.setdefault(_shape(messages), list(messages))
        return method(self, messages, *args, **kwargs)

    return recorded


def _shape(messages: Sequence[BaseMessage]) -> str:
    """Return the parts of a history that matter to a template: everything but the wording."""
    return json.dumps([_without_words(message.model_dump(exclude={"id", "response_metadata"})) for message in messages])


def _without_words(value: Any, key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {str(name): _without_words(one, str(name)) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_words(one, key) for one in value]
    if isinstance(value, str) and key not in _KEPT:
        return value if not value.strip() else "word"
    return value if isinstance(value, str | int | None) else "value"


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput") or not session.config.getoption("numprocesses", None):
        target = CACHE / "histories"
        target.mkdir(parents=True, exist_ok=True)
        (target / f"{os.getpid()}.pickle").write_bytes(pickle.dumps(list(_histories.values())))


def recorded_histories() -> list[list[BaseMessage]]:
    """Return the histories that the last run kept, each once."""
    found: dict[str, list[BaseMessage]] = {}
    for file in sorted((CACHE / "histories").glob("*.pickle")):
        for messages in pickle.loads(file.read_bytes()):
            found.setdefault(_shape(messages), messages)
    return list(found.values())
