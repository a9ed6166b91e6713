"""Tool results in a history: they are matched to their calls, and a call without a result gets one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from tests.helpers.mock_service import MockService
from tests.helpers.model_calls import CHAT_MODELS, GEMMA_3, GEMMA_4, call_model, make_model
from tests.helpers.template_rules import CALLS, IMAGE, RESULTS, make_call, send_history

pytestmark = pytest.mark.lowest


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_call_without_a_result_gets_a_placeholder(service: MockService, model: str) -> None:
    messages = send_history(
        service, model, HumanMessage("x"), AIMessage("", tool_calls=CALLS), ToolMessage("two", tool_call_id="c2")
    )
    results = [message["content"] for message in messages[2:]]
    if model == GEMMA_4:
        assert results == ["The call has no result.", "two"]
        assert [message["tool_call_id"] for message in messages[2:]] == ["c1", "c2"]
    else:
        assert results == ["The call f has no result.\n\nResult of the call g:\ntwo"]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_calls_at_the_end_of_a_history_get_placeholder_results(service: MockService, model: str) -> None:
    messages = send_history(service, model, HumanMessage("x"), AIMessage("", tool_calls=[make_call("f", "c1")]))
    assert messages[-1]["role"] == ("tool" if model == GEMMA_4 else "user")
    assert "has no result" in messages[-1]["content"]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_late_result_is_announced_and_follows_the_user_message(service: MockService, model: str) -> None:
    messages = send_history(
        service,
        model,
        HumanMessage("x"),
        AIMessage("", tool_calls=[make_call("f", "c1")]),
        HumanMessage("Hello?"),
        ToolMessage("42", tool_call_id="c1"),
    )
    text = "\n".join(message["content"] for message in messages)
    assert "follows below" in text
    assert messages[-1]["content"].endswith("Hello?\n\nResult of the call f:\n42")


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_result_belongs_to_the_nearest_earlier_call_with_its_id(service: MockService, model: str) -> None:
    messages = send_history(
        service,
        model,
        HumanMessage("x"),
        AIMessage("", tool_calls=[make_call("f", "c1")]),
        ToolMessage("one", tool_call_id="c1"),
        AIMessage("", tool_calls=[make_call("g", "c1")]),
        ToolMessage("two", tool_call_id="c1"),
    )
    if model == GEMMA_4:
        assert [message["content"] for message in messages if message["role"] == "tool"] == ["one", "two"]
    else:
        assert messages[2]["content"] == "Result of the call f:\none"
        assert messages[4]["content"] == "Result of the call g:\ntwo"


def test_calls_of_one_message_with_the_same_id_get_unique_ids(service: MockService) -> None:
    messages = send_history(
        service,
        GEMMA_4,
        HumanMessage("x"),
        AIMessage("", tool_calls=[make_call("f", "c1"), make_call("g", "c1")]),
        ToolMessage("one", tool_call_id="c1"),
        ToolMessage("two", tool_call_id="c1"),
    )
    ids = [tool_call["id"] for tool_call in messages[1]["tool_calls"]]
    assert len(set(ids)) == 2
    assert [(message["tool_call_id"], message["content"]) for message in messages[2:]] == list(
        zip(ids, ["one", "two"], strict=True)
    )


def test_results_are_sent_in_the_order_of_their_calls(service: MockService) -> None:
    messages = send_history(service, GEMMA_4, HumanMessage("x"), AIMessage("", tool_calls=CALLS), *reversed(RESULTS))
    assert [message["tool_call_id"] for message in messages[2:]] == ["c1", "c2"]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_several_text_blocks_of_a_result_are_on_separate_lines(service: MockService, model: str) -> None:
    blocks: list[Any] = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    messages = send_history(
        service,
        model,
        HumanMessage("x"),
        AIMessage("", tool_calls=[make_call("f", "c1")]),
        ToolMessage(blocks, tool_call_id="c1"),
    )
    assert messages[-1]["content"].endswith("one\ntwo")


@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_4])
def test_images_in_results_name_their_call(service: MockService, model: str) -> None:
    messages = send_history(
        service,
        model,
        HumanMessage("x"),
        AIMessage(
            "",
            tool_calls=[
                make_call("camera", "c1", at="door"),
                make_call("camera", "c2", at="gate"),
                make_call("f", "c3"),
            ],
        ),
        ToolMessage([IMAGE], tool_call_id="c1"),
        ToolMessage(["Night.", IMAGE, IMAGE], tool_call_id="c2"),
        ToolMessage("two", tool_call_id="c3"),
    )
    assert "(no output)" not in json.dumps(messages)
    parts = [part.get("text", "IMAGE") for part in messages[-1]["content"]]
    if model == GEMMA_4:
        assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool", "tool", "user"]
        assert messages[2]["content"] == "The result is an image, which follows below."
        assert messages[3]["content"] == "Night."
        assert parts[0] == "Image in the result of the call camera (1 of 2):\n"
        assert parts[2] == "\n\nImages in the result of the call camera (2 of 2):\n"
    else:
        assert parts[0] == "Result of the call camera (1 of 2):\n"
        assert parts[2] == "\n\nResult of the call camera (2 of 2):\nNight."
    assert parts.count("IMAGE") == 3


def test_gemma_4_a_result_without_a_call_does_not_separate_the_other_results(service: MockService) -> None:
    messages = send_history(
        service,
        GEMMA_4,
        HumanMessage("x"),
        AIMessage("", tool_calls=[make_call("f", "c1"), make_call("g", "c2")]),
        ToolMessage("one", tool_call_id="c1"),
        ToolMessage("lost", tool_call_id="gone"),
        ToolMessage("two", tool_call_id="c2"),
    )
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool", "user"]


def test_gemma_4_a_system_message_between_a_call_and_its_result_is_moved_after_the_result(service: MockService) -> None:
    messages = send_history(
        service,
        GEMMA_4,
        HumanMessage("x"),
        AIMessage("", tool_calls=[make_call("f", "c1")]),
        SystemMessage("Be quick."),
        ToolMessage("one", tool_call_id="c1"),
        HumanMessage("y"),
    )
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "user"]
    assert messages[-1]["content"] == "Be quick.\n\ny"


class Color(Enum):
    RED = "red"


@dataclass
class Point:
    x: int


NON_JSON_VALUES: dict[str, tuple[Any, Any]] = {
    "infinity": (float("inf"), "Infinity"),
    "minus infinity": (float("-inf"), "-Infinity"),
    "not a number": ([float("nan"), 1.5], ["NaN", 1.5]),
    "datetime": (datetime(2026, 5, 30, 12, tzinfo=UTC), "2026-05-30T12:00:00+00:00"),
    "date": ({"day": date(2026, 5, 30)}, {"day": "2026-05-30"}),
    "decimal": (Decimal("1.50"), "1.50"),
    "uuid": (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    "path": (PurePosixPath("/a"), "/a"),
    "set": ({1}, [1]),
    "bytes": (b"abc", "abc"),
    "binary": (b"\xff", "/w=="),
    "enum": (Color.RED, "red"),
    "dataclass": (Point(1), {"x": 1}),
    "keys": ({1: "a", None: "b", Color.RED: "c", date(2026, 5, 30): "d"}, {
        "1": "a", "null": "b", "red": "c", "2026-05-30": "d"
    }),
}  # fmt: skip


@pytest.mark.parametrize("model", CHAT_MODELS)
@pytest.mark.parametrize("case", NON_JSON_VALUES)
def test_arguments_that_are_not_json_types_are_converted(service: MockService, model: str, case: str) -> None:
    value, expected = NON_JSON_VALUES[case]
    message = AIMessage("", tool_calls=[make_call("f", "c1", a=value)])
    messages = send_history(service, model, HumanMessage("x"), message, ToolMessage("y", tool_call_id="c1"))
    if model == GEMMA_4:
        arguments = messages[1]["tool_calls"][0]["function"]["arguments"]
    else:
        arguments = messages[1]["content"].removeprefix('{"name": "f", "parameters": ').removesuffix("}")
    parsed = json.loads(arguments, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert parsed == {"a": expected}


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_arguments_that_contain_themselves_raise(service: MockService, model: str) -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    message = AIMessage("", tool_calls=[make_call("f", "c1", a=circle)])
    with pytest.raises(ValueError, match="contains itself"):
        call_model(make_model(model=model), "invoke", [HumanMessage("x"), message, ToolMessage("y", tool_call_id="c1")])
    assert not service.requests
