"""A Workers AI service that answers through respx and keeps the requests, and the responses to give it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, TypeAlias

import httpx
import respx

ResponseFactory: TypeAlias = Callable[[], httpx.Response]


class PiecewiseBody(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that arrives in pieces. An exception among the pieces breaks the connection at that point."""

    def __init__(self, pieces: Sequence[bytes | Exception]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


class MockService:
    """Answers every request and keeps it. The last response is repeated for all further requests."""

    def __init__(self, router: respx.MockRouter) -> None:
        self.requests: list[httpx.Request] = []
        self._responses: list[ResponseFactory] = []
        router.route().mock(side_effect=self._respond)
        self.respond_with_results({"response": "Hi"})

    def _respond(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        make = self._responses.pop(0) if len(self._responses) > 1 else self._responses[0]
        return make()

    # The responses

    def respond_with(self, *responses: ResponseFactory) -> None:
        """Send these responses, one after another."""
        self._responses = list(responses)

    def respond_with_results(self, *results: Any, headers: dict[str, str] | None = None) -> None:
        """Send JSON bodies with these results in Cloudflare's envelope, one after another."""
        bodies = [{"result": result, "success": True, "errors": []} for result in results]
        self.respond_with_bodies(*bodies, headers=headers)

    def respond_with_bodies(self, *bodies: Any, headers: dict[str, str] | None = None) -> None:
        """Send these bodies, without an envelope, one after another."""
        self.respond_with(*(make_response(body, headers=headers) for body in bodies))

    def respond_with_events(self, *events: Any, headers: dict[str, str] | None = None) -> None:
        """Send a stream of these events."""
        self.respond_with(make_stream_response(encode_sse(*events), headers=headers))

    def respond_with_pieces(self, *pieces: bytes | Exception) -> None:
        """Send a stream whose bytes arrive in these pieces."""
        self.respond_with(make_stream_response(*pieces))

    # The requests

    @property
    def only_request(self) -> httpx.Request:
        """The request, if there was exactly one."""
        assert len(self.requests) == 1, [str(request.url) for request in self.requests]
        return self.requests[0]

    @property
    def request_body(self) -> Any:
        """The parsed body of the only request."""
        return json.loads(self.only_request.content)

    @property
    def request_bodies(self) -> list[Any]:
        """The parsed bodies of all requests."""
        return [json.loads(request.content) for request in self.requests]

    @property
    def last_messages(self) -> list[dict[str, Any]]:
        """The messages of the last request."""
        body = json.loads(self.requests[-1].content)
        messages = body.get("data", body)["messages"]
        assert isinstance(messages, list)
        return messages


def make_response(payload: Any, status: int = 200, headers: dict[str, str] | None = None) -> ResponseFactory:
    """Return a response with this body: bytes unchanged, anything else as JSON."""
    content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return lambda: httpx.Response(status, headers=headers, content=content)


def make_stream_response(*pieces: bytes | Exception, headers: dict[str, str] | None = None) -> ResponseFactory:
    """Return a response with a stream of events whose bytes arrive in these pieces."""
    all_headers = {"content-type": "text/event-stream", **(headers or {})}
    return lambda: httpx.Response(200, headers=all_headers, stream=PiecewiseBody(pieces))


def encode_sse(*events: Any, end: str = "\n\n") -> bytes:
    """Encode the events of a stream. Strings are sent unchanged, anything else as JSON."""
    texts = (event if isinstance(event, str) else json.dumps(event, ensure_ascii=False) for event in events)
    return "".join(f"data: {text}{end}" for text in texts).encode()


def make_delta(content: Any = None, **more: Any) -> dict[str, Any]:
    """Return a stream event in OpenAI's form."""
    finish_reason = more.pop("finish_reason", None)
    delta = more if content is None else {"content": content, **more}
    return {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def make_tool_call(name: str | None = None, arguments: Any = "", **more: Any) -> dict[str, Any]:
    """Return a tool call, or a piece of one, in OpenAI's form."""
    return {"function": {"name": name, "arguments": arguments}, **more}


def make_completion(content: Any = None, *, finish_reason: str | None = "stop", **more: Any) -> dict[str, Any]:
    """Return a reply body in OpenAI's form."""
    usage = more.pop("usage", None)
    reply: dict[str, Any] = {
        "id": "chatcmpl-1",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": content, **more}, "finish_reason": finish_reason}
        ],
    }
    return reply if usage is None else {**reply, "usage": usage}


def make_usage(prompt: int, completion: int, **more: Any) -> dict[str, Any]:
    """Return the token counts of a reply."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **more}
