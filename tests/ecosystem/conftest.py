"""Fixtures: a sandbox, and each model with each tool calling method."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from langchain_workers_gemma import ChatWorkersGemma
from langchain_workers_gemma.sandbox import Sandbox
from tests.ecosystem.agent_helpers import MODELS, make_llm


@pytest.fixture(scope="session")
def running_sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def sandbox(running_sandbox: Sandbox) -> Iterator[Sandbox]:
    running_sandbox.clear()
    yield running_sandbox
    running_sandbox.clear()


@pytest.fixture(params=list(MODELS.values()), ids=list(MODELS))
def llm(request: pytest.FixtureRequest, sandbox: Sandbox) -> ChatWorkersGemma:
    return make_llm(sandbox, **request.param)
