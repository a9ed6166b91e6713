"""A request is written at once: its header and its body reach the server together."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from langchain_workers_gemma import ChatWorkersGemma
from langchain_workers_gemma.cli.account import search_models
from langchain_workers_gemma.client.connection import build_transport
from langchain_workers_gemma.transport.driver import run

pytestmark = pytest.mark.lowest

REPLY = json.dumps({"success": True, "result": {"response": "Hi."}}).encode()
RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"


class RecordingServer(socketserver.ThreadingTCPServer):
    """A server that keeps the result of each read."""

    def __init__(self, reply: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply = reply
        self.reads: list[list[bytes]] = []  # for each request
        self.connections: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(socketserver.BaseRequestHandler):
    server: RecordingServer

    def handle(self) -> None:
        self.server.connections.append(self.request)
        while reads := self._read_request():
            self.server.reads.append(reads)
            self.request.sendall(RESPONSE % (len(self.server.reply), self.server.reply))

    def _read_request(self) -> list[bytes]:
        reads: list[bytes] = []
        while not _is_whole(b"".join(reads)):
            data = self.request.recv(65_536)
            if not data:
                return []
            reads.append(data)
        return reads


def _is_whole(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    lengths = [int(line.partition(b":")[2]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-len")]
    return bool(end) and len(body) >= sum(lengths)


@contextmanager
def recording_server(reply: bytes = REPLY) -> Iterator[RecordingServer]:
    with RecordingServer(reply) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            for connection in server.connections:
                with suppress(OSError):  # already closed
                    connection.shutdown(socket.SHUT_RDWR)
            server.shutdown()
            thread.join()


def make_recorded_model(server: RecordingServer, **arguments: Any) -> ChatWorkersGemma:
    return ChatWorkersGemma(base_url=server.url, account_id="a", api_token="t", max_retries=0, **arguments)


def test_a_request_arrives_in_one_piece() -> None:
    with recording_server() as server:
        llm = make_recorded_model(server)
        assert [llm.invoke(prompt).content for prompt in ("one", "two")] == ["Hi.", "Hi."]
    for prompt, reads in zip(("one", "two"), server.reads, strict=True):
        assert len(reads) == 1
        head, _, body = reads[0].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /accounts/a/ai/run/")
        assert json.loads(body)["messages"] == [{"role": "user", "content": prompt}]


async def test_an_async_request_arrives_in_one_piece() -> None:
    with recording_server() as server:
        llm = make_recorded_model(server)
        assert [(await llm.ainvoke(prompt)).content for prompt in ("one", "two")] == ["Hi.", "Hi."]
    assert [len(reads) for reads in server.reads] == [1, 1]


@pytest.mark.parametrize("size", [10, 70_000, 3_000_000])
async def test_a_body_of_any_size_arrives_whole(size: int) -> None:
    with recording_server() as server:
        llm = make_recorded_model(server)
        llm.invoke("x" * size)
        await llm.ainvoke("y" * size)
    sent = [json.loads(b"".join(reads).partition(b"\r\n\r\n")[2])["messages"][0]["content"] for reads in server.reads]
    assert sent == ["x" * size, "y" * size]


def test_a_request_without_a_body_is_sent() -> None:
    with recording_server(json.dumps({"success": True, "result": []}).encode()) as server:
        llm = make_recorded_model(server)
        assert run(build_transport(llm), search_models(llm, "gemma")) == []
    assert server.reads[0][0].startswith(b"GET ")
