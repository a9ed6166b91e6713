"""Fixtures of the tests of data sets."""

from __future__ import annotations

import pytest

from langchain_workers_gemma.scale import plan as plan_module


@pytest.fixture
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "_INITIAL_DELAY", 0.0)
