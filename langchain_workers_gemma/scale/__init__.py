"""Send every row of a data set to a model: resumable, within a rate and a cost limit, on one machine or many.

    from langchain_workers_gemma.scale import map_file, map_rows

`map_rows` maps an iterable of rows, `map_file` a JSON Lines file; the command `workers-gemma map` calls `map_file`.

`plan`, `pacing` and `budget` make the decisions and do no I/O: which row is next, when a request may be sent, which
rows are finished, and what they cost. `local` and `cluster` execute the plan: `local` in one process, `cluster` on the
workers of a `dask.distributed` scheduler. `journal` records a run, so that no finished row is sent and paid for again.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_workers_gemma.scale.errors import InputChangedError, JournalInUseError, MapStoppedError
    from langchain_workers_gemma.scale.mapping import MappedRows, map_file, map_rows
    from langchain_workers_gemma.scale.report import MapReport

_MODULES = {
    "InputChangedError": "errors",
    "JournalInUseError": "errors",
    "MapReport": "report",
    "MapStoppedError": "errors",
    "MappedRows": "mapping",
    "map_file": "mapping",
    "map_rows": "mapping",
}

__all__ = [
    "InputChangedError",
    "JournalInUseError",
    "MapReport",
    "MapStoppedError",
    "MappedRows",
    "map_file",
    "map_rows",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
