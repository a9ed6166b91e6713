"""One sandbox for the whole session, reset before each test, because a thousand starts would take long."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from langchain_workers_gemma.sandbox import Sandbox
from tests.sandbox_tests.api_client import Api


@pytest.fixture(scope="session")
def running_sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: Sandbox) -> Sandbox:
    running_sandbox.clear()
    running_sandbox.dialect = None
    running_sandbox.latency = 0.0
    return running_sandbox


@pytest.fixture(scope="session")
def session_api(running_sandbox: Sandbox) -> Iterator[Api]:
    with Api(running_sandbox) as api:
        yield api


@pytest.fixture
def api(sandbox: Sandbox, session_api: Api) -> Api:
    return session_api
