"""`map_rows`, with runnables that need no service."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from langchain_workers_gemma import ChatWorkersGemma
from langchain_workers_gemma.scale import InputChangedError, map_rows
from langchain_workers_gemma.scale import local as local_module
from langchain_workers_gemma.scale import plan as plan_module
from tests.helpers.dataset_rows import CONNECTION_ERROR, OVERFLOW_ERROR, ScriptedRunnable, make_output_row, make_rows

pytestmark = pytest.mark.usefixtures("no_delays")


def test_rows_of_an_iterable_return_in_order() -> None:
    rows = map_rows(iter(make_rows(50)), ScriptedRunnable({7: [OVERFLOW_ERROR], 9: [CONNECTION_ERROR]}))
    found = list(rows)
    expected: list[dict[str, Any]] = [make_output_row(row) for row in make_rows(50)]
    expected[7] = {**make_rows(8)[7], "error": "ContextOverflowError: too long"}
    assert found == expected
    assert (rows.report.succeeded, rows.report.failed) == (49, 1)
    assert list(rows) == []


def test_the_run_starts_when_the_first_row_is_read() -> None:
    runnable = ScriptedRunnable()
    threads = threading.active_count()
    rows = map_rows(make_rows(5), runnable)
    assert not runnable.call_counts
    assert threading.active_count() == threads
    assert len(list(rows)) == 5


def test_an_iterable_is_read_only_as_far_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    from langchain_workers_gemma.scale import emitters

    monkeypatch.setattr(emitters, "_MAX_QUEUED_ROWS", 10)
    monkeypatch.setattr(plan_module, "MAX_WINDOW_ROWS", 10)
    taken = 0

    def endless() -> Iterator[dict[str, Any]]:
        nonlocal taken
        while True:
            taken += 1
            yield {"id": taken, "text": "x"}

    with map_rows(endless(), ScriptedRunnable(), max_concurrency=2) as rows:
        for _ in range(100):
            next(rows)
        assert taken <= 100 + 10 + 10 + 2 + 1


def test_closing_stops_the_run_and_keeps_rows_in_progress(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    first = ScriptedRunnable()
    with map_rows(make_rows(5000), first, journal=journal, max_concurrency=4) as rows:
        next(rows)
    first_calls = first.call_counts.total()
    assert first_calls < 5000
    second = ScriptedRunnable()
    found = list(map_rows(make_rows(5000), second, journal=journal))
    assert found == [make_output_row(row) for row in make_rows(5000)]
    assert first.call_counts + second.call_counts == dict.fromkeys(range(5000), 1)


def test_an_abandoned_iterator_stops_its_run() -> None:
    rows = map_rows(({"id": index, "text": "x"} for index in range(10**9)), ScriptedRunnable())
    next(rows)
    thread = rows._thread
    del rows
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


def test_changed_rows_raise(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    list(map_rows(make_rows(3), ScriptedRunnable(), journal=journal))
    changed = [*make_rows(2), {"id": 2, "text": "other"}]
    with pytest.raises(InputChangedError, match="Row 2 has changed"):
        list(map_rows(changed, ScriptedRunnable(), journal=journal))


def test_an_error_of_the_iterable_is_raised_after_the_rows_before_it() -> None:
    def broken() -> Iterator[dict[str, Any]]:
        yield from make_rows(2)
        raise RuntimeError("the database is gone")

    found: list[dict[str, Any]] = []
    with pytest.raises(RuntimeError, match="the database is gone"):
        found.extend(map_rows(broken(), ScriptedRunnable(), max_concurrency=1))
    assert found == [make_output_row(row) for row in make_rows(2)]


def test_rows_that_are_not_mappings_get_an_error() -> None:
    rows: list[Any] = [7, *make_rows(1)]
    first, second = map_rows(rows, ScriptedRunnable())
    assert first == {"error": "The row must be a mapping, not int."}
    assert second["output"] == "ROW 0"


def test_a_chat_model_needs_a_prompt() -> None:
    llm = ChatWorkersGemma(account_id="a", api_token="secret-token")
    with pytest.raises(ValueError, match="prompt is missing"):
        map_rows(make_rows(1), llm)


def test_progress_of_an_iterable_is_written_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(list(map_rows(make_rows(3), ScriptedRunnable(), show_progress=True))) == 3
    assert "100% |####################| 3/3 rows" in capsys.readouterr().err
    list(map_rows(iter(make_rows(3)), ScriptedRunnable(), show_progress=True))
    assert "\n3 rows, " in capsys.readouterr().err


def test_a_full_queue_never_stalls_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the consumer wakes the run here: if it missed one wake-up, the test would never end."""
    from langchain_workers_gemma.scale import emitters

    async def wait(self: local_module.Wake, seconds: float) -> None:
        await self._event.wait()
        self._event.clear()

    monkeypatch.setattr(local_module.Wake, "wait", wait)
    monkeypatch.setattr(emitters, "_MAX_QUEUED_ROWS", 2)
    monkeypatch.setattr(plan_module, "MAX_WINDOW_ROWS", 3)
    assert len(list(map_rows(make_rows(3000), ScriptedRunnable(), max_concurrency=2))) == 3000
