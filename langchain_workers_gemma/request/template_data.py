"""What the chat template of each family does beyond its roles, as data: a next Gemma is an entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from langchain_workers_gemma.models import GemmaModel


@dataclass(frozen=True, slots=True)
class TemplateData:
    """What a chat template does.

    Attributes:
        thought_keys: The keys of an assistant's message from which it writes thoughts; templates differ, so that all
            of them are sent.
        declarations: What it shows of a tool's declaration; `None` where it shows none.
    """

    thought_keys: tuple[str, ...] = ()
    declarations: ShownKeywords | None = None


@dataclass(frozen=True, slots=True)
class ShownKeywords:
    """What a template shows of the JSON Schema of a tool's parameters (`docs/wire.md` section 11).

    Attributes:
        of_every_type: The keywords that it shows of every parameter.
        of_type: Those that it shows of parameters of one type.
        hidden_names: Names of parameters that it takes for keywords and does not show.
    """

    of_every_type: frozenset[str]
    of_type: Mapping[str, frozenset[str]]
    hidden_names: frozenset[str]


_TEMPLATES: Mapping[str, TemplateData] = {
    "gemma-4": TemplateData(
        thought_keys=("reasoning", "reasoning_content"),
        declarations=ShownKeywords(
            of_every_type=frozenset({"type", "description", "nullable"}),
            of_type={
                "string": frozenset({"enum"}),
                "array": frozenset({"items"}),
                "object": frozenset({"properties", "required"}),
            },
            hidden_names=frozenset({"description", "type", "properties", "required", "nullable"}),
        ),
    )
}
_NOTHING = TemplateData()


def template_data(spec: GemmaModel) -> TemplateData:
    """Return what the chat template of a model does."""
    return _TEMPLATES.get(spec.family, _NOTHING)
