"""A real Gemma behind the sandbox: forward requests to an OpenAI-compatible server, and return its replies."""

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
from langchain_workers_gemma.sandbox.tokens import count_prompt, count_tokens

from .mock.engine import split_completion

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

_FORWARDED_PARAMETERS = (
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
"""Parameters with the same meaning in OpenAI's API. Servers ignore those that they do not know."""
_TIMEOUT = httpx.Timeout(600.0, connect=10.0)
_BAD_REQUEST_STATUSES = frozenset({400, 404, 413, 422})
_MAX_REPLY_BYTES = 64_000_000
_MAX_ERROR_CHARACTERS = 2_000
_CONTEXT_OVERFLOW = re.compile(
    r"context (?:length|size|window)|exceed_context_size|maximum context|too many tokens|prompt is too long",
    re.IGNORECASE,
)
_UNSUPPORTED_SCHEMA = re.compile(r"response_format|json_schema|json_object|schema|grammar|not supported", re.IGNORECASE)

UpstreamForm: TypeAlias = Literal["json_schema", "json_object", "both", "prompt"]
"""How a server accepts a JSON Schema: as OpenAI's `json_schema`; as llama-cpp-python's `json_object` with a schema; in
the prompt together with `json_object`; or in the prompt and in `json_object`."""
_FORMS: tuple[UpstreamForm, ...] = ("json_schema", "both", "prompt")


@dataclass(slots=True)
class Upstream:
    """An engine that forwards requests to a server.

    Attributes:
        url: The base URL of the server, including `/v1`.
        model: The name of the model on that server.
        api_key: The API key of the server, if it needs one.
        schema_form: How the server accepts a JSON Schema. `auto` tries each form until one works, and then keeps it.
    """

    url: str
    model: str
    api_key: str | None = None
    schema_form: UpstreamForm | Literal["auto"] = "auto"
    _client: httpx.AsyncClient | None = field(default=None, repr=False)

    @property
    def description(self) -> str:
        """The name of the model on its server."""
        return self.model.encode("ascii", "replace").decode()

    async def complete(self, request: ChatRequest) -> Completion:
        """Return the whole reply."""
        if request.schema is None:
            return await self._request_completion(request, self.build_body(request))
        forms = _FORMS if self.schema_form == "auto" else (self.schema_form,)
        for form in forms[:-1]:
            try:
                completion = await self._request_completion(request, self._build_body_with_schema(request, form))
            except ServiceError as error:
                if not _UNSUPPORTED_SCHEMA.search(error.message):
                    raise
            else:
                is_ignored = completion.finish_reason != "length" and not _is_json(completion.text)
                if not is_ignored:
                    self.schema_form = form
                    return completion
        completion = await self._request_completion(request, self._build_body_with_schema(request, forms[-1]))
        self.schema_form = forms[-1]
        return completion

    async def stream(self, request: ChatRequest) -> AsyncIterator[Delta]:
        """Yield the reply in parts. While the server's schema form is unknown, request the whole reply first."""
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
        """Send a request. Leaving the block closes the connection, so that the server stops generating."""
        async with self._get_client().stream("POST", self._endpoint, json=body) as response:
            if not response.is_success:
                raise _make_error(response.status_code, (await _read(response)).decode(errors="replace"))
            yield response

    def build_body(self, request: ChatRequest) -> dict[str, Any]:
        """Return the request in OpenAI's form, without its schema."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": _build_messages(request),
            "max_tokens": request.max_tokens,
        }
        body |= {key: request.body[key] for key in _FORWARDED_PARAMETERS if request.body.get(key) is not None}
        if request.stop:
            body["stop"] = list(request.stop)
        if request.tools:
            body["tools"] = [
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
        return body

    def _build_body_with_schema(self, request: ChatRequest, form: UpstreamForm) -> dict[str, Any]:
        body, schema = self.build_body(request), dict(request.schema or {})
        if form == "json_schema":
            json_schema = {"name": "reply", "schema": schema, "strict": True}
            return {**body, "response_format": {"type": "json_schema", "json_schema": json_schema}}
        if form == "json_object":
            return {**body, "response_format": {"type": "json_object", "schema": schema}}
        instruction = (
            f"Answer with one JSON object that follows this JSON Schema, and nothing else: {json.dumps(schema)}"
        )
        response_format: dict[str, Any] = (
            {"type": "json_object", "schema": schema} if form == "both" else {"type": "json_object"}
        )
        messages = _add_instruction(body["messages"], instruction)
        return {**body, "messages": messages, "response_format": response_format}

    @property
    def _endpoint(self) -> str:
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


def _add_instruction(messages: list[Any], instruction: str) -> list[Any]:
    """Add a text to the last user message, because not every chat template has a system role."""
    last = next((index for index in reversed(range(len(messages))) if messages[index].get("role") == "user"), None)
    if last is None:
        return [*messages, {"role": "user", "content": instruction}]
    content = messages[last].get("content")
    if isinstance(content, list):
        extended: Any = [*content, {"type": "text", "text": instruction}]
    else:
        extended = f"{content}\n\n{instruction}"
    return [*messages[:last], {**messages[last], "content": extended}, *messages[last + 1 :]]


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


async def _read(response: httpx.Response) -> bytes:
    """Read a whole body, up to the size limit."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _MAX_REPLY_BYTES:
            raise ValueError(f"the reply is longer than {_MAX_REPLY_BYTES:,} bytes")
    return bytes(body)


def _make_error(status: int, text: str) -> ServiceError:
    """Convert an error of the upstream server into an error of the service."""
    text = text[:_MAX_ERROR_CHARACTERS]
    if _CONTEXT_OVERFLOW.search(text):  # the status is 400 on some servers, 500 on others
        return ServiceError(
            5006, f"AiError: exceeded this model context window limit; the upstream server says: {text}"
        )
    if status in _BAD_REQUEST_STATUSES:
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
        Call(str(call.get("id") or f"call_{index}"), call["function"]["name"], call["function"]["arguments"])
        for index, call in enumerate(message.get("tool_calls") or ())
    )
    text = message.get("content") or ""
    completion = Completion(
        text=text,
        reasoning=message.get("reasoning_content") or message.get("reasoning") or "",
        calls=calls,
        finish_reason=choice.get("finish_reason") or ("tool_calls" if calls else "stop"),
        stop_reason=choice.get("stop_reason"),
    )
    return _add_usage(request, completion, body.get("usage"))


def _add_usage(request: ChatRequest, completion: Completion, usage: Mapping[str, Any] | None) -> Completion:
    """Return a completion with the server's usage, or with our own count if the server reports none."""
    usage = usage or {}
    calls = "".join(call.name + call.arguments for call in completion.calls)
    written = completion.text + completion.reasoning + calls
    return replace(
        completion,
        prompt_tokens=int(usage.get("prompt_tokens") or count_prompt(request)),
        completion_tokens=int(usage.get("completion_tokens") or count_tokens(written)),
        reasoning_tokens=int((usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0),
        cached_tokens=int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0),
    )


class _Reader:
    """Converts the chunks of a stream into deltas, and accumulates the completion."""

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._completion = Completion(finish_reason="")
        self._usage: Mapping[str, Any] | None = None

    def read(self, chunk: Mapping[str, Any]) -> list[Delta]:
        """Return the deltas of a chunk."""
        if "error" in chunk:
            raise ServiceError(None, f"AiError: the upstream server says: {chunk['error']}", status=502)
        self._usage = chunk.get("usage") or self._usage
        deltas: list[Delta] = []
        for choice in chunk.get("choices") or ():
            deltas += self._read_delta(choice.get("delta") or {})
            if choice.get("finish_reason"):
                self._completion = replace(
                    self._completion, finish_reason=choice["finish_reason"], stop_reason=choice.get("stop_reason")
                )
        return deltas

    def _read_delta(self, delta: Mapping[str, Any]) -> list[Delta]:
        deltas: list[Delta] = []
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if reasoning:
            self._completion = replace(self._completion, reasoning=self._completion.reasoning + reasoning)
            deltas.append(ReasoningDelta(reasoning))
        if delta.get("content"):
            self._completion = replace(self._completion, text=self._completion.text + delta["content"])
            deltas.append(TextDelta(delta["content"]))
        deltas.extend(self._read_call(chunk) for chunk in delta.get("tool_calls") or ())
        return deltas

    def _read_call(self, chunk: Mapping[str, Any]) -> CallDelta:
        function = chunk.get("function") or {}
        index, name, arguments = int(chunk.get("index") or 0), function.get("name"), function.get("arguments") or ""
        calls = list(self._completion.calls)
        call_id = None
        if name:
            call_id = chunk.get("id") or f"call_{index}"
            calls.append(Call(call_id, name, arguments))
        elif calls:
            calls[-1] = replace(calls[-1], arguments=calls[-1].arguments + arguments)
        self._completion = replace(self._completion, calls=tuple(calls))
        return CallDelta(index, arguments, id=call_id, name=name or None)

    def get_completion(self) -> Completion:
        """Return the whole reply."""
        reason = self._completion.finish_reason or ("tool_calls" if self._completion.calls else "stop")
        return _add_usage(self._request, replace(self._completion, finish_reason=reason), self._usage)
