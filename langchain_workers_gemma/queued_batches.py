"""The methods of the asynchronous batch, for the chat model and for what `bind` makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables.base import RunnableBinding

from langchain_workers_gemma import batch, connection
from langchain_workers_gemma.batch import DEFAULT_POLL_INTERVAL, Batching, BatchJob, Item, Waiting
from langchain_workers_gemma.calling import arun, run
from langchain_workers_gemma.images import afetch_images, fetch_images
from langchain_workers_gemma.progress import progress_bar

if TYPE_CHECKING:
    from langchain_workers_gemma.planning import CallSettings
