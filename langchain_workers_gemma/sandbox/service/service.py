"""The service behind the routes: it creates the reply to a request."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any

from langchain_workers_gemma.models import GemmaModel, HostName, get_model, resolve_model
from langchain_workers_gemma.sandbox.bounded import BoundedDict
from langchain_workers_gemma.sandbox.engines.mock import MockModel
from langchain_workers_gemma.sandbox.errors import (
    AUTHENTICATION,
    INVALID_INPUT,
    NO_SUCH_MODEL,
    RETIRED,
    TOO_LARGE,
    ServiceError,
    make_bad_input_error,
)
from langchain_workers_gemma.sandbox.faults import FaultQueue
from langchain_workers_gemma.sandbox.json_body import parse_body
from langchain_workers_gemma.sandbox.records import ReceivedRequest, RequestLog
from langchain_workers_gemma.sandbox.tokens import count_turn
from langchain_workers_gemma.sandbox.validation import RequestRules, read_chat
from langchain_workers_gemma.sandbox.wire.frames import close_stream, write_frames, write_packets
from langchain_workers_gemma.sandbox.wire.replies import Layout, choose_shape, lay_out
from langchain_workers_gemma.sandbox.wire.reply import EVENT_STREAM, Reply, make_json_reply
from langchain_workers_gemma.sandbox.wire.streams import write_events
from langchain_workers_gemma.sandbox.wire.usage import count_neurons

from . import embedding
from .call import Call, Options, Style
from .gateway import Cache, read_gateway
from .pacing import pace_deltas
from .queue import BatchQueue
from .refusals import build_error_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from langchain_workers_gemma.sandbox.chat import ChatRequest, Completion, Delta, Engine

_MAX_SESSIONS = 1_000
"""Maximum number of sessions whose last prompt is stored for prefix caching."""
_COMPATIBLE_CAPABILITIES: dict[str, Any] = {"constraint": "openai_schema", "stream_options": True, "stop": 16}
"""Capabilities of an OpenAI-compatible server for all families of models (docs/wire.md section 10)."""


@dataclass
class Service:
    """The state that all routes share."""

    options: Options
    engine: Engine = field(default_factory=MockModel)
    faults: FaultQueue = field(default_factory=FaultQueue)
    requests: RequestLog = field(default_factory=RequestLog)
    batches: BatchQueue = field(default_factory=BatchQueue)
    cache: Cache = field(default_factory=Cache)
    _counter: Any = field(default_factory=lambda: count(1))
    _prefixes: BoundedDict[str, tuple[Any, ...]] = field(default_factory=lambda: BoundedDict(_MAX_SESSIONS))

    # --- steps of all routes --------------------------------------------------------------------------------------
    def open_call(self, record: ReceivedRequest, style: Style) -> Call:
        """Return the call of a request."""
        number = next(self._counter) * 0x9E3779B97F4A7C15 % 2**64  # looks random, and is unique
        return Call(record, style, f"{number:016x}-LHR", self.options.dialect)

    def reset(self) -> None:
        """Clear all state."""
        self.requests.clear()
        self.faults.clear()
        self.cache.clear()
        self.batches.clear()
        self._prefixes.clear()

    def authenticate(self, call: Call, account: str | None) -> None:
        """Check the token and the account.

        Raises:
            ServiceError: 401 if the token is wrong, 403 if the account is wrong.
        """
        if not _is_bearer(call.record.headers.get("authorization"), self.options.api_token):
            raise ServiceError(AUTHENTICATION, status=401)
        if account is not None and account != self.options.account_id:
            raise ServiceError(AUTHENTICATION, status=403)

    def add_gateway(self, call: Call, gateway_id: str | None = None) -> Call:
        """Return the call with the options of its gateway.

        Raises:
            ServiceError: 401 if the gateway token is wrong, 400 if an option is not valid.
        """
        options = read_gateway(call.record.headers, gateway_id)
        token = self.options.gateway_token
        is_authenticated = token is None or _is_bearer(call.record.headers.get("cf-aig-authorization"), token)
        if options is not None and not is_authenticated:
            raise ServiceError(2009, "Unauthorized", status=401)
        return replace(call, gateway=options)

    def read_body(self, call: Call) -> dict[str, Any]:
        """Parse the body of a request.

        Raises:
            ServiceError: 413 if the body is too large, 400 if it is not a JSON object.
        """
        if call.record.truncated:
            raise ServiceError(TOO_LARGE)
        try:
            value = parse_body(call.record.body)
        except ValueError as error:
            raise make_bad_input_error(f"the body is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise make_bad_input_error("Type mismatch of '/', 'object' not in 'array'")
        return value

    def find_model(self, model_id: object, host: HostName) -> GemmaModel:
        """Return the published facts about a served model.

        Raises:
            ServiceError: 5007 if the model is unknown, 5028 if it is retired and `enforce_retirement` is set.
        """
        model = get_model(model_id, host) if isinstance(model_id, str) else None
        if model is None:
            raise ServiceError(NO_SUCH_MODEL, f"No such model {model_id} or task")
        if model.retired is not None and self.options.enforce_retirement:
            raise ServiceError(
                RETIRED, f"This model was deprecated on {model.retired}. Please use an alternative model"
            )
        return model

    def find_compatible_model(self, model_id: object) -> GemmaModel:
        """Return the facts about a Gemma on an OpenAI-compatible server.

        Raises:
            ServiceError: 404 if the id is not that of a Gemma.
        """
        if not isinstance(model_id, str) or "gemma" not in model_id.lower():
            raise ServiceError(NO_SUCH_MODEL, f"The model `{model_id}` does not exist.", status=404)
        known = resolve_model(model_id, "openai_compatible")
        return known if known.embeds else replace(known, tools=known.function_calling, **_COMPATIBLE_CAPABILITIES)

    # --- replies --------------------------------------------------------------------------------------------------
    async def run(self, call: Call, model: GemmaModel, body: Mapping[str, Any]) -> Reply:
        """Return the reply to an input, from the cache of the gateway if that is allowed."""
        gateway = call.gateway
        if gateway is None:
            return await self._reply(call, model, body)
        key = self.cache.make_key(gateway, call.record.path, call.record.body)
        cached = None if gateway.skip_cache or not gateway.cache_ttl else self.cache.get(key)
        if cached is not None:
            reply = Reply(cached.status, cached.body, cached.content_type)
        else:
            reply = await self._reply(call, model, body)
            if gateway.cache_ttl:
                reply.body = await _read_json(reply.body)
                self.cache.put(key, reply.status, reply.body, reply.content_type, gateway.cache_ttl)
        reply.headers["cf-aig-cache-status"] = "HIT" if cached is not None else "MISS"
        if gateway.collect_log:
            reply.headers["cf-aig-log-id"] = f"01SANDBOX{call.ray[:16].upper()}"
        return reply

    async def _reply(self, call: Call, model: GemmaModel, body: Mapping[str, Any]) -> Reply:
        if model.embeds:
            return self._embed(call, model, body)
        request = replace(
            read_chat(model, body, self._build_rules(call)),
            cached_tokens=0,
            habits=call.dialect.habits,
        )
        request = replace(request, cached_tokens=self._count_cached_tokens(call, request))
        layout = Layout(
            request,
            call.dialect,
            choose_shape(request, call.dialect, openai_route=call.has_openai_form),
            f"{'gen' if call.style == 'aimlapi' else 'chatcmpl'}-{call.ray[:16]}",
            aimlapi=call.style == "aimlapi",
            fingerprint=self.engine.description,
        )
        if request.stream and self._can_stream(call, request):
            return await self._stream(call, layout)
        if request.stream and call.dialect.body == "empty":
            return make_json_reply(self._wrap(call, {}))
        completions = [await self.engine.complete(choice) for choice in _split_choices(request)]
        reply = make_json_reply(self._wrap(call, lay_out(layout, completions)))
        if call.has_cloudflare_headers:
            reply.headers["cf-ai-neurons"] = str(_count_neurons(model, completions))
        return reply

    def _build_rules(self, call: Call) -> RequestRules:
        dialect = call.dialect
        return RequestRules(
            refused=dialect.refused_forms,
            ignored=dialect.ignored_forms,
            openai_route=call.has_openai_form,
            # An upstream server renders with its own template.
            lenient_templates=dialect.lenient_templates or not isinstance(self.engine, MockModel),
            strict_declarations=dialect.strict_declarations,
            max_model_len=dialect.max_model_len,
            reduces_max_tokens=dialect.large_max_tokens == "reduced",
        )

    def _can_stream(self, call: Call, request: ChatRequest) -> bool:
        # "JSON mode does not support streaming": the older models send one JSON body instead.
        is_old_json_mode = request.json_mode and request.model.constraint == "bare_schema"
        return call.dialect.body == "stream" and not is_old_json_mode

    async def _stream(self, call: Call, layout: Layout) -> Reply:
        events = write_events(layout, [self._start_deltas(choice) for choice in _split_choices(layout.request)])
        frames = write_frames(events, layout.dialect)
        # The first event is awaited, so that an error is sent with its own status, unless the dialect sends errors as
        # events.
        first = [] if call.dialect.refusals_in_stream else [frame async for frame in _take_first(frames)]
        packets = write_packets(self._guard(call, first, frames), layout.dialect)
        return Reply(200, packets, EVENT_STREAM, {"cache-control": "no-cache"})

    def _start_deltas(self, request: ChatRequest) -> AsyncIterator[Delta]:
        tokens_per_second = self.options.tokens_per_second
        deltas = self.engine.stream(request)
        return deltas if tokens_per_second is None else pace_deltas(deltas, tokens_per_second)

    async def _guard(self, call: Call, first: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield a stream. If the engine fails during it, end it with an error event."""
        async with close_stream(rest):
            for frame in first:
                yield frame
            try:
                async for frame in rest:
                    yield frame
            except ServiceError as error:
                yield build_error_event(call, error)

    def _embed(self, call: Call, model: GemmaModel, body: Mapping[str, Any]) -> Reply:
        if call.has_openai_form:
            texts = embedding.read_texts(body, "input")
            return make_json_reply(embedding.build_openai_result(texts, model.id, body.get("encoding_format")))
        return make_json_reply(self._wrap(call, embedding.build_native_result(embedding.read_texts(body, "text"))))

    def _wrap(self, call: Call, result: Any) -> Any:
        return {"result": result, "success": True, "errors": [], "messages": []} if call.has_envelope else result

    def _count_cached_tokens(self, call: Call, request: ChatRequest) -> int:
        """Return the number of tokens of the turns that a session sends again (prefix caching)."""
        session = call.record.headers.get("x-session-affinity")
        if session is None:
            return 0
        before, self._prefixes[session] = self._prefixes.get(session, ()), request.turns
        cached = 0
        for old, new in zip(before, request.turns, strict=False):
            if old != new:
                break
            cached += count_turn(new)
        return cached

    # --- the queue --------------------------------------------------------------------------------------------------
    async def queue(self, call: Call, model: GemmaModel, body: Mapping[str, Any]) -> Reply:
        """Submit a batch, or poll one."""
        if not model.async_queue:
            raise ServiceError(INVALID_INPUT, f"AiError: {model.id} does not support the asynchronous batch API")
        if "request_id" in body:
            return make_json_reply(self._wrap(call, self.batches.poll(body["request_id"])))
        items = body.get("requests")
        if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
            raise make_bad_input_error("required properties at '/' are 'requests'")
        responses = [await self._reply_to_item(call, model, index, item) for index, item in enumerate(items)]
        batch_id = self.batches.submit(model.id, responses, self.options.queue_polls)
        return make_json_reply(self._wrap(call, {"status": "queued", "request_id": batch_id, "model": model.id}))

    async def _reply_to_item(
        self, call: Call, model: GemmaModel, index: int, item: Mapping[str, Any]
    ) -> dict[str, Any]:
        head = {"id": index, "external_reference": item.get("external_reference")}
        try:
            item_call = replace(call, style="binding", gateway=None, dialect=replace(call.dialect, body="json"))
            reply = await self._reply(item_call, model, item)
        except ServiceError as error:
            return {**head, "result": {"error": error.message, "code": error.code}, "success": False}
        return {**head, "result": json.loads(await _read_json(reply.body)), "success": True}


def _is_bearer(header: str | None, token: str) -> bool:
    """Return whether a header contains a token. The name of the scheme is case-insensitive (RFC 9110)."""
    scheme, _, sent_token = (header or "").partition(" ")
    return scheme.lower() == "bearer" and sent_token.strip() == token


def _split_choices(request: ChatRequest) -> list[ChatRequest]:
    return [replace(request, seed=(request.seed or 0) + index) if index else request for index in range(request.n)]


def _count_neurons(model: GemmaModel, completions: list[Completion]) -> float:
    output_tokens = sum(completion.completion_tokens for completion in completions)
    return count_neurons(model, completions[0].prompt_tokens, output_tokens)


async def _take_first(frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for frame in frames:
        yield frame
        return


async def _read_json(body: bytes | AsyncIterator[bytes]) -> bytes:
    return body if isinstance(body, bytes) else b"".join([chunk async for chunk in body])
