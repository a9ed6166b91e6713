"""The journal: results that survive a kill at any byte."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from langchain_workers_gemma.scale import map_file
from langchain_workers_gemma.scale.errors import InputChangedError, JournalInUseError
from langchain_workers_gemma.scale.journal import Journal
from langchain_workers_gemma.scale.plan import Permit
from langchain_workers_gemma.scale.rows import Result, Row, Survey
from tests.helpers.dataset_rows import COST, ScriptedRunnable, make_output_row, make_rows, read_rows, write_rows

SETTINGS = {"prompt": "Say {text}", "model": "gemma"}
SURVEY = Survey(3, 100, "abc")
ROWS = [Row(index, {"id": index}) for index in range(3)]


def make_result(output: str) -> dict[str, Any]:
    """Return the fields of a result."""
    return {"output": output, "usage": {"total_tokens": 5}, "cost_usd": COST}


def write_journal(path: Path) -> None:
    """Write a run of three rows: one succeeded, one failed, one has no reply."""
    with Journal(path, SETTINGS, SURVEY) as journal:
        for number in range(3):
            journal.write(Permit(number, 0.002).to_record())
        journal.write({"settled": [0], "paid": COST, "row": 2, **make_result("zwei")}, ROWS[2])
        journal.write({"settled": [1], "row": 0, "error": "no"}, ROWS[0])


def test_a_journal_keeps_results_costs_and_lost_replies(tmp_path: Path) -> None:
    write_journal(tmp_path / "journal")
    with Journal(tmp_path / "journal", SETTINGS, SURVEY) as journal:
        assert journal.get_result(ROWS[2]) == Result(**make_result("zwei"))
        assert journal.get_result(ROWS[0]) is None  # an error is retried
        assert journal.get_result(ROWS[1]) is None
        assert journal.get_result(Row(9_999, {})) is None
        assert (journal.next_permit, journal.lost) == (3, 1)
        assert journal.spent == pytest.approx(COST + 0.002)
        assert journal.largest_cost == COST


def test_the_last_line_of_a_row_is_used(tmp_path: Path) -> None:
    write_journal(tmp_path / "journal")
    with Journal(tmp_path / "journal", SETTINGS, SURVEY) as journal:
        journal.write({"row": 0, **make_result("null")}, ROWS[0])
        journal.write({"row": 2, "error": "never"}, ROWS[2])
    with Journal(tmp_path / "journal", SETTINGS, SURVEY) as journal:
        assert journal.get_result(ROWS[0]) == Result(**make_result("null"))
        assert journal.get_result(ROWS[2]) is None


def test_a_journal_truncated_at_any_byte_keeps_complete_lines(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    write_journal(path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with Journal(path, SETTINGS, SURVEY) as journal:
            journal.write({"row": 1, **make_result("eins")}, ROWS[1])
        lines = path.read_bytes().splitlines()
        complete = whole[:length].count(b"\n")
        assert lines[:complete] == whole.splitlines()[:complete]
        assert [json.loads(line) for line in lines]  # no incomplete line remains
        with Journal(path, SETTINGS, SURVEY) as journal:
            assert journal.get_result(ROWS[1]) == Result(**make_result("eins"))
            assert (journal.get_result(ROWS[2]) is not None) == (complete >= 5)


@pytest.mark.parametrize("tail", [b"\0" * 4096, b'{"row": 1, "outp', b"\xff\xfe\n", b"[1]\n", b"{\n\0\0"])
def test_an_unreadable_end_is_removed(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "journal"
    write_journal(path)
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    with Journal(path, SETTINGS, SURVEY) as journal:
        assert journal.get_result(ROWS[2]) == Result(**make_result("zwei"))
    assert path.read_bytes() == whole


def test_a_damaged_line_affects_only_its_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "journal"
    write_journal(path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[4] = b"X" + lines[4][1:]
    path.write_bytes(b"".join(lines))
    with caplog.at_level(logging.WARNING), Journal(path, SETTINGS, SURVEY) as journal:
        assert journal.get_result(ROWS[2]) is None
    assert "1 lines cannot be read. Their rows are sent again" in caplog.text


@pytest.mark.parametrize(
    ("settings", "survey", "message"),
    [
        ({**SETTINGS, "prompt": "Other"}, SURVEY, "prompt changed"),
        ({**SETTINGS, "prompt": "Other", "model": "b"}, SURVEY, "model, prompt changed"),
        (SETTINGS, Survey(4, 100, "abc"), "The input has changed"),
        (SETTINGS, Survey(3, 100, "abd"), "The input has changed"),
        (SETTINGS, None, "The input has changed"),
    ],
)
def test_another_input_or_other_settings_raise(tmp_path: Path, settings: Any, survey: Any, message: str) -> None:
    path = tmp_path / "journal"
    write_journal(path)
    before = path.read_bytes()
    with pytest.raises(InputChangedError, match=message):
        Journal(path, settings, survey)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"my notes\n", b'{"format": 99}\n', b'{"a": 1}\n{"b": 2}\n'])
def test_a_file_that_is_not_a_journal_is_unchanged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal"
    path.write_bytes(content)
    with pytest.raises(InputChangedError, match="is not a journal"):
        Journal(path, SETTINGS, SURVEY)
    assert path.read_bytes() == content


def test_a_second_run_on_a_journal_raises(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path, SETTINGS, SURVEY), pytest.raises(JournalInUseError, match="Another run is writing to"):
        Journal(path, SETTINGS, SURVEY)
    Journal(path, SETTINGS, SURVEY).close()


def test_without_a_survey_each_row_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path, SETTINGS) as journal:
        journal.write({"row": 1, **make_result("eins")}, ROWS[1])
    with Journal(path, SETTINGS) as journal:
        assert journal.get_result(Row(1, {"id": 1})) == Result(**make_result("eins"))
        with pytest.raises(InputChangedError, match="Row 1 has changed"):
            journal.get_result(Row(1, {"id": 7}))


def test_a_run_continues_from_a_journal_truncated_at_any_line(tmp_path: Path) -> None:
    """With any part of the journal, the output is the same, and only lost rows are sent."""
    source, target = write_rows(tmp_path / "in.jsonl", make_rows(6)), tmp_path / "out.jsonl"
    journal = tmp_path / "out.jsonl.journal"
    assert map_file(source, target, ScriptedRunnable(), max_concurrency=3).complete
    expected = target.read_bytes()
    whole = journal.read_bytes()
    for length in range(0, len(whole), 37):
        journal.write_bytes(whole[:length])
        target.write_bytes(expected[: length % 100])
        known_rows = whole[:length].rpartition(b"\n")[0].count(b'"output"')
        runnable = ScriptedRunnable()
        report = map_file(source, target, runnable, max_concurrency=3)
        assert target.read_bytes() == expected
        assert runnable.call_counts.total() == 6 - known_rows
        assert (report.succeeded, report.resumed) == (6, known_rows)
    assert read_rows(target) == [make_output_row(row) for row in make_rows(6)]
