"""Facts about the chat template of each family, as data: a new Gemma is one more entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from langchain_workers_gemma.models import GemmaModel
from langchain_workers_gemma.schemas import ShownKeywords


@dataclass(frozen=True, slots=True)
class TemplateData:
    """Facts about a chat template.

    Attributes:
        thought_keys: The keys of an assistant's message that hold thoughts. Versions of the template read different
            keys, so all of them are sent.
        declarations: The parts of a tool's declaration that it shows; `None` if it shows no declarations.
        opens_thoughts: Whether it can open a thought after tool results, with thinking on.
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
_DEFAULT = TemplateData()


def get_template_data(spec: GemmaModel) -> TemplateData:
    """Return the facts about a model's chat template."""
    return _TEMPLATES.get(spec.family, _DEFAULT)
