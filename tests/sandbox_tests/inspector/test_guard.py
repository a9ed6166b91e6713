from __future__ import annotations

import pytest

from langchain_workers_gemma.sandbox.inspector.guard import find_foreign_header


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "127.0.0.1:8788"},
        {"host": "localhost:8788"},
        {"host": "LOCALHOST"},
        {"host": "workers-binding.ai"},
        {"host": "[::1]:8788"},
        {"host": "127.0.0.1:8788", "origin": "http://127.0.0.1:8788", "sec-fetch-site": "same-origin"},
        {"host": "127.0.0.1", "origin": "http://127.0.0.1:80"},
        {"host": "localhost:1", "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    ],
)
def test_own_requests_are_accepted(headers: dict[str, str]) -> None:
    assert find_foreign_header(headers) is None


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({}, "Host"),
        ({"host": ""}, "Host"),
        ({"host": "evil.example"}, "Host"),
        ({"host": "evil.example:8788"}, "Host"),
        ({"host": "127.0.0.1.evil.example"}, "Host"),
        ({"host": "localhost.evil.example"}, "Host"),
        ({"host": "evil.example@127.0.0.1"}, "Host"),
        ({"host": "127.0.0.1:99999"}, "Host"),
        ({"host": "127.0.0.1/x"}, "Host"),
        ({"host": "10.0.0.1:8788"}, "Host"),
        ({"host": "[::2]:8788"}, "Host"),
        ({"host": "127.0.0.1:8788", "origin": "https://evil.example"}, "Origin"),
        ({"host": "127.0.0.1:8788", "origin": "http://127.0.0.1:3000"}, "Origin"),
        ({"host": "127.0.0.1:8788", "origin": "http://localhost:8788"}, "Origin"),
        ({"host": "127.0.0.1:8788", "origin": "null"}, "Origin"),
        ({"host": "127.0.0.1:8788", "origin": ""}, "Origin"),
        ({"host": "127.0.0.1:8788", "origin": "file://127.0.0.1:8788"}, "Origin"),
        ({"host": "127.0.0.1:1", "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, "Sec-Fetch-Site"),
    ],
)
def test_foreign_requests_are_refused(headers: dict[str, str], named: str) -> None:
    assert find_foreign_header(headers) == named
