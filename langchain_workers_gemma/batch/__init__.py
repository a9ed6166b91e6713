"""The asynchronous queue of Workers AI: requests, polling and answers."""

from langchain_workers_gemma.batch.job import BatchJob

__all__ = ["BatchJob"]
