"""The asynchronous batch queue of Workers AI: submit inputs, poll, and read the replies."""

from langchain_workers_gemma.batch.job import BatchJob

__all__ = ["BatchJob"]
