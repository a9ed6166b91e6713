"""The pytest fixture `workers_gemma_sandbox`.

pytest loads this module in every project that has the package installed, so it imports the sandbox only when the
fixture is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_workers_gemma.sandbox import Sandbox


@pytest.fixture
def workers_gemma_sandbox() -> Iterator[Sandbox]:
    """Start a new sandbox for one test."""
    try:
        from langchain_workers_gemma.sandbox import Sandbox
    except ImportError as error:
        raise pytest.UsageError(str(error)) from error
    with Sandbox() as sandbox:
        yield sandbox
