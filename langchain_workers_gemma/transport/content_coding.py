"""Decode the content coding of a response with bounded memory.

A few hundred bytes of gzip can inflate to gigabytes, so a body is inflated only as it is read, in pieces of at most
`MAX_PIECE_BYTES`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

ACCEPTED = "gzip"
"""The value of `accept-encoding`: the only coding that the standard library decodes in bounded pieces."""

MAX_PIECE_BYTES = 256 * 1024

_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32  # either header is recognised
_CODINGS = frozenset({"gzip", "x-gzip", "deflate"})


class ContentCodingError(ValueError):
    """The content coding of a response was not accepted, or cannot be decoded."""


def get_decoder(content_encoding: str) -> Inflater | None:
    """Return the decoder for a `content-encoding` header, `None` if there is nothing to decode.

    Raises:
        ContentCodingError: If the coding was not accepted, or there are several.

    Example:
        >>> get_decoder("identity") is None
        True
    """
    codings = [
        coding for part in content_encoding.lower().split(",") if (coding := part.strip()) not in ("", "identity")
    ]
    if not codings:
        return None
    if len(codings) > 1 or codings[0] not in _CODINGS:
        raise ContentCodingError(f"its content-encoding {content_encoding[:80]!r} was not accepted")
    return Inflater()


class Inflater:
    """Decodes gzip or deflate that arrives in pieces."""

    __slots__ = ("_inflate",)

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP_OR_ZLIB)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the decoded bytes, in bounded pieces.

        Raises:
            ContentCodingError: If they cannot be decoded.
        """
        while data:
            try:
                piece = self._inflate.decompress(data, MAX_PIECE_BYTES)
            except zlib.error as error:
                raise ContentCodingError(f"its content encoding is broken ({error})") from None
            if piece:
                yield piece
            data = self._inflate.unconsumed_tail
            if self._inflate.eof:
                data = self._inflate.unused_data  # gzip allows several members
                if data:
                    self._inflate = zlib.decompressobj(_GZIP_OR_ZLIB)

    def flush(self) -> None:
        """End the body.

        Raises:
            ContentCodingError: If the body is incomplete.
        """
        if not self._inflate.eof:
            raise ContentCodingError("its content encoding is broken (it ends too early)")
