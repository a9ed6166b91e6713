"""Read rows from JSON Lines one at a time, and write them back with their results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

MAX_LINE_BYTES = 64 * 1024 * 1024
"""Maximum length of a line. A longer line becomes a row with an error."""

RESULT_FIELDS = ("output", "usage", "cost_usd", "error")
"""The fields that are added to a row. They replace fields of the same name in the input row."""

_MAX_EXCERPT = 1_000  # characters of an oversized line that its output row repeats
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the input.

    Attributes:
        index: Its position among the rows, from 0.
        data: Its fields; empty if the row is not a JSON object.
        text: Its line in the file, without the line end; `""` for a row that was not read from a file.
        error: Why the row cannot be sent, or `None`.
        size: The number of bytes of its JSON text, or an estimate.
    """

    index: int
    data: Mapping[str, Any]
    text: str = ""
    error: str | None = None
    size: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a row.

    Attributes:
        output: The model's answer: a text, or an object if there is a schema.
        usage: Token usage of all calls for the row, or `None` if the service reported none.
        cost_usd: The cost of these calls by published prices, or `None` if no price is known.
        error: Why there is no output, or `None`.
        unsent: Whether the row was never sent, because the run stopped first.
    """

    output: Any = None
    usage: dict[str, Any] | None = None
    cost_usd: float | None = None
    error: str | None = None
    unsent: bool = False

    def to_fields(self) -> dict[str, Any]:
        """Return the fields that are added to the row."""
        if self.error is not None:
            return {"error": self.error}
        return {"output": self.output, "usage": self.usage, "cost_usd": self.cost_usd}


@dataclass(frozen=True, slots=True)
class Survey:
    """Row count, size and digest of an input file, to recognize it in a later run.

    Attributes:
        rows: The number of rows.
        size: The number of bytes.
        digest: A hash of the bytes.
    """

    rows: int
    size: int
    digest: str


class JsonlReader:
    """Reads a JSON Lines file row by row, and computes its survey.

    Args:
        file: The file, opened in binary mode.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.blake2b(digest_size=16)
        self._rows = 0
        self._size = 0

    def __iter__(self) -> Iterator[Row]:
        for line, complete in self._iterate_lines():
            yield _parse_line(self._rows, line, complete=complete)
            self._rows += 1

    def survey(self) -> Survey:
        """Read the rest of the file without parsing it, and return the survey of the whole file."""
        for _ in self._iterate_lines():
            self._rows += 1
        return Survey(self._rows, self._size, self._hash.hexdigest())

    def _iterate_lines(self) -> Iterator[tuple[bytes, bool]]:
        """Yield each line that is not blank, and whether it is complete."""
        while line := self._read():
            complete, rest = True, line
            while len(rest) == MAX_LINE_BYTES and not rest.endswith(b"\n"):
                complete, rest = False, self._read()
            if line.strip():
                yield line, complete

    def _read(self) -> bytes:
        piece = self._file.readline(MAX_LINE_BYTES)
        self._hash.update(piece)
        start = self._size == 0
        self._size += len(piece)
        return piece.removeprefix(_BOM) if start else piece


def enumerate_rows(rows: Iterable[Any]) -> Iterator[Row]:
    """Yield a `Row` for each mapping.

    A row that is not a mapping becomes a row with an error.
    """
    for index, data in enumerate(rows):
        if isinstance(data, Mapping):
            yield Row(index, data, size=len(str(data)))
        else:
            yield Row(index, {}, error=f"The row must be a mapping, not {type(data).__name__}.")


def merge(row: Row, result: Result) -> dict[str, Any]:
    """Return the input row with the fields of its result."""
    input_fields = {key: value for key, value in row.data.items() if key not in RESULT_FIELDS}
    return {**input_fields, **result.to_fields()}


def to_output_line(row: Row, result: Result) -> bytes:
    """Return the output line for a row that was read from a file.

    The line starts with the text of the input, because a round trip through Python could change numbers and escapes. A
    line that is not a JSON object is stored under `raw`.
    """
    fields = result.to_fields()
    if not row.data and row.error is not None:
        return dump_line({"raw": row.text, **fields})
    if not row.data.keys().isdisjoint(RESULT_FIELDS):
        return dump_line(merge(row, result))
    start = row.text.strip().removesuffix("}").rstrip()
    separator = ", " if row.data else ""
    return (start + separator).encode() + dump_line(fields).removeprefix(b"{")


def dump_line(value: Mapping[str, Any]) -> bytes:
    """Return a JSON object as one line.

    Raises:
        ValueError: If a value has no JSON form, such as NaN.
        TypeError: If a value has a type that JSON does not have.
    """
    try:
        return (json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except UnicodeEncodeError:  # a lone surrogate: JSON can express it, UTF-8 cannot
        return (json.dumps(value, allow_nan=False) + "\n").encode()


def _parse_line(index: int, line: bytes, *, complete: bool) -> Row:
    size = len(line)
    if not complete:
        text = line[: 4 * _MAX_EXCERPT].decode("utf-8", "replace")[:_MAX_EXCERPT]
        return Row(index, {}, text, f"The row is longer than {MAX_LINE_BYTES:,} bytes.", _MAX_EXCERPT)
    try:
        text = line.decode().strip()
        data = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        return Row(index, {}, line.decode("utf-8", "replace").strip(), f"The row is not JSON: {error}", size)
    if not isinstance(data, dict):
        return Row(index, {}, text, f"The row must be a JSON object, not {type(data).__name__}.", size)
    return Row(index, data, text, size=size)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
