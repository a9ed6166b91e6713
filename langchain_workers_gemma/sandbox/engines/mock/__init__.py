"""The stand-in: answers where the service has a model.

It is deterministic, says that it is a stand-in, and knows no test's words: what it does follows from the request.
"""

from .engine import MockModel

__all__ = ["MockModel"]
