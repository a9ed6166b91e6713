"""The requests that the checks send, and the form of the replies that a model should return."""

from __future__ import annotations

from typing import Any

from langchain_workers_gemma.cli.verify import reading
from langchain_workers_gemma.hosts import HOSTS
from langchain_workers_gemma.models import GemmaModel

_OPENAI_FAMILIES = ("gemma-4", "sea-lion-v4")
"""Families whose native replies have OpenAI's form. Those of the others have `response` (docs/wire.md section 3)."""
TEXT_TOKENS, CALL_TOKENS, JSON_TOKENS, THINKING_TOKENS = 64, 128, 128, 256
"""`max_tokens` of a text, a tool call, a JSON object, and a text with thoughts."""
TRUNCATED_TOKENS, TRUNCATED_CALL_TOKENS = 5, 8
"""`max_tokens` that truncates a text, and a tool call."""


def get_text_limit(spec: GemmaModel) -> int:
    """Return `max_tokens` of a text, which includes thoughts if the model can think."""
    return THINKING_TOKENS if spec.thinking else TEXT_TOKENS


def build_chat_body(spec: GemmaModel, text: str, max_tokens: int, **more: Any) -> dict[str, Any]:
    """Return the body of a chat with one message. If the model can think, thinking is turned off."""
    thinking_off = {"chat_template_kwargs": {"enable_thinking": False}} if spec.thinking else {}
    return {"messages": [{"role": "user", "content": text}], "max_tokens": max_tokens, **thinking_off, **more}


def is_enveloped(spec: GemmaModel) -> bool:
    """Return whether the host's default route is native, so that replies have an envelope."""
    return next(iter(HOSTS[spec.host].chat)) == "native"


def get_expected_form(spec: GemmaModel) -> str:
    """Return the form of a model's replies on its host's default route."""
    if not is_enveloped(spec) or spec.family in _OPENAI_FAMILIES:
        return reading.CHAT_CHOICES
    return reading.NATIVE
