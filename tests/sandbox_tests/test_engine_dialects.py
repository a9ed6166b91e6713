"""The behaviours of the engine behind Gemma 4 (docs/wire.md section 10), each in its dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from langchain_workers_gemma.models import get_model
from langchain_workers_gemma.sandbox import DIALECTS, Sandbox
from langchain_workers_gemma.sandbox.dialects import DOCUMENTED, get_dialect, list_active_dialects
from langchain_workers_gemma.sandbox.engines.mock.draft import close_json
from tests.sandbox_tests.api_client import (
    GEMMA_3,
    GEMMA_4,
    QUIET,
    SEA_LION,
    WEATHER,
    Api,
    get_error,
    get_text,
    make_tool,
    read_events,
    to_messages,
)

WRITE = make_tool("write_file", "Write a text into a file", path={"type": "string"}, lines={"type": "integer"})
ASKED = "Call write_file with path '/home/ann/notes.txt' and lines 12"
SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
ENVELOPE = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}
BARE = {"type": "json_schema", "json_schema": SCHEMA}


def get_choice(api: Api, text: str = ASKED, *tools: dict[str, Any], **more: Any) -> dict[str, Any]:
    result = api.get_result(GEMMA_4, text, tools=list(tools or (WRITE,)), **{**QUIET, **more})
    choice: dict[str, Any] = result["choices"][0]
    return choice


def get_calls(choice: dict[str, Any]) -> list[tuple[str, Any]]:
    functions = [call["function"] for call in choice["message"].get("tool_calls") or ()]
    return [(one["name"], json.loads(one["arguments"])) for one in functions]


def merge_stream(api: Api, text: str = ASKED, *tools: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Merge a stream. Return its text, its reasoning, the chunks of its calls, and its last finish reason."""
    events = api.get_events(GEMMA_4, text, tools=list(tools or (WRITE,)), **{**QUIET, **more})
    choices = [choice for event in events if event != "[DONE]" for choice in event.get("choices", ())]
    return {
        "content": "".join(choice["delta"].get("content") or "" for choice in choices),
        "reasoning": "".join(
            choice["delta"].get("reasoning") or choice["delta"].get("reasoning_content") or "" for choice in choices
        ),
        "pieces": [piece for choice in choices for piece in choice["delta"].get("tool_calls") or ()],
        "finish_reason": next(choice["finish_reason"] for choice in reversed(choices) if choice["finish_reason"]),
    }


# --- truncation -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("cut", "closed"),
    [
        ("", "{}"),
        ("{", "{}"),
        ('{"pa', "{}"),
        ('{"path"', "{}"),
        ('{"path":', "{}"),
        ('{"path": "/ho', '{"path": "/ho"}'),
        ('{"path": "a\\', '{"path": "a"}'),
        ('{"path": "a\\u00', '{"path": "a"}'),
        ('{"path": "a", ', '{"path": "a"}'),
        ('{"path": "a", "n": 4', '{"path": "a", "n": 4}'),
        ('{"path": "a", "n": tr', '{"path": "a"}'),
        ('{"a": {"b": [1, {"c": "d', '{"a": {"b": [1, {"c": "d"}]}}'),
        ('{"a": 1}', '{"a": 1}'),
    ],
)
def test_truncated_json_is_closed(cut: str, closed: str) -> None:
    assert close_json(cut) == closed


@pytest.mark.parametrize(("name", "reason"), [("closed_calls", "length"), ("closed_calls_as_tool_calls", "tool_calls")])
def test_truncated_calls_are_closed(api: Api, name: str, reason: str) -> None:
    seen = set()
    with api.sandbox.using_dialect(name):
        for tokens in range(5, 30):
            choice = get_choice(api, max_tokens=tokens)
            ((called, arguments),) = get_calls(choice)
            assert called == "write_file"
            if choice["finish_reason"] != "tool_calls" or choice["stop_reason"] is None:
                assert (choice["finish_reason"], choice["stop_reason"]) == (reason, None)
            seen.add(json.dumps(arguments))
            pieces = merge_stream(api, max_tokens=tokens)["pieces"]
            assert json.loads("".join(piece["function"]["arguments"] for piece in pieces)) == arguments
    assert "{}" in seen
    assert len(seen) > 5
    whole = get_choice(api)
    assert (whole["finish_reason"], whole["stop_reason"]) == ("tool_calls", 50)


def test_a_stop_sequence_inside_an_argument_closes_the_call(api: Api) -> None:
    with api.sandbox.using_dialect("closed_calls"):
        choice = get_choice(api, stop=["notes"])
    assert get_calls(choice) == [("write_file", {"path": "/home/ann/"})]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("tool_calls", "notes")


def test_stop_reasons(api: Api) -> None:
    def reason(**more: Any) -> object:
        return api.get_result(GEMMA_4, "Hello", **{**QUIET, **more})["choices"][0]["stop_reason"]

    assert reason() == 106
    assert reason(max_tokens=2) is None
    assert reason(stop=["can"]) == "can"
    with api.sandbox.using_dialect("no_stop_reason"):
        assert reason() is None


def test_a_truncated_name_becomes_a_call_of_another_tool(api: Api) -> None:
    with api.sandbox.using_dialect("cut_names"):
        choice = get_choice(api, max_tokens=3)
    assert get_calls(choice) == [("write", {})]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("tool_calls", None)


def test_the_end_of_the_context_window_looks_like_the_token_limit(api: Api) -> None:
    with api.sandbox.using_dialect("context_end"):
        result = api.get_result(GEMMA_4, ASKED, tools=[WRITE], **QUIET)
    choice, usage, spec = result["choices"][0], result["usage"], get_model(GEMMA_4)
    assert spec is not None
    assert choice["stop_reason"] is None
    assert usage["completion_tokens"] < 20
    assert usage["total_tokens"] == spec.usable_context
    ((_, arguments),) = get_calls(choice)
    assert arguments != {"path": "/home/ann/notes.txt", "lines": 12}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "nullable": True}, "null"),
        ({"type": "integer", "nullable": True}, None),
        ({"type": "string", "anyOf": [{"type": "string"}, {"type": "null"}]}, None),
        ({"type": "string", "oneOf": [{"type": "string"}, {"type": "null"}]}, None),
        ({"type": ["string", "null"]}, None),
        ({"type": "string", "enum": ["a", None]}, None),
    ],
)
def test_null_is_typed_by_the_schema(api: Api, schema: dict[str, Any], value: object) -> None:
    described = {**schema, "description": "Its mood."}
    made = make_tool("write_file", "Write a file", path={"type": "string"}, lines={"type": "integer"}, mood=described)
    del made["function"]["parameters"]["required"]
    with api.sandbox.using_dialect("null_arguments"):
        ((_, arguments),) = get_calls(get_choice(api, ASKED, made))
    assert arguments == {"path": "/home/ann/notes.txt", "lines": 12, "mood": value}


def test_a_limit_beyond_the_window_is_refused_or_reduced(api: Api) -> None:
    with api.sandbox.using_dialect("small_window"):
        status, code, message = get_error(api.send_text(GEMMA_4, "Hello", max_tokens=5_000))
        assert (status, code) == (400, 5006)
        assert "max_tokens=5000 cannot be greater than max_model_len=" in message
        assert "maximum context length is 1024" in get_error(api.send_text(GEMMA_4, "Hello", max_tokens=1_020))[2]
        assert api.send_text(GEMMA_4, "Hello", max_tokens=100).status_code == 200
        assert api.send_text(GEMMA_4, "Hello").status_code == 200
        assert get_error(api.send_text(GEMMA_4, "word " * 3_000, max_tokens=1))[0] == 400
    with api.sandbox.using_dialect("reduced_max_tokens"):
        assert api.send_text(GEMMA_4, "Hello", max_tokens=5_000).status_code == 200
        assert get_error(api.send_text(GEMMA_4, "word " * 3_000, max_tokens=5_000))[0] == 400


# --- calls in other forms ---------------------------------------------------------------------------------------------
def test_calls_that_are_announced_and_missing(api: Api) -> None:
    with api.sandbox.using_dialect("announced_calls"):
        stream, choice = merge_stream(api), get_choice(api)
    assert stream["finish_reason"] == "tool_calls"
    assert (stream["pieces"], stream["content"]) == ([], "")
    assert choice["message"]["content"].startswith("<|tool_call>call:write_file{")
    assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("name", "called", "arguments"),
    [
        ("garbled_keys", "write_file", {'"path"': '"/home/ann/notes.txt"', '"lines"': "12"}),
        ("split_strings", "write_file", {"path": "/home/ann", '/notes.txt<|"|>,lines': 12}),
        ("garbled_strings", "write_file", {"path": '"/home/ann/notes.txt"', "lines": 12}),
        ("stringified_values", "write_file", {"path": "/home/ann/notes.txt", "lines": "12"}),
        ("namespaced_calls", "default_api.write_file", {"path": "/home/ann/notes.txt", "lines": 12}),
    ],
)
def test_garbled_calls(api: Api, name: str, called: str, arguments: dict[str, Any]) -> None:
    with api.sandbox.using_dialect(name):
        assert get_calls(get_choice(api)) == [(called, arguments)]


def test_a_named_choice_that_is_ignored(api: Api) -> None:
    choice = {"type": "function", "function": {"name": "write_file"}}
    with api.sandbox.using_dialect("other_tool_for_named"):
        assert [name for name, _ in get_calls(get_choice(api, ASKED, WRITE, WEATHER, tool_choice=choice))] == [
            "get_weather"
        ]


def test_other_forms_of_calls(api: Api) -> None:
    with api.sandbox.using_dialect("doubled_calls"):
        doubled = get_choice(api)
    assert len(get_calls(doubled)) == 1
    assert doubled["message"]["content"].startswith("<|tool_call>call:write_file")
    with api.sandbox.using_dialect("stop_beside_calls"):
        assert get_choice(api)["finish_reason"] == "stop"
    with api.sandbox.using_dialect("stray_pieces"):
        assert get_choice(api)["message"]["content"] == "<|too"
    with api.sandbox.using_dialect("empty_for_required"):
        message = get_choice(api, "Hello", WRITE, tool_choice="required")["message"]
        assert (message["content"], message["tool_calls"]) == ("", [])


def test_text_around_calls(api: Api) -> None:
    with api.sandbox.using_dialect("words_before_calls"):
        assert get_choice(api)["message"]["content"] == "Let me see. "
    with api.sandbox.using_dialect("words_after_calls"):
        assert get_choice(api)["message"]["content"] == ""
        stream = merge_stream(api)
    assert stream["content"] == "I wait for it."
    assert stream["pieces"]


def test_empty_events_and_events_with_two_parts(api: Api) -> None:
    def get_deltas(**more: Any) -> list[dict[str, Any]]:
        events = api.get_events(GEMMA_4, ASKED, tools=[WRITE], **{**QUIET, **more})
        return [choice["delta"] for event in events if event != "[DONE]" for choice in event["choices"]]

    with api.sandbox.using_dialect("empty_deltas"):
        assert sum(not delta for delta in get_deltas()) > 3
    plain = merge_stream(api)
    with api.sandbox.using_dialect("shared_deltas"):
        shared = [delta for delta in get_deltas() if "content" in delta and "tool_calls" in delta]
        assert ["name" in delta["tool_calls"][0]["function"] for delta in shared] == [True, False]
        stream = merge_stream(api)
    assert stream["content"] == "Let me see. I wait for it."
    assert [piece["function"] for piece in stream["pieces"]] == [piece["function"] for piece in plain["pieces"]]


def test_calls_without_tools_are_swallowed(api: Api) -> None:
    described = 'Call a tool with {"name": ..., "parameters": ...}. Tools: ' + json.dumps(WRITE) + f"\n{ASKED}"
    with api.sandbox.using_dialect("swallowed_calls"):
        assert get_calls(get_choice(api))
        assert "write_file" not in api.get_text(GEMMA_4, described, **QUIET)


TWO = "Call get_weather for Rome and write_file with path '/a' and lines 1"


def test_the_ids_and_indices_of_streamed_calls(api: Api) -> None:
    with api.sandbox.using_dialect("changing_call_ids"):
        pieces = merge_stream(api, TWO, WRITE, WEATHER)["pieces"]
        assert len({piece["id"] for piece in pieces}) == len(pieces) > 4
    with api.sandbox.using_dialect("calls_at_index_zero"):
        pieces = merge_stream(api, TWO, WRITE, WEATHER)["pieces"]
        assert [piece["index"] for piece in pieces] == [0, 0]
    with api.sandbox.using_dialect("calls_without_index"):
        assert all("index" not in piece for piece in merge_stream(api, TWO, WRITE, WEATHER)["pieces"])


# --- tokens and channels ----------------------------------------------------------------------------------------------
def test_leaked_tokens(api: Api) -> None:
    plain = api.get_text(GEMMA_4, "Hello", **QUIET)
    with api.sandbox.using_dialect("leaked_tokens"):
        assert api.get_text(GEMMA_4, "Hello", **QUIET) == f"{plain}<turn|><eos>"
        assert get_choice(api)["message"]["content"] == "<|tool_response>"
    with api.sandbox.using_dialect("orphan_channel"):
        assert api.get_text(GEMMA_4, "Hello", **QUIET).endswith(f"<channel|>{plain}")
    with api.sandbox.using_dialect("bare_thought"):
        text = api.get_text(GEMMA_4, "Hello", **QUIET)
        assert text.startswith("thought\n")
        assert text.endswith(f"<channel|>{plain}")


def test_everything_in_the_reasoning(api: Api) -> None:
    plain = api.get_text(GEMMA_4, "Hello", **QUIET)
    with api.sandbox.using_dialect("all_in_reasoning"):
        message = api.get_result(GEMMA_4, "Hello", **QUIET)["choices"][0]["message"]
        assert (message["content"], message["reasoning"]) == (None, plain)
        assert "call:write_file" in get_choice(api)["message"]["reasoning"]
        assert merge_stream(api, "Hello")["reasoning"] == plain


# --- constraints ------------------------------------------------------------------------------------------------------
def test_a_constraint_that_covers_the_whole_reply_forbids_calls(api: Api) -> None:
    assert get_calls(get_choice(api, response_format=ENVELOPE))
    with api.sandbox.using_dialect("whole_reply_constraint"):
        choice = get_choice(api, response_format=ENVELOPE)
    assert get_calls(choice) == []
    assert isinstance(json.loads(choice["message"]["content"])["age"], int)


def test_a_call_under_a_constraint_fails(api: Api) -> None:
    body = {"messages": to_messages(ASKED), "tools": [WRITE], "response_format": ENVELOPE, **QUIET}
    with api.sandbox.using_dialect("call_breaks_constraint"):
        assert api.run(GEMMA_4, body).status_code == 500
        reply = api.run(GEMMA_4, {**body, "stream": True})
    assert reply.status_code == 200
    assert read_events(reply.text)[0]["error"]["code"] == 500


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "integer"}, "uniqueItems": True},
        {"type": "array", "contains": {"type": "integer"}},
        {"type": "string", "format": "no-such-format"},
        {"type": "string", "pattern": "(["},
        {"type": "integer", "minimum": 5, "maximum": 1},
        {"enum": []},
        {"$ref": "#/$defs/missing"},
    ],
    ids=lambda schema: next(reversed(schema)),
)
def test_a_schema_that_the_grammar_refuses(api: Api, schema: dict[str, Any]) -> None:
    wrapped = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    status, _, message = get_error(api.send_text(GEMMA_4, "Hello", response_format=wrapped, **QUIET))
    assert (status, "JSON Mode couldn't be met" in message) == (400, True)
    with api.sandbox.using_dialect("grammar_errors"):
        status, _, message = get_error(api.send_text(GEMMA_4, "Hello", response_format=wrapped, **QUIET))
        assert (status, message.startswith("Grammar error: ")) == (400, True)
        reply = api.send_text(GEMMA_4, "Hello", response_format=wrapped, stream=True, **QUIET)
    assert reply.status_code == 200
    assert read_events(reply.text)[0]["error"]["message"].startswith("Grammar error: ")


def test_gemma_4_accepts_both_forms_of_a_schema_on_the_native_route(api: Api) -> None:
    for form in (ENVELOPE, BARE):
        assert json.loads(api.get_text(GEMMA_4, "Ann is 41", response_format=form, **QUIET)) == {"age": 41}
    openai = {"model": GEMMA_4, "messages": to_messages("Ann is 41"), **QUIET}
    assert json.loads(get_text(api.send_chat({**openai, "response_format": ENVELOPE}).json())) == {"age": 41}
    assert get_error(api.send_chat({**openai, "response_format": BARE}))[:2] == (400, 5006)


def test_the_openai_route_unwraps_the_envelope_for_the_older_models(api: Api) -> None:
    for form in (ENVELOPE, BARE):
        body = {"model": SEA_LION, "messages": to_messages("Ann is 41"), "response_format": form}
        assert json.loads(get_text(api.send_chat(body).json())) == {"age": 41}


FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "guided_json": (GEMMA_3, {"guided_json": SCHEMA}),
    "json_object": (GEMMA_4, {"response_format": {"type": "json_object"}, **QUIET}),
    "bare_schema": (GEMMA_4, {"response_format": BARE, **QUIET}),
    "schema_envelope": (GEMMA_4, {"response_format": ENVELOPE, **QUIET}),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_structured_output_can_be_refused_or_ignored(api: Api, form: str) -> None:
    model, body = FORMS[form]
    with api.sandbox.using_dialect(f"refuse_{form}"):
        status, code, message = get_error(api.send_text(model, "Hello", **body))
        assert (status, code, form in message) == (400, 5006, True)
        for other in FORMS.keys() - {form}:
            assert api.send_text(FORMS[other][0], "Hello", **FORMS[other][1]).status_code == 200
    with api.sandbox.using_dialect(f"ignore_{form}"):
        assert api.get_text(model, "Hello", **body).startswith("Hello!")


# --- dialects by name -------------------------------------------------------------------------------------------------
def test_every_dialect_has_its_own_switches() -> None:
    assert list_active_dialects(DOCUMENTED) == ()
    for name in DIALECTS:
        assert name == "documented" or name in list_active_dialects(get_dialect(name))
    both = get_dialect("refuse_json_object", "refuse_bare_schema", "crlf")
    assert set(list_active_dialects(both)) == {"refuse_json_object", "refuse_bare_schema", "crlf"}


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_replies(name: str, sandbox: Sandbox, api: Api) -> None:
    with sandbox.using_dialect(name):
        for model, text, more in (
            (GEMMA_4, ASKED, {"tools": [WRITE]}),
            (GEMMA_3, "Hello", {}),
            (SEA_LION, "Hello", {}),
        ):
            for stream in (True, False):
                assert api.send_text(model, text, stream=stream, max_tokens=300, **more).status_code == 200
