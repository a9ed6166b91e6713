"""Google's Gemma models on Cloudflare Workers AI, for LangChain and LangGraph.

Names are imported when they are first used (PEP 562): the sandbox's pytest plugin and the command line are part of this
package too, and must not import LangChain.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from langchain_workers_gemma.version import __version__

if TYPE_CHECKING:
    from langchain_workers_gemma.batch.job import BatchJob
    from langchain_workers_gemma.chat_models import ChatWorkersGemma
    from langchain_workers_gemma.embeddings import WorkersGemmaEmbeddings
    from langchain_workers_gemma.errors import (
        APIConnectionError,
        APIStatusError,
        APITimeoutError,
        AuthenticationError,
        BadRequestError,
        CapacityError,
        ContextOverflowError,
        InternalServerError,
        ModelDeprecatedError,
        ModelNotFoundError,
        PermissionDeniedError,
        QuotaExceededError,
        RateLimitError,
        RequestTimeoutError,
        RequestTooLargeError,
        StreamInterruptedError,
        StreamTimeoutError,
        ToolChoiceError,
        WorkersGemmaError,
    )
    from langchain_workers_gemma.gateway import AIGateway

__all__ = [
    "AIGateway",
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "BatchJob",
    "CapacityError",
    "ChatWorkersGemma",
    "ContextOverflowError",
    "InternalServerError",
    "ModelDeprecatedError",
    "ModelNotFoundError",
    "PermissionDeniedError",
    "QuotaExceededError",
    "RateLimitError",
    "RequestTimeoutError",
    "RequestTooLargeError",
    "StreamInterruptedError",
    "StreamTimeoutError",
    "ToolChoiceError",
    "WorkersGemmaEmbeddings",
    "WorkersGemmaError",
    "__version__",
]

_MODULES = {
    "AIGateway": "gateway",
    "BatchJob": "batch.job",
    "ChatWorkersGemma": "chat_models",
    "WorkersGemmaEmbeddings": "embeddings",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
