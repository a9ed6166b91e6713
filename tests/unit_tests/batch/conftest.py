"""Tests of the queue run sync and async."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["sync", "async"])
def call_method(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param
