"""Check the arguments of model objects and calls."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from langchain_workers_gemma.models import GemmaModel, Range

SAMPLING = (
    "temperature",
    "max_tokens",
    "top_p",
    "top_k",
    "seed",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
)
"""The sampling parameters, in the order in which they are sent."""

_MAY_HOLD_TOKENS = frozenset({"api_token", "ai_gateway", "default_headers"})
_ALWAYS = {"max_tokens": Range(low=1, integer=True)}  # the ranges that apply to every model, published or not


def normalise_arguments(
    values: Mapping[str, Any], aliases: Mapping[str, str], known: Collection[str]
) -> dict[str, Any]:
    """Return constructor arguments with aliases resolved.

    Raises:
        ValueError: If an argument is unknown, or passed under two names with different values.
    """
    normalised: dict[str, Any] = {}
    for given, value in values.items():
        name = aliases.get(given, given)
        if name not in known:
            raise ValueError(f"{given} is not an argument.{did_you_mean(given, {*known, *aliases})}")
        if normalised.get(name) is not None and value is not None and normalised[name] != value:
            raise ValueError(f"{name} is passed twice, as {name} and under another name: pass it once.")
        if normalised.get(name) is None:
            normalised[name] = value
    return normalised


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return a sentence that suggests the nearest known name, or an empty string.

    Example:
        >>> did_you_mean("temprature", ["temperature", "top_p"])
        ' Did you mean temperature?'
    """
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" Did you mean {close[0]}?" if close else ""


def to_list(argument: str, given: Any) -> list[Any]:
    """Return the items of an argument as a list.

    Raises:
        ValueError: If the argument is not a list or another iterable.
    """
    try:
        if not isinstance(given, str | bytes | Mapping):
            return list(given)
    except TypeError:
        pass
    raise ValueError(f"{argument} must be a list, not {type(given).__name__}.")


def to_python(number: Any) -> Any:
    """Return a NumPy scalar as a Python number, and any other value unchanged."""
    return number.item() if type(number).__module__ == "numpy" and hasattr(number, "item") else number


def check_sampling(values: Mapping[str, Any], spec: GemmaModel) -> None:
    """Check the parameters that are set against the published facts about the model.

    Raises:
        ValueError: If the model has no such parameter, or the value is out of range.
    """
    for name, given in values.items():
        value = to_python(given)
        if value is None:
            continue
        published = spec.parameters
        if published is not None and name not in published:
            raise ValueError(f"{name}={value!r}: {spec.id} has no {name}. Leave it out.")
        allowed = _ALWAYS.get(name, Range()) if published is None else published[name]
        if value not in allowed:
            raise ValueError(f"{name}={value!r} is out of range: {spec.id} takes {allowed}.")


def merge_stops(stop: list[str] | str | None, of_call: list[str] | str | None) -> tuple[str, ...]:
    """Return the stop sequences of the model object and the call, each once.

    Raises:
        ValueError: If one is not a string, or is empty.
    """
    merged: dict[str, None] = {}
    for given in (stop, of_call):
        if given is not None and not isinstance(given, str | list | tuple):
            raise ValueError(f"stop must be a string or a list of strings, not {given!r:.80}.")
        for sequence in [given] if isinstance(given, str) else given or ():
            if not isinstance(sequence, str) or not sequence:
                raise ValueError(f"stop must hold strings that are not empty, not {sequence!r}.")
            merged[sequence] = None
    return tuple(merged)


@lru_cache(maxsize=256)
def _get_type(model_class: type[BaseModel], name: str) -> TypeAdapter[Any]:
    field = model_class.model_fields[name]
    annotation: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))


def validate_field(model_class: type[BaseModel], name: str, value: object) -> Any:
    """Return a value in the form in which the constructor stores it in a field.

    Raises:
        ValueError: If the value is not valid. The message hides values that `repr` of the object hides.
    """
    try:
        return _get_type(model_class, name).validate_python(to_python(value))
    except ValidationError as error:
        shown = f"={value!r:.80}" if model_class.model_fields[name].repr and name not in _MAY_HOLD_TOKENS else ""
        raise ValueError(f"{name}{shown} is not valid: {error.errors()[0]['msg']}.") from None
