"""Checks of text: replies, streams and thoughts (docs/wire.md sections 2 to 4 and 10)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_workers_gemma.cli.verify import reading
from langchain_workers_gemma.cli.verify.inputs import (
    TEXT_TOKENS,
    TRUNCATED_TOKENS,
    build_chat_body,
    get_expected_form,
    get_text_limit,
    is_enveloped,
)
from langchain_workers_gemma.cli.verify.probe import Probe
from langchain_workers_gemma.cli.verify.result import Result, cite, compare, observe
from langchain_workers_gemma.hosts import HOSTS, Route

_UNIVERSAL = Route("/accounts/{account}/ai/run", lambda model, data: {"model": model, "input": data})


def check_plain_reply(probe: Probe) -> Iterator[Result]:
    """Ask for a short text, without thoughts; it holds a stop sequence where the model takes one."""
    spec = probe.spec
    more = {"stop": ["three"]} if spec.stop else {}
    response = probe.send_chat(build_chat_body(spec, "Repeat exactly: one two three four", TEXT_TOKENS, **more))
    result = response.result
    text = reading.get_text_value(result)
    openai_form = get_expected_form(spec) == reading.CHAT_CHOICES
    yield compare("reply.status", "A chat is answered", cite(3), 200, response.status)
    yield compare(
        "reply.form",
        "Form of a reply",
        cite(3),
        get_expected_form(spec),
        reading.name_form(result),
        reported=(reading.CHAT_CHOICES, reading.COMPLETION_CHOICES, reading.NATIVE),
    )
    if is_enveloped(spec):
        envelope = response.json
        keys = sorted(envelope) if isinstance(envelope, dict) else []
        yield compare(
            "reply.envelope",
            "Envelope of a native reply",
            cite(3),
            "errors, messages, result, success",
            ", ".join(keys),
        )
    yield compare(
        "reply.text",
        "Type of the text",
        cite(3),
        "string",
        reading.get_type_name(text),
        reported=("number", "null", "object", "list"),
    )
    usage = result.get("usage") if isinstance(result, dict) else None
    yield compare("reply.usage", "Usage of a reply", cite(3), "counts that add up", reading.name_usage_form(usage))
    if openai_form:
        yield compare(
            "reply.finish_reason", "Finish reason of a whole reply", cite(3), "stop", reading.get_finish_reason(result)
        )
    held = reading.get_message(result)
    beside = json.dumps(held["tool_calls"]) if "tool_calls" in held else "missing"
    yield compare(
        "reply.tool_calls",
        "`tool_calls` of a reply without calls",
        cite(3),
        "missing" if openai_form else "[]",
        beside,
        reported=("missing", "null", "[]"),
    )
    yield observe("reply.neurons", "Are neurons reported?", cite(3), _find_neurons(response.headers, usage))
    if HOSTS[spec.host].has_account_api:
        yield compare(
            "reply.request_id", "A reply has `cf-ray`", cite(1), "yes", "yes" if "cf-ray" in response.headers else "no"
        )
    if spec.thinking:
        yield compare(
            "thinking.off", "Thoughts with `enable_thinking` false", cite(2), "none", name_thoughts(held, text)
        )
    if spec.stop:
        yield from _check_stop_facts(result, text)


def name_thoughts(held: Mapping[str, Any], text: object) -> str:
    """Return which keys of a message hold thoughts, or whether its text does."""
    keys = [key for key in ("reasoning", "reasoning_content") if held.get(key)]
    leaks = "<|channel>" in str(text) or "<channel|>" in str(text)
    return " and ".join(keys) or ("in the text" if leaks else "none")


def _check_stop_facts(result: Any, text: object) -> Iterator[Result]:
    found = "yes" if "three" in str(text) else "no"
    yield compare("stop.text", "A stop sequence is not in the text", cite(2), "no", found)
    yield compare(
        "stop.finish_reason", "Finish reason at a stop sequence", cite(10), "stop", reading.get_finish_reason(result)
    )
    choices = result.get("choices") if isinstance(result, dict) else None
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    yield observe(
        "stop.stop_reason", "What does `stop_reason` hold?", cite(10), reading.shorten(first.get("stop_reason"))
    )


def _find_neurons(headers: Mapping[str, str], usage: Any) -> str:
    found = ["header cf-ai-neurons"] if "cf-ai-neurons" in headers else []
    found += ["usage.neurons"] if isinstance(usage, dict) and "neurons" in usage else []
    return " and ".join(found) or "no"


def check_number_as_text(probe: Probe) -> Iterator[Result]:
    """Ask for a number."""
    result = probe.send_chat(
        build_chat_body(probe.spec, "Reply with the number 42 and nothing else.", TEXT_TOKENS)
    ).result
    value = reading.get_text_value(result)
    yield compare(
        "reply.number",
        "Type of a text that is a number",
        cite(4),
        "string",
        reading.get_type_name(value),
        reported=("number",),
    )


def check_json_as_text(probe: Probe) -> Iterator[Result]:
    """Ask for JSON, unconstrained."""
    text = 'Reply with this JSON and nothing else: {"a": 1}'
    value = reading.get_text_value(probe.send_chat(build_chat_body(probe.spec, text, TEXT_TOKENS)).result)
    yield compare(
        "reply.json_text",
        "Type of a text that is JSON",
        cite(3),
        "string",
        reading.get_type_name(value),
        reported=("object", "list"),
    )


def check_truncated_reply(probe: Probe) -> Iterator[Result]:
    """Ask for more than `max_tokens` allows, by the route whose body names the model where the host has it."""
    body = build_chat_body(probe.spec, "Count from one to thirty in words.", TRUNCATED_TOKENS)
    if HOSTS[probe.spec.host].has_account_api:
        response = probe.post(_UNIVERSAL, probe.spec.id, body)
        yield compare("universal.status", "The universal route answers", cite(1), 200, response.status)
    else:
        response = probe.send_chat(body)
    result = response.result
    yield compare(
        "truncation.tokens",
        "`max_tokens` is the most that is generated",
        cite(2),
        TRUNCATED_TOKENS,
        reading.get_tokens(result, "completion_tokens"),
    )
    if get_expected_form(probe.spec) == reading.CHAT_CHOICES:
        yield compare(
            "truncation.finish_reason",
            "Finish reason of a truncated reply",
            cite(10),
            "length",
            reading.get_finish_reason(result),
        )


def check_plain_stream(probe: Probe) -> Iterator[Result]:
    """Stream a text with numbers, after thoughts where the model has them."""
    spec = probe.spec
    more: dict[str, Any] = {"stream_options": {"include_usage": True}} if spec.stream_options else {}
    if spec.thinking:
        more["chat_template_kwargs"] = {"enable_thinking": True}
    text = "Reply with these numbers and nothing else: 1 2 3"
    body = build_chat_body(spec, text, get_text_limit(spec), **{"stream": True, **more})
    found = reading.read_stream(probe.send_chat(body))
    yield compare(
        "stream.content_type",
        "Content type of a stream",
        cite(4),
        "text/event-stream",
        found.content_type,
        reported=("application/json",),
    )
    yield compare(
        "stream.form",
        "Form of its events",
        cite(4),
        get_expected_form(spec),
        found.form,
        reported=(reading.CHAT_CHOICES, reading.COMPLETION_CHOICES, reading.NATIVE, "no events"),
    )
    yield compare("stream.newline", "What ends its lines", cite(4), "LF", found.newline, reported=("CRLF",))
    yield compare(
        "stream.extras",
        "Lines without data",
        cite(4),
        "none",
        " and ".join(sorted(set(found.extras))) or "none",
        reported=("comment", "event", "comment and event"),
    )
    yield compare("stream.done", "How many `[DONE]` end it", cite(4), 1, found.done, reported=("0", "2"))
    yield compare(
        "stream.text",
        "Type of its pieces of text",
        cite(4),
        "string",
        found.text_types,
        reported=("number", "number and string"),
    )
    yield compare(
        "stream.usage",
        "Where its usage stands",
        cite(4),
        "one event, the last",
        found.usage,
        reported=("none", "every event, deltas", "every event, cumulative"),
    )
    if get_expected_form(spec) == reading.CHAT_CHOICES:
        finishes = "1" if found.finishes == 1 else "several" if found.finishes else "none"
        yield compare(
            "stream.finishes",
            "How many events carry a finish reason",
            cite(4),
            "1",
            finishes,
            reported=("several", "none"),
        )
    if spec.thinking:
        yield from _check_streamed_thoughts(found)


def _check_streamed_thoughts(found: reading.StreamReading) -> Iterator[Result]:
    held = {key: True for event in found.events for key, value in reading.get_message(event).items() if value}
    observed = name_thoughts(held, found.text)
    yield compare(
        "thinking.on",
        "Thoughts with `enable_thinking` true",
        cite(3),
        "yes",
        "yes" if observed.startswith("reasoning") else observed,
        reported=("in the text",),
    )
    yield observe("thinking.key", "Which key has the thoughts?", cite(3), observed)
