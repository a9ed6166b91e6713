"""A service that answers through respx, for tests of what is sent and what comes of the reply."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import respx

from tests.unit_tests.asking import Service


@pytest.fixture
def service() -> Iterator[Service]:
    with respx.mock(assert_all_called=False) as router:
        yield Service(router)
