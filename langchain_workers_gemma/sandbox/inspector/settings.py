"""Show and change the settings of the sandbox: dialects, latency and faults."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Protocol

from langchain_workers_gemma.sandbox.dialects import DIALECTS, DOCUMENTED, Dialect
from langchain_workers_gemma.sandbox.faults import KINDS, Fault, FaultKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .bodies import DialectBody

CUSTOM = "custom"
"""The choice of a group if its fields have values that no named dialect has."""
_HABITS = "habits."
_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.+?)(?=^ {4}\w+: |^\w|\Z)", re.MULTILINE | re.DOTALL)


class SandboxOptions(Protocol):
    """The options of the sandbox that the page shows and changes."""

    dialect: Dialect
    latency: float
    tokens_per_second: float | None


class FaultInjection(Protocol):
    """The fault queue of the sandbox."""

    @property
    def pending(self) -> list[Fault]:
        """The faults that wait for a request."""
        ...

    @property
    def rate(self) -> float:
        """The share of requests that get a random fault."""
        ...

    def inject(self, fault: Fault, times: int = 1) -> None:
        """Apply a fault to the next requests."""
        ...

    def mix(self, rate: float, seed: int, kinds: Iterable[FaultKind | Fault]) -> None:
        """Apply faults to a random share of all requests."""
        ...

    def clear(self) -> None:
        """Remove all faults."""
        ...


@dataclass(frozen=True, slots=True)
class DialectGroup:
    """Dialects that set the same fields, so that only one of them can be active.

    Attributes:
        fields: The names of these fields. Those of `Habits` are `habits.NAME`.
        names: The names of the dialects.
    """

    fields: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def id(self) -> str:
        """The name of the group in request bodies."""
        return "+".join(self.fields)

    def get_choice(self, dialect: Dialect) -> str:
        """Return the name of the active dialect of the group, an empty text for none, or `CUSTOM` for other values."""
        values = [_get_field(dialect, field) for field in self.fields]
        for name in self.names:
            if values == [_get_field(DIALECTS[name], field) for field in self.fields]:
                return name
        return "" if values == [_get_field(DOCUMENTED, field) for field in self.fields] else CUSTOM

    def choose(self, dialect: Dialect, name: str) -> Dialect:
        """Return a dialect with another choice in this group.

        Raises:
            ValueError: If the name is not in the group.
        """
        if name and name not in self.names:
            raise ValueError(f"name must be one of {', '.join(self.names)} or empty, not {name!r}.")
        source = DIALECTS[name] if name else DOCUMENTED
        for field in self.fields:
            dialect = _replace_field(dialect, field, _get_field(source, field))
        return dialect


def list_dialect_groups() -> list[DialectGroup]:
    """Return all dialects, grouped by the fields that they set."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, dialect in DIALECTS.items():
        changed = tuple(
            field for field in _list_field_names() if _get_field(dialect, field) != _get_field(DOCUMENTED, field)
        )
        if changed:
            groups.setdefault(changed, []).append(name)
    return [DialectGroup(changed, tuple(names)) for changed, names in groups.items()]


def choose_dialect(dialect: Dialect, body: DialectBody) -> Dialect:
    """Return a dialect with the requested choice.

    Raises:
        ValueError: If the group or the name does not exist.
    """
    for group in list_dialect_groups():
        if group.id == body.group:
            return group.choose(dialect, body.name)
    raise ValueError(
        f"group must be one of {', '.join(group.id for group in list_dialect_groups())}, not {body.group!r}."
    )


def build_settings_view(options: SandboxOptions, faults: FaultInjection) -> dict[str, Any]:
    """Return the settings in the form that the page shows."""
    help_texts = read_attribute_texts(Dialect) | {
        f"{_HABITS}{name}": text for name, text in read_attribute_texts(type(DOCUMENTED.habits)).items()
    }
    return {
        "dialects": [
            {
                "group": group.id,
                "label": " and ".join(field.removeprefix(_HABITS).replace("_", " ") for field in group.fields),
                "help": " ".join(help_texts.get(field, "") for field in group.fields),
                "names": list(group.names),
                "choice": group.get_choice(options.dialect),
            }
            for group in list_dialect_groups()
        ],
        "latency": options.latency,
        "tokens_per_second": options.tokens_per_second,
        "chaos_rate": faults.rate,
        "fault_kinds": list(KINDS),
        "pending": [_describe_fault(fault) for fault in faults.pending[:100]],
        "pending_count": len(faults.pending),
    }


def read_attribute_texts(cls: type[Any]) -> dict[str, str]:
    """Return the description of each attribute in the docstring of a class; empty if docstrings are stripped."""
    _, _, section = (inspect.getdoc(cls) or "").partition("Attributes:\n")
    return {name: " ".join(text.replace("`", "").split()) for name, text in _ATTRIBUTE.findall(section)}


def _describe_fault(fault: Fault) -> str:
    shown = {
        "status": fault.status if fault.kind in ("error", "html", "garbage", "empty", "exact") else None,
        "code": fault.code,
        "after events": fault.after_events,
        "seconds": fault.seconds,
        "path": fault.path,
    }
    details = ", ".join(f"{name} {value}" for name, value in shown.items() if value)
    return f"{fault.kind} ({details})" if details else fault.kind


def _list_field_names() -> list[str]:
    names = [field.name for field in fields(Dialect) if field.name != "habits"]
    return [*names, *(f"{_HABITS}{field.name}" for field in fields(DOCUMENTED.habits))]


def _get_field(dialect: Dialect, name: str) -> Any:
    if name.startswith(_HABITS):
        return getattr(dialect.habits, name.removeprefix(_HABITS))
    return getattr(dialect, name)


def _replace_field(dialect: Dialect, name: str, value: Any) -> Dialect:
    if name.startswith(_HABITS):
        habits: Any = replace(dialect.habits, **{name.removeprefix(_HABITS): value})
        return replace(dialect, habits=habits)
    changed: dict[str, Any] = {name: value}
    return replace(dialect, **changed)
