"""A local Workers AI: real HTTP on loopback, as strict as the service, without an account or a network.

pip install "langchain-workers-gemma[sandbox]"
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .chat import Habits
from .dialects import DIALECTS, Dialect, get_dialect
from .faults import Fault
from .records import ReceivedRequest

if TYPE_CHECKING:
    from .server import Sandbox

__all__ = ["DIALECTS", "Dialect", "Fault", "Habits", "ReceivedRequest", "Sandbox", "get_dialect"]

INSTALL_COMMAND = 'pip install "langchain-workers-gemma[sandbox]"'


def __getattr__(name: str) -> Any:
    if name != "Sandbox":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from .server import Sandbox
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("langchain_workers_gemma"):
            raise
        raise ImportError(f"The sandbox needs the package {error.name!r}. Install it: {INSTALL_COMMAND}") from error
    return Sandbox
