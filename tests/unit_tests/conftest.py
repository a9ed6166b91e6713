"""Services to ask: through respx, for what is sent and what comes of a reply, and on real sockets, for all else."""

from __future__ import annotations

from collections.abc import Iterator

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
