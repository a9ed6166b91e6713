"""The service behind the routes: from a request's bytes to a reply, whatever the route."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

from langchain_workers_gemma.models import GemmaModel, HostName, get_model
from langchain_workers_gemma.sandbox.dialects import DOCUMENTED, Dialect
from langchain_workers_gemma.sandbox.engines.mock import MockModel
from langchain_workers_gemma.sandbox.errors import (
    AUTHENTICATION,
    INVALID_INPUT,
    NO_SUCH_MODEL,
    RETIRED,
    TOO_LARGE,
    ServiceError,
    bad_input,
    binding_error,
    envelope,
    plain_error,
)
from langchain_workers_gemma.sandbox.faults import Fault, FaultQueue
from langchain_workers_gemma.sandbox.http.connection import EVENT_STREAM, Connection, Reply, json_reply
from langchain_workers_gemma.sandbox.records import ReceivedRequest, Requests
from langchain_workers_gemma.sandbox.tokens import turn_tokens
from langchain_workers_gemma.sandbox.validation import read_chat
from langchain_workers_gemma.sandbox.wire.frames import frame, frames_of, packets_of
from langchain_workers_gemma.sandbox.wire.replies import Layout, lay_out, shape_of
from langchain_workers_gemma.sandbox.wire.streams import events_of
from langchain_workers_gemma.sandbox.wire.usage import neurons

from . import catalogue, embedding
from .gateway import Cache, GatewayOptions, read_gateway
from .queue import BatchQueue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from langchain_workers_gemma.sandbox.chat import ChatRequest, Completion, Engine

Style = Literal["native", "openai", "binding", "dataoorts", "aimlapi"]
"""The form of a route's requests, replies and errors."""


@dataclass(kw_only=True)
class Options:
    """How the sandbox behaves.

    Attributes:
        account_id: The one account there is.
        api_token: Its token.
        gateway_token: The token of its gateways; none are authenticated without.
        enforce_retirement: Whether a retired model is refused.
        max_body: The largest body in bytes; 10 MB is what the batch API publishes.
        queue_polls: How many polls find a queued batch unfinished.
        latency: Seconds before each reply.
        dialect: The oddities switched on.
    """

    account_id: str
    api_token: str
    gateway_token: str | None = None
    enforce_retirement: bool = False
    max_body: int = 10_000_000
    queue_polls: int = 1
    latency: float = 0.0
    dialect: Dialect = DOCUMENTED


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way through the service.

    Attributes:
        record: The request as it arrived.
        style: The form of its route.
        ray: Its id.
        dialect: The oddities that were on when it came.
        gateway: The gateway it goes through.
    """

    record: ReceivedRequest
    style: Style
    ray: str
    dialect: Dialect
    gateway: GatewayOptions | None = None

    @property
    def host(self) -> HostName:
        """Who serves it."""
        return self.style if self.style in ("dataoorts", "aimlapi") else "cloudflare"

    @property
    def openai_form(self) -> bool:
        """Whether it is in OpenAI's form."""
        return self.style in ("openai", "aimlapi")


@dataclass
class Service:
    """Everything the routes share."""

    options: Options
    engine: Engine = field(default_factory=MockModel)
    faults: FaultQueue = field(default_factory=FaultQueue)
    requests: Requests = field(default_factory=Requests)
    batches: BatchQueue = field(default_factory=BatchQueue)
    cache: Cache = field(default_factory=Cache)
    connections: set[Connection] = field(default_factory=set)
    _counter: Any = field(default_factory=lambda: count(1))
    _prefixes: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    # --- what every route goes through ----------------------------------------------------------------------------
    def open_call(self, record: ReceivedRequest, style: Style) -> Call:
        """Begin with a request."""
        number = next(self._counter) * 0x9E3779B97F4A7C15 % 2**64  # looks like an id, never twice the same
        return Call(record, style, f"{number:016x}-LHR", self.options.dialect)

    def forget(self) -> None:
        """Begin anew."""
        self.requests.clear()
        self.faults.clear()
        self.cache.clear()
        self.batches.clear()
        self._prefixes.clear()

    def hang_up(self) -> None:
        """The sandbox closes: end every wait."""
        for connection in list(self.connections):
            connection.hang_up()

    def authenticate(self, call: Call, account: str | None) -> None:
        """Check the token and the account.

        Raises:
            ServiceError: 401 for a wrong token, 403 for another's account.
        """
        if call.record.headers.get("authorization") != f"Bearer {self.options.api_token}":
            raise ServiceError(AUTHENTICATION, status=401)
        if account is not None and account != self.options.account_id:
            raise ServiceError(AUTHENTICATION, status=403)

    def with_gateway(self, call: Call, gateway_id: str | None = None) -> Call:
        """The call with the options of the gateway it goes through."""
        options = read_gateway(call.record.headers, gateway_id)
        token = self.options.gateway_token
        if options is not None and token is not None:
            given = call.record.headers.get("cf-aig-authorization")
            if given != f"Bearer {token}":
                raise ServiceError(2009, "Unauthorized", status=401)
        return replace(call, gateway=options)

    def read_body(self, call: Call) -> dict[str, Any]:
        """The request's JSON object.

        Raises:
            ServiceError: 413 for too large a body, 400 for what is no JSON object.
        """
        if len(call.record.body) > self.options.max_body:
            raise ServiceError(TOO_LARGE)
        try:
            value = json.loads(call.record.body, parse_constant=_no_constant)
        except ValueError as error:
            raise bad_input(f"the body is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise bad_input("Type mismatch of '/', 'object' not in 'array'")
        return value

    def model(self, model_id: object, host: HostName) -> GemmaModel:
        """The facts about a model that is served.

        Raises:
            ServiceError: 5007 for an unknown one, 5028 for a retired one where that is enforced.
        """
        found = get_model(model_id, host) if isinstance(model_id, str) else None
        if found is None:
            raise ServiceError(NO_SUCH_MODEL, f"No such model {model_id} or task")
        if found.retired is not None and self.options.enforce_retirement:
            raise ServiceError(
                RETIRED, f"This model was deprecated on {found.retired}. Please use an alternative model"
            )
        return found

    # --- answering ------------------------------------------------------------------------------------------------
    async def run(self, call: Call, model: GemmaModel, body: Mapping[str, Any]) -> Reply:
        """Answer an input, from the gateway's cache if it may."""
        gateway = call.gateway
        if gateway is None:
            return await self._answer(call, model, body)
        key = self.cache.key(gateway, call.record.path, call.record.body)
        kept = None if gateway.skip_cache or not gateway.cache_ttl else self.cache.get(key)
        if kept is not None:
            reply = Reply(kept.status, kept.body, kept.content_type)
        else:
            reply = await self._answer(call, model, body)
            if gateway.cache_ttl:
                reply.body = await _read(reply.body)
                self.cache.put(key, reply.status, reply.body, reply.content_type, gateway.cache_ttl)
        reply.headers["cf-aig-cache-status"] = "HIT" if kept is not None else "MISS"
        if gateway.collect_log:
            reply.headers["cf-aig-log-id"] = f"01SANDBOX{call.ray[:16].upper()}"
        return reply

    async def _answer(self, call: Call, model: GemmaModel, body: Mapping[str, Any]) -> Reply:
        if model.embeds:
            return self._embeddings(call, model, body)
        request = replace(
            read_chat(model, body),
            cached_tokens=0,
            habits=call.dialect.habits,
        )
        request = replace(request, cached_tokens=self._cached_tokens(call, request))
        layout = Layout(
            request,
            call.dialect,
            shape_of(request, call.dialect, openai_route=call.openai_form),
            f"{'gen' if call.style == 'aimlapi' else 'chatcmpl'}-{call.ray[:16]}",
            aimlapi=call.style == "aimlapi",
        )
        if request.stream and self._streams(call, request):
            return await self._stream(call, layout)
        if request.stream and call.dialect.body == "empty":
            return json_reply(self._wrapped(call, {}))
        completions = [await self.engine.complete(one) for one in _choices(request)]
        reply = json_reply(self._wrapped(call, lay_out(layout, completions)))
        if call.style != "aimlapi":
            reply.headers["cf-ai-neurons"] = str(_neurons(model, completions))
        return reply

    def _streams(self, call: Call, request: ChatRequest) -> bool:
        # "JSON mode does not support streaming": the older models answer with one body.
        bare = request.json_mode and request.model.constraint == "bare_schema"
        return call.dialect.body == "stream" and not bare

    async def _stream(self, call: Call, layout: Layout) -> Reply:
        events = events_of(layout, [self.engine.stream(one) for one in _choices(layout.request)])
        frames = frames_of(events, layout.dialect)
        first = [frame async for frame in _first(frames)]  # what is refused is refused before the stream begins
        packets = packets_of(self._guarded(call, first, frames), layout.dialect)
        return Reply(200, packets, EVENT_STREAM, {"cache-control": "no-cache"})

    async def _guarded(self, call: Call, first: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """A stream that ends in an error event when what answers fails on the way."""
        for one in first:
            yield one
        try:
            async for one in rest:
                yield one
        except ServiceError as error:
            yield frame(json.dumps(error_body(call.style, error)), call.dialect)

    def _embeddings(self, call: Call, model: GemmaModel, body: Mapping[str, Any]) -> Reply:
        if call.openai_form:
            texts = embedding.read_texts(body, "input")
            return json_reply(embedding.openai_result(texts, model.id, body.get("encoding_format")))
        return json_reply(self._wrapped(call, embedding.native_result(embedding.read_texts(body, "text"))))

    def _wrapped(self, call: Call, result: Any) -> Any:
        if call.style in ("openai", "aimlapi", "binding"):
            return result
        return {"result": result, "success": True, "errors": [], "messages": []}

    def _cached_tokens(self, call: Call, request: ChatRequest) -> int:
        """Prefix caching: what a session sent before and sends again."""
        session = call.record.headers.get("x-session-affinity")
        if session is None:
            return 0
        before, self._prefixes[session] = self._prefixes.get(session, ()), request.turns
        cached = 0
        for old, new in zip(before, request.turns, strict=False):
            if old != new:
                break
            cached += turn_tokens(new)
        return cached

    # --- the queue --------------------------------------------------------------------------------------------------
    async def queue(self, call: Call, model: GemmaModel, body: Mapping[str, Any]) -> Reply:
        """Submit a batch, or ask for one."""
        if not model.async_queue:
            raise ServiceError(INVALID_INPUT, f"AiError: {model.id} does not support the asynchronous batch API")
        if "request_id" in body:
            return json_reply(self._wrapped(call, self.batches.poll(body["request_id"])))
        items = body.get("requests")
        if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
            raise bad_input("required properties at '/' are 'requests'")
        responses = [await self._batched(call, model, at, item) for at, item in enumerate(items)]
        batch_id = self.batches.submit(model.id, responses, self.options.queue_polls)
        return json_reply(self._wrapped(call, {"status": "queued", "request_id": batch_id, "model": model.id}))

    async def _batched(self, call: Call, model: GemmaModel, at: int, item: Mapping[str, Any]) -> dict[str, Any]:
        about = {"id": at, "external_reference": item.get("external_reference")}
        try:
            whole = replace(call, style="binding", gateway=None, dialect=replace(call.dialect, body="json"))
            reply = await self._answer(whole, model, item)
        except ServiceError as error:
            return {**about, "result": {"error": error.message, "code": error.code}, "success": False}
        return {**about, "result": json.loads(await _read(reply.body)), "success": True}

    # --- refusing ---------------------------------------------------------------------------------------------------
    def refusal(self, call: Call, error: ServiceError) -> Reply:
        """The reply for a refusal, in the form of its route and dialect."""
        dialect = call.dialect
        message = f"AiError: {error.code}: {error.message}" if dialect.error_code_in_text else error.message
        told = ServiceError(error.code, message, status=error.status)
        body = error_body(call.style, told)
        if dialect.error_internal_codes:
            body |= {"internalCode": error.code, "httpCode": error.status, "name": "AiError", "message": message}
        if dialect.error_object and "errors" in body:
            body["errors"] = body["errors"][0]
        reply = json_reply(body, 200 if dialect.error_status_200 else error.status)
        if error.retry_after is not None:
            reply.headers["retry-after"] = f"{error.retry_after:g}"
        return reply

    def fault_reply(self, call: Call, fault: Fault) -> Reply:
        """The reply of a fault that replaces the real one."""
        if fault.kind == "error":
            error = ServiceError(fault.code, fault.message, status=fault.status, retry_after=fault.retry_after)
            reply = self.refusal(call, error)
        else:
            kind = {"html": "text/html", "exact": fault.content_type}.get(fault.kind, "application/json")
            reply = Reply(fault.status, b"".join(fault.body()), kind)
        reply.headers |= fault.headers
        return reply

    def stream_error(self, call: Call, fault: Fault) -> bytes:
        """The event that stands for an error in a stream."""
        error = ServiceError(fault.code, fault.message, status=fault.status)
        return frame(json.dumps(error_body(call.style, error)), call.dialect)

    def search(self, call: Call) -> Reply:
        """The model search."""
        return json_reply(catalogue.search(call.record.query))


def error_body(style: Style, error: ServiceError) -> dict[str, Any]:
    """An error's body in the form of a route."""
    if style == "binding":
        return binding_error(error)
    return plain_error(error) if style == "aimlapi" else envelope(error)


def _choices(request: ChatRequest) -> list[ChatRequest]:
    return [replace(request, seed=(request.seed or 0) + at) if at else request for at in range(request.n)]


def _neurons(model: GemmaModel, completions: list[Completion]) -> float:
    return neurons(model, completions[0].prompt_tokens, sum(one.completion_tokens for one in completions))


async def _first(frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for one in frames:
        yield one
        return


async def _read(body: bytes | AsyncIterator[bytes]) -> bytes:
    return body if isinstance(body, bytes) else b"".join([piece async for piece in body])


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
