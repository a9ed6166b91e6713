"""What the checks send, and what a model should answer with."""

from __future__ import annotations

from typing import Any

from langchain_workers_gemma.cli.verify import reading
from langchain_workers_gemma.hosts import HOSTS
from langchain_workers_gemma.models import GemmaModel

_OPENAI_FORM = ("gemma-4", "sea-lion-v4")
"""Families whose native replies are in OpenAI's form; the others answer with `response` (docs/wire.md section 3)."""
TEXT_TOKENS, CALL_TOKENS, JSON_TOKENS, THINKING_TOKENS = 64, 128, 128, 256
"""The most tokens of a text, a tool call, a JSON object, and a text with thoughts."""
TRUNCATED_TOKENS, TRUNCATED_CALL_TOKENS = 5, 8
"""Too few for a text, and for a tool call."""


def get_text_limit(spec: GemmaModel) -> int:
    """Return the most tokens of a text before which a model may think, if it can."""
    return THINKING_TOKENS if spec.thinking else TEXT_TOKENS


def build_chat_body(spec: GemmaModel, text: str, max_tokens: int, **more: Any) -> dict[str, Any]:
    """Return a chat with one message, without thoughts where the model has a switch for them."""
    quiet = {"chat_template_kwargs": {"enable_thinking": False}} if spec.thinking else {}
    return {"messages": [{"role": "user", "content": text}], "max_tokens": max_tokens, **quiet, **more}


def is_enveloped(spec: GemmaModel) -> bool:
    """Return whether the host's default route is a native one, whose replies have an envelope."""
    return next(iter(HOSTS[spec.host].chat)) == "native"


def get_expected_form(spec: GemmaModel) -> str:
    """Return the form of a model's replies on its host's default route."""
    if not is_enveloped(spec) or spec.family in _OPENAI_FORM:
        return reading.CHAT_CHOICES
    return reading.NATIVE
