"""The validated settings of one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_workers_gemma.exchange.error_mapping import ErrorContext
from langchain_workers_gemma.exchange.retries import RetryPolicy
from langchain_workers_gemma.gateway import AIGateway
from langchain_workers_gemma.hosts import Address, Api
from langchain_workers_gemma.models import GemmaModel
from langchain_workers_gemma.request.constraint_forms import FormChoice
from langchain_workers_gemma.request.response_format import Answer
from langchain_workers_gemma.request.server_limits import ServerLimits
from langchain_workers_gemma.request.server_memory import ServerMemory


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSettings:
    """The validated settings of one call, without its messages.

    Attributes:
        spec: The published facts about the model.
        api: The request's dialect.
        address: Where requests go.
        parameters: Sampling parameters that are set.
        stops: Stop sequences.
        tools: Bound tools in OpenAI's form.
        tool_choice: The choice among them, in any form.
        parallel_tool_calls: Whether a reply may hold several calls; `None` if the caller did not set it.
        tool_calling: How tools reach the model.
        answer: The form that the answer must have.
        repair_tool_calls: Whether a call that cannot run, or does not match its tool's schema, is requested again.
        keep_invalid_answer: Whether an answer in the wrong form is returned instead of requested again.
        max_repairs: How often an answer in the wrong form is requested again.
        tries_forms: Whether the next form of a constraint is tried if a server refuses one.
        skip_forms: The number of forms of the constraint to skip, since they failed.
        form: The form of the constraint, after one was chosen.
        server_memory: The forms and limits that were learned from the servers.
        limits: The server's limits for this call; `None` to use those in `server_memory`.
        keep_invalid_calls: Whether a reply without a runnable forced call is returned instead of raising an error.
        thinking: Whether Gemma 4 thinks.
        reasoning_effort: The level of effort, for models that have it.
        replay_reasoning: Whether the model sees its thoughts between tool calls again.
        unsupported_content: How to handle content that the model cannot read.
        logprobs: Whether the log probabilities of tokens are requested.
        top_logprobs: The number of alternatives for each token.
        lora: The LoRA adapter.
        raw: Whether one prompt is sent without a chat template.
        gateway: The AI Gateway.
        reject_if_busy: Whether the service should refuse the request instead of queueing it.
        headers: Headers of every request.
        inline_images: Whether http(s) images are fetched and sent as `data:` URIs.
        extra: Further keys of the input, sent unchanged.
        retry: Which failures are retried.
        context: Facts about the call for the advice in an error.
    """

    spec: GemmaModel
    api: Api
    address: Address
    parameters: Mapping[str, Any] = field(default_factory=dict)
    stops: tuple[str, ...] = ()
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: object = None
    parallel_tool_calls: bool | None = None
    tool_calling: str = "auto"
    answer: Answer | None = None
    repair_tool_calls: bool = False
    keep_invalid_answer: bool = False
    max_repairs: int = 1
    tries_forms: bool = True
    skip_forms: int = 0
    form: FormChoice | None = None
    server_memory: ServerMemory = field(default_factory=ServerMemory)
    limits: ServerLimits | None = None
    keep_invalid_calls: bool = False
    thinking: bool | None = None
    reasoning_effort: str | None = None
    replay_reasoning: Literal["tool_loop", "never"] = "tool_loop"
    unsupported_content: Literal["error", "note"] = "error"
    logprobs: bool | None = None
    top_logprobs: int | None = None
    lora: str | None = None
    raw: bool | None = None
    gateway: AIGateway | None = None
    reject_if_busy: bool = False
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # one may hold a token
    inline_images: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    context: ErrorContext = field(default_factory=ErrorContext)
