"""Check the images in messages, and convert them to `data:` URIs."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import BaseMessage


@dataclass(frozen=True, slots=True)
class Image:
    """An image.

    Attributes:
        url: A `data:` URI with its bytes.
    """

    url: str


class UnsupportedContentError(ValueError):
    """The model or the host does not accept this content; a note can replace it."""


_DATA_URI = re.compile(r"data:(image/[\w.+-]+);base64,([A-Za-z0-9+/]+={0,2})")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_MAGIC = ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"), (b"RIFF", "image/webp"))


@dataclass(frozen=True, slots=True)
class ImageRules:
    """Which images may be sent.

    Attributes:
        model: The model's id, for error messages.
        images: Whether the model reads images.
        inlined: The `data:` URI of each http(s) image that was fetched; `None` while `inline_image_urls` is off.
    """

    model: str
    images: bool
    inlined: Mapping[str, str] | None = field(default=None, hash=False)

    def check(self, url: str | None) -> Image:
        """Return the image at a URL, if it may be sent.

        Args:
            url: The URL; `None` for an image that has only a file id.

        Raises:
            UnsupportedContentError: If the model reads no images, or none in this form.
            ValueError: If the URL is not an image.
        """
        if not self.images:
            raise UnsupportedContentError(
                f"messages: {self.model} reads text only, so an image cannot be sent. Use a model that reads images, "
                'or pass unsupported_content="note" to replace it by a note.'
            )
        if url is None:
            raise UnsupportedContentError(
                "messages: an image block needs `base64` with `mime_type`, or `url`; a file id cannot be sent."
            )
        if _is_remote(url):
            if self.inlined is None:
                raise UnsupportedContentError(
                    "messages: image URLs are refused by the service, which takes data: URIs only. Pass "
                    "inline_image_urls=True to have images fetched and sent inline, or send the image as base64."
                )
            return Image(self.inlined[url])
        url = re.sub(r"\s", "", url) if url.startswith("data:") else url
        if _DATA_URI.fullmatch(url) is None:
            raise ValueError(f"messages: an image must be a URI 'data:image/TYPE;base64,DATA', not {url[:40]!r}.")
        return Image(url)


def find_remote_image_urls(messages: Sequence[BaseMessage]) -> list[str]:
    """Return the http(s) URLs of images in the messages, each once. Images in assistants' messages are never sent."""
    found: dict[str, None] = {}
    for message in messages:
        for block in message.content if isinstance(message.content, list) and message.type != "ai" else ():
            if isinstance(block, dict) and block.get("type") in ("image", "image_url"):
                url = get_image_url(block)
                if url is not None and _is_remote(url):
                    found[url] = None
    return list(found)


def get_image_url(block: Mapping[str, Any]) -> str | None:
    """Return the URL of an image block in any of the four forms: OpenAI's, v1, v0, Anthropic's."""
    nested = block.get("image_url")
    if nested is not None:
        nested = nested.get("url") if isinstance(nested, Mapping) else nested
        return nested if isinstance(nested, str) else None
    source = block.get("source")
    if isinstance(source, Mapping):
        block = {"base64": source.get("data"), "mime_type": source.get("media_type"), "url": source.get("url")}
    data = block.get("base64") or block.get("data")
    if isinstance(data, str) and data:
        return _build_data_uri(data, block.get("mime_type"))
    url = block.get("url")
    return url if isinstance(url, str) else None


def _is_remote(url: str) -> bool:
    return url[:8].lower().startswith(("http://", "https://"))


def _build_data_uri(data: str, mime_type: object) -> str:
    data = re.sub(r"\s", "", data)
    if data.startswith("data:"):
        return data
    if _BASE64.fullmatch(data) is None or len(data.rstrip("=")) % 4 == 1:
        raise ValueError("messages: an image's base64 must be plain base64 (A-Z, a-z, 0-9, '+', '/', '=').")
    mime_type = mime_type or _sniff_type(data)
    if not isinstance(mime_type, str) or not mime_type.startswith("image/"):
        raise ValueError(f"messages: an image block needs a mime_type such as 'image/png', not {mime_type!r}.")
    return f"data:{mime_type};base64,{data}"


def _sniff_type(data: str) -> str | None:
    start = base64.b64decode(data[:16] + "=" * (-len(data[:16]) % 4))
    return next((mime_type for magic, mime_type in _MAGIC if start.startswith(magic)), None)
