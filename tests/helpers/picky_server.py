"""A server that refuses parts of requests."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import respx

from tests.helpers.mock_service import encode_sse, make_completion, make_delta, make_usage
from tests.helpers.model_calls import CALL_METHODS

GUIDED_CALL = json.dumps({"tool_calls": [{"name": "get_weather", "get_weather": {"city": "Paris"}}]})
Refusal = tuple[int, Any]
for_each_call_method = pytest.mark.parametrize("call_method", CALL_METHODS)


class PickyServer:
    """Answers as vLLM would, but refuses each request for which `refuse` returns a status and a body."""

    def __init__(self, router: respx.MockRouter, refuse: Callable[[dict[str, Any]], Refusal | None]) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.refuse = refuse
        router.route().mock(side_effect=self._answer)

    def sent_values(self, key: str) -> list[Any]:
        """Return the value of a key in each request, `None` if it was not sent."""
        return [body.get(key) for body in self.bodies]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        self.bodies.append(body)
        refusal = self.refuse(body)
        if refusal is not None:
            status, payload = refusal
            return httpx.Response(status, **({"text": payload} if isinstance(payload, str) else {"json": payload}))
        function = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
        calls = [{"index": 0, "id": "c1", "type": "function", "function": function}]
        text = GUIDED_CALL if "get_weather" in json.dumps(body["messages"]) else '{"city": "Paris"}'
        message: dict[str, Any] = {"content": "", "tool_calls": calls} if body.get("tools") else {"content": text}
        if not body.get("stream"):
            return httpx.Response(200, json=make_completion(finish_reason="stop", usage=make_usage(9, 3), **message))
        events = [make_delta(**message), make_delta(finish_reason="stop")]
        events += [{"choices": [], "usage": make_usage(9, 3)}] if "stream_options" in body else []
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=encode_sse(*events, "[DONE]"))


StartServer = Callable[[Callable[[dict[str, Any]], Refusal | None]], PickyServer]


def make_error(text: str) -> Any:
    """Return an error body of vLLM."""
    return {"object": "error", "message": text, "type": "BadRequestError", "param": None, "code": 400}
