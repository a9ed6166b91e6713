"""The journal of a run: an append-only file beside the output that survives `kill -9` at any byte.

Each line is a JSON object. The first identifies the input and the question (the prompt, schema and model). A run with
another input or question is refused. The other lines are records, in the order of events:

    {"permit": 7, "reserved": 2.1e-05}                                        request 7 may be sent
    {"settled": [7], "paid": 1.4e-05, "row": 3, "output": "good", "usage": {...}, "cost_usd": 1.4e-05}
    {"settled": [8], "row": 4, "error": "ContextOverflowError: ..."}          a row that ended in an error
    {"settled": [9]}                                                          an attempt that will be repeated

A permit is written before its request is sent. If no record settles it, its reply was lost, and the service probably
billed it. If several records have the same row, the last one counts.

A temporary file stores the offset of each row's record, in eight bytes per row, so memory does not grow.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from langchain_workers_gemma.scale.errors import InputChangedError, JournalInUseError
from langchain_workers_gemma.scale.plan import Record
from langchain_workers_gemma.scale.rows import Result, Row, Survey, dump_line

logger = logging.getLogger(__name__)

FORMAT = 1
_SYNC_INTERVAL = 5.0  # seconds; a killed process loses nothing, a power failure loses the lines since the last fsync
_ENTRY_BYTES = 8  # size of an entry of the index


class Journal:
    """The finished rows of a run and their cost, on disk. Use it as a context manager.

    Args:
        path: The file. It is created if it does not exist.
        question: The settings that must be the same in each run, such as prompt, schema and model.
        survey: The row count, size and digest of the input, or `None` to compare row by row.

    Attributes:
        next_permit: The first permit number that no run has used.
        spent: The cost of all runs in US dollars, including lost replies.
        largest_cost: The cost of the most expensive request.
        lost: The number of lost replies.

    Raises:
        InputChangedError: If the journal belongs to another input or question.
        JournalInUseError: If another run has it open.
    """

    def __init__(self, path: Path, question: Mapping[str, Any], survey: Survey | None = None) -> None:
        self.path = path
        self.next_permit = 0
        self.spent = 0.0
        self.largest_cost = 0.0
        self.lost = 0
        self._by_row = survey is None
        self._file = path.open("ab")
        self._reader = path.open("rb")
        self._index: BinaryIO = tempfile.TemporaryFile(dir=path.parent, buffering=0)  # noqa: SIM115
        self._synced = time.monotonic()
        header = {"format": FORMAT, "question": dict(question), "input": None if survey is None else asdict(survey)}
        try:
            _lock(self._file, path)
            self._load(header)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, record: Record | None, row: Row | None = None) -> None:
        """Append a record. After this method returns, killing the process does not lose the record.

        Args:
            record: The record that `MapPlan` returned; `None` is ignored.
            row: The row of the record. Its digest is stored, so that a later run can compare it.
        """
        if record is None:
            return
        if self._by_row and row is not None and "row" in record:
            record = {**record, "digest": _hash_row(row)}
        self._file.write(dump_line(record))
        self._file.flush()
        if time.monotonic() - self._synced > _SYNC_INTERVAL:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def get_result(self, row: Row) -> Result | None:
        """Return the result that an earlier run has for a row.

        Returns:
            The result, or `None` if there is none or it is an error, so that the row is attempted again.

        Raises:
            InputChangedError: If the row differs from the row of the earlier run.
        """
        record = self._read_record(row.index)
        if record is None:
            return None
        if self._by_row and record.get("digest") != _hash_row(row):
            raise InputChangedError(
                f"Row {row.index} has changed since the journal {str(self.path)!r} was written. "
                "Use another journal for other rows."
            )
        return Result(record["output"], record["usage"], record["cost_usd"])

    def close(self) -> None:
        """Write everything to disk and close the files."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()
        self._reader.close()
        self._index.close()

    # --- Loading ------------------------------------------------------------------------------------------------------

    def _load(self, header: Record) -> None:
        """Read the journal from its start, and remove an incomplete last line."""
        end = 0
        open_permits: dict[int, float] = {}
        damaged = 0
        for offset, line in _iterate_lines(self._reader):
            record = _parse(line)
            if record is None:
                damaged += line.endswith(b"\n")
                continue
            if end == 0:
                self._compare(record, header)
            else:
                self._replay(record, offset, open_permits)
            end = offset + len(line)
        if damaged and end == 0:
            raise InputChangedError(f"{str(self.path)!r} is not a journal. Use another output.")
        if damaged:
            logger.warning("%s: %d lines cannot be read. Their rows are sent again.", self.path, damaged)
        if self.path.stat().st_size > end:
            self._file.truncate(end)
        if end == 0:
            self.write(header)
        self.lost = len(open_permits)
        self.spent += sum(open_permits.values())

    def _replay(self, record: Record, offset: int, open_permits: dict[int, float]) -> None:
        if "permit" in record:
            open_permits[record["permit"]] = record["reserved"]
            self.next_permit = max(self.next_permit, record["permit"] + 1)
        for permit in record.get("settled", ()):
            open_permits.pop(permit, None)
        paid = record.get("paid", 0.0)
        self.spent += paid
        self.largest_cost = max(self.largest_cost, paid / max(len(record.get("settled", ())), 1))
        if "row" in record:
            self._index.seek(record["row"] * _ENTRY_BYTES)
            self._index.write((0 if "error" in record else offset).to_bytes(_ENTRY_BYTES, "little"))

    def _compare(self, found: Record, header: Record) -> None:
        cure = "Use another output to start again, or undo the change."
        if found.get("format") != FORMAT:
            raise InputChangedError(f"{str(self.path)!r} is not a journal of this version of the package. {cure}")
        if found.get("input") != header["input"]:
            raise InputChangedError(f"The input has changed since the journal {str(self.path)!r} was created. {cure}")
        before, now = found.get("question", {}), json.loads(dump_line(header["question"]))
        changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
        if changed:
            raise InputChangedError(
                f"{', '.join(changed)} changed since the journal {str(self.path)!r} was created. {cure}"
            )

    def _read_record(self, index: int) -> Record | None:
        self._index.seek(index * _ENTRY_BYTES)
        offset = int.from_bytes(self._index.read(_ENTRY_BYTES), "little")
        if offset == 0:
            return None
        self._reader.seek(offset)
        return _parse(self._reader.readline())


def _iterate_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    offset = 0
    for line in file:
        yield offset, line
        offset += len(line)


def _parse(line: bytes) -> Record | None:
    """Return the record of a line, or `None` if the line is damaged or incomplete."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _hash_row(row: Row) -> str:
    """Return a hash of a row's fields."""
    data = json.dumps(row.data, sort_keys=True, default=str)
    return hashlib.blake2b(data.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _lock(file: BinaryIO, path: Path) -> None:
    """Lock a file until it is closed or the process dies.

    Raises:
        JournalInUseError: If another process has locked it.
    """
    try:
        if sys.platform == "win32":  # pragma: no cover
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise JournalInUseError(
            f"Another run is writing to {str(path)!r}: wait for it, or use another output."
        ) from error
