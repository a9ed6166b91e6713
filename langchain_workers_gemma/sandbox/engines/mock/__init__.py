"""The mock model: it answers where the service has a Gemma.

It is deterministic, and no answer is keyed to the words of a test: everything follows from the request.
"""

from .engine import MockModel

__all__ = ["MockModel"]
