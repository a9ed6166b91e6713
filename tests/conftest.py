"""Settings and fixtures of all tests."""

from __future__ import annotations

import pytest
from hypothesis import settings

from langchain_workers_gemma.hosts import BASE_URL_VARIABLE, HOSTS

settings.register_profile("untimed", settings(), deadline=None)  # no test depends on time, even on a busy machine
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the developer's credentials and settings from the environment."""
    for host in HOSTS.values():
        for name in (*host.token_variables, *host.account_variables):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv(BASE_URL_VARIABLE, raising=False)
    monkeypatch.delenv("LC_OUTPUT_VERSION", raising=False)
    for name in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):
        monkeypatch.delenv(name, raising=False)
