"""What work costs, in a measure that nothing else on the machine can change. Seconds are for `benchmarks/`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import langchain_workers_gemma

_PACKAGE = str(Path(langchain_workers_gemma.__file__).parent)


def lines_run(act: Callable[[], object]) -> int:
    """How many lines of this package `act` runs, in this thread; what libraries do is not counted."""
    count = 0

    def in_frame(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        if event == "line":
            count += 1
        return in_frame

    def on_call(frame: FrameType, _event: str, _argument: Any) -> Any:
        return in_frame if frame.f_code.co_filename.startswith(_PACKAGE) else None

    before = sys.gettrace()  # that of a debugger, or of coverage
    sys.settrace(on_call)
    try:
        act()
    finally:
        sys.settrace(before)
    return count
