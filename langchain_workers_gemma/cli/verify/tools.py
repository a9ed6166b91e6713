"""Checks of tool calls and structured output (docs/wire.md sections 3, 4 and 6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_workers_gemma.cli.verify import reading
from langchain_workers_gemma.cli.verify.inputs import (
    CALL_TOKENS,
    JSON_TOKENS,
    TRUNCATED_CALL_TOKENS,
    build_chat_body,
    get_expected_form,
)
from langchain_workers_gemma.cli.verify.probe import Probe
from langchain_workers_gemma.cli.verify.result import Result, cite, compare, observe
from langchain_workers_gemma.hosts import HOSTS
from langchain_workers_gemma.models import GemmaModel

_PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "The city"},
        "days": {"type": "integer", "description": "How many days"},
    },
    "required": ["city", "days"],
}
_TOOLS = [
    {"type": "function", "function": {"name": name, "description": description, "parameters": _PARAMETERS}}
    for name, description in (
        ("get_weather", "Get the weather forecast of a city"),
        ("get_news", "Get the news of a city"),
    )
]
_NAMES = frozenset({"get_weather", "get_news"})
_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "population": {"type": "integer"}},
    "required": ["city", "population"],
}
_ASK_WEATHER = "What is the weather in Paris for the next 3 days? Use the tool get_weather."
_WEATHER_CALL = 'get_weather {"city": "Paris", "days": 3}'
_ASK_BOTH = "Get the weather and the news of Rome for the last 2 days: use both tools."
_BOTH_CALLS = 'get_weather {"city": "Rome", "days": 2}; get_news {"city": "Rome", "days": 2}'


def _build_tool_body(spec: GemmaModel, text: str, max_tokens: int = CALL_TOKENS, **fields: Any) -> dict[str, Any]:
    return build_chat_body(spec, text, max_tokens, tools=_TOOLS, **fields)


def check_tool_calls(probe: Probe) -> Iterator[Result]:
    """Request a tool call, and a stream with two tool calls."""
    openai_form = get_expected_form(probe.spec) == reading.CHAT_CHOICES
    result = probe.send_chat(_build_tool_body(probe.spec, _ASK_WEATHER)).result
    call = next(iter(reading.get_calls(result)), None)
    # A call that the server could not parse is in the text, in one of Gemma's notations (docs/wire.md section 6).
    observed = (
        reading.format_call(call) if call else f"no call, text: {reading.shorten(reading.get_text_value(result))}"
    )
    yield compare("tools.call", "Call of a tool", cite(3), _WEATHER_CALL, observed)
    text = _describe_text(reading.get_text_value(result))
    yield compare("tools.text", "Text of a reply with a call", cite(3), "empty string", text, reported=("null",))
    if call is not None:
        yield from _check_call_facts(call, result, openai_form=openai_form)
    found = reading.read_stream(probe.send_chat(_build_tool_body(probe.spec, _ASK_BOTH, stream=True)))
    streamed = reading.merge_call_chunks(found.call_chunks)
    observed = "; ".join(map(reading.format_call, streamed)) or f"no call, text: {reading.shorten(found.text)}"
    yield compare("tools.stream", "Calls of two tools in a stream", cite(4), _BOTH_CALLS, observed)
    yield compare(
        "tools.pieces",
        "Form of the calls in a stream",
        cite(4),
        "in chunks",
        reading.describe_chunk_form(found.call_chunks),
        reported=("whole", "in chunks, without id", "in chunks, with a final chunk without index", "no call"),
    )
    if call is not None and streamed and openai_form:
        ids = [call.get("id"), *(other["ids"][0] if other["ids"] else None for other in streamed)]
        kind = "missing" if not all(ids) else "unique" if len(set(ids)) == len(ids) else "repeated"
        yield compare("tools.ids", "Ids of three calls", cite(3), "unique", kind, reported=("missing", "repeated"))


def check_truncated_call(probe: Probe) -> Iterator[Result]:
    """Truncate a call with `max_tokens`, and request a call together with a constraint."""
    result = probe.send_chat(_build_tool_body(probe.spec, _ASK_WEATHER, TRUNCATED_CALL_TOKENS)).result
    call = next(iter(reading.get_calls(result)), None)
    reason = reading.get_finish_reason(result)
    observed = f"{reading.describe_completeness(call) if call else 'no call'}, finish reason {reason}"
    yield observe("tools.truncated", "How is a call sent that `max_tokens` truncates?", cite(10), observed)
    named = {"name": "city", "schema": _SCHEMA, "strict": True}
    schema: dict[str, Any] = {"response_format": {"type": "json_schema", "json_schema": named}}
    response = probe.send_chat(_build_tool_body(probe.spec, _ASK_WEATHER, **schema))
    observed = "a call" if reading.get_calls(response.result) else f"no call, {reading.describe_error_form(response)}"
    yield observe("tools.constraint", "Can a tool be called together with `response_format`?", cite(10), observed)


def _describe_text(text: Any) -> str:
    return "null" if text is None else "empty string" if text == "" else reading.shorten(text)


def _check_call_facts(call: dict[str, Any], result: Any, *, openai_form: bool) -> Iterator[Result]:
    yield compare(
        "tools.form",
        "Form of a call",
        cite(3),
        "function, arguments string" if openai_form else "flat, arguments object",
        reading.describe_call_form(call),
        reported=[f"{form}, arguments {kind}" for form in ("function", "flat") for kind in ("string", "object")],
    )
    if openai_form:
        reason = reading.get_finish_reason(result)
        yield compare("tools.finish_reason", "Finish reason of a reply with calls", cite(10), "tool_calls", reason)


def check_tool_choices(probe: Probe) -> Iterator[Result]:
    """Force a call of any tool, and of a named tool. If no check uses the OpenAI route, also forbid calls."""
    greeting = "Say hello."
    result = probe.send_chat(_build_tool_body(probe.spec, greeting, tool_choice="required")).result
    observed = "a call" if _get_called_name(result) in _NAMES else _get_called_name(result)
    yield compare("tools.choice.required", "`tool_choice` required", cite(6), "a call", observed, reported=("no call",))
    named = {"type": "function", "function": {"name": "get_news"}}
    result = probe.send_chat(_build_tool_body(probe.spec, greeting, tool_choice=named)).result
    yield compare(
        "tools.choice.named",
        "`tool_choice` with a name",
        cite(6),
        "get_news",
        _get_called_name(result),
        reported=("no call",),
    )
    if not HOSTS[probe.spec.host].has_account_api:
        yield check_forbidden_call(probe.send_chat(build_forbidding_body(probe.spec)).result)


def build_forbidding_body(spec: GemmaModel) -> dict[str, Any]:
    """Return the body of a chat whose prompt requests a call and whose `tool_choice` forbids it."""
    return _build_tool_body(spec, _ASK_WEATHER, tool_choice="none")


def check_forbidden_call(result: Any) -> Result:
    """Return whether the model called a tool although calls were forbidden."""
    return compare("tools.choice.none", "`tool_choice` none", cite(6), "no call", _get_called_name(result))


def _get_called_name(result: Any) -> str:
    call = next(iter(reading.get_calls(result)), None)
    return "no call" if call is None else str(reading.get_function(call).get("name"))


_ASK_JSON = (
    "Which is the capital of France, and how many people live there? Reply with JSON: "
    "city (string), population (integer)."
)


def _request_structured(probe: Probe, field: Mapping[str, Any]) -> str:
    """Send a request with a constraint, and describe the reply."""
    response = probe.send_chat(build_chat_body(probe.spec, _ASK_JSON, JSON_TOKENS, **field))
    if response.status != 200 or (isinstance(response.json, dict) and response.json.get("success") is False):
        return f"refused: {reading.describe_error_form(response)}: {reading.get_error_text(response)}"
    value = reading.get_text_value(response.result)
    kind = reading.get_type_name(value)
    data = reading.parse(value) if isinstance(value, str) else value
    if not isinstance(data, dict):
        return f"no JSON, as {kind}"
    is_valid = isinstance(data.get("city"), str) and isinstance(data.get("population"), int)
    return f"{'JSON that fits' if is_valid else 'JSON that does not fit'}, as {kind}"


def check_response_formats(probe: Probe) -> Iterator[Result]:
    """Request plain text under each form of `response_format`: a JSON reply shows that the constraint works."""
    text_prompt = {"messages": [{"role": "user", "content": "Describe Paris in one short sentence, in plain prose."}]}
    observed = _request_structured(probe, {"response_format": {"type": "json_object"}, **text_prompt})
    yield compare(
        "structured.json_object",
        "Reply to a prompt for plain text with `response_format` of type json_object",
        cite(3),
        "JSON",
        "JSON" if observed.startswith("JSON") else observed,
        reported=("no JSON, as string",),
    )
    yield observe("structured.json_object_type", "What is the reply with json_object?", cite(3), observed)
    named = {"name": "city", "schema": _SCHEMA, "strict": True}
    for name, schema in (("envelope", named), ("bare", _SCHEMA)):
        field = {"response_format": {"type": "json_schema", "json_schema": schema}, **text_prompt}
        observed = _request_structured(probe, field)
        yield observe(f"structured.{name}", f"`response_format` of type json_schema, {name} schema", cite(3), observed)


def check_unsatisfiable_schema(probe: Probe) -> Iterator[Result]:
    """Request a stream with a schema that no value can satisfy."""
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 5, "maximum": 1}}, "required": ["n"]}
    json_schema = {"name": "n", "schema": schema} if probe.spec.constraint == "openai_schema" else schema
    field = {"response_format": {"type": "json_schema", "json_schema": json_schema}}
    response = probe.send_chat(build_chat_body(probe.spec, _ASK_JSON, JSON_TOKENS, stream=True, **field))
    form = "an event" if response.headers.get("content-type", "").startswith("text/event-stream") else "a body"
    observed = f"{response.status}, {form}: {reading.get_error_text(response)}"
    yield observe("structured.unsatisfiable", "How is an unsatisfiable schema refused?", cite(10), observed)


def check_guided_json(probe: Probe) -> Iterator[Result]:
    """Request JSON with `guided_json`."""
    found = _request_structured(probe, {"guided_json": _SCHEMA})
    yield compare(
        "structured.guided_json",
        "Reply with `guided_json`",
        cite(2),
        "JSON that fits, as string",
        found,
        reported=("JSON that fits, as object",),
    )
