"""`map_file`, with runnables that need no service; and what `map_file` and `map_rows` share."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.runnables import RunnableLambda

from langchain_workers_gemma import ChatWorkersGemma, errors
from langchain_workers_gemma.scale import InputChangedError, JournalInUseError, map_file, map_rows
from langchain_workers_gemma.scale import local as local_module
from langchain_workers_gemma.scale import plan as plan_module
from tests.helpers.dataset_rows import (
    CONNECTION_ERROR,
    COST,
    OVERFLOW_ERROR,
    ScriptedRunnable,
    make_answer,
    make_output_row,
    make_rows,
    read_rows,
    write_rows,
)

QUOTA_ERROR = errors.QuotaExceededError("used up", status_code=429, code=3036)
pytestmark = pytest.mark.usefixtures("no_delays")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "in.jsonl", make_rows(20))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


# --- Files ------------------------------------------------------------------------------------------------------------


def test_each_row_gets_output_usage_and_cost(source: Path, target: Path) -> None:
    report = map_file(source, target, ScriptedRunnable())
    assert read_rows(target) == [make_output_row(row) for row in make_rows(20)]
    assert report.complete
    assert (report.rows, report.succeeded, report.requests) == (20, 20, 20)
    assert report.cost_usd == pytest.approx(20 * COST)


def test_rows_are_in_order_although_they_finish_in_reverse(source: Path, target: Path) -> None:
    turns = {index: asyncio.Event() for index in range(20)}

    async def last_first(row: dict[str, Any]) -> Any:
        if row["id"] < 19:
            await turns[row["id"]].wait()
        if row["id"]:
            turns[row["id"] - 1].set()
        return make_answer(row["text"].upper())

    map_file(source, target, RunnableLambda(lambda row: row["text"], afunc=last_first), max_concurrency=20)
    assert [row["id"] for row in read_rows(target)] == list(range(20))


def test_bad_rows_have_an_error_and_the_run_continues(tmp_path: Path, target: Path) -> None:
    source = tmp_path / "in.jsonl"
    rows = [json.dumps(row) for row in make_rows(4)]
    source.write_text("\n".join([rows[0], "{broken", rows[1], "[3]", "", rows[2], '{"id": 9}', rows[3]]))
    report = map_file(source, target, ScriptedRunnable({2: [OVERFLOW_ERROR]}))
    assert read_rows(target) == [
        make_output_row(make_rows(1)[0]),
        {"raw": "{broken", "error": "The row is not JSON: Expecting property name enclosed in double quotes: "
         "line 1 column 2 (char 1)"},
        make_output_row(make_rows(2)[1]),
        {"raw": "[3]", "error": "The row must be a JSON object, not list."},
        {"id": 2, "text": "row 2", "error": "ContextOverflowError: too long"},
        {"id": 9, "error": "KeyError: 'text'"},
        make_output_row(make_rows(4)[3]),
    ]  # fmt: skip
    assert (report.succeeded, report.failed, report.complete) == (3, 4, False)


def test_retryable_errors_are_retried(source: Path, target: Path) -> None:
    runnable = ScriptedRunnable({3: [CONNECTION_ERROR] * 4, 5: [CONNECTION_ERROR] * 99})
    report = map_file(source, target, runnable)
    assert runnable.call_counts[3] == 5
    assert runnable.call_counts[5] == plan_module.MAX_ATTEMPTS
    assert read_rows(target)[5] == {"id": 5, "text": "row 5", "error": "APIConnectionError: a glitch"}
    assert (report.succeeded, report.failed) == (19, 1)


def test_a_second_run_repeats_only_failed_rows(source: Path, target: Path) -> None:
    map_file(source, target, ScriptedRunnable({4: [OVERFLOW_ERROR], 7: [OVERFLOW_ERROR]}))
    second = ScriptedRunnable()
    report = map_file(source, target, second)
    assert dict(second.call_counts) == {4: 1, 7: 1}
    assert read_rows(target) == [make_output_row(row) for row in make_rows(20)]
    assert report.complete
    assert report.resumed == 18
    assert report.cost_usd == pytest.approx(20 * COST)
    third = ScriptedRunnable()
    assert map_file(source, target, third).complete
    assert not third.call_counts


def test_a_quota_ends_the_run_and_a_later_run_continues(source: Path, target: Path) -> None:
    first = ScriptedRunnable({6: [QUOTA_ERROR]})
    report = map_file(source, target, first, max_concurrency=1)
    rows = read_rows(target)
    assert rows[:6] == [make_output_row(row) for row in make_rows(6)]
    assert rows[6:] == [{**row, "error": "Not sent: QuotaExceededError: used up"} for row in make_rows(20)[6:]]
    assert first.call_counts.total() == 7
    assert report.stopped is not None
    assert "min. Run again then to continue" in report.stopped
    assert map_file(source, target, ScriptedRunnable()).complete
    assert read_rows(target) == [make_output_row(row) for row in make_rows(20)]


def test_the_cost_limit_counts_earlier_runs(source: Path, target: Path) -> None:
    limit = 10 * COST
    report = map_file(source, target, ScriptedRunnable(), max_cost=limit, max_concurrency=4)
    done = report.succeeded
    assert 8 <= done <= 10
    assert report.cost_usd <= limit
    second = ScriptedRunnable()
    assert map_file(source, target, second, max_cost=limit).stopped
    assert not second.call_counts
    assert map_file(source, target, second, max_cost=1.0).complete
    assert second.call_counts.total() == 20 - done


def test_a_reply_without_a_price_stops_a_run_with_a_cost_limit(source: Path, target: Path) -> None:
    runnable = ScriptedRunnable(cost=None)
    report = map_file(source, target, runnable, max_cost=1.0)
    assert report.stopped is not None
    assert "no price is published" in report.stopped
    assert runnable.call_counts.total() == 1
    assert map_file(source, target, ScriptedRunnable(cost=None)).complete
    assert read_rows(target)[1] == make_output_row(make_rows(2)[1], None)


def test_a_changed_input_raises_before_any_request(source: Path, target: Path) -> None:
    map_file(source, target, ScriptedRunnable({3: [OVERFLOW_ERROR]}))
    before, runnable = target.read_bytes(), ScriptedRunnable()
    for text in (source.read_text().replace("row 3", "row three"), source.read_text() + '{"id": 20, "text": "x"}\n'):
        source.write_text(text)
        with pytest.raises(InputChangedError, match="The input has changed since"):
            map_file(source, target, runnable)
    assert target.read_bytes() == before
    assert not runnable.call_counts


def test_an_input_that_changes_during_the_run_raises(source: Path, target: Path) -> None:
    def change(row: dict[str, Any]) -> str:
        if row["id"] == 19:
            with source.open("a") as file:
                file.write('{"id": 20}\n')
        return "x"

    with pytest.raises(InputChangedError, match="changed while it was read"):
        map_file(source, target, RunnableLambda(change), max_concurrency=1)


def test_an_output_without_its_journal_is_not_overwritten(source: Path, target: Path) -> None:
    target.write_text("precious\n")
    with pytest.raises(ValueError, match=r"its journal 'out\.jsonl\.journal' does not, so it is not overwritten"):
        map_file(source, target, ScriptedRunnable())
    assert target.read_text() == "precious\n"
    target.write_text("")
    assert map_file(source, target, ScriptedRunnable()).complete


def test_unusable_files_raise(source: Path, target: Path, tmp_path: Path) -> None:
    for invalid_source, invalid_target, message in (
        (tmp_path / "none.jsonl", target, "does not exist"),
        (tmp_path, target, "must be a regular file"),
        (source, tmp_path / "none" / "out.jsonl", "The folder of the output"),
        (source, source, "must be a regular file, and not the input"),
        (source, tmp_path, "must be a regular file, and not the input"),
    ):
        with pytest.raises(ValueError, match=message):
            map_file(invalid_source, invalid_target, ScriptedRunnable())


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_concurrency": 0}, "max_concurrency=0 must be at least 1"),
        ({"rate": 0}, "rate=0 must be a number of requests a minute above 0"),
        ({"rate": float("inf")}, "rate=inf"),
        ({"rate": float("nan")}, "rate=nan"),
        ({"max_cost": -1}, "max_cost=-1 must be a number of US dollars above 0"),
    ],
)
def test_invalid_limits_raise(source: Path, target: Path, limits: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        map_file(source, target, ScriptedRunnable(), **limits)
    with pytest.raises(ValueError, match=message):
        map_rows([], ScriptedRunnable(), **limits)


def test_a_cost_limit_needs_a_price(source: Path, target: Path) -> None:
    llm = ChatWorkersGemma(model="@cf/google/gemma-2b-it-lora", account_id="a", api_token="secret-token")
    with pytest.raises(ValueError, match="'@cf/google/gemma-2b-it-lora' on 'cloudflare' has none"):
        map_file(source, target, llm, prompt="{text}", max_cost=1.0)


def test_an_empty_input_gives_an_empty_output(tmp_path: Path, target: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", [])
    assert map_file(source, target, ScriptedRunnable()).complete
    assert target.read_bytes() == b""


async def test_files_can_be_mapped_inside_a_running_event_loop(source: Path, target: Path) -> None:
    """For example in a notebook."""
    assert map_file(source, target, ScriptedRunnable()).complete
    assert [row["output"] for row in map_rows(make_rows(2), ScriptedRunnable())] == ["ROW 0", "ROW 1"]


def test_a_second_run_on_the_same_output_raises(source: Path, target: Path) -> None:
    refused: list[Exception] = []

    def nested(row: dict[str, Any]) -> str:
        if row["id"] == 0:
            try:
                map_file(source, target, ScriptedRunnable())
            except JournalInUseError as error:
                refused.append(error)
        return "x"

    assert map_file(source, target, RunnableLambda(nested), max_concurrency=1).complete
    assert len(refused) == 1


def test_a_journal_that_cannot_be_written_ends_the_run(source: Path, target: Path, monkeypatch: Any) -> None:
    from langchain_workers_gemma.scale.journal import Journal

    write = Journal.write

    def full(self: Journal, record: Any, row: Any = None) -> None:
        if record is not None and record.get("row") == 5:
            raise OSError(28, "No space left on device")
        write(self, record, row)

    monkeypatch.setattr(Journal, "write", full)
    with pytest.raises(OSError, match="No space left"):
        map_file(source, target, ScriptedRunnable(), max_concurrency=1)
    monkeypatch.undo()
    second = ScriptedRunnable()
    assert map_file(source, target, second).complete
    assert second.call_counts.total() == 15
    assert read_rows(target) == [make_output_row(row) for row in make_rows(20)]


def test_progress_is_written_to_standard_error(source: Path, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    map_file(source, target, ScriptedRunnable(), show_progress=True)
    output = capsys.readouterr()
    assert "100% |####################| 20/20 rows" in output.err
    assert output.out == ""


# --- Limits -----------------------------------------------------------------------------------------------------------


def test_the_rate_limits_every_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a fake clock that advances only while the run waits."""
    now = 1000.0
    sent: list[float] = []

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now

    async def wait(self: local_module.Wake, seconds: float) -> None:
        nonlocal now
        await asyncio.sleep(0)
        now += min(seconds, 1.0)

    class Timed(ScriptedRunnable):
        def invoke(self, input: dict[str, Any], config: Any = None, **kwargs: Any) -> Any:  # noqa: A002 - core's name
            sent.append(now)
            return super().invoke(input, config)

    monkeypatch.setattr(local_module, "time", Clock)
    monkeypatch.setattr(local_module.Wake, "wait", wait)
    failures: dict[int, list[Exception]] = {index: [CONNECTION_ERROR] for index in range(0, 40, 2)}
    assert len(list(map_rows(make_rows(40), Timed(failures), rate=60, max_concurrency=8))) == 40
    assert len(sent) == 60
    assert all(later - earlier >= 0.999 for earlier, later in itertools.pairwise(sent))


def test_every_call_of_a_row_counts_as_a_request() -> None:
    model = GenericFakeChatModel(messages=itertools.cycle(["yes"]))
    chain = RunnableLambda(lambda row: row["text"]) | model | RunnableLambda(lambda message: message.text) | model
    rows = map_rows(make_rows(20), chain, rate=60_000, max_concurrency=4)
    assert [row["output"] for row in rows] == ["yes"] * 20
    assert rows.report.requests == 40


def test_a_stopped_run_makes_no_further_call_of_a_row() -> None:
    model = GenericFakeChatModel(messages=itertools.cycle(["yes"]))

    def stop(message: Any) -> str:
        rows._emitter.abandon()  # as `close` does
        return str(message.text)

    calls: list[Any] = []
    chain: Any = (
        RunnableLambda(lambda row: row["text"]) | model | stop | model | (lambda message: calls.append(message))
    )
    rows = map_rows(make_rows(1), chain)
    list(rows)
    assert calls == []


def test_at_most_max_concurrency_rows_run_at_once() -> None:
    running = most = 0

    async def count(row: dict[str, Any]) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(50):
            await asyncio.sleep(0)
        running -= 1
        return "x"

    assert len(list(map_rows(make_rows(100), RunnableLambda(str, afunc=count), max_concurrency=7))) == 100
    assert most == 7


def test_memory_does_not_grow_with_the_size_of_the_files(tmp_path: Path) -> None:
    """Without streaming, the peaks for 300 and 1,500 rows of 10 kB would differ by several times 12 MB."""

    def peak(count: int) -> int:
        source = write_rows(tmp_path / f"{count}.jsonl", ({"id": i, "text": "x" * 10_000} for i in range(count)))
        runnable = ScriptedRunnable()
        gc.collect()
        tracemalloc.start()
        try:
            assert map_file(source, tmp_path / f"{count}.out", runnable, max_concurrency=4).complete
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)
    assert peak(1_500) < peak(300) + 2_000_000


def test_importing_scale_imports_neither_dask_nor_langchain_core() -> None:
    code = (
        "import sys, langchain_workers_gemma, langchain_workers_gemma.scale; "
        "print([name for name in sys.modules if name.split('.')[0] in ('dask', 'distributed', 'langchain_core')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_all_public_names_are_importable() -> None:
    from langchain_workers_gemma import scale

    assert {name for name in dir(scale) if not name.startswith("_")} >= set(scale.__all__)
    for name in scale.__all__:
        assert getattr(scale, name).__name__ == name
    with pytest.raises(AttributeError, match="unknown"):
        _ = scale.unknown


def test_a_scheduler_without_the_extra_raises_an_error_that_names_it(
    monkeypatch: Any, source: Path, target: Path
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r'pip install "langchain-workers-gemma\[scale\]"'):
        map_file(source, target, ScriptedRunnable(), scheduler="tcp://127.0.0.1:1")
