"""Write a whole reply as the service does, or as a dialect has it (docs/wire.md section 3)."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .usage import build_report

if TYPE_CHECKING:
    from langchain_workers_gemma.sandbox.chat import Call, ChatRequest, Completion, Shape
    from langchain_workers_gemma.sandbox.dialects import Dialect

_SHAPES: dict[str, Shape] = {"gemma-4": "choices", "sea-lion-v4": "choices"}
"""The families whose native replies are in OpenAI's form."""
_NUMBER = re.compile(r"0|[1-9]\d{0,14}")
_REPEATED_ID = "call_0"


@dataclass(frozen=True, slots=True)
class Layout:
    """The form of a reply.

    Attributes:
        request: The request.
        dialect: The behaviours that are switched on.
        shape: The reply's form.
        id: The reply's id.
        aimlapi: Whether it has the extra fields of AI/ML API.
        fingerprint: The `system_fingerprint`, which names what answers.
    """

    request: ChatRequest
    dialect: Dialect
    shape: Shape
    id: str
    aimlapi: bool = False
    fingerprint: str = ""

    @property
    def details(self) -> bool:
        """Whether the usage has cached and reasoning tokens."""
        return self.shape in ("choices", "text")

    def usage(self, completion: Completion) -> dict[str, Any]:
        """Return the usage of a reply."""
        found = build_report(self.request.model, completion, details=self.details)
        if self.aimlapi:
            del found["neurons"]
            cost = self.request.model.cost_usd(completion.prompt_tokens, completion.completion_tokens) or 0
            found |= {"cost": cost, "is_byok": False}
        return found

    def head(self, kind: str) -> dict[str, Any]:
        """Return the first fields of a reply or event in OpenAI's form."""
        found: dict[str, Any] = {
            "id": self.id,
            "object": kind,
            "created": int(time.time()),
            "model": self.request.model.id,
        }
        if self.fingerprint:
            found["system_fingerprint"] = self.fingerprint
        return {**found, "provider": "sandbox"} if self.aimlapi else found

    def stop_reason(self, completion: Completion) -> str | int | None:
        """Return the stop reason as the dialect has it."""
        return completion.stop_reason if self.dialect.stop_reason else None

    def number_or_text(self, text: str) -> str | int:
        """Return a text, or under the dialect the number that it reads as."""
        return int(text) if self.dialect.numbers and _NUMBER.fullmatch(text) else text

    def call_id(self, call_id: str | None) -> str | None:
        """Return the id of a call as the dialect has it."""
        if self.dialect.call_ids == "missing" or call_id is None:
            return None
        return _REPEATED_ID if self.dialect.call_ids == "repeated" else call_id


def choose_shape(request: ChatRequest, dialect: Dialect, *, openai_route: bool) -> Shape:
    """Return the form in which a request is answered."""
    if dialect.shape is not None:
        return dialect.shape
    if openai_route:
        return "choices"
    shape = _SHAPES.get(request.model.family, "native")
    return "text" if shape == "choices" and request.prompt is not None else shape


def lay_out(layout: Layout, completions: list[Completion]) -> Any:
    """Return the result of a request."""
    first = completions[0]
    if layout.shape == "native":
        return _lay_out_native(layout, first)
    kind = "chat.completion" if layout.shape == "choices" else "text_completion"
    choose = _lay_out_chat_choice if layout.shape == "choices" else _lay_out_text_choice
    found = {**layout.head(kind), "choices": [choose(layout, at, one) for at, one in enumerate(completions)]}
    if layout.dialect.usage != "none":
        found["usage"] = _sum_usage(layout, completions)
    return found


def _sum_usage(layout: Layout, completions: list[Completion]) -> dict[str, Any]:
    from dataclasses import replace

    return layout.usage(
        replace(
            completions[0],
            completion_tokens=sum(one.completion_tokens for one in completions),
            reasoning_tokens=sum(one.reasoning_tokens for one in completions),
        )
    )


def _lay_out_native(layout: Layout, completion: Completion) -> dict[str, Any]:
    dialect = layout.dialect
    found: dict[str, Any] = {"response": _lay_out_response(layout, completion)}
    calls = _lay_out_calls(layout, completion.calls)
    if calls or dialect.tool_calls != "missing":
        found["tool_calls"] = None if not calls and dialect.tool_calls == "null" else calls
    if dialect.usage != "none":
        found["usage"] = layout.usage(completion)
    return found


def _lay_out_response(layout: Layout, completion: Completion) -> Any:
    if layout.dialect.response == "null" and not completion.text:
        return None
    if layout.dialect.response == "generated_text":
        return [{"generated_text": completion.text}]
    # In JSON mode the older models answer with the parsed object; `guided_json` answers with its text.
    if layout.dialect.response == "object" or (layout.request.json_mode and layout.shape == "native"):
        try:
            return json.loads(completion.text)
        except ValueError:
            return completion.text
    return layout.number_or_text(completion.text)


def _lay_out_calls(layout: Layout, calls: tuple[Call, ...]) -> list[dict[str, Any]]:
    native = layout.shape == "native"
    flat = layout.dialect.call_form == "flat" or (layout.dialect.call_form is None and native)
    found = []
    for call in calls:
        arguments = _lay_out_arguments(layout, call.arguments, as_object=flat)
        if flat:
            found.append({"name": call.name, "arguments": arguments})
            continue
        whole: dict[str, Any] = {"type": "function", "function": {"name": call.name, "arguments": arguments}}
        call_id = layout.call_id(call.id)
        found.append(whole if call_id is None else {"id": call_id, **whole})
    return found


def _lay_out_arguments(layout: Layout, arguments: str, *, as_object: bool) -> Any:
    if layout.dialect.arguments is not None:
        as_object = layout.dialect.arguments == "object"
    if not as_object:
        return arguments
    try:
        return json.loads(arguments)
    except ValueError:  # cut by max_tokens
        return arguments


def _lay_out_chat_choice(layout: Layout, index: int, completion: Completion) -> dict[str, Any]:
    dialect = layout.dialect
    message: dict[str, Any] = {"role": "assistant", "content": layout.number_or_text(completion.text)}
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
    found = {
        "index": index,
        "message": message,
        "logprobs": None,
        "finish_reason": completion.finish_reason,
        "stop_reason": layout.stop_reason(completion),
    }
    if layout.aimlapi:
        found["native_finish_reason"] = completion.finish_reason.upper()
    return found


def _lay_out_text_choice(layout: Layout, index: int, completion: Completion) -> dict[str, Any]:
    return {
        "index": index,
        "text": layout.number_or_text(completion.text),
        "logprobs": None,
        "finish_reason": completion.finish_reason,
        "stop_reason": layout.stop_reason(completion),
    }
