"""Fixtures of the tests of requests: a mocked route, each call method, a server that refuses parts of requests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import respx

from tests.helpers.model_calls import CALL_METHODS
from tests.helpers.picky_server import PickyServer, StartServer


@pytest.fixture
def start_server(respx_mock: respx.MockRouter) -> StartServer:
    return lambda refuse: PickyServer(respx_mock, refuse)


@pytest.fixture
def route() -> Iterator[respx.Route]:
    with respx.mock(assert_all_called=False) as mock:
        yield mock.post(url__regex=".*")


@pytest.fixture(params=CALL_METHODS)
def call_method(request: pytest.FixtureRequest) -> str:
    return str(request.param)
