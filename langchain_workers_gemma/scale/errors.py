"""Why a run cannot start, or cannot go on."""

from __future__ import annotations


class InputChangedError(ValueError):
    """The journal belongs to another input or another question, so a resumed run would mix two data sets."""


class JournalInUseError(ValueError):
    """Another run is writing to the same journal."""


class MapStoppedError(RuntimeError):
    """The machinery failed, such as a lost connection to the scheduler. The journal is intact: run again."""
