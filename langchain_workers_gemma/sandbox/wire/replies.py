"""Write a whole reply as the service or a dialect does (docs/wire.md section 3)."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .usage import build_usage

if TYPE_CHECKING:
    from langchain_workers_gemma.sandbox.chat import Call, ChatRequest, Completion, Shape
    from langchain_workers_gemma.sandbox.dialects import Dialect

_SHAPES: dict[str, Shape] = {"gemma-4": "choices", "sea-lion-v4": "choices"}
"""The families whose native replies have OpenAI's form."""
_NUMBER = re.compile(r"0|[1-9]\d{0,14}")
_REPEATED_ID = "call_0"


@dataclass(frozen=True, slots=True)
class Layout:
    """The form of a reply.

    Attributes:
        request: The request.
        dialect: The active behaviours.
        shape: The form of the reply.
        id: The id of the reply.
        aimlapi: Whether the reply has the extra fields of AI/ML API.
        fingerprint: The `system_fingerprint`, which names the engine.
    """

    request: ChatRequest
    dialect: Dialect
    shape: Shape
    id: str
    aimlapi: bool = False
    fingerprint: str = ""

    @property
    def has_usage_details(self) -> bool:
        """Whether the usage has cached and reasoning tokens."""
        return self.shape in ("choices", "text")

    def build_usage(self, completion: Completion) -> dict[str, Any]:
        """Return the usage of a reply."""
        usage = build_usage(self.request.model, completion, details=self.has_usage_details)
        if self.aimlapi:
            del usage["neurons"]
            cost = self.request.model.cost_usd(completion.prompt_tokens, completion.completion_tokens) or 0
            usage |= {"cost": cost, "is_byok": False}
        return usage

    def build_head(self, kind: str) -> dict[str, Any]:
        """Return the first fields of a reply or event in OpenAI's form."""
        head: dict[str, Any] = {
            "id": self.id,
            "object": kind,
            "created": int(time.time()),
            "model": self.request.model.id,
        }
        if self.fingerprint:
            head["system_fingerprint"] = self.fingerprint
        return {**head, "provider": "sandbox"} if self.aimlapi else head

    def get_stop_reason(self, completion: Completion) -> str | int | None:
        """Return the stop reason, or `None` if the dialect has none."""
        return completion.stop_reason if self.dialect.stop_reason else None

    def format_text(self, text: str) -> str | int:
        """Return a text, or the number in it if the dialect sends numbers."""
        return int(text) if self.dialect.numbers and _NUMBER.fullmatch(text) else text

    def format_call_id(self, call_id: str | None) -> str | None:
        """Return the id of a call in the form of the dialect."""
        if self.dialect.call_ids == "missing" or call_id is None:
            return None
        return _REPEATED_ID if self.dialect.call_ids == "repeated" else call_id


def choose_shape(request: ChatRequest, dialect: Dialect, *, openai_route: bool) -> Shape:
    """Return the form of the reply to a request."""
    if dialect.shape is not None:
        return dialect.shape
    if openai_route:
        return "choices"
    shape = _SHAPES.get(request.model.family, "native")
    return "text" if shape == "choices" and request.prompt is not None else shape


def lay_out(layout: Layout, completions: list[Completion]) -> Any:
    """Return the whole reply, without its envelope."""
    first = completions[0]
    if layout.shape == "native":
        return _lay_out_native(layout, first)
    kind = "chat.completion" if layout.shape == "choices" else "text_completion"
    lay_out_choice = _lay_out_chat_choice if layout.shape == "choices" else _lay_out_text_choice
    choices = [lay_out_choice(layout, index, completion) for index, completion in enumerate(completions)]
    result = {**layout.build_head(kind), "choices": choices}
    if layout.dialect.usage != "none":
        result["usage"] = _sum_usage(layout, completions)
    return result


def _sum_usage(layout: Layout, completions: list[Completion]) -> dict[str, Any]:
    from dataclasses import replace

    return layout.build_usage(
        replace(
            completions[0],
            completion_tokens=sum(completion.completion_tokens for completion in completions),
            reasoning_tokens=sum(completion.reasoning_tokens for completion in completions),
        )
    )


def _lay_out_native(layout: Layout, completion: Completion) -> dict[str, Any]:
    dialect = layout.dialect
    result: dict[str, Any] = {"response": _lay_out_response(layout, completion)}
    calls = _lay_out_calls(layout, completion.calls)
    if calls or dialect.tool_calls != "missing":
        result["tool_calls"] = None if not calls and dialect.tool_calls == "null" else calls
    if dialect.usage != "none":
        result["usage"] = layout.build_usage(completion)
    return result


def _lay_out_response(layout: Layout, completion: Completion) -> Any:
    if layout.dialect.response == "null" and not completion.text:
        return None
    if layout.dialect.response == "generated_text":
        return [{"generated_text": completion.text}]
    # In JSON mode the older models return the parsed object. With `guided_json` they return its text.
    if layout.dialect.response == "object" or (layout.request.json_mode and layout.shape == "native"):
        try:
            return json.loads(completion.text)
        except ValueError:
            return completion.text
    return layout.format_text(completion.text)


def _lay_out_calls(layout: Layout, calls: tuple[Call, ...]) -> list[dict[str, Any]]:
    is_native = layout.shape == "native"
    is_flat = layout.dialect.call_form == "flat" or (layout.dialect.call_form is None and is_native)
    tool_calls = []
    for call in calls:
        arguments = _lay_out_arguments(layout, call.arguments, as_object=is_flat)
        if is_flat:
            tool_calls.append({"name": call.name, "arguments": arguments})
            continue
        tool_call: dict[str, Any] = {"type": "function", "function": {"name": call.name, "arguments": arguments}}
        call_id = layout.format_call_id(call.id)
        tool_calls.append(tool_call if call_id is None else {"id": call_id, **tool_call})
    return tool_calls


def _lay_out_arguments(layout: Layout, arguments: str, *, as_object: bool) -> Any:
    if layout.dialect.arguments is not None:
        as_object = layout.dialect.arguments == "object"
    if not as_object:
        return arguments
    try:
        return json.loads(arguments)
    except ValueError:  # truncated by max_tokens
        return arguments


def _lay_out_chat_choice(layout: Layout, index: int, completion: Completion) -> dict[str, Any]:
    dialect = layout.dialect
    message: dict[str, Any] = {"role": "assistant", "content": layout.format_text(completion.text)}
    if dialect.response == "null" and not completion.text:
        message["content"] = None
    if completion.reasoning:
        message[dialect.reasoning_key] = completion.reasoning
    calls = _lay_out_calls(layout, completion.calls)
    if calls or dialect.tool_calls == "empty":
        message["tool_calls"] = calls
    elif dialect.tool_calls == "null":
        message["tool_calls"] = None
    if layout.aimlapi:
        message |= {"refusal": None, "reasoning": completion.reasoning or None}
    choice = {
        "index": index,
        "message": message,
        "logprobs": None,
        "finish_reason": completion.finish_reason,
        "stop_reason": layout.get_stop_reason(completion),
    }
    if layout.aimlapi:
        choice["native_finish_reason"] = completion.finish_reason.upper()
    return choice


def _lay_out_text_choice(layout: Layout, index: int, completion: Completion) -> dict[str, Any]:
    return {
        "index": index,
        "text": layout.format_text(completion.text),
        "logprobs": None,
        "finish_reason": completion.finish_reason,
        "stop_reason": layout.get_stop_reason(completion),
    }
