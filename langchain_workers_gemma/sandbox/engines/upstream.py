"""A real Gemma behind the sandbox: forward to any OpenAI-compatible server, and answer in Workers AI's form."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

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
from langchain_workers_gemma.sandbox.tokens import count, count_prompt

from .mock.engine import split_completion

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
"""Parameters that mean the same there; servers ignore those they do not have."""
_TIMEOUT = httpx.Timeout(600.0, connect=10.0)
_REFUSALS = frozenset({400, 404, 413, 422})
_MAX_REPLY = 64_000_000
"""Bytes of a whole reply that are read."""
_MAX_ERROR = 2_000
"""Characters of an error that are passed on."""
_OVERFLOW = re.compile(
    r"context (?:length|size|window)|exceed_context_size|maximum context|too many tokens|prompt is too long",
    re.IGNORECASE,
)
_FORM_REFUSED = re.compile(r"response_format|json_schema|json_object|schema|grammar|not supported", re.IGNORECASE)

UpstreamForm: TypeAlias = Literal["json_schema", "json_object", "both", "prompt"]
"""How a server takes a JSON Schema: as OpenAI's `json_schema`; as llama-cpp-python's `json_object` with a schema; in
the prompt, beside `json_object`; or in both of these places."""
_FORMS: tuple[UpstreamForm, ...] = ("json_schema", "both", "prompt")


@dataclass(slots=True)
class Upstream:
    """An engine that asks a server.

    Attributes:
        url: The server's base URL, up to and with `/v1`.
        model: The model's name there.
        api_key: Its key, where it wants one.
        schema_form: How it takes a JSON Schema; `auto` tries each form until the server takes one, and remembers it.
    """

    url: str
    model: str
    api_key: str | None = None
    schema_form: UpstreamForm | Literal["auto"] = "auto"
    _client: httpx.AsyncClient | None = field(default=None, repr=False)

    @property
    def description(self) -> str:
        """The model's name on its server."""
        return self.model.encode("ascii", "replace").decode()

    async def complete(self, request: ChatRequest) -> Completion:
        """Return the whole reply."""
        if request.schema is None:
            return await self._request_completion(request, self.build_body(request))
        forms = _FORMS if self.schema_form == "auto" else (self.schema_form,)
        for form in forms[:-1]:
            try:
                made = await self._request_completion(request, self._build_body_with_schema(request, form))
            except ServiceError as error:
                if not _FORM_REFUSED.search(error.message):
                    raise
            else:
                if made.finish_reason == "length" or _is_json(made.text):  # else the server ignored the form
                    self.schema_form = form
                    return made
        made = await self._request_completion(request, self._build_body_with_schema(request, forms[-1]))
        self.schema_form = forms[-1]
        return made

    async def stream(self, request: ChatRequest) -> AsyncIterator[Delta]:
        """Yield the reply piece by piece; whole where it is not known yet how the server takes a schema."""
        if request.schema is not None and self.schema_form == "auto":
            for delta in split_completion(await self.complete(request)):
                yield delta
            return
        body = (
            self.build_body(request)
            if request.schema is None or self.schema_form == "auto"
            else self._build_body_with_schema(request, self.schema_form)
        )
        reader = _Reader(request)
        try:
            async with self._open({**body, "stream": True, "stream_options": {"include_usage": True}}) as response:
                async for line in response.aiter_lines():
                    if line.startswith("data:") and line[5:].strip() != "[DONE]":
                        for delta in reader.read(json.loads(line[5:])):
                            yield delta
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            raise _make_unreachable_error(error) from error
        yield End(reader.get_completion())

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _request_completion(self, request: ChatRequest, body: dict[str, Any]) -> Completion:
        try:
            async with self._open(body) as response:
                return _read_completion(request, json.loads(await _read(response)))
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            raise _make_unreachable_error(error) from error

    @contextlib.asynccontextmanager
    async def _open(self, body: dict[str, Any]) -> AsyncIterator[httpx.Response]:
        """Send a request; leaving the block closes the connection, which stops the server's work."""
        async with self._get_client().stream("POST", self._get_endpoint, json=body) as response:
            if not response.is_success:
                raise _make_error(response.status_code, (await _read(response)).decode(errors="replace"))
            yield response

    def build_body(self, request: ChatRequest) -> dict[str, Any]:
        """Return the request in OpenAI's form, without its schema."""
        found: dict[str, Any] = {
            "model": self.model,
            "messages": _build_messages(request),
            "max_tokens": request.max_tokens,
        }
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
        return found

    def _build_body_with_schema(self, request: ChatRequest, form: UpstreamForm) -> dict[str, Any]:
        body, schema = self.build_body(request), dict(request.schema or {})
        if form == "json_schema":
            held = {"name": "reply", "schema": schema, "strict": True}
            return {**body, "response_format": {"type": "json_schema", "json_schema": held}}
        if form == "json_object":
            return {**body, "response_format": {"type": "json_object", "schema": schema}}
        wish = f"Answer with one JSON object that follows this JSON Schema, and nothing else: {json.dumps(schema)}"
        wanted: dict[str, Any] = (
            {"type": "json_object", "schema": schema} if form == "both" else {"type": "json_object"}
        )
        return {**body, "messages": _add_wish(body["messages"], wish), "response_format": wanted}

    @property
    def _get_endpoint(self) -> str:
        return f"{self.url.rstrip('/')}/chat/completions"

    def _get_client(self) -> httpx.AsyncClient:
        if self._client is None:
            headers = {"authorization": f"Bearer {self.api_key}"} if self.api_key else {}
            self._client = httpx.AsyncClient(timeout=_TIMEOUT, headers=headers)
        return self._client


def _build_messages(request: ChatRequest) -> list[Any]:
    if request.prompt is not None:
        return [{"role": "user", "content": request.prompt}]
    return list(request.body["messages"])


def _add_wish(messages: list[Any], wish: str) -> list[Any]:
    """Add a text to the last user message, since not every template has a system role."""
    last = next((at for at in range(len(messages) - 1, -1, -1) if messages[at].get("role") == "user"), None)
    if last is None:
        return [*messages, {"role": "user", "content": wish}]
    content = messages[last].get("content")
    added = [*content, {"type": "text", "text": wish}] if isinstance(content, list) else f"{content}\n\n{wish}"
    return [*messages[:last], {**messages[last], "content": added}, *messages[last + 1 :]]


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


async def _read(response: httpx.Response) -> bytes:
    """Read a whole body, within bounds."""
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > _MAX_REPLY:
            raise ValueError(f"the reply is longer than {_MAX_REPLY:,} bytes")
    return bytes(body)


def _make_error(status: int, text: str) -> ServiceError:
    """Return the service's error for one of the server behind."""
    text = text[:_MAX_ERROR]
    if _OVERFLOW.search(text):  # some servers answer with a 400, some with a 500
        return ServiceError(
            5006, f"AiError: exceeded this model context window limit; the upstream server says: {text}"
        )
    if status in _REFUSALS:
        return ServiceError(5006, f"AiError: Bad input: Error: the upstream server says: {text}")
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return ServiceError(OUT_OF_CAPACITY)
    return ServiceError(None, f"AiError: the upstream server answered {status}: {text}", status=502)


def _make_unreachable_error(error: Exception) -> ServiceError:
    if isinstance(error, httpx.TimeoutException):
        return ServiceError(TIMEOUT)
    return ServiceError(None, f"AiError: no answer from the upstream server: {error!r}", status=502)


def _read_completion(request: ChatRequest, body: Mapping[str, Any]) -> Completion:
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
        stop_reason=choice.get("stop_reason"),
    )
    return _add_usage(request, made, body.get("usage"))


def _add_usage(request: ChatRequest, made: Completion, usage: Mapping[str, Any] | None) -> Completion:
    """Return a completion with the server's usage, or with our own count where it has none."""
    usage = usage or {}
    written = made.text + made.reasoning + "".join(call.name + call.arguments for call in made.calls)
    return replace(
        made,
        prompt_tokens=int(usage.get("prompt_tokens") or count_prompt(request)),
        completion_tokens=int(usage.get("completion_tokens") or count(written)),
        reasoning_tokens=int((usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0),
        cached_tokens=int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0),
    )


class _Reader:
    """Reads a stream's chunks into pieces, and accumulates the completion."""

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._made = Completion(finish_reason="")
        self._usage: Mapping[str, Any] | None = None

    def read(self, chunk: Mapping[str, Any]) -> list[Delta]:
        """Return the pieces of a chunk."""
        if "error" in chunk:
            raise ServiceError(None, f"AiError: the upstream server says: {chunk['error']}", status=502)
        self._usage = chunk.get("usage") or self._usage
        found: list[Delta] = []
        for choice in chunk.get("choices") or ():
            found += self._read_delta(choice.get("delta") or {})
            if choice.get("finish_reason"):
                self._made = replace(
                    self._made, finish_reason=choice["finish_reason"], stop_reason=choice.get("stop_reason")
                )
        return found

    def _read_delta(self, delta: Mapping[str, Any]) -> list[Delta]:
        found: list[Delta] = []
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if reasoning:
            self._made = replace(self._made, reasoning=self._made.reasoning + reasoning)
            found.append(ReasoningDelta(reasoning))
        if delta.get("content"):
            self._made = replace(self._made, text=self._made.text + delta["content"])
            found.append(TextDelta(delta["content"]))
        found.extend(self._read_call(piece) for piece in delta.get("tool_calls") or ())
        return found

    def _read_call(self, piece: Mapping[str, Any]) -> CallDelta:
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

    def get_completion(self) -> Completion:
        """Return the whole reply."""
        reason = self._made.finish_reason or ("tool_calls" if self._made.calls else "stop")
        return _add_usage(self._request, replace(self._made, finish_reason=reason), self._usage)
