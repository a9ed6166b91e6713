"""`{field}` in a prompt."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage, SystemMessage

from langchain_workers_gemma.scale.prompt import MissingFieldError, RowPrompt


def ask(prompt: str, row: dict[str, Any]) -> Any:
    [message] = RowPrompt(prompt).build_messages(row)
    return message.content


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text())
def test_text_goes_in_as_it_is(text: str) -> None:
    """Braces in a row's text are no fields."""
    assert ask("Label: {text}!", {"text": text}) == f"Label: {text}!"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text())
def test_braces_can_be_escaped(text: str) -> None:
    escaped = text.replace("{", "{{").replace("}", "}}")
    assert ask(escaped, {}) == text


@pytest.mark.parametrize("value", [1, 2.5, True, None, [1, "ü"], {"a": {"b": 1}}])
def test_other_values_go_in_as_json(value: Any) -> None:
    text = ask("{x}", {"x": value})
    assert json.loads(text) == value
    assert "\\u" not in text


@pytest.mark.parametrize("name", ["text", "review text", "user-id", "größe", "dc:title", "a.b", "0", " "])
def test_a_field_may_have_any_name(name: str) -> None:
    assert RowPrompt(f"{{{name}}}").fields == (name,)
    assert ask(f"{{{name}}}", {name: "x"}) == "x"


@pytest.mark.parametrize("prompt", ["{", "}", "a {", "{}", '{"a": 1}', "{a", "a}", "{a{b}c}", "{a\nb}"])
def test_other_braces_are_an_error_that_names_the_cure(prompt: str) -> None:
    with pytest.raises(ValueError, match=r"\{\{ and \}\} for literal braces"):
        RowPrompt(prompt)


def test_a_missing_field_is_named_with_those_that_are_there() -> None:
    with pytest.raises(MissingFieldError, match=r"names the field 'text', but the row has 'id', 'body'\."):
        ask("{text}", {"id": 1, "body": 2})
    with pytest.raises(MissingFieldError, match="the row has no fields"):
        ask("{text}", {})


def test_a_system_message_is_sent_as_it_is() -> None:
    assert RowPrompt("{a}", "Answer as {json}.").build_messages({"a": "b"}) == [
        SystemMessage("Answer as {json}."),
        HumanMessage("b"),
    ]
