"""Interpreter options that turn warnings into errors, for tests that start another Python."""

LANGSMITH_ON_3_14 = "ignore:'asyncio.iscoroutinefunction' is deprecated:DeprecationWarning"
"""langsmith calls a function that Python 3.14 deprecates; `pyproject.toml` ignores the same warning."""

STRICT_WARNINGS = ("-W", "error", "-W", LANGSMITH_ON_3_14)
