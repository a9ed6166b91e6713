"""Google's Gemma models on Cloudflare Workers AI, for LangChain and LangGraph."""

from langchain_workers_gemma.batch import BatchJob
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
from langchain_workers_gemma.version import __version__

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
