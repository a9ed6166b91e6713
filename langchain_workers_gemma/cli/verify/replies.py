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
from langchain_workers_gemma.cli.verify.probe import Probe, Response
from langchain_workers_gemma.cli.verify.result import Result, cite, compare, observe
from langchain_workers_gemma.hosts import HOSTS, Route
from langchain_workers_gemma.models import GemmaModel

_UNIVERSAL = Route("/accounts/{account}/ai/run", lambda model, data: {"model": model, "input": data})


def check_plain_reply(probe: Probe) -> Iterator[Result]:
    """Request a short text without thoughts. If the model supports stop sequences, the text contains one."""
    spec = probe.spec
    stop = {"stop": ["three"]} if spec.stop else {}
    response = probe.send_chat(build_chat_body(spec, "Repeat exactly: one two three four", TEXT_TOKENS, **stop))
    result = response.result
    text = reading.get_text_value(result)
    yield compare("reply.status", "HTTP status of a chat", cite(3), 200, response.status)
    yield from _check_reply_form(spec, response)
    yield from _check_reply_values(spec, result)
    usage = result.get("usage") if isinstance(result, dict) else None
    yield observe("reply.neurons", "Are neurons reported?", cite(3), _find_neurons(response.headers, usage))
    if HOSTS[spec.host].has_account_api:
        yield compare(
            "reply.request_id",
            "A response has the header `cf-ray`",
            cite(1),
            "yes",
            "yes" if "cf-ray" in response.headers else "no",
        )
    if spec.thinking:
        thoughts = describe_thoughts(reading.get_message(result), text)
        yield compare("thinking.off", "Thoughts with `enable_thinking` false", cite(2), "none", thoughts)
    if spec.stop:
        yield from _check_stop_facts(result, text)


def _check_reply_form(spec: GemmaModel, response: Response) -> Iterator[Result]:
    yield compare(
        "reply.form",
        "Form of a reply",
        cite(3),
        get_expected_form(spec),
        reading.describe_form(response.result),
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
        reading.get_type_name(reading.get_text_value(response.result)),
        reported=("number", "null", "object", "list"),
    )


def _check_reply_values(spec: GemmaModel, result: Any) -> Iterator[Result]:
    openai_form = get_expected_form(spec) == reading.CHAT_CHOICES
    usage = result.get("usage") if isinstance(result, dict) else None
    yield compare("reply.usage", "Usage of a reply", cite(3), "counts that add up", reading.describe_usage_form(usage))
    if openai_form:
        yield compare(
            "reply.finish_reason",
            "Finish reason of a complete reply",
            cite(3),
            "stop",
            reading.get_finish_reason(result),
        )
    message = reading.get_message(result)
    tool_calls = json.dumps(message["tool_calls"]) if "tool_calls" in message else "missing"
    yield compare(
        "reply.tool_calls",
        "`tool_calls` of a reply without calls",
        cite(3),
        "missing" if openai_form else "[]",
        tool_calls,
        reported=("missing", "null", "[]"),
    )


def describe_thoughts(message: Mapping[str, Any], text: object) -> str:
    """Return the keys of a message that contain thoughts, `in the text` if the text contains them, or `none`."""
    keys = [key for key in ("reasoning", "reasoning_content") if message.get(key)]
    is_in_text = "<|channel>" in str(text) or "<channel|>" in str(text)
    return " and ".join(keys) or ("in the text" if is_in_text else "none")


def _check_stop_facts(result: Any, text: object) -> Iterator[Result]:
    is_in_text = "yes" if "three" in str(text) else "no"
    yield compare("stop.text", "Is the stop sequence in the text?", cite(2), "no", is_in_text)
    yield compare(
        "stop.finish_reason", "Finish reason at a stop sequence", cite(10), "stop", reading.get_finish_reason(result)
    )
    choices = result.get("choices") if isinstance(result, dict) else None
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    yield observe(
        "stop.stop_reason", "What is the value of `stop_reason`?", cite(10), reading.shorten(first.get("stop_reason"))
    )


def _find_neurons(headers: Mapping[str, str], usage: Any) -> str:
    found = ["header cf-ai-neurons"] if "cf-ai-neurons" in headers else []
    found += ["usage.neurons"] if isinstance(usage, dict) and "neurons" in usage else []
    return " and ".join(found) or "no"


def check_number_as_text(probe: Probe) -> Iterator[Result]:
    """Request a number."""
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
    """Request JSON without a constraint."""
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
    """Request a text longer than `max_tokens`. If the host has the route whose body names the model, use that route."""
    body = build_chat_body(probe.spec, "Count from one to thirty in words.", TRUNCATED_TOKENS)
    if HOSTS[probe.spec.host].has_account_api:
        response = probe.post(_UNIVERSAL, probe.spec.id, body)
        yield compare("universal.status", "HTTP status of the universal route", cite(1), 200, response.status)
    else:
        response = probe.send_chat(body)
    result = response.result
    yield compare(
        "truncation.tokens",
        "`max_tokens` limits the generated tokens",
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
    """Stream a text with numbers, after thoughts if the model can think."""
    spec = probe.spec
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if spec.stream_options else {}
    if spec.thinking:
        options["chat_template_kwargs"] = {"enable_thinking": True}
    text = "Reply with these numbers and nothing else: 1 2 3"
    body = build_chat_body(spec, text, get_text_limit(spec), **{"stream": True, **options})
    found = reading.read_stream(probe.send_chat(body))
    yield from _check_stream_format(spec, found)
    yield from _check_stream_values(spec, found)
    if spec.thinking:
        yield from _check_streamed_thoughts(found)


def _check_stream_format(spec: GemmaModel, found: reading.StreamReading) -> Iterator[Result]:
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
        "Form of the events of a stream",
        cite(4),
        get_expected_form(spec),
        found.form,
        reported=(reading.CHAT_CHOICES, reading.COMPLETION_CHOICES, reading.NATIVE, "no events"),
    )
    yield compare("stream.newline", "Line ending of a stream", cite(4), "LF", found.newline, reported=("CRLF",))
    yield compare(
        "stream.extras",
        "Lines without data in a stream",
        cite(4),
        "none",
        " and ".join(sorted(set(found.extras))) or "none",
        reported=("comment", "event", "comment and event"),
    )
    yield compare("stream.done", "Number of `[DONE]` events of a stream", cite(4), 1, found.done, reported=("0", "2"))


def _check_stream_values(spec: GemmaModel, found: reading.StreamReading) -> Iterator[Result]:
    yield compare(
        "stream.text",
        "Type of the text in the events",
        cite(4),
        "string",
        found.text_types,
        reported=("number", "number and string"),
    )
    yield compare(
        "stream.usage",
        "Events with the usage",
        cite(4),
        "one event, the last",
        found.usage,
        reported=("none", "every event, deltas", "every event, cumulative"),
    )
    if get_expected_form(spec) == reading.CHAT_CHOICES:
        finishes = "1" if found.finishes == 1 else "several" if found.finishes else "none"
        yield compare(
            "stream.finishes",
            "Number of events with a finish reason",
            cite(4),
            "1",
            finishes,
            reported=("several", "none"),
        )


def _check_streamed_thoughts(found: reading.StreamReading) -> Iterator[Result]:
    keys = {key: True for event in found.events for key, value in reading.get_message(event).items() if value}
    observed = describe_thoughts(keys, found.text)
    yield compare(
        "thinking.on",
        "Thoughts with `enable_thinking` true",
        cite(3),
        "yes",
        "yes" if observed.startswith("reasoning") else observed,
        reported=("in the text",),
    )
    yield observe("thinking.key", "Which key contains the thoughts?", cite(3), observed)
