"""Services to ask: through respx, for what is sent and what comes of a reply, and on real sockets, for all else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import respx

from tests.helpers.asking import Service
from tests.helpers.fault_server import FaultServer, without_naps


@pytest.fixture
def service() -> Iterator[Service]:
    with respx.mock(assert_all_called=False) as router:
        yield Service(router)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as playing:
        yield playing


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    return without_naps(monkeypatch)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m lowest`, pass over modules without that mark: they import what the lowest versions do not bring."""
    wants_lowest = config.option.markexpr == "lowest"
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    return True if wants_lowest and is_test and "pytest.mark.lowest" not in collection_path.read_text() else None
