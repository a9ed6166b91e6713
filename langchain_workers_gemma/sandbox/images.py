"""Read an image's true format and size from its first bytes."""

from __future__ import annotations

import base64
import binascii
import re
import struct
from dataclasses import dataclass

from .errors import BAD_BASE64, INVALID_DATA, ServiceError

_DATA_URI = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?:;[\w=.-]+)*?;base64,(?P<data>.*)", re.DOTALL)
# Frame headers of JPEG that carry the size: SOF0 to SOF15 without DHT, JPG and DAC.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True)
class Image:
    """An image by its own header."""

    format: str
    width: int
    height: int


def read_data_uri(uri: str) -> Image:
    """Read an image out of a `data:` URI.

    Raises:
        ServiceError: 8006 for anything but a `data:` URI of a PNG, JPEG, GIF or WebP, 5004 for base64 that is not.
    """
    found = _DATA_URI.fullmatch(uri)
    if found is None:
        raise ServiceError(INVALID_DATA, "AiError: Invalid data: image_url must be a data: URI with base64 data")
    try:
        data = base64.b64decode(found["data"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ServiceError(BAD_BASE64, f"AiError: Invalid or incomplete base64 image data: {error}") from None
    image = read_image(data)
    if image is None:
        raise ServiceError(INVALID_DATA, "AiError: Invalid data: not a PNG, JPEG, GIF or WebP image")
    return image


def read_image(data: bytes) -> Image | None:
    """Return the format and size that an image's header states, `None` for anything else."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return Image("PNG", *struct.unpack(">II", data[16:24]))
        if data[:6] in (b"GIF87a", b"GIF89a"):
            return Image("GIF", *struct.unpack("<HH", data[6:10]))
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _read_webp(data)
        if data.startswith(b"\xff\xd8"):
            return _read_jpeg(data)
    except (struct.error, IndexError):
        pass
    return None


def _read_jpeg(data: bytes) -> Image | None:
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding before a marker
            at += 1
        elif marker in _JPEG_FRAMES:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return Image("JPEG", width, height)
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a length
            at += 2
        else:
            at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return None


def _read_webp(data: bytes) -> Image | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return Image("WebP", int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1)
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return Image("WebP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return Image("WebP", width & 0x3FFF, height & 0x3FFF)
    return None
