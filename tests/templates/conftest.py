"""Count the checked prompts of all workers of pytest-xdist."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

RENDERINGS: Counter[str] = Counter()
"""The number of checked prompts by template."""


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    RENDERINGS.update(getattr(node, "workeroutput", {}).get("renderings", {}))


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["renderings"] = dict(RENDERINGS)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    by_template = ", ".join(f"{name} {count:,}" for name, count in sorted(RENDERINGS.items()))
    terminalreporter.write_line(f"{sum(RENDERINGS.values()):,} prompts checked: {by_template or 'none'}")
