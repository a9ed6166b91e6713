"""Check the formats of strings with Python's standard library."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType
from uuid import UUID

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIME = re.compile(r"\d{2}:\d{2}(:\d{2}(\.\d+)?)?(z|[+-]\d{2}:?\d{2})?", re.ASCII | re.IGNORECASE)
_DURATION = re.compile(
    r"P(?=[\dT])(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?", re.ASCII | re.IGNORECASE
)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_URI = re.compile(r"[a-z][a-z0-9+.-]*:\S+", re.ASCII | re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


def _make_check(parse: Callable[[str], object], form: re.Pattern[str] | None = None) -> Callable[[str], bool]:
    """Return a function that checks whether a string has a form and can be parsed."""

    def check(text: str) -> bool:
        if form is not None and not form.fullmatch(text):
            return False
        try:
            parse(text)
        except (ValueError, re.error):
            return False
        return True

    return check


def _parse_date_time(text: str) -> datetime:
    day, clock = text[:10], text[11:]
    if text[10:11] not in ("T", "t", " ") or not (_DATE.fullmatch(day) and _TIME.fullmatch(clock)):
        raise ValueError(text)
    return datetime.fromisoformat(f"{day}T{clock.upper()}")


FORMATS: Mapping[str, Callable[[str], bool]] = MappingProxyType({
    "date": _make_check(date.fromisoformat, _DATE),
    "time": _make_check(lambda text: time.fromisoformat(text.upper()), _TIME),
    "date-time": _make_check(_parse_date_time),
    "duration": lambda text: _DURATION.fullmatch(text) is not None,
    "email": lambda text: _EMAIL.fullmatch(text) is not None,
    "ipv4": _make_check(IPv4Address),
    "ipv6": _make_check(IPv6Address),
    "regex": _make_check(re.compile),
    "uri": lambda text: _URI.fullmatch(text) is not None,
    "uuid": _make_check(UUID, _UUID),
})  # fmt: skip
"""The function that checks each format, by its name. Other formats are not checked."""
