"""Histories of every kind, made to fit the chat template of each generation of Gemma (docs/wire.md section 6)."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from tests.helpers.asking import (
    CHAT_MODELS,
    GEMMA_2B_LORA,
    GEMMA_3,
    GEMMA_4,
    GEMMA_7B,
    GEMMA_7B_LORA,
    PNG,
    SEA_LION,
    WAYS,
    WEATHER,
    Service,
    ask,
    gemma,
)

GEMMA_1 = (GEMMA_7B, GEMMA_2B_LORA, GEMMA_7B_LORA)
WITHOUT_TOOL_ROLE = tuple(model for model in CHAT_MODELS if model != GEMMA_4)
IMAGE = {"type": "image", "base64": PNG, "mime_type": "image/png"}


def call(name: str, call_id: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "args": arguments, "id": call_id, "type": "tool_call"}


def wire(service: Service, model: str, *messages: BaseMessage, **options: Any) -> list[dict[str, Any]]:
    """The messages that are sent, as the template's rules allow them."""
    llm = gemma(model=model)
    ask(llm.bind_tools([WEATHER], **options) if options else llm, "invoke", list(messages))
    check(model, service.messages)
    return service.messages


def talk(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in messages]


# --- An independent reading of the templates' rules -------------------------------------------------------------------


def check(model: str, messages: list[dict[str, Any]]) -> None:
    """Refuse what the model's own template would refuse."""
    for message in messages:
        assert isinstance(message["content"], str | list), "content is never null"
        if isinstance(message["content"], list):
            assert message["content"]
            assert model in (GEMMA_3, GEMMA_4), "one string as content"
        assert message.keys() <= {"role", "content", "tool_calls", "tool_call_id"}
    rest = messages
    if messages[0]["role"] == "system":
        assert model not in GEMMA_1, "System role not supported"
        rest = messages[1:]
    assert rest, "a system message alone is no conversation"
    assert rest[0]["role"] == "user"
    if model != GEMMA_4:
        for number, message in enumerate(rest):
            expected = ("user", "assistant")[number % 2]
            assert message["role"] == expected, "Conversation roles must alternate user/assistant/user/assistant/..."
            assert "tool_calls" not in message
        return
    open_calls: set[str] = set()
    for earlier, message in zip([{"role": ""}, *rest], rest, strict=False):
        role = message["role"]
        assert role in ("user", "assistant", "tool"), "System message must be at the beginning"
        if role == "tool":
            assert message["tool_call_id"] in open_calls, "a result answers a call right before it"
            continue
        assert role != earlier["role"] or earlier.get("tool_calls"), "neighbours of one role merge"
        open_calls = {made["id"] for made in message.get("tool_calls", ())}
        for made in message.get("tool_calls", ()):
            assert isinstance(json.loads(made["function"]["arguments"]), dict)
            assert made["function"]["name"]


# --- System messages --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_4, SEA_LION])
def test_leading_system_messages_merge_into_one(service: Service, model: str, way: str) -> None:
    asked = [
        SystemMessage("One."),
        ChatMessage(content="Two.", role="developer"),
        SystemMessage("Three."),
        HumanMessage("Hi"),
    ]
    ask(gemma(model=model), way, asked)
    assert talk(service.messages) == [("system", "One.\n\nTwo.\n\nThree."), ("user", "Hi")]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", GEMMA_1)
def test_gemma_1_system_role_not_supported(service: Service, model: str, way: str) -> None:
    ask(gemma(model=model), way, [SystemMessage("One."), SystemMessage("Two."), HumanMessage("Hi")])
    assert talk(service.messages) == [("user", "One.\n\nTwo.\n\nHi")]


@pytest.mark.parametrize("model", GEMMA_1)
def test_gemma_1_system_then_assistant(service: Service, model: str) -> None:
    messages = wire(service, model, SystemMessage("Be brief."), AIMessage("Hello!"), HumanMessage("Hi"))
    assert talk(messages) == [("user", "Be brief."), ("assistant", "Hello!"), ("user", "Hi")]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_system_message_alone(service: Service, model: str) -> None:
    assert talk(wire(service, model, SystemMessage("Tell a joke."))) == [("user", "Tell a joke.")]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_later_system_message_folds_into_the_next_user_turn(service: Service, model: str) -> None:
    messages = wire(
        service,
        model,
        HumanMessage("a"),
        AIMessage("b"),
        SystemMessage("Now be formal."),
        HumanMessage("c"),
        AIMessage("d"),
        HumanMessage("e"),
    )
    assert talk(messages) == [
        ("user", "a"),
        ("assistant", "b"),
        ("user", "Now be formal.\n\nc"),
        ("assistant", "d"),
        ("user", "e"),
    ]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_system_message_at_the_end(service: Service, model: str) -> None:
    messages = wire(service, model, HumanMessage("a"), AIMessage("b"), SystemMessage("Sum up."))
    assert talk(messages) == [("user", "a"), ("assistant", "b"), ("user", "Sum up.")]


def test_gemma_4_system_message_must_be_at_the_beginning(service: Service) -> None:
    messages = wire(
        service, GEMMA_4, SystemMessage("s"), HumanMessage("a"), SystemMessage("t"), AIMessage("b"), HumanMessage("c")
    )
    assert talk(messages) == [("system", "s"), ("user", "a\n\nt"), ("assistant", "b"), ("user", "c")]


# --- Alternation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", [GEMMA_3, SEA_LION, GEMMA_4])
def test_system_user_user_gives_a_500(service: Service, model: str, way: str) -> None:
    ask(gemma(model=model), way, [SystemMessage("s"), HumanMessage("a"), HumanMessage("b")])
    assert talk(service.messages) == [("system", "s"), ("user", "a\n\nb")]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_neighbours_of_one_role_merge(service: Service, model: str) -> None:
    messages = wire(
        service, model, HumanMessage("a"), HumanMessage("b"), AIMessage("c"), AIMessage("d"), HumanMessage("e")
    )
    assert talk(messages) == [("user", "a\n\nb"), ("assistant", "c\n\nd"), ("user", "e")]


@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_4])
def test_neighbours_with_images_merge(service: Service, model: str) -> None:
    messages = wire(service, model, HumanMessage(["a", IMAGE]), HumanMessage([IMAGE, "b"]))
    (message,) = messages
    assert [part.get("text", part["type"]) for part in message["content"]] == [
        "a",
        "image_url",
        "\n\n",
        "image_url",
        "b",
    ]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_history_that_starts_with_the_assistant(service: Service, model: str) -> None:
    messages = wire(service, model, AIMessage("How can I help?"), HumanMessage("Hi"))
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[0]["content"].strip(), "an opening that is not empty"
    assert talk(messages[1:]) == [("assistant", "How can I help?"), ("user", "Hi")]


@pytest.mark.parametrize("model", [GEMMA_3, SEA_LION, GEMMA_4])
def test_system_then_assistant(service: Service, model: str) -> None:
    messages = wire(service, model, SystemMessage("s"), AIMessage("How can I help?"), HumanMessage("Hi"))
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_an_assistant_that_said_nothing_is_no_turn(service: Service, model: str) -> None:
    messages = wire(service, model, HumanMessage("a"), AIMessage(""), HumanMessage("b"), AIMessage([""]))
    assert talk(messages) == [("user", "a\n\nb")]


# --- Tool calls and results as text: Gemma 1 to 3 ---------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", WITHOUT_TOOL_ROLE)
def test_calls_and_results_become_text(service: Service, model: str, way: str) -> None:
    asked = [
        HumanMessage("Weather in Zürich?"),
        AIMessage("", tool_calls=[call("get_weather", "c1", city="Zürich")]),
        ToolMessage("sunny", tool_call_id="c1"),
    ]
    ask(gemma(model=model), way, asked)
    check(model, service.messages)
    assert talk(service.messages) == [
        ("user", "Weather in Zürich?"),
        ("assistant", '{"name": "get_weather", "parameters": {"city": "Zürich"}}'),
        ("user", "Result of the call get_weather:\nsunny"),
    ]


@pytest.mark.parametrize("tool_calling", ["prompt", "guided_json", "native"])
def test_calls_as_text_whatever_the_method(service: Service, tool_calling: str) -> None:
    asked = [
        HumanMessage("Weather?"),
        AIMessage("Let me see.", tool_calls=[call("get_weather", "c1", city="Bonn")]),
        ToolMessage("sunny", tool_call_id="c1"),
    ]
    ask(gemma(model=GEMMA_3, tool_calling=tool_calling).bind_tools([WEATHER]), "invoke", asked)
    check(GEMMA_3, service.messages)
    without_system = [message for message in service.messages if message["role"] != "system"]
    assert talk(without_system)[1:] == [
        ("assistant", 'Let me see.\n\n{"name": "get_weather", "parameters": {"city": "Bonn"}}'),
        ("user", "Result of the call get_weather:\nsunny"),
    ]


@pytest.mark.parametrize("model", WITHOUT_TOOL_ROLE)
def test_a_failed_tool_is_told(service: Service, model: str) -> None:
    messages = wire(
        service,
        model,
        HumanMessage("x"),
        AIMessage("", tool_calls=[call("f", "c1")]),
        ToolMessage("no such city", tool_call_id="c1", status="error"),
    )
    assert messages[-1]["content"] == "The call f failed:\nno such city"


@pytest.mark.parametrize("model", WITHOUT_TOOL_ROLE)
def test_a_silent_result_is_not_empty(service: Service, model: str) -> None:
    messages = wire(
        service,
        model,
        HumanMessage("x"),
        AIMessage("", tool_calls=[call("f", "c1")]),
        ToolMessage("", tool_call_id="c1"),
    )
    assert messages[-1]["content"] == "Result of the call f:\n(no output)"


@pytest.mark.parametrize("model", WITHOUT_TOOL_ROLE)
def test_parallel_calls(service: Service, model: str) -> None:
    messages = wire(
        service,
        model,
        HumanMessage("x"),
        AIMessage("", tool_calls=[call("f", "c1", a=1), call("g", "c2", b=[True, None])]),
        ToolMessage("one", tool_call_id="c1"),
        ToolMessage("two", tool_call_id="c2", status="error"),
        HumanMessage("And now?"),
    )
    assert talk(messages)[1:] == [
        ("assistant", '[{"name": "f", "parameters": {"a": 1}}, {"name": "g", "parameters": {"b": [true, null]}}]'),
        ("user", "Result of the call f:\none\n\nThe call g failed:\ntwo\n\nAnd now?"),
    ]


@pytest.mark.parametrize("model", WITHOUT_TOOL_ROLE)
def test_several_rounds(service: Service, model: str) -> None:
    history: list[BaseMessage] = [SystemMessage("s"), HumanMessage("x")]
    for number in range(3):
        history += [
            AIMessage("", tool_calls=[call("f", f"c{number}", n=number)]),
            ToolMessage(f"result {number}", tool_call_id=f"c{number}"),
        ]
    messages = wire(service, model, *history, AIMessage("done"), HumanMessage("thanks"))
    roles = [message["role"] for message in messages if message["role"] != "system"]
    assert roles == ["user", "assistant"] * 4 + ["user"]


def test_images_in_results_gemma_3(service: Service) -> None:
    messages = wire(
        service,
        GEMMA_3,
        HumanMessage("x"),
        AIMessage("", tool_calls=[call("camera", "c1")]),
        ToolMessage([{"type": "text", "text": "a photo"}, IMAGE], tool_call_id="c1"),
    )
    assert [part.get("text", part["type"]) for part in messages[-1]["content"]] == [
        "Result of the call camera:\na photo",
        "image_url",
    ]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_orphaned_results(service: Service, model: str) -> None:
    messages = wire(service, model, ToolMessage("42", tool_call_id="gone", name="f"), HumanMessage("x"))
    assert talk(messages) == [("user", "Result of the call f:\n42\n\nx")]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_orphaned_results_without_a_name(service: Service, model: str) -> None:
    messages = wire(service, model, HumanMessage("x"), ToolMessage("42", tool_call_id="gone", status="error"))
    assert talk(messages) == [("user", "x\n\nThe call with id gone failed:\n42")]


INVALID = {"type": "invalid_tool_call", "id": "c1", "name": "f", "args": '{"a": ', "error": "cut"}


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_an_invalid_call_that_was_answered_is_kept(service: Service, model: str) -> None:
    messages = wire(
        service,
        model,
        HumanMessage("x"),
        AIMessage("", invalid_tool_calls=[INVALID]),
        ToolMessage("Your arguments were cut.", tool_call_id="c1", status="error"),
    )
    assert [message["role"] for message in messages][:2] == ["user", "assistant"]
    assert '{\\"a\\": ' in json.dumps(messages[1]) or "unreadable" in json.dumps(messages[1])
    assert "Your arguments were cut." in messages[2]["content"]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_an_invalid_call_that_nobody_answered_is_left_out(service: Service, model: str) -> None:
    messages = wire(service, model, HumanMessage("x"), AIMessage("", invalid_tool_calls=[INVALID]), HumanMessage("y"))
    assert talk(messages) == [("user", "x\n\ny")]


# --- Gemma 4: tool calls and results are native -----------------------------------------------------------------------


def test_gemma_4_calls_and_results(service: Service) -> None:
    messages = wire(
        service,
        GEMMA_4,
        HumanMessage("x"),
        AIMessage("Let me see.", tool_calls=[call("f", "c1", a="ä"), call("g", "c2")]),
        ToolMessage("one", tool_call_id="c1"),
        ToolMessage("two", tool_call_id="c2", status="error"),
        AIMessage("done"),
        HumanMessage("y"),
    )
    assert messages[1] == {
        "role": "assistant",
        "content": "Let me see.",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": "ä"}'}},
            {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }
    assert messages[2:4] == [
        {"role": "tool", "content": "one", "tool_call_id": "c1"},
        {"role": "tool", "content": "two", "tool_call_id": "c2"},
    ]


def test_gemma_4_images_in_results_follow_in_a_user_turn(service: Service) -> None:
    messages = wire(
        service,
        GEMMA_4,
        HumanMessage("x"),
        AIMessage("", tool_calls=[call("camera", "c1"), call("f", "c2")]),
        ToolMessage([IMAGE], tool_call_id="c1"),
        ToolMessage("two", tool_call_id="c2"),
    )
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool", "user"]
    assert messages[2]["content"] == "(no output)"
    assert [part["type"] for part in messages[-1]["content"]] == ["text", "image_url"]
    assert "camera" in messages[-1]["content"][0]["text"]


def test_gemma_4_an_orphaned_result_does_not_part_the_others(service: Service) -> None:
    messages = wire(
        service,
        GEMMA_4,
        HumanMessage("x"),
        AIMessage("", tool_calls=[call("f", "c1"), call("g", "c2")]),
        ToolMessage("one", tool_call_id="c1"),
        ToolMessage("lost", tool_call_id="gone"),
        ToolMessage("two", tool_call_id="c2"),
    )
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool", "user"]


def test_gemma_4_a_system_message_between_a_call_and_its_result(service: Service) -> None:
    messages = wire(
        service,
        GEMMA_4,
        HumanMessage("x"),
        AIMessage("", tool_calls=[call("f", "c1")]),
        SystemMessage("Be quick."),
        ToolMessage("one", tool_call_id="c1"),
        HumanMessage("y"),
    )
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "user"]
    assert messages[-1]["content"] == "Be quick.\n\ny"


def test_arguments_that_json_does_not_know(service: Service) -> None:
    message = AIMessage("", tool_calls=[call("f", "c1", when={"nested": {1, 2}.__class__.__name__})])
    wire(service, GEMMA_4, HumanMessage("x"), message, ToolMessage("y", tool_call_id="c1"))


# --- Any history ------------------------------------------------------------------------------------------------------

_IDS = st.sampled_from(["c1", "c2", "c3", "c4"])
_NAMES = st.sampled_from(["f", "g_h"])
_COUNTER = re.compile(r"w\d+q")


@st.composite
def _content(draw: st.DrawFn, words: list[str], *, empty: bool = True, images: bool = False) -> Any:
    def word() -> str:
        words.append(f"w{len(words)}q")
        return words[-1]

    kind = draw(st.sampled_from(["text", "blocks", "empty", "image"]))
    if kind == "empty" and empty:
        return draw(st.sampled_from(["", [], [""], [{"type": "text", "text": ""}]]))
    if kind == "blocks":
        return [word(), {"type": "text", "text": " " + word()}]
    if kind == "image" and images:
        return [{"type": "text", "text": word()}, IMAGE]
    return word()


@st.composite
def _histories(draw: st.DrawFn, *, images: bool) -> tuple[list[BaseMessage], list[str]]:
    words: list[str] = []
    messages: list[BaseMessage] = []
    for kind in draw(st.lists(st.sampled_from("SHATCD"), min_size=1, max_size=9)):
        if kind == "S":
            messages.append(SystemMessage(draw(_content(words))))
        elif kind == "H":
            messages.append(HumanMessage(draw(_content(words, images=images))))
        elif kind == "A":
            messages.append(AIMessage(draw(_content(words))))
        elif kind == "D":
            role = draw(st.sampled_from(["system", "user", "assistant"]))
            messages.append(ChatMessage(content=draw(_content(words)), role=role))
        elif kind == "T":
            status = draw(st.sampled_from(["success", "error"]))
            messages.append(ToolMessage(draw(_content(words, images=images)), tool_call_id=draw(_IDS), status=status))
        else:
            content = draw(_content(words))
            calls = []
            for call_id in draw(st.lists(_IDS, min_size=1, max_size=3, unique=True)):
                words.append(f"w{len(words)}q")
                calls.append(call(draw(_NAMES), call_id, a=words[-1]))
            messages.append(AIMessage(content, tool_calls=calls))
    return messages, words


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_any_history_fits_the_template_and_keeps_every_word(model: str) -> None:
    sent: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.content)
        return httpx.Response(200, json={"result": {"response": "Hi"}, "success": True})

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        llm = gemma(model=model, http_client=client)

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
        @given(_histories(images=model in (GEMMA_3, GEMMA_4)))
        def fits(history: tuple[list[BaseMessage], list[str]]) -> None:
            asked, words = history
            llm.invoke(asked)
            text = sent.pop().decode()
            check(model, json.loads(text)["messages"])
            assert sorted(_COUNTER.findall(text)) == sorted(words)

        fits()
