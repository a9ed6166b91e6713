"""Collect a rendered prompt, with the text of the template separated from the text of the messages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SegmentKind: TypeAlias = Literal["token", "template", "content", "lookalike"]
"""A special token, text of the template, text of the messages, or text of the messages that equals a special token."""

MAX_PROMPT_CHARACTERS = 400_000
"""Maximum number of stored characters of a rendered prompt. A browser becomes slow with more."""

_COMMON_TOKENS = ("<bos>", "<eos>", "<pad>", "<unk>", "<mask>")
GEMMA_3_TOKENS = (*_COMMON_TOKENS, "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>")
"""The special tokens of Gemma 1 to 3."""
GEMMA_4_TOKENS = (
    *_COMMON_TOKENS,
    *(f"<|{name}>" for name in ("turn", "channel", "tool", "tool_call", "tool_response", "image", "audio", "video")),
    *(f"<{name}|>" for name in ("turn", "channel", "tool", "tool_call", "tool_response", "image", "audio", "video")),
    *("<|think|>", "<|image|>", "<|audio|>", "<|video|>", '<|"|>'),
)
"""The special tokens of Gemma 4."""


class TemplateRefusedError(Exception):
    """The chat template raises an error for these messages."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a prompt that has only one kind of text."""

    kind: SegmentKind
    text: str


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """A prompt as the model reads it.

    Attributes:
        segments: The prompt in order.
        notes: Notes about the prompt.
        refusal: Why the template raises, or `None` if it does not.
        omitted: The number of characters omitted at the end.
    """

    segments: tuple[Segment, ...]
    notes: tuple[str, ...] = ()
    refusal: str | None = None
    omitted: int = 0

    @property
    def text(self) -> str:
        """The prompt as one string."""
        return "".join(segment.text for segment in self.segments)


class PromptWriter:
    """Collects a prompt in parts, and merges consecutive parts of one kind."""

    def __init__(self, tokens: Sequence[str], limit: int = MAX_PROMPT_CHARACTERS) -> None:
        """Create an empty prompt.

        Args:
            tokens: The special tokens of the model's generation.
            limit: Maximum number of characters to store.
        """
        self._lookalike = re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))))
        self._parts: list[tuple[SegmentKind, list[str]]] = []
        self._remaining = limit
        self._omitted = 0

    def write_token(self, text: str) -> None:
        """Write a special token."""
        self._write("token", text)

    def write_template(self, text: str) -> None:
        """Write text of the template."""
        self._write("template", text)

    def write_content(self, text: str) -> None:
        """Write text of the messages. Special tokens in it are marked, because a server may treat them as such."""
        end = 0
        for match in self._lookalike.finditer(text):
            self._write("content", text[end : match.start()])
            self._write("lookalike", match.group())
            end = match.end()
        self._write("content", text[end:])

    def finish(self, notes: Iterable[str] = (), refusal: str | None = None) -> RenderedPrompt:
        """Return the prompt."""
        segments = tuple(Segment(kind, "".join(texts)) for kind, texts in self._parts)
        return RenderedPrompt(segments, tuple(notes), refusal, self._omitted)

    def _write(self, kind: SegmentKind, text: str) -> None:
        kept = text[: self._remaining]
        self._omitted += len(text) - len(kept)
        self._remaining -= len(kept)
        if not kept:
            return
        # Consecutive tokens are not merged.
        if kind in ("template", "content") and self._parts and self._parts[-1][0] == kind:
            self._parts[-1][1].append(kept)
        else:
            self._parts.append((kind, [kept]))
