"""Build the metadata of a reply: the part that is known when it begins, and the part that is known when it ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages.ai import add_usage

from langchain_workers_gemma.exchange.actions import ResponseHead
from langchain_workers_gemma.exchange.error_mapping import get_request_id
from langchain_workers_gemma.exchange.request import Plan
from langchain_workers_gemma.response.builders import Begin, End
from langchain_workers_gemma.response.reader import ReplyReader
from langchain_workers_gemma.response.tool_calls import FinishedCall
from langchain_workers_gemma.response.usage import UsageTally

_GATEWAY_HEADERS = (("cf-aig-cache-status", "gateway_cache_status"), ("cf-aig-log-id", "gateway_log_id"))


def build_begin(plan: Plan, head: ResponseHead, reader: ReplyReader) -> Begin:
    """Return the metadata that is known when a reply begins.

    Args:
        plan: The plan of the call.
        head: The head of the response.
        reader: The reader of the reply.
    """
    metadata = dict(plan.metadata)
    if reader.model_name is not None:
        metadata["model_name"] = reader.model_name
    identity = get_request_id(head.headers)
    if identity is not None:
        metadata["request_id"] = identity
    for header, key in _GATEWAY_HEADERS:
        if header in head.headers:
            metadata[key] = head.headers[header]
    return Begin(metadata)


def build_end(
    plan: Plan, head: ResponseHead, reader: ReplyReader, spent: Sequence[UsageTally], calls: Sequence[FinishedCall]
) -> End:
    """Return the metadata and the usage that are known when a reply has ended.

    Args:
        plan: The plan of the call.
        head: The head of the response.
        reader: The reader of the reply, which has ended.
        spent: The usage of earlier replies in the call, which are billed as well.
        calls: The tool calls of the reply.
    """
    usage = reader.tally.to_metadata()
    for earlier in filter(None, (one.to_metadata() for one in spent)):
        usage = add_usage(earlier, usage)
    metadata: dict[str, Any] = {"finish_reason": reader.effective_finish_reason}
    if errors := [call.error for call in calls if call.error]:
        metadata["invalid_tool_call_errors"] = errors  # core does not keep the errors of streamed calls
    neurons = reader.tally.neurons
    if neurons is None:
        neurons = _parse_count(head.headers.get("cf-ai-neurons"))
    if neurons is not None:
        metadata["neurons"] = neurons + sum(one.neurons or 0 for one in spent)
    if reader.is_json_truncated:
        metadata["truncated_json"] = True
    if reader.logprobs:
        metadata["logprobs"] = {"content": reader.logprobs}
    cost = plan.spec.cost_usd(usage["input_tokens"], usage["output_tokens"]) if usage else None
    if cost is not None:
        metadata["cost_usd"] = cost
    return End(metadata, usage, calls)


def _parse_count(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None
