"""Generated calls of generated tools, in every notation, with text and reasoning around them, truncated anywhere."""

from __future__ import annotations

import json
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from tests.helpers.mock_service import encode_sse, make_completion, make_delta
from tests.helpers.model_calls import call_model, get_tool_calls, make_model

Q = '<|"|>'
WORDS = (
    "Rome",
    "São Paulo",
    "a, b",
    "it's",
    '"quoted"',
    "x{y}z",
    "[1]",
    "42",
    "true",
    "null",
    "",
    "日本",
    " lead",
    "trail ",
)
CODE = ("C:\\Users\\ann", "/home/me", "line1\nline2", "def f(x):\n    return {'a': 1}", "<b>html</b>", "call:f{a:1}")
NOTATION_LIKE = (
    "key: value",
    "```js\ncode\n```",
    '{"a": 1}',
    "https://a.b/?c=d&e=f",
    "1.10",
    "02134",
    "a\\nb",
    "`tick`",
    "'''",
)
TEXTS = st.sampled_from([*WORDS, *CODE, *NOTATION_LIKE])
NUMBERS = st.sampled_from([0, 1, -5, 42, 10**12])
OBJECT = {"type": "object", "properties": {"k": {"type": "string"}, "n": {"type": "integer"}}}
PARAMETER_KINDS: dict[str, tuple[dict[str, Any], st.SearchStrategy[Any]]] = {
    "string": ({"type": "string"}, TEXTS),
    "integer": ({"type": "integer"}, NUMBERS),
    "number": ({"type": "number"}, st.sampled_from([0.5, -1.25, 3, 1e-7])),
    "boolean": ({"type": "boolean"}, st.booleans()),
    "integers": ({"type": "array", "items": {"type": "integer"}}, st.lists(NUMBERS, max_size=3)),
    "strings": ({"type": "array", "items": {"type": "string"}}, st.lists(TEXTS, max_size=3)),
    "object": (OBJECT, st.fixed_dictionaries({}, optional={"k": TEXTS, "n": NUMBERS})),
}
NAMES = st.sampled_from(["get_weather", "fs.read", "web-search", "f", "write_file"])
PARAMETERS = st.dictionaries(
    st.sampled_from(["path", "query", "limit", "tags", "type", "content"]),
    st.sampled_from([*PARAMETER_KINDS]),
    max_size=4,
)
BEFORE = ("", "<|channel>thought\nI think of call:f{a:1}.\n<channel|>", "Sure, I do that.\n", "thought\nhm<channel|>")
AFTER = ("", "<turn|>", "\n", "<eos>", "<|tool_response>")


def _write_gemma(value: Any) -> str:
    if isinstance(value, str):
        return f"{Q}{value}{Q}"
    if isinstance(value, list):
        return f"[{','.join(map(_write_gemma, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_write_gemma(one)}' for key, one in value.items())}}}"
    return json.dumps(value)


def _write(notation: str, name: str, arguments: dict[str, Any]) -> str:
    if notation == "gemma":
        return f"<|tool_call>call:{name}{_write_gemma(arguments)}<tool_call|>"
    if notation == "gemma, json":
        return f"<|tool_call>call:{name}{json.dumps(arguments)}<tool_call|>"
    written = json.dumps({"name": name, "parameters": arguments}, ensure_ascii=False)
    return {"json": written, "fence": f"```json\n{written}\n```", "tags": f"<tool_call>{written}</tool_call>"}[notation]


@st.composite
def generated_calls(draw: st.DrawFn) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]], str, str, str]:
    """Draw a tool, its calls, the text before them, their text, and the text after them."""
    name, parameters = draw(NAMES), draw(PARAMETERS)
    properties = {key: PARAMETER_KINDS[kind][0] for key, kind in parameters.items()}
    schema = {"type": "object", "properties": properties, "required": sorted(properties)[:1]}
    tool = {"type": "function", "function": {"name": name, "description": "d", "parameters": schema}}
    calls = [
        (name, {key: draw(PARAMETER_KINDS[kind][1]) for key, kind in parameters.items()})
        for _ in range(draw(st.sampled_from([1, 1, 2])))
    ]
    notation = draw(st.sampled_from(["gemma", "gemma, json", "json", "fence", "tags"]))
    body = ("" if notation.startswith("gemma") else "\n").join(_write(notation, *call) for call in calls)
    return tool, calls, draw(st.sampled_from(BEFORE)), body, draw(st.sampled_from(AFTER))


def get_message(
    tool: dict[str, Any], pieces: list[str], *, finish_reason: str = "stop", streamed: bool = True
) -> AIMessage:
    """Return the message of a reply that arrives in these pieces."""

    def respond(_request: httpx.Request) -> httpx.Response:
        if not streamed:
            return httpx.Response(200, json=make_completion("".join(pieces), finish_reason=finish_reason))
        events = encode_sse(*map(make_delta, pieces), make_delta(finish_reason=finish_reason), "[DONE]")
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=events)

    llm = make_model(api="openai", http_client=httpx.Client(transport=httpx.MockTransport(respond))).bind_tools([tool])
    return call_model(llm, "stream" if streamed else "invoke")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(generated_calls(), st.data())
def test_written_calls_are_parsed_and_truncated_calls_are_invalid(generated: Any, data: st.DataObject) -> None:
    tool, calls, before, body, after = generated
    reply = before + body + after
    ends = sorted(data.draw(st.lists(st.integers(0, len(reply)), max_size=5)))
    pieces = [reply[start:end] for start, end in zip([0, *ends], [*ends, len(reply)], strict=True)]
    for message in (
        get_message(tool, pieces, streamed=False),
        get_message(tool, pieces),
        get_message(tool, list(reply)),
    ):
        assert get_tool_calls(message) == calls
        assert message.invalid_tool_calls == []
        assert "<|" not in str(message.text)
    truncated = reply[: data.draw(st.integers(len(before), len(before) + len(body) - 1))]
    for finish_reason in ("length", "stop"):
        for streamed in (False, True):
            read_calls = get_tool_calls(get_message(tool, [truncated], finish_reason=finish_reason, streamed=streamed))
            assert read_calls == calls[: len(read_calls)], f"{truncated!r} runs {read_calls}"
