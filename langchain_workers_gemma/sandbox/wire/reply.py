"""The reply of the sandbox: status, headers and body."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

JSON = "application/json"  # without a charset, because Cloudflare's own env.AI client compares the whole header
EVENT_STREAM = "text/event-stream"


@dataclass(slots=True)
class Reply:
    """A reply that is ready to be sent.

    Attributes:
        status: The HTTP status.
        body: A whole body, or the chunks of a stream.
        content_type: The content type, or `None` for no such header.
        headers: Further headers.
    """

    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    content_type: str | None = JSON
    headers: dict[str, str] = field(default_factory=dict)


def make_json_reply(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    """Return a reply with a JSON body."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return Reply(status, body, headers=headers or {})
