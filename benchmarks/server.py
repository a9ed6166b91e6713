"""A loopback server with fixed replies, which does so little work that the clients are what is measured.

It runs in a separate process. The path selects the reply: `/events/200` streams 200 events, `/argument/N` a tool call
with arguments of N bytes, `/text-call/N` the same call as text and `/document/N` a JSON document of N bytes. `/slow/50`
replies after 50 milliseconds, `/agent` with a tool call, `/structured` with JSON, and any other path with a short text.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EVENTS_PER_PACKET = 4
USAGE = {"prompt_tokens": 21, "completion_tokens": 200, "total_tokens": 221}
PLAIN_REPLY = json.dumps(
    {
        "id": "x",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello there."}, "finish_reason": "stop"}],
        "usage": USAGE,
    }
).encode()

_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "tool_3", "arguments": '{"city": "Paris", "days": 3}'},
}
_MESSAGES = {
    "/agent": {"role": "assistant", "content": None, "tool_calls": [_CALL]},
    "/structured": {
        "role": "assistant",
        "content": '{"title": "Soup", "minutes": 30, "steps": ["Boil.", "Stir.", "Eat."]}',
    },
}
OTHER_REPLIES = {
    path: json.dumps({
        "id": "x",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": USAGE,
    }).encode()
    for path, message in _MESSAGES.items()
}  # fmt: skip


def _encode_event(payload: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(payload, separators=(",", ":")).encode() + b"\n\n"


def _encode_delta(**delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    return _encode_event({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gemma", "choices": [choice]
    })  # fmt: skip


def _make_final_events(reason: str) -> list[bytes]:
    return [
        _encode_event({"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}),
        _encode_event({"id": "chatcmpl-1", "choices": [], "usage": USAGE}),
        b"data: [DONE]\n\n",
    ]


def make_events(path: str) -> list[bytes] | None:
    """Return the events for a path, or `None` if it has no stream."""
    if found := re.search(r"/events/(\d+)", path):
        return [_encode_delta(content=f" token{i % 10}") for i in range(int(found[1]))] + _make_final_events("stop")
    if found := re.search(r"/argument/(\d+)", path):
        argument = json.dumps({"text": "x" * int(found[1])})
        pieces = [argument[i : i + 64] for i in range(0, len(argument), 64)]
        head = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "save", "arguments": ""}}
        tail = [_encode_delta(tool_calls=[{"index": 0, "function": {"arguments": piece}}]) for piece in pieces]
        return [_encode_delta(tool_calls=[head]), *tail, *_make_final_events("tool_calls")]
    if found := re.search(r"/text-call/(\d+)", path):
        call = f'<|tool_call>call:save{{text:<|"|>{"x" * int(found[1])}<|"|>}}<tool_call|>'
        return [
            *(_encode_delta(content=call[i : i + 64]) for i in range(0, len(call), 64)),
            *_make_final_events("stop"),
        ]
    if found := re.search(r"/document/(\d+)", path):
        rows = [{"id": i, "name": f"row {i}"} for i in range(int(found[1]) // 28)]
        document = json.dumps({"rows": rows})
        pieces = [document[i : i + 16] for i in range(0, len(document), 16)]
        return [_encode_delta(content=piece) for piece in pieces] + _make_final_events("stop")
    return None


class _Server:
    def __init__(self) -> None:
        self._packets: dict[str, list[bytes]] = {}

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(length[1])) if length else b""
                await self._respond(head.split(" ", 2)[1], body, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _respond(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        if b'"stream":true' in body or b'"stream": true' in body:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            for packet in self._get_packets(path):
                writer.write(packet)
                await writer.drain()
            writer.write(b"0\r\n\r\n")
            return
        if found := re.search(r"/slow/(\d+)", path):
            await asyncio.sleep(int(found[1]) / 1000)
        reply = next((other for start, other in OTHER_REPLIES.items() if path.startswith(start)), PLAIN_REPLY)
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(reply)}\r\n\r\n"
        writer.write(head.encode() + reply)

    def _get_packets(self, path: str) -> list[bytes]:
        key = path.split("/accounts", maxsplit=1)[0].split("/v1", maxsplit=1)[0]
        if key not in self._packets:
            events = make_events(path) or []
            joined = [b"".join(events[i : i + EVENTS_PER_PACKET]) for i in range(0, len(events), EVENTS_PER_PACKET)]
            self._packets[key] = [f"{len(data):x}\r\n".encode() + data + b"\r\n" for data in joined]
        return self._packets[key]


def _serve(port: Any) -> None:
    async def main() -> None:
        server = await asyncio.start_server(_Server(), "127.0.0.1", 0, limit=1 << 24)
        port.send(server.sockets[0].getsockname()[1])
        async with server:
            await server.serve_forever()

    asyncio.run(main())


@contextmanager
def run_server() -> Iterator[str]:
    """Run the server and yield its URL."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(sender,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{receiver.recv()}"
    finally:
        process.terminate()
        process.join()
