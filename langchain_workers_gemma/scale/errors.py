"""Errors that prevent a run from starting or continuing."""

from __future__ import annotations


class InputChangedError(ValueError):
    """The journal belongs to another input or prompt, so a resumed run would mix two data sets."""


class JournalInUseError(ValueError):
    """Another run is writing to the same journal."""


class MapStoppedError(RuntimeError):
    """The run failed, for example because the connection to the scheduler closed. The journal is intact: run again."""
