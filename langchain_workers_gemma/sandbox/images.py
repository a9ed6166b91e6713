"""Read the format and size of an image from its first bytes."""

from __future__ import annotations

import base64
import binascii
import re
import struct
from dataclasses import dataclass

from .errors import BAD_BASE64, INVALID_DATA, ServiceError

_DATA_URI = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?:;[\w=.-]+)*?;base64,(?P<data>.*)", re.DOTALL)
# JPEG frame headers that contain the size: SOF0 to SOF15 without DHT, JPG and DAC.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True)
class Image:
    """The format and size of an image, as its header states them."""

    format: str
    width: int
    height: int


def read_data_uri(uri: str) -> Image:
    """Read an image from a `data:` URI.

    Raises:
        ServiceError: 8006 if it is not a `data:` URI of a PNG, JPEG, GIF or WebP image, 5004 if its base64 is not
            valid.
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
    """Return the format and size of an image, or `None` if it is not a PNG, JPEG, GIF or WebP image."""
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
    position = 2
    while data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # padding before a marker
            position += 1
        elif marker in _JPEG_FRAMES:
            height, width = struct.unpack(">HH", data[position + 5 : position + 9])
            return Image("JPEG", width, height)
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a length
            position += 2
        else:
            position += 2 + struct.unpack(">H", data[position + 2 : position + 4])[0]
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
