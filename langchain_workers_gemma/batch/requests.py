"""Convert the inputs of a batch into requests to the queue."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage
from pydantic_core import from_json

from langchain_workers_gemma.exchange.actions import Action, FetchImages
from langchain_workers_gemma.exchange.payload_chunks import MAX_PAYLOAD_BYTES
from langchain_workers_gemma.exchange.request import Plan, Request
from langchain_workers_gemma.exchange.retries import RetryPolicy
from langchain_workers_gemma.json_text.encoding import encode_json
from langchain_workers_gemma.models import MODELS, get_model
from langchain_workers_gemma.request.planner import Preparation, prepare
from langchain_workers_gemma.request.settings import CallSettings

MAX_ITEM_BYTES = MAX_PAYLOAD_BYTES - 1 - len(b'{"requests":[]}')
_REPLACEMENT_CHARACTER = "\ufffd".encode()


@dataclass(frozen=True, slots=True)
class Item:
    """One input, ready to be submitted.

    Attributes:
        data: The input of the model, as JSON.
        size: The number of bytes of its JSON text.
    """

    data: Mapping[str, Any]
    size: int


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """The settings of a batch, and the plan that reads each of its replies.

    Attributes:
        preparation: The part of a request that is the same for every input.
        plan: The plan that reads a reply. Its request is a placeholder.
    """

    preparation: Preparation
    plan: Plan

    @classmethod
    def from_settings(cls, settings: CallSettings) -> BatchPlan:
        """Return the plan of a batch with the settings of a call.

        Raises:
            ValueError: If the host or the model has no queue.
        """
        spec = settings.spec
        if not settings.address.host.has_queue:
            raise ValueError(
                f"host={spec.host!r} has no asynchronous batch queue, only Cloudflare has one: use batch or abatch."
            )
        if not spec.async_queue and get_model(spec.id) is not None:
            models = " or ".join(repr(model.id) for model in MODELS.values() if model.async_queue)
            raise ValueError(f"{spec.id} has no asynchronous queue. Use model={models}, or batch and abatch.")
        # The queue is a route of the native dialect, and its inputs wait, so `reject_if_busy` does not apply.
        preparation = prepare(replace(settings, api="native", reject_if_busy=False), stream=False)
        plan = preparation.plan([HumanMessage("-")])
        return cls(preparation, replace(plan, retry=RetryPolicy(0), constrained=None, requests_missing_calls=False))

    @property
    def settings(self) -> CallSettings:
        """The settings of every input."""
        return self.preparation.settings

    def make_item(self, messages: Sequence[BaseMessage], images: Mapping[str, str] | None = None) -> Item:
        """Convert an input into an item that is ready to be submitted.

        Raises:
            ValueError: If the input is not valid for the model, or too large.
        """
        data = self.preparation.plan(messages, inlined_images=images).request.data
        encoded = encode_json(data)
        if len(encoded) > MAX_ITEM_BYTES:
            raise ValueError(
                f"The input takes {len(encoded):,} bytes, and a batch's payload must stay under {MAX_PAYLOAD_BYTES:,}: "
                "use invoke."
            )
        # Encoding replaces a lone surrogate, so the data is read back from the bytes that are measured.
        return Item(from_json(encoded) if _REPLACEMENT_CHARACTER in encoded else data, len(encoded))

    def request(self, data: Mapping[str, Any]) -> Request:
        """Return a request to the queue."""
        settings = self.settings
        return replace(
            self.plan.request,
            route=settings.address.get_chat_route("native"),
            data=data,
            options={**self.plan.request.options, "queueRequest": True},
            query="?queueRequest=true",
        )


def prepare_items(
    batch_plan: BatchPlan, conversations: Sequence[Sequence[BaseMessage]], *, return_exceptions: bool
) -> Generator[Action, Any, list[Item | ValueError]]:
    """Convert every input into an item. If the settings inline images, fetch the images first.

    Returns:
        For each input the item, or the error if the input is not valid.

    Raises:
        ValueError: If an input is not valid for the model, unless `return_exceptions` is true.
    """
    urls = list(dict.fromkeys(chain.from_iterable(map(batch_plan.preparation.find_image_urls, conversations))))
    images = (yield FetchImages(urls)) if urls else {}
    prepared: list[Item | ValueError] = []
    for index, messages in enumerate(conversations):
        try:
            prepared.append(batch_plan.make_item(messages, images if batch_plan.settings.inline_images else None))
        except ValueError as error:
            if not return_exceptions:
                error.add_note(f"This is the error of input {index}.")
                raise
            prepared.append(error)
    return prepared
