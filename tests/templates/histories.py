"""Hypothesis strategies for histories of every kind."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from tests.helpers.model_calls import PNG_BASE64

IMAGE = {"type": "image", "base64": PNG_BASE64, "mime_type": "image/png"}
_IDS = st.sampled_from(["c1", "c2", "c3"])
_NAMES = st.sampled_from(["f", "g_h"])
_BLANK_CONTENT: list[Any] = ["", [], [""], [{"type": "text", "text": ""}], " \n"]
_ARGUMENTS = st.dictionaries(
    st.sampled_from("abc"), st.sampled_from([1, "x", True, None, [1.5], {"k": "v"}]), max_size=2
)
# Blocks of other providers in an assistant's message.
_FOREIGN_BLOCKS = (
    {"type": "thinking", "thinking": "hm", "signature": "x"},
    {"type": "reasoning", "id": "rs_1", "summary": []},
    {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}},
    {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
    {"type": "refusal", "refusal": "No."},
    {"type": "image_generation_call", "id": "ig_1", "result": PNG_BASE64},
    {"type": "hologram"},
)


@st.composite
def _draw_content(draw: st.DrawFn, *, images: bool = False, blank: bool = True, foreign: bool = False) -> Any:
    kinds = ["text", "text", "blocks"] + ["blank"] * blank + ["images"] * images + ["foreign"] * foreign
    kind = draw(st.sampled_from(kinds))
    if kind == "blank":
        return draw(st.sampled_from(_BLANK_CONTENT))
    if kind == "blocks":
        return ["one", {"type": "text", "text": "two\nlines"}]
    if kind == "images":
        return draw(st.sampled_from([[{"type": "text", "text": "see"}, IMAGE], [IMAGE], [IMAGE, IMAGE, "seen"]]))
    if kind == "foreign":
        return [
            draw(st.sampled_from(_FOREIGN_BLOCKS)),
            {"type": "text", "text": "text", "citations": [], "annotations": []},
        ]
    return draw(st.sampled_from(["words", " in \n\n space ", "{}", "Café"]))


@st.composite
def _draw_assistant_message(draw: st.DrawFn, *, has_calls: bool) -> AIMessage:
    content = draw(_draw_content(foreign=True))
    thought = draw(st.sampled_from(["", "", "a thought"]))
    thoughts = {"reasoning_content": thought} if thought else {}
    calls = [
        {"name": draw(_NAMES), "args": draw(_ARGUMENTS), "id": draw(_IDS), "type": "tool_call"}
        for _ in range(draw(st.integers(1, 3)) if has_calls else 0)
    ]
    return AIMessage(content, tool_calls=calls, additional_kwargs=thoughts)


@st.composite
def _draw_round(draw: st.DrawFn, *, images: bool) -> list[BaseMessage]:
    """Draw calls and their results. Some results may be missing, repeated, in another order or of unknown calls."""
    calling = draw(_draw_assistant_message(has_calls=True))
    ids = [str(call["id"]) for call in calling.tool_calls]
    answered = draw(
        st.one_of(st.just(ids), st.lists(st.sampled_from([*ids, "gone"]), max_size=3), st.permutations(ids))
    )
    results: list[BaseMessage] = [
        ToolMessage(
            draw(_draw_content(images=images)), tool_call_id=call_id, status=draw(st.sampled_from(["success", "error"]))
        )
        for call_id in answered
    ]
    if draw(st.integers(0, 5)) == 0:
        results.insert(draw(st.integers(0, len(results))), SystemMessage("Be brief."))
    return [calling, *results]


@st.composite
def histories(draw: st.DrawFn, *, images: bool) -> list[BaseMessage]:
    """Draw a history, also with system messages anywhere, repeated roles, or the assistant first."""
    messages: list[BaseMessage] = []
    for kind in draw(st.lists(st.sampled_from("SHHARRRTD"), min_size=1, max_size=8)):
        if kind == "S":
            messages.append(SystemMessage(draw(_draw_content())))
        elif kind == "H":
            messages.append(HumanMessage(draw(_draw_content(images=images))))
        elif kind == "A":
            messages.append(draw(_draw_assistant_message(has_calls=False)))
        elif kind == "R":
            messages += draw(_draw_round(images=images))
        elif kind == "T":
            messages.append(ToolMessage(draw(_draw_content(images=images)), tool_call_id=draw(_IDS)))
        else:
            role = draw(st.sampled_from(["system", "user", "assistant"]))
            messages.append(ChatMessage(content=draw(_draw_content()), role=role))
    return messages
