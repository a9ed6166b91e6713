"""A real Gemma behind the sandbox: forwards to any OpenAI-compatible server and answers in Workers AI's form."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import httpx

from langchain_workers_gemma.sandbox.chat import (
    Call,
    CallDelta,
    ChatRequest,
    Completion,
    Delta,
    End,
    ReasoningDelta,
    TextDelta,
)
from langchain_workers_gemma.sandbox.errors import OUT_OF_CAPACITY, TIMEOUT, ServiceError
from langchain_workers_gemma.sandbox.tokens import count, prompt_tokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

_PASSED = (
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "chat_template_kwargs",
    "parallel_tool_calls",
    "tool_choice",
)
"""Parameters that mean the same there; servers take no notice of those they do not have."""
_TIMEOUT = httpx.Timeout(600.0, connect=10.0)
_REFUSALS = frozenset({400, 404, 413, 422})


@dataclass(slots=True)
class Upstream:
    """An engine that asks a server.

    Attributes:
        url: The server's base URL, up to and with `/v1`.
        model: The model's name there.
        api_key: Its key, where it wants one.
        schema_form: How it takes a JSON Schema.
    """

    url: str
    model: str
    api_key: str | None = None
    schema_form: Literal["json_schema", "json_object"] = "json_schema"
    _client: httpx.AsyncClient | None = field(default=None, repr=False)

    @property
    def description(self) -> str:
        """The model's name on its server."""
        return self.model.encode("ascii", "replace").decode()

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer at once."""
        try:
            response = await self._http().post(self._endpoint, json=self.body(request))
            await _raise_for_status(response)
            return _completion(request, response.json())
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            raise _unreachable(error) from error

    async def stream(self, request: ChatRequest) -> AsyncIterator[Delta]:
        """Answer piece by piece."""
        reader = _Reader(request)
        body = {**self.body(request), "stream": True, "stream_options": {"include_usage": True}}
        try:
            async with self._http().stream("POST", self._endpoint, json=body) as response:
                await _raise_for_status(response)
                async for line in response.aiter_lines():
                    if line.startswith("data:") and line[5:].strip() != "[DONE]":
                        for delta in reader.read(json.loads(line[5:])):
                            yield delta
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            raise _unreachable(error) from error
        yield End(reader.completion())

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def body(self, request: ChatRequest) -> dict[str, Any]:
        """The request in OpenAI's form."""
        found: dict[str, Any] = {"model": self.model, "messages": _messages(request), "max_tokens": request.max_tokens}
        found |= {key: request.body[key] for key in _PASSED if request.body.get(key) is not None}
        if request.stop:
            found["stop"] = list(request.stop)
        if request.tools:
            found["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": tool.name,
                        "description": tool.description,
                        "parameters": dict(tool.parameters),
                    },
                }
                for tool in request.tools
            ]
        if request.schema is not None:
            found["response_format"] = self._response_format(request.schema)
        return found

    def _response_format(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        if self.schema_form == "json_object":  # llama-cpp-python
            return {"type": "json_object", "schema": dict(schema)}
        held = {"name": "reply", "schema": dict(schema), "strict": True}
        return {"type": "json_schema", "json_schema": held}

    @property
    def _endpoint(self) -> str:
        return f"{self.url.rstrip('/')}/chat/completions"

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            headers = {"authorization": f"Bearer {self.api_key}"} if self.api_key else {}
            self._client = httpx.AsyncClient(timeout=_TIMEOUT, headers=headers)
        return self._client


def _messages(request: ChatRequest) -> list[Any]:
    if request.prompt is not None:
        return [{"role": "user", "content": request.prompt}]
    return list(request.body["messages"])


async def _raise_for_status(response: httpx.Response) -> None:
    if response.is_success:
        return
    text = (await response.aread()).decode(errors="replace")
    if response.status_code in _REFUSALS:
        raise ServiceError(5006, f"AiError: Bad input: Error: the upstream server says: {text}")
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise ServiceError(OUT_OF_CAPACITY)
    raise ServiceError(None, f"AiError: the upstream server answered {response.status_code}: {text}", status=502)


def _unreachable(error: Exception) -> ServiceError:
    if isinstance(error, httpx.TimeoutException):
        return ServiceError(TIMEOUT)
    return ServiceError(None, f"AiError: no answer from the upstream server: {error!r}", status=502)


def _completion(request: ChatRequest, body: Mapping[str, Any]) -> Completion:
    choice = body["choices"][0]
    message = choice["message"]
    calls = tuple(
        Call(str(call.get("id") or f"call_{at}"), call["function"]["name"], call["function"]["arguments"])
        for at, call in enumerate(message.get("tool_calls") or ())
    )
    text = message.get("content") or ""
    made = Completion(
        text=text,
        reasoning=message.get("reasoning_content") or message.get("reasoning") or "",
        calls=calls,
        finish_reason=choice.get("finish_reason") or ("tool_calls" if calls else "stop"),
    )
    return _with_usage(request, made, body.get("usage"))


def _with_usage(request: ChatRequest, made: Completion, usage: Mapping[str, Any] | None) -> Completion:
    """A completion with the server's usage, or our own count where it tells none."""
    usage = usage or {}
    written = made.text + made.reasoning + "".join(call.name + call.arguments for call in made.calls)
    return replace(
        made,
        prompt_tokens=int(usage.get("prompt_tokens") or prompt_tokens(request)),
        completion_tokens=int(usage.get("completion_tokens") or count(written)),
        reasoning_tokens=int((usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0),
        cached_tokens=int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0),
    )


class _Reader:
    """Reads a stream's chunks into pieces and keeps what the end needs."""

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._made = Completion(finish_reason="")
        self._usage: Mapping[str, Any] | None = None

    def read(self, chunk: Mapping[str, Any]) -> list[Delta]:
        """The pieces of a chunk."""
        if "error" in chunk:
            raise ServiceError(None, f"AiError: the upstream server says: {chunk['error']}", status=502)
        self._usage = chunk.get("usage") or self._usage
        found: list[Delta] = []
        for choice in chunk.get("choices") or ():
            found += self._delta(choice.get("delta") or {})
            if choice.get("finish_reason"):
                self._made = replace(self._made, finish_reason=choice["finish_reason"])
        return found

    def _delta(self, delta: Mapping[str, Any]) -> list[Delta]:
        found: list[Delta] = []
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if reasoning:
            self._made = replace(self._made, reasoning=self._made.reasoning + reasoning)
            found.append(ReasoningDelta(reasoning))
        if delta.get("content"):
            self._made = replace(self._made, text=self._made.text + delta["content"])
            found.append(TextDelta(delta["content"]))
        found.extend(self._call(piece) for piece in delta.get("tool_calls") or ())
        return found

    def _call(self, piece: Mapping[str, Any]) -> CallDelta:
        function = piece.get("function") or {}
        index, name, arguments = int(piece.get("index") or 0), function.get("name"), function.get("arguments") or ""
        calls = list(self._made.calls)
        call_id = None
        if name:
            call_id = piece.get("id") or f"call_{index}"
            calls.append(Call(call_id, name, arguments))
        elif calls:
            calls[-1] = replace(calls[-1], arguments=calls[-1].arguments + arguments)
        self._made = replace(self._made, calls=tuple(calls))
        return CallDelta(index, arguments, id=call_id, name=name or None)

    def completion(self) -> Completion:
        """The whole reply."""
        reason = self._made.finish_reason or ("tool_calls" if self._made.calls else "stop")
        return _with_usage(self._request, replace(self._made, finish_reason=reason), self._usage)
