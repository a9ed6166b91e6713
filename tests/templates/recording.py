"""A pytest plugin that saves every history that tests send to a model: `pytest -p tests.templates.recording`."""

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
_KEPT_KEYS = frozenset({"id", "name", "role", "status", "tool_call_id", "type"})
_histories: dict[str, list[BaseMessage]] = {}


def pytest_configure() -> None:
    for name in ("_generate", "_agenerate", "_stream", "_astream"):
        setattr(ChatWorkersGemma, name, _add_recording(getattr(ChatWorkersGemma, name)))


def _add_recording(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call_and_record(self: ChatWorkersGemma, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
        if 0 < len(messages) <= _MAX_MESSAGES:
            with contextlib.suppress(RecursionError):  # arguments that contain themselves are refused
                _histories.setdefault(_get_structure(messages), list(messages))
        return method(self, messages, *args, **kwargs)

    return call_and_record


def _get_structure(messages: Sequence[BaseMessage]) -> str:
    """Return everything in a history that matters to a template, which is all except the words."""
    return json.dumps([_replace_words(message.model_dump(exclude={"id", "response_metadata"})) for message in messages])


def _replace_words(value: Any, key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {str(name): _replace_words(one, str(name)) for name, one in value.items()}
    if isinstance(value, list):
        return [_replace_words(one, key) for one in value]
    if isinstance(value, str) and key not in _KEPT_KEYS:
        return value if not value.strip() else "word"
    return value if isinstance(value, str | int | None) else "value"


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput") or not session.config.getoption("numprocesses", None):
        target = CACHE / "histories"
        target.mkdir(parents=True, exist_ok=True)
        (target / f"{os.getpid()}.pickle").write_bytes(pickle.dumps(list(_histories.values())))


def load_histories() -> list[list[BaseMessage]]:
    """Return the histories that the last run saved, without duplicates."""
    found: dict[str, list[BaseMessage]] = {}
    for file in sorted((CACHE / "histories").glob("*.pickle")):
        for messages in pickle.loads(file.read_bytes()):
            found.setdefault(_get_structure(messages), messages)
    return list(found.values())
