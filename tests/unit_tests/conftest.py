"""Fixtures: a service that is mocked with respx, and a server on real sockets, for network faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import respx

from tests.helpers.fault_server import FaultServer, fake_sleep
from tests.helpers.mock_service import MockService


@pytest.fixture
def service() -> Iterator[MockService]:
    with respx.mock(assert_all_called=False) as router:
        yield MockService(router)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    return fake_sleep(monkeypatch)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m lowest`, skip modules without that marker: they import packages that the lowest versions do not have."""
    wants_lowest = config.option.markexpr == "lowest"
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    return True if wants_lowest and is_test and "pytest.mark.lowest" not in collection_path.read_text() else None
