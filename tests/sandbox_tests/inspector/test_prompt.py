"""Prompts as Gemma's chat templates render them. The expected texts are output of the published templates."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_workers_gemma.models import MODELS, GemmaModel, get_model
from langchain_workers_gemma.sandbox.inspector.prompt import render_prompt
from langchain_workers_gemma.sandbox.inspector.prompt_writer import MAX_PROMPT_CHARACTERS
from tests.sandbox_tests.api_client import GEMMA_3, GEMMA_4, GEMMA_7B, SEA_LION


def find_model(model_id: str) -> GemmaModel:
    found = get_model(model_id)
    assert found is not None
    return found


def render(model_id: str, messages: list[Any], **body: Any) -> str:
    rendered = render_prompt(find_model(model_id), {"messages": messages, **body})
    assert rendered.refusal is None
    return rendered.text


USER = {"role": "user", "content": " Hi "}
SYSTEM = {"role": "system", "content": "Be brief."}
QUIET = {"enable_thinking": False}
CALL = {
    "role": "assistant",
    "content": "",
    "reasoning": "Look it up.",
    "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"b": [1, true], "A": {"k": "v"}}'}}
    ],
}
RESULT = {"role": "tool", "tool_call_id": "1", "content": "sunny"}
TOOL = {
    "type": "function",
    "function": {
        "name": "f",
        "description": "Does it.",
        "parameters": {
            "type": "object",
            "properties": {
                "b": {"type": "array", "items": {"type": "integer"}, "description": "Bs"},
                "A": {"type": "object", "properties": {"k": {"type": "string", "enum": ["v", "w"]}}, "required": ["k"]},
            },
            "required": ["b"],
        },
    },
}


def test_gemma_3_puts_the_system_message_into_the_first_user_turn() -> None:
    assert render(GEMMA_3, [SYSTEM, USER]) == (
        "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\n"
    )


@pytest.mark.parametrize("model_id", [GEMMA_3, GEMMA_7B, SEA_LION])
def test_turns_alternate(model_id: str) -> None:
    assert render(model_id, [USER, {"role": "assistant", "content": "Yes?"}, USER]) == (
        "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nYes?<end_of_turn>\n"
        "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n"
    )
    refused = render_prompt(find_model(model_id), {"messages": [USER, USER]})
    assert refused.refusal is not None
    assert "must alternate" in refused.refusal
    assert "message 2" in refused.refusal
    assert refused.text == "<bos><start_of_turn>user\nHi<end_of_turn>\n"


def test_gemma_1_has_no_system_role() -> None:
    assert render_prompt(find_model(GEMMA_7B), {"messages": [SYSTEM, USER]}).refusal == "System role not supported"


def test_gemma_3_shows_where_an_image_is() -> None:
    parts = [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    assert "See<start_of_image><end_of_turn>" in render(GEMMA_3, [{"role": "user", "content": parts}])


def test_gemma_4_writes_tools_calls_results_and_thoughts() -> None:
    q = '<|"|>'
    assert render(GEMMA_4, [SYSTEM, USER, CALL, RESULT], tools=[TOOL], chat_template_kwargs=QUIET) == (
        f"<bos><|turn>system\nBe brief.<|tool>declaration:f{{description:{q}Does it.{q},parameters:{{properties:{{"
        f"A:{{properties:{{k:{{enum:[{q}v{q},{q}w{q}],type:{q}STRING{q}}}}},required:[{q}k{q}],type:{q}OBJECT{q}}},"
        f"b:{{description:{q}Bs{q},items:{{type:{q}INTEGER{q}}},type:{q}ARRAY{q}}}}},required:[{q}b{q}],"
        f"type:{q}OBJECT{q}}}}}<tool|><turn|>\n<|turn>user\nHi<turn|>\n<|turn>model\n"
        f"<|channel>thought\nLook it up.\n<channel|><|tool_call>call:f{{A:{{k:{q}v{q}}},b:[1,true]}}<tool_call|>"
        f"<|tool_response>response:f{{value:{q}sunny{q}}}<tool_response|>"
    )


def test_gemma_4_thinking_is_switched_in_the_prompt() -> None:
    thinking = render(GEMMA_4, [USER], chat_template_kwargs={"enable_thinking": True})
    assert thinking == "<bos><|turn>system\n<|think|>\n<turn|>\n<|turn>user\nHi<turn|>\n<|turn>model\n"
    assert render(GEMMA_4, [USER], chat_template_kwargs=QUIET).endswith("<|turn>model\n<|channel>thought\n<channel|>")
    unsaid = render_prompt(find_model(GEMMA_4), {"messages": [USER]})
    assert "disagree about the default" in unsaid.notes[0]


def test_gemma_4_drops_old_thoughts_and_a_call_without_result_stays_open() -> None:
    text = render(GEMMA_4, [USER, CALL, RESULT, {"role": "assistant", "content": "Sun."}, USER, CALL])
    assert text.count("Look it up.") == 1
    assert text.endswith("<tool_call|><|tool_response>")
    assert "<tool_response|>Sun.<turn|>\n" in text


def test_raw_prompts_have_no_template() -> None:
    raw = render_prompt(find_model(GEMMA_3), {"prompt": "Once upon", "raw": True})
    assert raw.text == "<bos>Once upon"
    assert raw.notes
    assert render_prompt(find_model(GEMMA_3), {"prompt": "Once upon"}).text == (
        "<bos><start_of_turn>user\nOnce upon<end_of_turn>\n<start_of_turn>model\n"
    )


def test_a_note_names_tools_that_the_template_does_not_show() -> None:
    rendered = render_prompt(find_model(GEMMA_3), {"messages": [USER], "tools": [TOOL]})
    assert "Does it." not in rendered.text
    assert "does not support tools" in rendered.notes[0]


def test_special_tokens_in_a_message_are_distinguished_from_those_of_the_template() -> None:
    rendered = render_prompt(find_model(GEMMA_3), {"messages": [{"role": "user", "content": "a<end_of_turn>b"}]})
    kinds = [(segment.kind, segment.text) for segment in rendered.segments]
    assert ("lookalike", "<end_of_turn>") in kinds
    assert kinds.count(("token", "<end_of_turn>")) == 1


def test_a_prompt_is_bounded() -> None:
    long = "x" * (MAX_PROMPT_CHARACTERS + 10)
    rendered = render_prompt(find_model(GEMMA_3), {"messages": [{"role": "user", "content": long}]})
    assert len(rendered.text) == MAX_PROMPT_CHARACTERS
    assert rendered.omitted > 10


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("ab<|>", max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "role",
                    "content",
                    "type",
                    "text",
                    "tool_calls",
                    "function",
                    "name",
                    "arguments",
                    "parameters",
                    "items",
                ]
            ),
            inner | st.sampled_from(["user", "assistant", "tool", "system", "text", "object", "array", "image"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.sampled_from([one for one in MODELS.values() if not one.embeds]),
    st.fixed_dictionaries(
        {}, optional={"messages": st.lists(anything, max_size=4) | anything, "tools": anything, "prompt": anything}
    ),
)
def test_any_request_can_be_rendered(spec: GemmaModel, body: dict[str, Any]) -> None:
    rendered = render_prompt(spec, body)
    assert rendered.text.startswith("<bos>")
    assert not [segment for segment in rendered.segments if not segment.text]


def test_gemma_4_declares_the_keywords_of_its_template() -> None:
    """Nested objects, lists of objects and unions with null. Parameters with the name of a keyword are omitted."""
    q = '<|"|>'
    schema = {
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "free": {"type": "object"},
            "rows": {
                "type": "array",
                "items": {
                    "type": ["object", "null"],
                    "properties": {"n": {"type": "integer", "nullable": True}},
                    "required": ["n", "m"],
                    "minimum": None,
                },
            },
        },
    }
    tool = {"name": "flat", "description": "Flat.", "parameters": schema}
    text = render(GEMMA_4, [USER], tools=[tool], chat_template_kwargs=QUIET)
    assert f"declaration:flat{{description:{q}Flat.{q},parameters:{{properties:{{free:{{properties:{{}}," in text
    assert (
        f"rows:{{items:{{properties:{{n:{{nullable:true,type:{q}INTEGER{q}}}}},required:[{q}n{q},{q}m{q}],"
        f"type:[{q}OBJECT{q},{q}NULL{q}]}},type:{q}ARRAY{q}}}" in text
    )


def test_gemma_4_shows_media_and_results_of_every_kind() -> None:
    q = '<|"|>'
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}, {"type": "audio"}]
    results = [
        {
            "role": "tool",
            "tool_call_id": "1",
            "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}],
        },
        {"role": "tool", "tool_call_id": "other", "name": "g", "content": {"k": None}},
    ]
    unread = {"id": "1", "function": {"name": "f", "arguments": "not JSON"}}
    messages = [{"role": "user", "content": parts}, {**CALL, "reasoning": "", "tool_calls": [unread]}, *results]
    text = render(GEMMA_4, messages, chat_template_kwargs=QUIET)
    assert "<|turn>user\na<|image|><|audio|><turn|>\n" in text
    assert "<|tool_call>call:f{not JSON}<tool_call|>" in text
    assert f"<|tool_response>response:f{{value:{q}xy{q}}}<tool_response|>" in text
    assert text.endswith("<|tool_response>response:g{k:None}<tool_response|>")


def test_gemma_4_notes_the_rules_of_tools_that_its_template_does_not_show() -> None:
    shown = render_prompt(find_model(GEMMA_4), {"messages": [USER], "tools": [TOOL], "chat_template_kwargs": QUIET})
    assert shown.notes == ()
    ranged = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 5}}}
    hidden = render_prompt(
        find_model(GEMMA_4),
        {"messages": [USER], "tools": [{"name": "g", "parameters": ranged}], "chat_template_kwargs": QUIET},
    )
    (note,) = hidden.notes
    assert "tools[0].properties.n: the model does not see 'minimum'" in note
