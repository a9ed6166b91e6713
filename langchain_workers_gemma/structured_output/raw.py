"""Structured output with the raw message beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.callbacks import CallbackManagerForChainRun
from langchain_core.messages import BaseMessage
from langchain_core.runnables import AddableDict, RunnableConfig, RunnableSerializable

from langchain_workers_gemma.structured_output.parser import StructuredOutputParser, _PartialValues


class _ReplaceOnAdd(dict[str, Any]):
    """A partial value: added to a later one, it gives way, so that chunks of a stream can be summed."""

    def __add__(self, later: Any) -> Any:
        return later


class RawAndParsed(RunnableSerializable[BaseMessage, dict[str, Any]]):
    """Gives a reply beside what the parser makes of it, and its error in place of raising it.

    Attributes:
        parser: Reads the object.
    """

    parser: StructuredOutputParser

    def invoke(
        self,
        input: BaseMessage,  # noqa: A002 - core's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The reply, the object and the error."""
        return self._call_with_config(self._both, input, config, **kwargs)

    def transform(
        self,
        input: Iterator[BaseMessage],  # noqa: A002 - core's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[dict[str, Any]]:
        """Chunks that add up to what `invoke` gives; for a dict schema `parsed` grows."""
        yield from self._transform_stream_with_config(input, self._growing, config, **kwargs)

    async def atransform(
        self,
        input: AsyncIterator[BaseMessage],  # noqa: A002 - core's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[dict[str, Any]]:
        """See `transform`."""
        async for value in self._atransform_stream_with_config(input, self._agrowing, config, **kwargs):
            yield value

    def _both(
        self,
        message: BaseMessage,
        run_manager: CallbackManagerForChainRun,  # noqa: ARG002 - core's order of arguments
        config: RunnableConfig,
    ) -> dict[str, Any]:
        try:
            parsed = self.parser.invoke(message, config)
        except Exception as error:  # noqa: BLE001 - a validator of the caller's own may raise anything
            return {"raw": message, "parsed": None, "parsing_error": error}
        return {"raw": message, "parsed": parsed, "parsing_error": None}

    def _growing(self, messages: Iterator[BaseMessage]) -> Iterator[dict[str, Any]]:
        growth = _PartialValues(self.parser)
        for message in messages:
            yield AddableDict(raw=message)
            yield from _partially(growth, message)
        yield _finally(growth)

    async def _agrowing(self, messages: AsyncIterator[BaseMessage]) -> AsyncIterator[dict[str, Any]]:
        growth = _PartialValues(self.parser)
        async for message in messages:
            yield AddableDict(raw=message)
            for value in _partially(growth, message):
                yield value
        yield _finally(growth)


def _partially(growth: _PartialValues, message: BaseMessage) -> Iterator[dict[str, Any]]:
    for value in growth.add(message):
        yield AddableDict(parsed=_ReplaceOnAdd(value))


def _finally(growth: _PartialValues) -> dict[str, Any]:
    try:
        parsed = growth.end()
    except Exception as error:  # noqa: BLE001 - see `RawAndParsed`
        return AddableDict(parsed=None, parsing_error=error)
    return AddableDict(parsed=parsed, parsing_error=None)
