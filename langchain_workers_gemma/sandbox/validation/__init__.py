"""Parse the JSON of a request into a `ChatRequest`, or refuse it as the service would."""

from .chat import read_chat
from .constraint import RequestRules

__all__ = ["RequestRules", "read_chat"]
