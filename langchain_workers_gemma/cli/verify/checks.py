"""The checks: small calls, each with the facts of docs/wire.md and `models.py` that its response shows.

A fact that sources state is compared; a question that they leave open, or answer in contradictory ways, is observed.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_workers_gemma.cli.verify import reading
from langchain_workers_gemma.cli.verify.probe import Probe
from langchain_workers_gemma.cli.verify.result import Result, compare, observe, wire
from langchain_workers_gemma.models import GemmaModel

_OPENAI_FORM = ("gemma-4", "sea-lion-v4")
"""Families whose native replies are in OpenAI's form; the others answer with `response` (docs/wire.md section 3)."""
_TEXT_TOKENS, _CALL_TOKENS, _JSON_TOKENS, _THINKING_TOKENS = 64, 128, 128, 256
_PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "The city"}},
    "required": ["city"],
}
_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "population": {"type": "integer"}},
    "required": ["city", "population"],
}
_WEATHER_CALL = 'get_weather {{"city": "{city}"}}'


@dataclass(frozen=True, slots=True)
class Check:
    """One call, or a few that belong together.

    Attributes:
        name: What it tries.
        run: Makes the calls and yields the facts.
        applies: Whether the model and its host have what it tries.
        calls: How many requests it sends.
        output_tokens: The most tokens that the model generates for it.
        input_tokens: About how many tokens it sends.
    """

    name: str
    run: Callable[[Probe], Iterator[Result]]
    applies: Callable[[GemmaModel], bool]
    calls: int = 1
    output_tokens: int = 0
    input_tokens: int = 0


def chat_body(spec: GemmaModel, text: str, max_tokens: int, **more: Any) -> dict[str, Any]:
    """Return a chat with one message, without thoughts where the model has a switch for them."""
    quiet = {"chat_template_kwargs": {"enable_thinking": False}} if spec.thinking else {}
    return {"messages": [{"role": "user", "content": text}], "max_tokens": max_tokens, **quiet, **more}


def expected_form(spec: GemmaModel) -> str:
    """Return the form of a model's replies on its host's default route."""
    if spec.host == "aimlapi" or spec.family in _OPENAI_FORM:
        return reading.CHAT_CHOICES
    return reading.NATIVE


# --- replies ----------------------------------------------------------------------------------------------------------
def _reply(probe: Probe) -> Iterator[Result]:
    spec = probe.spec
    response = probe.chat(chat_body(spec, "Reply with one word: Hello.", _TEXT_TOKENS))
    result = response.result
    openai_form = expected_form(spec) == reading.CHAT_CHOICES
    yield compare("reply.status", "A chat is answered", wire(3), 200, response.status)
    yield compare(
        "reply.form",
        "Form of a reply",
        wire(3),
        expected_form(spec),
        reading.form(result),
        reported=(reading.CHAT_CHOICES, reading.COMPLETION_CHOICES, reading.NATIVE),
    )
    if spec.host != "aimlapi":
        envelope = response.json
        keys = sorted(envelope) if isinstance(envelope, dict) else []
        yield compare(
            "reply.envelope",
            "Envelope of a native reply",
            wire(3),
            "errors, messages, result, success",
            ", ".join(keys),
        )
    yield compare(
        "reply.text",
        "Type of the text",
        wire(3),
        "string",
        reading.type_name(reading.text_value(result)),
        reported=("number", "null", "object", "list"),
    )
    usage = result.get("usage") if isinstance(result, dict) else None
    yield compare("reply.usage", "Usage of a reply", wire(3), "counts that add up", reading.usage_form(usage))
    if openai_form:
        yield compare(
            "reply.finish_reason", "Finish reason of a whole reply", wire(3), "stop", reading.finish_reason(result)
        )
    held = reading.message(result)
    beside = json.dumps(held["tool_calls"]) if "tool_calls" in held else "missing"
    yield compare(
        "reply.tool_calls",
        "`tool_calls` of a reply without calls",
        wire(3),
        "missing" if openai_form else "[]",
        beside,
        reported=("missing", "null", "[]"),
    )
    yield observe("reply.neurons", "Are neurons reported?", wire(3), _neurons(response.headers, usage))
    if spec.host == "cloudflare":
        yield compare(
            "reply.request_id", "A reply has `cf-ray`", wire(1), "yes", "yes" if "cf-ray" in response.headers else "no"
        )


def _neurons(headers: Mapping[str, str], usage: Any) -> str:
    found = ["header cf-ai-neurons"] if "cf-ai-neurons" in headers else []
    found += ["usage.neurons"] if isinstance(usage, dict) and "neurons" in usage else []
    return " and ".join(found) or "no"


def _number(probe: Probe) -> Iterator[Result]:
    result = probe.chat(chat_body(probe.spec, "Reply with the number 42 and nothing else.", _TEXT_TOKENS)).result
    value = reading.text_value(result)
    yield compare(
        "reply.number",
        "Type of a text that is a number",
        wire(4),
        "string",
        reading.type_name(value),
        reported=("number",),
    )


def _json_text(probe: Probe) -> Iterator[Result]:
    text = 'Reply with this JSON and nothing else: {"a": 1}'
    value = reading.text_value(probe.chat(chat_body(probe.spec, text, _TEXT_TOKENS)).result)
    yield compare(
        "reply.json_text",
        "Type of a text that is JSON",
        wire(3),
        "string",
        reading.type_name(value),
        reported=("object", "list"),
    )


def _truncated(probe: Probe) -> Iterator[Result]:
    limit = 5
    result = probe.chat(chat_body(probe.spec, "Count from one to thirty in words.", limit)).result
    yield compare(
        "truncation.tokens",
        "`max_tokens` is the most that is generated",
        wire(2),
        limit,
        reading.tokens(result, "completion_tokens"),
    )
    if expected_form(probe.spec) == reading.CHAT_CHOICES:
        yield compare(
            "truncation.finish_reason",
            "Finish reason of a truncated reply",
            wire(10),
            "length",
            reading.finish_reason(result),
        )


def _stop(probe: Probe) -> Iterator[Result]:
    body = chat_body(probe.spec, "Repeat exactly: one two three four", _TEXT_TOKENS, stop=["three"])
    result = probe.chat(body).result
    text = str(reading.text_value(result))
    yield compare("stop.text", "A stop sequence is not in the text", wire(2), "no", "yes" if "three" in text else "no")
    yield compare(
        "stop.finish_reason", "Finish reason at a stop sequence", wire(10), "stop", reading.finish_reason(result)
    )
    choices = result.get("choices") if isinstance(result, dict) else None
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    yield observe(
        "stop.stop_reason", "What does `stop_reason` hold?", wire(10), reading.shown(first.get("stop_reason"))
    )


# --- streams ----------------------------------------------------------------------------------------------------------
def _stream(probe: Probe) -> Iterator[Result]:
    spec = probe.spec
    more = {"stream_options": {"include_usage": True}} if spec.stream_options else {}
    body = chat_body(spec, "Reply with these numbers and nothing else: 1 2 3", _TEXT_TOKENS, stream=True, **more)
    found = reading.read_stream(probe.chat(body))
    yield compare(
        "stream.content_type",
        "Content type of a stream",
        wire(4),
        "text/event-stream",
        found.content_type,
        reported=("application/json",),
    )
    yield compare(
        "stream.form",
        "Form of its events",
        wire(4),
        expected_form(spec),
        found.form,
        reported=(reading.CHAT_CHOICES, reading.COMPLETION_CHOICES, reading.NATIVE, "no events"),
    )
    yield compare("stream.newline", "What ends its lines", wire(4), "LF", found.newline, reported=("CRLF",))
    yield compare(
        "stream.extras",
        "Lines without data",
        wire(4),
        "none",
        " and ".join(sorted(set(found.extras))) or "none",
        reported=("comment", "event", "comment and event"),
    )
    yield compare("stream.done", "How many `[DONE]` end it", wire(4), 1, found.done, reported=("0", "2"))
    yield compare(
        "stream.text",
        "Type of its pieces of text",
        wire(4),
        "string",
        found.text_types,
        reported=("number", "number and string"),
    )
    yield compare(
        "stream.usage",
        "Where its usage stands",
        wire(4),
        "one event, the last",
        found.usage,
        reported=("none", "every event, deltas", "every event, cumulative"),
    )
    if expected_form(spec) == reading.CHAT_CHOICES:
        finishes = "1" if found.finishes == 1 else "several" if found.finishes else "none"
        yield compare(
            "stream.finishes",
            "How many events carry a finish reason",
            wire(4),
            "1",
            finishes,
            reported=("several", "none"),
        )


# --- tools ------------------------------------------------------------------------------------------------------------
def _tool_body(spec: GemmaModel, text: str, **more: Any) -> dict[str, Any]:
    tool = {"name": "get_weather", "description": "Get the current weather in a city", "parameters": _PARAMETERS}
    return chat_body(spec, text, _CALL_TOKENS, tools=[{"type": "function", "function": tool}], **more)


_ASK_WEATHER = "What is the weather in {city}? Use the tool."


def _tool_calls(probe: Probe) -> Iterator[Result]:
    openai_form = expected_form(probe.spec) == reading.CHAT_CHOICES
    result = probe.chat(_tool_body(probe.spec, _ASK_WEATHER.format(city="Paris"))).result
    call = next(iter(reading.calls(result)), None)
    # A call that the server could not parse stands in the text, in one of Gemma's notations (docs/wire.md section 6).
    observed = reading.call_text(call) if call else f"no call, text: {reading.shown(reading.text_value(result))}"
    yield compare("tools.call", "A tool is called", wire(3), _WEATHER_CALL.format(city="Paris"), observed)
    yield compare(
        "tools.text",
        "Text beside a call",
        wire(3),
        "empty string",
        _emptiness(reading.text_value(result)),
        reported=("null",),
    )
    if call is not None:
        yield from _call_facts(call, result, openai_form=openai_form)
    body = _tool_body(probe.spec, _ASK_WEATHER.format(city="Rome"), stream=True)
    pieces = reading.read_stream(probe.chat(body)).pieces
    streamed = reading.joined_call(pieces)
    expected = _WEATHER_CALL.format(city="Rome")
    yield compare("tools.stream", "A tool is called in a stream", wire(4), expected, reading.call_text(streamed))
    yield compare(
        "tools.pieces",
        "How a streamed call comes",
        wire(4),
        "in pieces",
        reading.piece_form(pieces),
        reported=("whole", "in pieces, without id", "in pieces, with a finaliser", "no call"),
    )
    if call is not None and streamed is not None and openai_form:
        ids = "missing" if not call.get("id") else "repeated" if call["id"] == streamed["id"] else "unique"
        yield compare(
            "tools.ids", "Ids of calls in two replies", wire(3), "unique", ids, reported=("missing", "repeated")
        )


def _emptiness(text: Any) -> str:
    return "null" if text is None else "empty string" if text == "" else reading.shown(text)


def _call_facts(call: dict[str, Any], result: Any, *, openai_form: bool) -> Iterator[Result]:
    yield compare(
        "tools.form",
        "Form of a call",
        wire(3),
        "function, arguments string" if openai_form else "flat, arguments object",
        reading.call_form(call),
        reported=[f"{form}, arguments {kind}" for form in ("function", "flat") for kind in ("string", "object")],
    )
    if openai_form:
        reason = reading.finish_reason(result)
        yield compare("tools.finish_reason", "Finish reason of a reply with calls", wire(10), "tool_calls", reason)


def _tool_choices(probe: Probe) -> Iterator[Result]:
    greeting = "Say hello."
    for name, choice, expected in (
        ("required", "required", "get_weather"),
        ("named", {"type": "function", "function": {"name": "get_weather"}}, "get_weather"),
        ("none", "none", "no call"),
    ):
        asked = _ASK_WEATHER.format(city="Paris") if name == "none" else greeting
        result = probe.chat(_tool_body(probe.spec, asked, tool_choice=choice)).result
        call = next(iter(reading.calls(result)), None)
        observed = "no call" if call is None else str(reading.function(call).get("name"))
        yield compare(
            f"tools.choice.{name}",
            f"`tool_choice` {name}",
            wire(6),
            expected,
            observed,
            reported=("no call",) if name != "none" else (),
        )


# --- structured output ------------------------------------------------------------------------------------------------
_ASK_JSON = (
    "Which is the capital of France, and how many people live there? Reply with JSON: "
    "city (string), population (integer)."
)


def _structured(probe: Probe, name: str, field: Mapping[str, Any]) -> tuple[str, str]:
    """Return how a constrained request was answered, and by which form."""
    response = probe.chat(chat_body(probe.spec, _ASK_JSON, _JSON_TOKENS, **field))
    if response.status != 200 or (isinstance(response.json, dict) and response.json.get("success") is False):
        return name, f"refused: {reading.error_form(response)}: {reading.error_text(response)}"
    value = reading.text_value(response.result)
    kind = reading.type_name(value)
    held = reading.parsed(value) if isinstance(value, str) else value
    fits = isinstance(held, dict) and isinstance(held.get("city"), str) and isinstance(held.get("population"), int)
    fitting = "JSON that fits" if fits else "JSON that does not fit" if isinstance(held, dict) else "no JSON"
    return name, f"{fitting}, as {kind}"


def _response_formats(probe: Probe) -> Iterator[Result]:
    named = {"name": "city", "schema": _SCHEMA, "strict": True}
    _, plain = _structured(probe, "", {"response_format": {"type": "json_object"}})
    yield compare(
        "structured.json_object",
        "`response_format` of type json_object, schema in the prompt",
        wire(3),
        "JSON",
        "JSON" if plain.startswith("JSON") else plain,
    )
    yield observe("structured.json_object_type", "What comes with json_object?", wire(3), plain)
    for name, held in (("envelope", named), ("bare", _SCHEMA)):
        _, found = _structured(probe, name, {"response_format": {"type": "json_schema", "json_schema": held}})
        yield observe(f"structured.{name}", f"`response_format` of type json_schema, {name} schema", wire(3), found)


def _guided_json(probe: Probe) -> Iterator[Result]:
    _, found = _structured(probe, "", {"guided_json": _SCHEMA})
    yield compare(
        "structured.guided_json",
        "`guided_json` is obeyed",
        wire(2),
        "JSON that fits, as string",
        found,
        reported=("JSON that fits, as object",),
    )


# --- thinking ---------------------------------------------------------------------------------------------------------
def _thinking(probe: Probe) -> Iterator[Result]:
    text = "What is 17 times 23?"
    for name, kwargs in (("on", {"enable_thinking": True}), ("off", {"enable_thinking": False}), ("default", None)):
        body = chat_body(probe.spec, text, _THINKING_TOKENS)
        body.pop("chat_template_kwargs", None)
        result = probe.chat(body | ({"chat_template_kwargs": kwargs} if kwargs else {})).result
        held = reading.message(result)
        keys = [key for key in ("reasoning", "reasoning_content") if held.get(key)]
        written = str(reading.text_value(result))
        leaks = "in the text" if "<|channel>" in written or "<channel|>" in written else "none"
        observed = " and ".join(keys) or leaks
        if name == "off":
            yield compare("thinking.off", "Thoughts with `enable_thinking` false", wire(2), "none", observed)
        elif name == "on":
            yield compare(
                "thinking.on",
                "Thoughts with `enable_thinking` true",
                wire(3),
                "yes",
                "yes" if keys else observed,
                reported=("in the text",),
            )
            yield observe("thinking.key", "Which key has the thoughts?", wire(3), observed)
        else:
            yield observe("thinking.default", "Does the model think when nothing is said?", wire(2), observed)


# --- errors -----------------------------------------------------------------------------------------------------------
_ERROR_FORMS = ("200, errors list, success false", "200, errors object, success false")


def _error(
    probe: Probe,
    name: str,
    fact: str,
    body: Mapping[str, Any],
    status: int,
    codes: tuple[int, ...],
    token: str | None = None,
) -> Iterator[Result]:
    response = probe.chat(body, token=token)
    yield compare(
        f"errors.{name}.form",
        f"Status and form of {fact}",
        wire(5),
        f"{status}, errors list, success false",
        reading.error_form(response),
        reported=(
            *_ERROR_FORMS,
            f"{status}, errors object, success false",
            f"{status}, errors list, success false, internalCode",
        ),
    )
    code = reading.error_code(response)
    expected = code if code in codes else codes[0]
    yield compare(
        f"errors.{name}.code",
        f"Code of {fact}",
        wire(5),
        expected,
        code,
        reported=[f"{one}, also in the text" for one in codes],
    )


def _errors(probe: Probe) -> Iterator[Result]:
    spec = probe.spec
    ordinary = chat_body(spec, "Hi", 1)
    yield from _error(probe, "token", "a refused token", ordinary, 401, (10000, 9109), token="not-a-token-of-anybody")  # noqa: S106
    yield from _error(
        probe, "input", "an input that breaks the schema", {**ordinary, "temperature": 99}, 400, (5006, 8001)
    )


def _unknown_model(probe: Probe) -> Iterator[Result]:
    spec = probe.spec
    from langchain_workers_gemma.hosts import HOSTS

    response = probe.post(HOSTS[spec.host].chat["native"], "@cf/google/no-such-gemma", chat_body(spec, "Hi", 1))
    yield compare(
        "errors.model.code",
        "Code of an unknown model",
        wire(5),
        5007,
        reading.error_code(response),
        reported=("5007, also in the text",),
    )


# --- images -----------------------------------------------------------------------------------------------------------
def square_png(side: int, red: int = 200) -> str:
    """Return a `data:` URI of a square of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes((red, 30, 30)) * side) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _image_body(spec: GemmaModel, url: str) -> dict[str, Any]:
    parts = [{"type": "text", "text": "Name the colour in one word."}, {"type": "image_url", "image_url": {"url": url}}]
    return {**chat_body(spec, "", _TEXT_TOKENS), "messages": [{"role": "user", "content": parts}]}


def _images(probe: Probe) -> Iterator[Result]:
    taken = probe.chat(_image_body(probe.spec, square_png(32)))
    yield compare("images.data_uri", "An image as a `data:` URI", wire(2), 200, taken.status)
    yield observe(
        "images.answer",
        "What does the model see in a red square?",
        wire(2),
        reading.shown(reading.text_value(taken.result)),
    )
    if probe.spec.family == "gemma-4":
        small = probe.chat(_image_body(probe.spec, square_png(4)))
        yield compare("images.small", "Status of an image under 10 px", wire(2), 400, small.status, reported=("200",))


# --- other routes of Cloudflare ---------------------------------------------------------------------------------------
def _account(probe: Probe) -> Iterator[Result]:
    search = probe.get("/accounts/{account}/ai/models/search?search=gemma&per_page=100&page=1")
    entries = search.result if isinstance(search.result, list) else []
    entry = next((one for one in entries if isinstance(one, dict) and one.get("name") == probe.spec.id), None)
    yield compare("models.listed", "The model is listed", wire(1), "yes", "yes" if entry is not None else "no")
    properties = {
        item.get("property_id"): item.get("value")
        for item in (entry or {}).get("properties") or ()
        if isinstance(item, dict)
    }
    window, listed = probe.spec.context_window, properties.get("context_window")
    if window is not None and listed is not None:
        yield compare("models.context", "Context window in the list", "models.py", window, listed)
    deprecation = properties.get("planned_deprecation_date")
    yield observe("models.deprecation", "Is a retirement planned?", wire(2), deprecation or "no")
    yield from _prices(probe.spec, properties.get("price"))


def _prices(spec: GemmaModel, prices: Any) -> Iterator[Result]:
    for kind, expected in (("input", spec.input_price), ("output", spec.output_price)):
        units = (
            [item for item in prices if isinstance(item, dict) and kind in str(item.get("unit"))]
            if isinstance(prices, list)
            else []
        )
        price = units[0].get("price") if units else None
        if expected is not None and isinstance(price, int | float):
            yield compare(
                f"models.price.{kind}",
                f"Price of {kind} tokens, $ per M",
                "models.py",
                f"{expected:.2f}",
                f"{price:.2f}",
            )


def _openai_route(probe: Probe) -> Iterator[Result]:
    response = probe.chat(chat_body(probe.spec, "Reply with one word: Hello.", _TEXT_TOKENS), api="openai")
    yield compare(
        "openai.form",
        "Form of a reply of the OpenAI route",
        wire(3),
        reading.CHAT_CHOICES,
        reading.form(response.json),
        reported=(reading.COMPLETION_CHOICES, reading.NATIVE),
    )


def _universal_route(probe: Probe) -> Iterator[Result]:
    from langchain_workers_gemma.hosts import Route

    route = Route("/accounts/{account}/ai/run", lambda model, data: {"model": model, "input": data})
    response = probe.post(route, probe.spec.id, chat_body(probe.spec, "Reply with one word: Hello.", _TEXT_TOKENS))
    yield compare("universal.status", "The universal route answers", wire(1), 200, response.status)


def _embeddings(probe: Probe) -> Iterator[Result]:
    from langchain_workers_gemma.hosts import HOSTS

    route = HOSTS["cloudflare"].embeddings["native"]
    response = probe.post(route, "@cf/google/embeddinggemma-300m", {"text": ["Hello", "World"]})
    result = response.result if isinstance(response.result, dict) else {}
    data, shape = result.get("data"), result.get("shape")
    sizes = [len(one) for one in data if isinstance(one, list)] if isinstance(data, list) else []
    agrees = bool(sizes) and shape == [len(sizes), sizes[0]] and len(set(sizes)) == 1
    yield compare(
        "embeddings.form", "Embeddings: `data` and a `shape` that agrees", wire(9), "yes", "yes" if agrees else "no"
    )
    yield observe("embeddings.dimensions", "Dimensions of EmbeddingGemma", wire(9), sizes[0] if sizes else "none")


_POLLS, _POLL_SECONDS = 5, 3.0


def _queue(probe: Probe) -> Iterator[Result]:
    from langchain_workers_gemma.hosts import HOSTS

    route = HOSTS["cloudflare"].chat["native"]
    body = {"requests": [chat_body(probe.spec, "Reply with one word: Hello.", _TEXT_TOKENS)]}
    queued = probe.post(route, probe.spec.id, body, query="?queueRequest=true").result
    queued = queued if isinstance(queued, dict) else {}
    yield compare("queue.submit", "A batch is queued", wire(8), "queued", queued.get("status"))
    if not isinstance(queued.get("request_id"), str):
        return
    for _ in range(_POLLS):
        polled = probe.post(
            route, probe.spec.id, {"request_id": queued["request_id"]}, query="?queueRequest=true"
        ).result
        responses = polled.get("responses") if isinstance(polled, dict) else None
        if isinstance(responses, list):
            keys = sorted(responses[0]) if responses and isinstance(responses[0], dict) else []
            found = "yes" if {"id", "result", "success"} <= set(keys) else ", ".join(keys) or "nothing"
            yield compare("queue.response", "A response has id, result and success", wire(8), "yes", found)
            return
        probe.sleep(_POLL_SECONDS)
    yield observe("queue.response", "How long does a batch take?", wire(8), f"more than {_POLLS * _POLL_SECONDS:.0f} s")


def _on_cloudflare(spec: GemmaModel) -> bool:
    return spec.host == "cloudflare"


def _always(_spec: GemmaModel) -> bool:
    return True


CHECKS: tuple[Check, ...] = (
    Check("the account's list of models", _account, _on_cloudflare),
    Check("a chat", _reply, _always, output_tokens=_TEXT_TOKENS, input_tokens=20),
    Check("a number as text", _number, _always, output_tokens=_TEXT_TOKENS, input_tokens=20),
    Check(
        "JSON as text",
        _json_text,
        lambda spec: expected_form(spec) == reading.NATIVE,
        output_tokens=_TEXT_TOKENS,
        input_tokens=25,
    ),
    Check("truncation", _truncated, _always, output_tokens=5, input_tokens=20),
    Check("a stop sequence", _stop, lambda spec: spec.stop > 0, output_tokens=_TEXT_TOKENS, input_tokens=20),
    Check("a stream", _stream, lambda spec: spec.host != "dataoorts", output_tokens=_TEXT_TOKENS, input_tokens=25),
    Check("tool calls", _tool_calls, lambda spec: spec.function_calling, 2, 2 * _CALL_TOKENS, 200),
    Check("tool choices", _tool_choices, lambda spec: spec.tool_choice, 3, 3 * _CALL_TOKENS, 300),
    Check(
        "response formats",
        _response_formats,
        lambda spec: spec.constraint in ("openai_schema", "bare_schema"),
        3,
        3 * _JSON_TOKENS,
        210,
    ),
    Check("guided_json", _guided_json, lambda spec: spec.constraint == "guided_json", 1, _JSON_TOKENS, 70),
    Check("thinking", _thinking, lambda spec: spec.thinking, 3, 3 * _THINKING_TOKENS, 60),
    Check("refusals", _errors, _on_cloudflare, 2),
    Check("an unknown model", _unknown_model, _on_cloudflare),
    Check("images", _images, lambda spec: spec.images, 2, 2 * _TEXT_TOKENS, 560),
    Check("the OpenAI route", _openai_route, _on_cloudflare, 1, _TEXT_TOKENS, 20),
    Check("the universal route", _universal_route, _on_cloudflare, 1, _TEXT_TOKENS, 20),
    Check("embeddings", _embeddings, _on_cloudflare, 1, 0, 10),
    Check("the queue", _queue, lambda spec: spec.async_queue, 2, _TEXT_TOKENS, 20),
)
"""Every check, in the order in which they are made."""
