"""Tool calls, results and reasoning of a history in the form that Gemma 4's template has for them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from tests.helpers.mock_service import MockService
from tests.helpers.model_calls import CALL_METHODS, GEMMA_4, call_model, make_model
from tests.helpers.template_rules import CALLS, RESULTS, WITHOUT_TOOL_ROLE, make_call, send_history

pytestmark = pytest.mark.lowest

SENT_CALLS = [
    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": "ä"}'}},
    {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
]


def test_gemma_4_calls_and_results_are_native(service: MockService) -> None:
    messages = send_history(
        service,
        GEMMA_4,
        HumanMessage("x"),
        AIMessage("Let me see.", tool_calls=CALLS, additional_kwargs={"reasoning_content": "Hm."}),
        *RESULTS,
        AIMessage("done"),
        HumanMessage("y"),
    )
    assert messages[1] == {"role": "assistant", "content": "", "tool_calls": SENT_CALLS}
    assert messages[2:4] == [
        {"role": "tool", "content": "one", "tool_call_id": "c1"},
        {"role": "tool", "content": "The call failed:\ntwo", "tool_call_id": "c2"},
    ]


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_gemma_4_reasoning_and_text_beside_calls_are_replayed_within_a_tool_loop(
    service: MockService, call_method: str
) -> None:
    reasoning = {"reasoning_content": "Hm."}
    history = [
        HumanMessage("x"),
        AIMessage("Let me see.", tool_calls=CALLS, additional_kwargs=reasoning),
        *RESULTS,
        AIMessage("", tool_calls=[make_call("f", "c1")], additional_kwargs={"reasoning_content": "Again."}),
        ToolMessage("three", tool_call_id="c1"),
    ]
    call_model(make_model(), call_method, history)
    thoughts = [(message.get("reasoning"), message.get("reasoning_content")) for message in service.last_messages]
    assert [thought for thought in thoughts if any(thought)] == [("Hm.\n\nLet me see.",) * 2, ("Again.",) * 2]
    assert all(message["content"] == "" for message in service.last_messages if message["role"] == "assistant")


@pytest.mark.parametrize("set_by", ["field", "call"])
def test_gemma_4_reasoning_is_not_replayed_if_replay_reasoning_is_never(service: MockService, set_by: str) -> None:
    history = [
        HumanMessage("x"),
        AIMessage("", tool_calls=CALLS, additional_kwargs={"reasoning_content": "Hm."}),
        *RESULTS,
    ]
    llm: Any = (
        make_model(replay_reasoning="never") if set_by == "field" else make_model().bind(replay_reasoning="never")
    )
    call_model(llm, "invoke", history)
    assert "Hm." not in json.dumps(service.last_messages)
    assert not any("reasoning" in key for message in service.last_messages for key in message)


@pytest.mark.parametrize("model", WITHOUT_TOOL_ROLE)
def test_reasoning_is_not_sent_to_models_without_thinking(service: MockService, model: str) -> None:
    reasoning = {"reasoning_content": "Hm."}
    messages = send_history(
        service, model, HumanMessage("x"), AIMessage("", tool_calls=CALLS, additional_kwargs=reasoning), *RESULTS
    )
    assert "Hm." not in json.dumps(messages)


REASONING_MESSAGES: dict[str, AIMessage] = {
    "ours": AIMessage("", additional_kwargs={"reasoning_content": "Hm."}),
    "v1": AIMessage([{"type": "reasoning", "reasoning": "Hm."}]),
    "anthropic": AIMessage([{"type": "thinking", "thinking": "Hm.", "signature": "x"}]),
    "openai": AIMessage([{"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "Hm."}]}]),
}


@pytest.mark.parametrize("form", REASONING_MESSAGES)
def test_gemma_4_reasoning_is_read_from_every_message_form(service: MockService, form: str) -> None:
    message = REASONING_MESSAGES[form].model_copy(update={"tool_calls": [make_call("f", "c1")]})
    messages = send_history(service, GEMMA_4, HumanMessage("x"), message, ToolMessage("y", tool_call_id="c1"))
    assert messages[1]["reasoning"] == "Hm."


def test_gemma_4_text_of_the_message_before_calls_becomes_reasoning(service: MockService) -> None:
    """After an assistant message, the template would render the calls of the next one outside of any turn."""
    history = [HumanMessage("x"), AIMessage("One."), AIMessage("Two.", tool_calls=[make_call("f", "c1")])]
    messages = send_history(service, GEMMA_4, *history, ToolMessage("y", tool_call_id="c1"))
    assert [message["role"] for message in messages] == ["user", "assistant", "tool"]
    assert messages[1]["reasoning"] == "One.\n\nTwo."
    older = send_history(
        service, GEMMA_4, *history, ToolMessage("y", tool_call_id="c1"), AIMessage("z"), HumanMessage("?")
    )
    assert [message["role"] for message in older] == [
        "user",
        "assistant",
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]
    assert older[1]["content"] == "One."
