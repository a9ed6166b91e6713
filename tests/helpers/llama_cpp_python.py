"""A fake of llama-cpp-python's server (0.3.36), whose API is older than that of llama.cpp's own server.

Its replies were recorded from the real application over HTTP, with its validation, error handlers and converters, and
an engine that wrote given texts: `tests/data/llama_cpp_python.json`. The fake replaces the texts. The server accepts
`{"type": "json_object", "schema": ...}` and refuses `json_schema` with a 500. It ignores `stream_options`, so its
streams have no usage. After an error it sends an empty stream.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import respx

RECORDINGS: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).resolve().parents[1] / "data" / "llama_cpp_python.json").read_text()
)
CONTEXT_WINDOW = 2048
WriteText = Callable[[dict[str, Any]], str]


class FakeLlamaCppPython:
    """Answers through respx as llama-cpp-python does.

    Args:
        router: The router that receives the requests.
        write_text: Returns the model's text for a request body.
    """

    def __init__(self, router: respx.MockRouter, write_text: WriteText) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.write_text = write_text
        router.route().mock(side_effect=self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        self.bodies.append(body)
        name = _choose_recording(body)
        recorded = RECORDINGS[f"{name} in a stream" if body.get("stream") and name not in ("chat", "cut") else name]
        text = recorded["body"]
        if recorded["status"] == 200 and text:
            text_written = self.write_text(body)
            text = _write_stream(text_written) if body.get("stream") else _write_whole(text, text_written)
        return httpx.Response(
            recorded["status"], headers={"content-type": recorded["content_type"]}, content=text.encode()
        )


def _choose_recording(body: dict[str, Any]) -> str:
    """Return the name of the recording for a request, without the suffix of streams."""
    response_format = body.get("response_format", {"type": "text"})
    if response_format["type"] not in ("text", "json_object"):
        return "json_schema"
    roles = [message["role"] for message in body["messages"]]
    roles = roles[roles[0] == "system" :]  # Gemma 3's template accepts one system message
    if any((role == "user") != (index % 2 == 0) for index, role in enumerate(roles)):
        return "roles do not alternate"
    if sum(len(str(message["content"]).split()) for message in body["messages"]) >= CONTEXT_WINDOW:
        return "too long"
    return "json_object with a schema" if "schema" in response_format else "chat"


def _write_whole(recorded: str, text: str) -> str:
    reply = json.loads(recorded)
    reply["choices"][0]["message"]["content"] = text
    return json.dumps(reply)


def _write_stream(text: str) -> str:
    """Return the recorded stream with another text, a few characters in each event."""
    first, piece, *_, last, done, _ = RECORDINGS["stream"]["body"].split("\n\n")
    event = json.loads(piece.removeprefix("data: "))
    pieces = []
    for start in range(0, len(text), 4):
        event["choices"][0]["delta"]["content"] = text[start : start + 4]
        pieces.append(f"data: {json.dumps(event)}")
    return "".join(f"{event}\n\n" for event in (first, *pieces, last, done))
