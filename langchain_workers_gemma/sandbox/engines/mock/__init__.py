"""The mock model: it replies instead of a Gemma.

It is deterministic. It derives each reply from the request, and knows no prompt of a test.
"""

from .engine import MockModel

__all__ = ["MockModel"]
