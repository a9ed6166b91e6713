"""The fixture `workers_gemma_sandbox`, for everyone who installs the package.

Nothing heavy is imported before the fixture is used, since pytest loads this module in every project that has the
package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_workers_gemma.sandbox import Sandbox


@pytest.fixture
def workers_gemma_sandbox() -> Iterator[Sandbox]:
    """Yield a fresh sandbox for one test."""
    try:
        from langchain_workers_gemma.sandbox import Sandbox
    except ImportError as error:
        raise pytest.UsageError(str(error)) from error
    with Sandbox() as sandbox:
        yield sandbox
