"""Convert the content blocks of a message to texts and images; refuse other blocks, or replace them with a note."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from langchain_workers_gemma.request.images import Image, ImageRules, UnsupportedContentError, get_image_url

logger = logging.getLogger(__name__)

Part: TypeAlias = str | Image

# Blocks of an assistant's message that repeat its other fields, or that a model must not see again.
_IGNORED_KINDS = (
    "reasoning", "thinking", "redacted_thinking", "tool_call", "tool_call_chunk", "tool_use", "invalid_tool_call",
    "function_call", "input_json_delta",
)  # fmt: skip
_TEXT_KINDS = ("text", "text-plain", "output_text")  # tuples, not sets: the type in a block may be unhashable
_IMAGE_KINDS = ("image", "image_url")
_NOUNS = {
    "audio": "an audio file", "input_audio": "an audio file", "video": "a video", "video_url": "a video",
    "file": "a file", "input_file": "a file", "document": "a document", "image": "an image", "image_url": "an image",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ContentRules:
    """Which content blocks may be sent.

    Attributes:
        images: Which images may be sent.
        notes: Whether a note replaces blocks that the model cannot read, in human and tool messages.
    """

    images: ImageRules
    notes: bool = False


def read_assistant_parts(content: Sequence[str | dict[str, Any]], changes: list[str]) -> tuple[Part, ...]:
    """Return the texts of an assistant's message without any other block. If all texts are blank, return none.

    Messages of other providers hold server tools, citations, refusals, images and more. They must not prevent a Gemma
    from continuing the conversation.

    Args:
        content: The message's content.
        changes: The list to which a description of each block that is left out is added.
    """
    texts: list[str] = []
    for block in content:
        text = block if isinstance(block, str) else _read_text(block)
        if text is not None:
            texts.append(text)
            continue
        kind = block.get("type") if isinstance(block, Mapping) else None
        if kind not in _IGNORED_KINDS:
            logger.debug("A content block of type %r in an assistant's message is left out.", kind)
            changes.append(f"A content block of type {kind!r} in an assistant message is left out: no Gemma reads it.")
    return tuple(text for text in texts if text) if any(map(str.strip, texts)) else ()


def read_input_parts(
    content: Sequence[str | dict[str, Any]], rules: ContentRules, role: str, changes: list[str]
) -> tuple[Part, ...]:
    """Return the texts and images of a message that a user, a tool or a developer wrote.

    Args:
        content: The message's content.
        rules: Which content blocks may be sent.
        role: The author's role. The texts of a tool are joined with line breaks, which chat templates leave out.
        changes: The list to which a description of each replaced block is added.

    Raises:
        ValueError: If a block cannot be sent.
    """
    parts: list[Part] = []
    after_note = False
    for block in content:
        part, is_note = (block, False) if isinstance(block, str) else _read_part(block, rules, role, changes)
        if not part:
            continue
        on_own_line = role == "tool" or is_note or after_note
        if on_own_line and parts and isinstance(part, str) and isinstance(parts[-1], str):
            part = f"\n{part}"
        parts.append(part)
        after_note = is_note
    return tuple(parts)


def _read_part(block: Mapping[str, Any], rules: ContentRules, role: str, changes: list[str]) -> tuple[Part, bool]:
    """Return a block as a part, and whether it is a note that replaces the block."""
    text = _read_text(block)
    if text is not None:
        return text, False
    images = rules.images
    try:
        return _read_image(block, images, role), False
    except UnsupportedContentError:
        if not rules.notes or role == "system":
            raise
    description = _describe_block(block)
    reads = "text and images" if images.images else "text"
    changes.append(
        f"{description[0].upper()}{description[1:]} is replaced by a note: {images.model} reads {reads} only."
    )
    return f"[Left out: {description}, which this model cannot read.]", True


def _read_image(block: Mapping[str, Any], rules: ImageRules, role: str) -> Image:
    if block.get("type") not in _IMAGE_KINDS:
        raise UnsupportedContentError(_describe_refusal(block.get("type"), rules, role))
    if role == "system":
        raise ValueError("messages: a system message holds text only. Put images into a HumanMessage.")
    return rules.check(get_image_url(block))


def _read_text(block: Mapping[str, Any]) -> str | None:
    text = block.get("text")
    return text if block.get("type") in _TEXT_KINDS and isinstance(text, str) else None


def _describe_refusal(kind: object, images: ImageRules, role: str) -> str:
    reads = "text and images" if images.images else "text"
    note = "" if role == "system" else ', or pass unsupported_content="note" to replace it by a note'
    return (
        f"messages: a content block of type {kind!r} cannot be sent: Gemma on these services takes {reads} only. Leave "
        f"it out, turn it into text{note}."
    )


def _describe_block(block: Mapping[str, Any]) -> str:
    """Return a description of a block: its kind, its media type and its name."""
    kind = str(block.get("type"))
    nested = block.get(kind)
    layers = [block, *(one for one in (nested, block.get("source"), block.get("metadata")) if isinstance(one, Mapping))]
    details = [
        text
        for keys in (("mime_type", "media_type", "format"), ("filename", "name", "title"), ("url",))
        if (text := _find_first_text(layers, keys)) and not text.startswith("data:")
    ]
    noun = _NOUNS.get(kind, f"a content block of type {kind!r}")
    return f"{noun} ({', '.join(details)})" if details else noun


def _find_first_text(layers: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> str:
    found = (layer.get(key) for layer in layers for key in keys)
    return next((text[:200] for text in found if isinstance(text, str) and text), "")
