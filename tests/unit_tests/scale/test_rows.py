"""Rows: read from JSON Lines, and written back unchanged."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_workers_gemma.scale import rows as rows_module
from langchain_workers_gemma.scale.rows import (
    RESULT_FIELDS,
    JsonlReader,
    Result,
    Row,
    enumerate_rows,
    merge,
    to_output_line,
)

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.text(max_size=8), VALUES, max_size=5)
DONE = Result("an answer", {"total_tokens": 3}, 0.5)


def read_lines(data: bytes) -> list[Row]:
    """Return the rows in JSON Lines."""
    return list(JsonlReader(io.BytesIO(data)))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(OBJECTS, max_size=6), st.sampled_from(["\n", "\r\n", "\n\n \n"]), st.booleans(), st.booleans())
def test_every_row_is_read_once_and_in_order(rows: list[Any], end: str, ascii_only: bool, last_end: bool) -> None:
    lines = [json.dumps(row, ensure_ascii=ascii_only) for row in rows]
    text = end.join(lines) + (end if last_end else "")
    found = read_lines(text.encode("utf-8", "surrogatepass"))
    assert [row.index for row in found] == list(range(len(rows)))
    assert [row.data for row in found if row.error is None] == [
        row for row, line in zip(rows, lines, strict=True) if _is_utf8(line)
    ]


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(OBJECTS, VALUES)
def test_an_output_row_is_the_input_row_plus_the_result(row: dict[str, Any], output: Any) -> None:
    line = json.dumps(row).encode()
    [found] = read_lines(line)
    result = Result(output, {"total_tokens": 3}, 0.25)
    written = json.loads(to_output_line(found, result))
    assert written == {**row, "output": output, "usage": {"total_tokens": 3}, "cost_usd": 0.25}
    assert written == merge(found, result)


@pytest.mark.parametrize(
    "line",
    [
        b'{"n": 1.10, "big": 123456789012345678901234567890, "e": 1E400}',
        b'{"u": "\\u00fc\\ud83d\\ude00", "half": "\\ud83d", "slash": "\\/"}',
        b'{ "spaces" :  1 , "a": {"b": [1,2 , 3]}  }  ',
    ],
)
def test_the_text_of_an_input_row_is_kept(line: bytes) -> None:
    [row] = read_lines(line + b"\n")
    written = to_output_line(row, DONE)
    assert written.startswith(line.strip()[:-1].rstrip())
    assert json.loads(written)["output"] == "an answer"
    assert written.count(b"\n") == 1


def test_fields_are_added_to_an_empty_object() -> None:
    [row] = read_lines(b"{}")
    assert to_output_line(row, Result(error="no")) == b'{"error": "no"}\n'


def test_fields_of_an_earlier_run_are_replaced() -> None:
    [row] = read_lines(b'{"id": 1, "output": "old", "error": "old", "cost_usd": 9}')
    assert json.loads(to_output_line(row, DONE)) == {"id": 1, **DONE.to_fields()}
    assert json.loads(to_output_line(row, Result(error="new"))) == {"id": 1, "error": "new"}
    assert set(DONE.to_fields()) | {"error"} == set(RESULT_FIELDS)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"not json", "not JSON"),
        (b'{"cut": "of', "not JSON"),
        (b"[1, 2]", "must be a JSON object, not list"),
        (b"null", "must be a JSON object, not NoneType"),
        (b'"text"', "must be a JSON object, not str"),
        (b'{"x": NaN}', "NaN is not a JSON number"),
        (b'{"x": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"x": "\xff"}', "not JSON"),
        (b'{"x": %s}' % (b"9" * 5000), "not JSON"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_an_invalid_line_becomes_a_row_with_an_error_and_the_text(line: bytes, message: str) -> None:
    before, bad, after = read_lines(b'{"a": 1}\n' + line + b'\n{"a": 2}\n')
    assert (before.data, after.data) == ({"a": 1}, {"a": 2})
    assert bad.error is not None
    assert message in bad.error
    written = json.loads(to_output_line(bad, Result(error=bad.error)))
    assert written == {"raw": line.decode("utf-8", "replace"), "error": bad.error}


def test_a_line_that_is_too_long_is_not_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "MAX_LINE_BYTES", 5000)
    long = b'{"a": "' + b"x" * 20_000 + b'"}'
    first, second = read_lines(long + b'\n{"a": 2}\n')
    assert first.error == "The row is longer than 5,000 bytes."
    assert len(to_output_line(first, Result(error=first.error))) < 2000
    assert second.data == {"a": 2}


def test_a_byte_order_mark_is_not_part_of_the_first_row() -> None:
    assert read_lines(b'\xef\xbb\xbf{"a": 1}')[0].data == {"a": 1}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=200))
def test_a_survey_does_not_depend_on_parsing(data: bytes) -> None:
    parsed = JsonlReader(io.BytesIO(data))
    rows = list(parsed)
    survey = JsonlReader(io.BytesIO(data)).survey()
    assert parsed.survey() == survey
    assert (survey.rows, survey.size) == (len(rows), len(data))
    assert JsonlReader(io.BytesIO(data + b"x")).survey() != survey


def test_rows_that_are_not_mappings_get_an_error() -> None:
    good, bad = enumerate_rows([{"a": 1}, 7])
    assert (good.data, good.error) == ({"a": 1}, None)
    assert bad.error == "The row must be a mapping, not int."


def test_a_lone_surrogate_in_an_output_is_escaped() -> None:
    [row] = read_lines(b'{"a": 1}')
    assert json.loads(to_output_line(row, Result("\ud83d"))) == {
        **row.data,
        "output": "\ud83d",
        "usage": None,
        "cost_usd": None,
    }
