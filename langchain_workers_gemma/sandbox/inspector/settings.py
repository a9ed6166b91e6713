"""Read and change how the sandbox behaves: dialects, latency and faults."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Protocol

from langchain_workers_gemma.sandbox.dialects import DIALECTS, DOCUMENTED, Dialect
from langchain_workers_gemma.sandbox.faults import KINDS, Fault, FaultKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .orders import DialectOrder

CUSTOM = "custom"
"""The choice of a group whose fields have values that no named dialect has."""
_HABITS = "habits."
_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.+?)(?=^ {4}\w+: |^\w|\Z)", re.MULTILINE | re.DOTALL)


class SandboxOptions(Protocol):
    """The part of the sandbox's options that the page shows."""

    dialect: Dialect
    latency: float
    tokens_per_second: float | None


class FaultInjection(Protocol):
    """The faults of requests."""

    @property
    def pending(self) -> list[Fault]:
        """The faults that wait for a request."""
        ...

    @property
    def rate(self) -> float:
        """The share of requests that get a random fault."""
        ...

    def inject(self, fault: Fault, times: int = 1) -> None:
        """Inject a fault into the next requests."""
        ...

    def mix(self, rate: float, seed: int, kinds: Iterable[FaultKind | Fault]) -> None:
        """Inject faults into a share of all requests."""
        ...

    def clear(self) -> None:
        """Remove all faults."""
        ...


@dataclass(frozen=True, slots=True)
class DialectGroup:
    """Dialects that exclude each other, because they set the same fields.

    Attributes:
        fields: The fields that they set, those of the habits as `habits.NAME`.
        names: Their names.
    """

    fields: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def id(self) -> str:
        """The group's name in orders."""
        return "+".join(self.fields)

    def get_choice(self, dialect: Dialect) -> str:
        """Return the name of the choice that a dialect makes: empty for none, `CUSTOM` for an unnamed value."""
        values = [_get(dialect, one) for one in self.fields]
        for name in self.names:
            if values == [_get(DIALECTS[name], one) for one in self.fields]:
                return name
        return "" if values == [_get(DOCUMENTED, one) for one in self.fields] else CUSTOM

    def choose(self, dialect: Dialect, name: str) -> Dialect:
        """Return a dialect with another choice in this group.

        Raises:
            ValueError: For a name that is not of the group.
        """
        if name and name not in self.names:
            raise ValueError(f"name must be one of {', '.join(self.names)} or empty, not {name!r}.")
        source = DIALECTS[name] if name else DOCUMENTED
        for one in self.fields:
            dialect = _replace_field(dialect, one, _get(source, one))
        return dialect


def list_dialect_groups() -> list[DialectGroup]:
    """Return every dialect by the fields that it sets."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, dialect in DIALECTS.items():
        changed = tuple(one for one in _list_field_names() if _get(dialect, one) != _get(DOCUMENTED, one))
        if changed:
            groups.setdefault(changed, []).append(name)
    return [DialectGroup(changed, tuple(names)) for changed, names in groups.items()]


def choose_dialect(dialect: Dialect, order: DialectOrder) -> Dialect:
    """Return a dialect changed as ordered.

    Raises:
        ValueError: For a group or a name that there is not.
    """
    for group in list_dialect_groups():
        if group.id == order.group:
            return group.choose(dialect, order.name)
    raise ValueError(
        f"group must be one of {', '.join(group.id for group in list_dialect_groups())}, not {order.group!r}."
    )


def build_settings_view(options: SandboxOptions, faults: FaultInjection) -> dict[str, Any]:
    """Return the settings as the page shows them."""
    help_texts = read_attribute_texts(Dialect) | {
        f"{_HABITS}{name}": text for name, text in read_attribute_texts(type(DOCUMENTED.habits)).items()
    }
    return {
        "dialects": [
            {
                "group": group.id,
                "label": " and ".join(one.removeprefix(_HABITS).replace("_", " ") for one in group.fields),
                "help": " ".join(help_texts.get(one, "") for one in group.fields),
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
    """Return the text on each attribute in a class's docstring; empty where docstrings are stripped."""
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
    own = [one.name for one in fields(Dialect) if one.name != "habits"]
    return [*own, *(f"{_HABITS}{one.name}" for one in fields(DOCUMENTED.habits))]


def _get(dialect: Dialect, name: str) -> Any:
    if name.startswith(_HABITS):
        return getattr(dialect.habits, name.removeprefix(_HABITS))
    return getattr(dialect, name)


def _replace_field(dialect: Dialect, name: str, value: Any) -> Dialect:
    if name.startswith(_HABITS):
        habits: Any = replace(dialect.habits, **{name.removeprefix(_HABITS): value})
        return replace(dialect, habits=habits)
    changed: dict[str, Any] = {name: value}
    return replace(dialect, **changed)
