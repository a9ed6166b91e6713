"""Build the preview of a call: its request and cost, without sending it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from langchain_core.messages import BaseMessage

from langchain_workers_gemma.client import connection
from langchain_workers_gemma.client.call_settings import ChatModel
from langchain_workers_gemma.gateway import AIGateway
from langchain_workers_gemma.request.planner import Preparation
from langchain_workers_gemma.token_estimate import estimate_request_tokens
from langchain_workers_gemma.transport.client_pool import HEADERS

_SECRET_NAMES = re.compile(r"authorization|cookie|token|secret|password|api-?key", re.IGNORECASE)
_MASK = "**********"
_DATA_URI = re.compile(r"(data:[\w.+/-]+;base64,)([A-Za-z0-9+/=]{64,})")


@dataclass(frozen=True)
class PreviewedRequest:
    """The request of a previewed call.

    Attributes:
        method: The HTTP method; `run` for a binding.
        url: The URL; for a binding, the call.
        headers: The headers, with secrets masked.
        body: The body.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Preview:
    """The request and the cost of a call. Notebooks show it as a table.

    Attributes:
        request: The request.
        input_tokens: The estimated number of input tokens.
        cost_usd: The cost of the input tokens in US dollars; `None` if no prices are published.
        changes: Descriptions of the changes to the messages that the model's chat template requires.
    """

    request: PreviewedRequest
    input_tokens: int
    cost_usd: float | None
    changes: tuple[str, ...]

    def _repr_html_(self) -> str:
        """Return a table for notebooks. Markup in messages is escaped."""
        cost = "not published" if self.cost_usd is None else f"${self.cost_usd:.6f}"
        changes = "".join(f"<li>{escape(change)}</li>" for change in self.changes)
        headers = "\n".join(f"{name}: {value}" for name, value in self.request.headers.items())
        rows = (
            ("Request", escape(f"{self.request.method} {self.request.url}")),
            ("Headers", f"<pre>{escape(headers)}</pre>"),
            ("Body", f"<pre>{escape(_show_body(self.request.body))}</pre>"),
            ("Input tokens", f"about {self.input_tokens:,}"),
            ("Cost of the input", cost),
            ("Changes", f"<ul>{changes}</ul>" if changes else "none"),
        )
        cells = "".join(
            f'<tr><th style="text-align:left;vertical-align:top">{name}</th>'
            f'<td style="text-align:left">{value}</td></tr>'
            for name, value in rows
        )
        return f"<table>{cells}</table>"


def build_preview(
    chat: ChatModel, preparation: Preparation, messages: Sequence[BaseMessage], gateway: str | AIGateway | None
) -> Preview:
    """Return the preview of a call.

    Args:
        chat: The chat model.
        preparation: The call, prepared without its messages.
        messages: The messages.
        gateway: The AI Gateway of the call, whose token is masked.

    Raises:
        ValueError: If the model cannot read the messages.
    """
    images = {url: url for url in preparation.find_image_urls(messages)}  # not fetched for a preview
    plan = preparation.plan(messages, inlined_images=images if chat.inline_image_urls else None)
    request = plan.request
    if chat.binding is not None:
        previewed = PreviewedRequest("run", f"env.AI.run({request.model!r})", {}, json.loads(json.dumps(request.data)))
    else:
        own = {**HEADERS, **({} if chat.api_token is None else {"authorization": f"Bearer {_MASK}"})}
        secrets = connection.collect_secrets(chat, connection.parse_gateway(gateway))
        headers = {name.lower(): _mask(name, value, secrets) for name, value in {**own, **request.headers}.items()}
        previewed = PreviewedRequest(request.method, request.url, headers, json.loads(request.encode_body()))
    tokens = estimate_request_tokens(previewed.body)
    return Preview(previewed, tokens, plan.spec.cost_usd(tokens, 0), _count_changes(plan.changes))


def _mask(name: str, value: str, secrets: Sequence[str]) -> str:
    if _SECRET_NAMES.search(name):
        return f"Bearer {_MASK}" if value.startswith("Bearer ") else _MASK
    for secret in secrets:
        value = value.replace(secret, _MASK)
    return value


def _count_changes(changes: Sequence[str]) -> tuple[str, ...]:
    """Return each change once, with its number of occurrences."""
    return tuple(change if count == 1 else f"{change} ({count} times)" for change, count in Counter(changes).items())


def _show_body(body: Mapping[str, Any]) -> str:
    text = json.dumps(body, ensure_ascii=False, indent=2)
    return _DATA_URI.sub(lambda match: f"{match[1]}… ({len(match[2]):,} characters)", text)
