"""What the chat template of each family does beyond its roles, as data: a new Gemma is one more entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from langchain_workers_gemma.models import GemmaModel
from langchain_workers_gemma.schemas import ShownKeywords


@dataclass(frozen=True, slots=True)
class TemplateData:
    """What a chat template does.

    Attributes:
        thought_keys: The keys of an assistant's message from which it writes thoughts; templates differ, so that all
            of them are sent.
        declarations: What it shows of a tool's declaration; `None` where it shows none.
        opens_thoughts: Whether it can open the thought behind the results of tools, with thinking on.
    """

    thought_keys: tuple[str, ...] = ()
    declarations: ShownKeywords | None = None
    opens_thoughts: bool = False


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
        opens_thoughts=True,
    )
}
_NOTHING = TemplateData()


def get_template_data(spec: GemmaModel) -> TemplateData:
    """Return what the chat template of a model does."""
    return _TEMPLATES.get(spec.family, _NOTHING)
