"""The forms in which a request can demand JSON, as data, and the form that each server accepts.

Public sources contradict each other (`docs/wire.md` sections 3, 7 and 10), so each model has a list of forms. If a
server refuses or ignores one, the next is tried. The model object remembers the form that worked.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langchain_workers_gemma.models import Constraint
from langchain_workers_gemma.request.server_memory import ServerMemory

if TYPE_CHECKING:
    from langchain_workers_gemma.request.response_format import Answer

FormName: TypeAlias = Literal[
    "guided_json", "guided_object", "openai_schema", "bare_schema", "object_with_schema", "json_object", "prompt"
]
"""The name of a form."""


@dataclass(frozen=True, slots=True)
class ConstraintForm:
    """One form in which a request can demand JSON.

    Attributes:
        name: Its name.
        parameters: Returns the request parameters that demand JSON, for a required answer.
        carries_schema: Whether those parameters hold the schema, so that an engine can enforce it.
    """

    name: FormName
    parameters: Callable[[Answer], dict[str, Any]]
    carries_schema: bool = True

    @property
    def constrains(self) -> bool:
        """Whether the request demands JSON by a parameter, not only in the prompt."""
        return self.name != "prompt"


def _build_response_format(kind: str, **more: Any) -> dict[str, Any]:
    return {"response_format": {"type": kind, **more}}


def _build_envelope(answer: Answer) -> dict[str, Any]:
    """Return the schema in OpenAI's envelope, without the keys that the caller left out."""
    optional = {"strict": answer.strict, "description": answer.description}
    given = {key: value for key, value in optional.items() if value is not None}
    return {"name": answer.name, "schema": answer.build_constraint_schema(), **given}


_FORMS = (
    # Workers AI's own parameter, on Gemma 3.
    ConstraintForm("guided_json", lambda answer: {"guided_json": answer.build_constraint_schema()}),
    ConstraintForm("guided_object", lambda _: {"guided_json": {"type": "object"}}, carries_schema=False),
    # OpenAI's: Gemma 4's published schema, vLLM, newer llama.cpp.
    ConstraintForm(
        "openai_schema", lambda answer: _build_response_format("json_schema", json_schema=_build_envelope(answer))
    ),
    # The JSON-mode page of Workers AI, for older models.
    ConstraintForm(
        "bare_schema",
        lambda answer: _build_response_format("json_schema", json_schema=answer.build_constraint_schema()),
    ),
    # llama-cpp-python, which refuses `json_schema`.
    ConstraintForm(
        "object_with_schema",
        lambda answer: _build_response_format("json_object", schema=answer.build_constraint_schema()),
    ),
    # langchain-cloudflare was tested live with this form on Gemma 4, with the schema in the prompt.
    ConstraintForm("json_object", lambda _: _build_response_format("json_object"), carries_schema=False),
    ConstraintForm("prompt", lambda _: {}, carries_schema=False),
)

FORMS: Mapping[FormName, ConstraintForm] = MappingProxyType({form.name: form for form in _FORMS})
"""Every form, by its name."""

_FOR_SCHEMA: Mapping[Constraint | None, tuple[FormName, ...]] = MappingProxyType({
    "guided_json": ("guided_json", "prompt"),
    "bare_schema": ("bare_schema", "json_object", "prompt"),
    "openai_schema": ("openai_schema", "json_object", "prompt"),
    "unknown_schema": ("openai_schema", "object_with_schema", "json_object", "prompt"),
    None: ("prompt",),
})  # fmt: skip
"""The forms that a model has for a schema, the best first, by its entry in the table of models."""

_FOR_ANY_OBJECT: Mapping[Constraint | None, tuple[FormName, ...]] = MappingProxyType({
    "guided_json": ("guided_object", "prompt"),
    "bare_schema": ("json_object", "prompt"),
    "openai_schema": ("json_object", "prompt"),
    "unknown_schema": ("json_object", "prompt"),
    None: ("prompt",),
})  # fmt: skip
"""The forms that a model has for any JSON object."""


def get_forms(constraint: Constraint | None, *, any_object: bool) -> tuple[FormName, ...]:
    """Return the forms that a model has, in the order in which they are tried.

    Args:
        constraint: The model's constraint parameter, from the table of models.
        any_object: Whether any JSON object is accepted, not only one that matches a schema.
    """
    return (_FOR_ANY_OBJECT if any_object else _FOR_SCHEMA)[constraint]


def make_form_key(host: str, model: str, names: tuple[FormName, ...]) -> Hashable:
    """Return the key under which a model's forms are remembered."""
    return (host, model, names)


@dataclass(frozen=True, slots=True)
class FormChoice:
    """The form that one request uses.

    Attributes:
        names: The forms that the model has, the best first.
        position: The position of the form in `names`.
        key: The key under which the result is remembered.
        memory: Where the result is remembered.
    """

    names: tuple[FormName, ...]
    position: int
    key: Hashable
    memory: ServerMemory = field(repr=False)

    @property
    def form(self) -> ConstraintForm:
        """The form."""
        return FORMS[self.names[self.position]]

    @property
    def constrains(self) -> bool:
        """Whether the request demands JSON by a parameter, not only in the prompt."""
        return self.form.constrains

    @property
    def is_last(self) -> bool:
        """Whether no other form is left."""
        return self.position + 1 >= len(self.names)

    def get_next(self) -> FormChoice:
        """Return the next form."""
        return replace(self, position=self.position + 1)

    def mark_working(self) -> None:
        """Remember for later calls that the server accepted this form, but none before it."""
        if self.position > self.memory.get_first_form(self.key):
            self.memory.keep_form(self.key, self.position)
