"""A double of llama-cpp-python's server (0.3.36), which speaks an older dialect than llama.cpp's own.

Its replies are recorded, in `tests/data/llama_cpp_python.json`: from its own application over HTTP, with its own
validation, error handlers and converters, around an engine that wrote given texts. The double puts other texts into
them. It takes `{"type": "json_object", "schema": ...}` and refuses `json_schema` with a 500. It ignores
`stream_options`, so its streams have no usage. An error in a stream is a stream with nothing in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import respx

RECORDED: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).resolve().parents[1] / "data" / "llama_cpp_python.json").read_text()
)
CONTEXT = 2048
Says = Callable[[dict[str, Any]], str]


class LlamaCppPython:
    """Answers through respx as that server does.

    Args:
        router: Where requests arrive.
        says: The model's text for a request.
    """

    def __init__(self, router: respx.MockRouter, says: Says) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.says = says
        router.route().mock(side_effect=self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        self.bodies.append(body)
        name = _choose(body)
        recorded = RECORDED[f"{name} in a stream" if body.get("stream") and name not in ("chat", "cut") else name]
        text = recorded["body"]
        if recorded["status"] == 200 and text:
            said = self.says(body)
            text = _write_stream(said) if body.get("stream") else _write_whole(text, said)
        return httpx.Response(
            recorded["status"], headers={"content-type": recorded["content_type"]}, content=text.encode()
        )


def _choose(body: dict[str, Any]) -> str:
    """Return the name of the recording for a request, without what tells a stream."""
    wanted = body.get("response_format", {"type": "text"})
    if wanted["type"] not in ("text", "json_object"):
        return "json_schema"
    roles = [message["role"] for message in body["messages"]]
    roles = roles[roles[0] == "system" :]  # Gemma 3's template takes one
    if any((role == "user") != (at % 2 == 0) for at, role in enumerate(roles)):
        return "roles do not alternate"
    if sum(len(str(message["content"]).split()) for message in body["messages"]) >= CONTEXT:
        return "too long"
    return "json_object with a schema" if "schema" in wanted else "chat"


def _write_whole(recorded: str, said: str) -> str:
    reply = json.loads(recorded)
    reply["choices"][0]["message"]["content"] = said
    return json.dumps(reply)


def _write_stream(said: str) -> str:
    """Return the recorded stream with another text, a few characters in each event."""
    first, piece, *_, last, done, _ = RECORDED["stream"]["body"].split("\n\n")
    event = json.loads(piece.removeprefix("data: "))
    pieces = []
    for at in range(0, len(said), 4):
        event["choices"][0]["delta"]["content"] = said[at : at + 4]
        pieces.append(f"data: {json.dumps(event)}")
    return "".join(f"{one}\n\n" for one in (first, *pieces, last, done))
