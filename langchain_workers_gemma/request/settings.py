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
        parallel_tool_calls: Whether several calls may arrive at once; `None` if not given.
        tool_calling: How tools reach the model.
        answer: The form that the answer must have.
        repair_tool_calls: Whether a call that cannot run, or does not fit its tool, is requested again.
        keep_invalid_answer: Whether an answer in the wrong form is returned rather than requested again.
        max_repairs: How often an answer in the wrong form is requested again.
        tries_forms: Whether the next form of a constraint is tried where a server refuses one.
        skip_forms: How many of the forms of the constraint to leave out, since they failed.
        form: The form of the constraint, once one is chosen.
        server_memory: Which forms work, and what the server was seen to refuse beside them.
        limits: What it refuses in this call; `None` for what is remembered.
        keep_invalid_calls: Whether a reply without a runnable forced call is returned rather than raised.
        thinking: Whether Gemma 4 thinks.
        reasoning_effort: Passed where the model has it.
        replay_reasoning: Whether the model sees its thoughts between tool calls again.
        unsupported_content: How to handle content that the model cannot take.
        logprobs: Whether the log probabilities of tokens are requested.
        top_logprobs: For how many tokens at each place.
        lora: The LoRA adapter.
        raw: Whether one prompt is sent without a chat template.
        gateway: The AI Gateway.
        reject_if_busy: Whether the service shall refuse rather than wait.
        headers: Headers of every request.
        inline_images: Whether http(s) images are fetched and sent as `data:` URIs.
        extra: Further keys of the input, unchanged.
        retry: Which failures are retried.
        context: What is known of the call, for an error's advice.
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
