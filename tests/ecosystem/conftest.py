"""A sandbox, and every model and method on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from langchain_workers_gemma import ChatWorkersGemma
from langchain_workers_gemma.sandbox import Sandbox
from tests.ecosystem.asking import MODELS, model_on


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
    return model_on(sandbox, **request.param)
