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


def _build_tool_body(spec: GemmaModel, text: str, max_tokens: int = CALL_TOKENS, **more: Any) -> dict[str, Any]:
    return build_chat_body(spec, text, max_tokens, tools=_TOOLS, **more)


def check_tool_calls(probe: Probe) -> Iterator[Result]:
    """Have a tool called, whole and streamed."""
    openai_form = get_expected_form(probe.spec) == reading.CHAT_CHOICES
    result = probe.send_chat(_build_tool_body(probe.spec, _ASK_WEATHER)).result
    call = next(iter(reading.get_calls(result)), None)
    # A call that the server could not parse is in the text, in one of Gemma's notations (docs/wire.md section 6).
    observed = (
        reading.format_call(call) if call else f"no call, text: {reading.shorten(reading.get_text_value(result))}"
    )
    yield compare("tools.call", "A tool is called", cite(3), _WEATHER_CALL, observed)
    text = _name_emptiness(reading.get_text_value(result))
    yield compare("tools.text", "Text beside a call", cite(3), "empty string", text, reported=("null",))
    if call is not None:
        yield from _check_call_facts(call, result, openai_form=openai_form)
    found = reading.read_stream(probe.send_chat(_build_tool_body(probe.spec, _ASK_BOTH, stream=True)))
    streamed = reading.join_calls(found.pieces)
    observed = "; ".join(map(reading.format_call, streamed)) or f"no call, text: {reading.shorten(found.text)}"
    yield compare("tools.stream", "Two tools are called in a stream", cite(4), _BOTH_CALLS, observed)
    yield compare(
        "tools.pieces",
        "How streamed calls come",
        cite(4),
        "in pieces",
        reading.name_piece_form(found.pieces),
        reported=("whole", "in pieces, without id", "in pieces, with a finaliser", "no call"),
    )
    if call is not None and streamed and openai_form:
        ids = [call.get("id"), *(one["ids"][0] if one["ids"] else None for one in streamed)]
        kind = "missing" if not all(ids) else "unique" if len(set(ids)) == len(ids) else "repeated"
        yield compare("tools.ids", "Ids of three calls", cite(3), "unique", kind, reported=("missing", "repeated"))


def check_truncated_call(probe: Probe) -> Iterator[Result]:
    """Cut a call by `max_tokens`, and ask for a call beside a constraint."""
    result = probe.send_chat(_build_tool_body(probe.spec, _ASK_WEATHER, TRUNCATED_CALL_TOKENS)).result
    call = next(iter(reading.get_calls(result)), None)
    reason = reading.get_finish_reason(result)
    observed = f"{reading.name_completeness(call) if call else 'no call'}, finish reason {reason}"
    yield observe("tools.truncated", "What becomes of a call that `max_tokens` cuts?", cite(10), observed)
    named = {"name": "city", "schema": _SCHEMA, "strict": True}
    schema: dict[str, Any] = {"response_format": {"type": "json_schema", "json_schema": named}}
    response = probe.send_chat(_build_tool_body(probe.spec, _ASK_WEATHER, **schema))
    observed = "a call" if reading.get_calls(response.result) else f"no call, {reading.name_error_form(response)}"
    yield observe("tools.constraint", "Can a tool be called beside `response_format`?", cite(10), observed)


def _name_emptiness(text: Any) -> str:
    return "null" if text is None else "empty string" if text == "" else reading.shorten(text)


def _check_call_facts(call: dict[str, Any], result: Any, *, openai_form: bool) -> Iterator[Result]:
    yield compare(
        "tools.form",
        "Form of a call",
        cite(3),
        "function, arguments string" if openai_form else "flat, arguments object",
        reading.name_call_form(call),
        reported=[f"{form}, arguments {kind}" for form in ("function", "flat") for kind in ("string", "object")],
    )
    if openai_form:
        reason = reading.get_finish_reason(result)
        yield compare("tools.finish_reason", "Finish reason of a reply with calls", cite(10), "tool_calls", reason)


def check_tool_choices(probe: Probe) -> Iterator[Result]:
    """Force a call, and a named call; forbid calls where the host has no OpenAI route of its own that shows it."""
    greeting = "Say hello."
    result = probe.send_chat(_build_tool_body(probe.spec, greeting, tool_choice="required")).result
    observed = "a call" if _name_call(result) in _NAMES else _name_call(result)
    yield compare("tools.choice.required", "`tool_choice` required", cite(6), "a call", observed, reported=("no call",))
    named = {"type": "function", "function": {"name": "get_news"}}
    result = probe.send_chat(_build_tool_body(probe.spec, greeting, tool_choice=named)).result
    yield compare(
        "tools.choice.named", "`tool_choice` named", cite(6), "get_news", _name_call(result), reported=("no call",)
    )
    if not HOSTS[probe.spec.host].has_account_api:
        yield check_forbidden_call(probe.send_chat(build_forbidding_body(probe.spec)).result)


def build_forbidding_body(spec: GemmaModel) -> dict[str, Any]:
    """Return a chat that asks for a call and forbids it."""
    return _build_tool_body(spec, _ASK_WEATHER, tool_choice="none")


def check_forbidden_call(result: Any) -> Result:
    """Return whether a call was made although it was forbidden."""
    return compare("tools.choice.none", "`tool_choice` none", cite(6), "no call", _name_call(result))


def _name_call(result: Any) -> str:
    call = next(iter(reading.get_calls(result)), None)
    return "no call" if call is None else str(reading.get_function(call).get("name"))


_ASK_JSON = (
    "Which is the capital of France, and how many people live there? Reply with JSON: "
    "city (string), population (integer)."
)


def _request_structured(probe: Probe, field: Mapping[str, Any]) -> str:
    """Return how a constrained request was answered."""
    response = probe.send_chat(build_chat_body(probe.spec, _ASK_JSON, JSON_TOKENS, **field))
    if response.status != 200 or (isinstance(response.json, dict) and response.json.get("success") is False):
        return f"refused: {reading.name_error_form(response)}: {reading.get_error_text(response)}"
    value = reading.get_text_value(response.result)
    kind = reading.get_type_name(value)
    held = reading.parse(value) if isinstance(value, str) else value
    fits = isinstance(held, dict) and isinstance(held.get("city"), str) and isinstance(held.get("population"), int)
    fitting = "JSON that fits" if fits else "JSON that does not fit" if isinstance(held, dict) else "no JSON"
    return f"{fitting}, as {kind}"


def check_response_formats(probe: Probe) -> Iterator[Result]:
    """Ask for prose under each form of `response_format`: JSON shows that the form is obeyed."""
    prose = {"messages": [{"role": "user", "content": "Describe Paris in one short sentence, in plain prose."}]}
    plain = _request_structured(probe, {"response_format": {"type": "json_object"}, **prose})
    yield compare(
        "structured.json_object",
        "What `response_format` of type json_object makes of a prompt for prose",
        cite(3),
        "JSON",
        "JSON" if plain.startswith("JSON") else plain,
        reported=("no JSON, as string",),
    )
    yield observe("structured.json_object_type", "What comes with json_object?", cite(3), plain)
    named = {"name": "city", "schema": _SCHEMA, "strict": True}
    for name, held in (("envelope", named), ("bare", _SCHEMA)):
        field = {"response_format": {"type": "json_schema", "json_schema": held}, **prose}
        found = _request_structured(probe, field)
        yield observe(f"structured.{name}", f"`response_format` of type json_schema, {name} schema", cite(3), found)


def check_unsatisfiable_schema(probe: Probe) -> Iterator[Result]:
    """Stream under a schema that no value fits."""
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 5, "maximum": 1}}, "required": ["n"]}
    held = {"name": "n", "schema": schema} if probe.spec.constraint == "openai_schema" else schema
    field = {"response_format": {"type": "json_schema", "json_schema": held}}
    response = probe.send_chat(build_chat_body(probe.spec, _ASK_JSON, JSON_TOKENS, stream=True, **field))
    form = "an event" if response.headers.get("content-type", "").startswith("text/event-stream") else "a body"
    observed = f"{response.status}, {form}: {reading.get_error_text(response)}"
    yield observe("structured.unsatisfiable", "How is a schema refused that no value fits?", cite(10), observed)


def check_guided_json(probe: Probe) -> Iterator[Result]:
    """Ask for JSON under `guided_json`."""
    found = _request_structured(probe, {"guided_json": _SCHEMA})
    yield compare(
        "structured.guided_json",
        "`guided_json` is obeyed",
        cite(2),
        "JSON that fits, as string",
        found,
        reported=("JSON that fits, as object",),
    )
