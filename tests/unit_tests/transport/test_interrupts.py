"""Ctrl-C at any line of a sync call: the next call succeeds, and kept connections can be reused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Self

import pytest

from langchain_workers_gemma.transport import client_pool
from tests.helpers.fault_server import HELLO_TEXT, FaultServer, choose_hello_script, make_server_model
from tests.helpers.model_calls import call_model

ROOT = Path(__file__).parents[3]
STEP = 13  # interrupting at each line would take minutes
PACKAGE = "langchain_workers_gemma"


class InterruptAt:
    """A context manager that raises `KeyboardInterrupt` at the n-th line of this package's code."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._previous = sys.gettrace()

    def __enter__(self) -> None:
        sys.settrace(self._trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._previous)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if PACKAGE not in frame.f_code.co_filename:
            return None
        self._lines -= event == "line"
        if self._lines <= 0:
            sys.settrace(None)
            raise KeyboardInterrupt
        return self._trace


def interrupt_calls(call_method: str) -> None:
    """Interrupt a call every few lines, and make another call after each interrupt."""
    with FaultServer(choose_hello_script) as server:
        llm = make_server_model(server, max_retries=0)
        assert call_model(llm, call_method).text == HELLO_TEXT
        for lines in range(1, 10_000, STEP):
            try:
                with InterruptAt(lines):
                    assert call_model(llm, call_method).text == HELLO_TEXT
            except KeyboardInterrupt:
                assert call_model(llm, call_method).text == HELLO_TEXT
                assert client_pool.get_process_pool()._idle_count <= 2
            else:
                break
        assert lines > 300, "every part of the call was interrupted"
        assert server.wait_until_at_most_open(10) <= 10, "only calls interrupted while closing leave a connection"


@pytest.mark.parametrize("call_method", ["invoke", "stream"])
def test_a_call_interrupted_anywhere_does_not_affect_the_next_call(call_method: str) -> None:
    """In a separate process, because sockets of calls interrupted while closing are closed by the garbage collector."""
    program = f"from {__name__} import interrupt_calls; interrupt_calls({call_method!r})"
    process = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr[-2_000:]


class InterruptWithLock:
    """A context manager that raises `KeyboardInterrupt` as soon as httpcore has locked its pool for the n-th time."""

    def __init__(self, nth: int) -> None:
        self._nth = nth
        self.count = 0

    def __enter__(self) -> Self:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        code = frame.f_code
        if code.co_qualname != "ThreadLock.__enter__":
            return None
        if event == "line" and frame.f_lineno > code.co_firstlineno + 1:  # `return self`
            self.count += 1
            if self.count == self._nth:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self._trace


def interrupt_with_lock(call_method: str) -> None:
    """Interrupt a call in its first and in its last use of httpcore's lock, and make another call after each."""
    with FaultServer(choose_hello_script) as server:
        llm = make_server_model(server, max_retries=0)
        assert call_model(llm, call_method).text == HELLO_TEXT
        with InterruptWithLock(0) as uninterrupted:
            assert call_model(llm, call_method).text == HELLO_TEXT
        assert uninterrupted.count > 1
        for nth in (1, uninterrupted.count):
            with pytest.raises(KeyboardInterrupt), InterruptWithLock(nth):
                call_model(llm, call_method)
            assert call_model(llm, call_method).text == HELLO_TEXT
            assert not client_pool.get_process_pool()._in_use


@pytest.mark.parametrize("call_method", ["invoke", "stream"])
def test_a_lock_that_ctrl_c_left_locked_does_not_block_the_next_call(call_method: str) -> None:
    """In a separate process, since a call that waits for such a lock never ends."""
    program = f"from {__name__} import interrupt_with_lock; interrupt_with_lock({call_method!r})"
    process = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert process.returncode == 0, process.stderr[-2_000:]
