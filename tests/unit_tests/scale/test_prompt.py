"""Fields such as `{text}` in a prompt."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage, SystemMessage

from langchain_workers_gemma.scale.prompt import MissingFieldError, RowPrompt


def render_prompt(prompt: str, row: dict[str, Any]) -> Any:
    """Return the text of the message for a row."""
    [message] = RowPrompt(prompt).build_messages(row)
    return message.content


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text())
def test_text_is_inserted_unchanged(text: str) -> None:
    """Braces in the text of a row are not fields."""
    assert render_prompt("Label: {text}!", {"text": text}) == f"Label: {text}!"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text())
def test_braces_can_be_escaped(text: str) -> None:
    escaped = text.replace("{", "{{").replace("}", "}}")
    assert render_prompt(escaped, {}) == text


@pytest.mark.parametrize("value", [1, 2.5, True, None, [1, "ü"], {"a": {"b": 1}}])
def test_other_values_are_inserted_as_json(value: Any) -> None:
    text = render_prompt("{x}", {"x": value})
    assert json.loads(text) == value
    assert "\\u" not in text


@pytest.mark.parametrize("name", ["text", "review text", "user-id", "größe", "dc:title", "a.b", "0", " "])
def test_a_field_may_have_any_name(name: str) -> None:
    assert RowPrompt(f"{{{name}}}").fields == (name,)
    assert render_prompt(f"{{{name}}}", {name: "x"}) == "x"


@pytest.mark.parametrize("prompt", ["{", "}", "a {", "{}", '{"a": 1}', "{a", "a}", "{a{b}c}", "{a\nb}"])
def test_other_braces_raise_an_error_that_names_the_cure(prompt: str) -> None:
    with pytest.raises(ValueError, match=r"\{\{ and \}\} for literal braces"):
        RowPrompt(prompt)


def test_the_error_for_a_missing_field_names_the_fields_of_the_row() -> None:
    with pytest.raises(MissingFieldError, match=r"names the field 'text', but the row has 'id', 'body'\."):
        render_prompt("{text}", {"id": 1, "body": 2})
    with pytest.raises(MissingFieldError, match="the row has no fields"):
        render_prompt("{text}", {})


def test_a_system_message_is_sent_unchanged() -> None:
    assert RowPrompt("{a}", "Answer as {json}.").build_messages({"a": "b"}) == [
        SystemMessage("Answer as {json}."),
        HumanMessage("b"),
    ]
