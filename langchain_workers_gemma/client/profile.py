"""Build LangChain's model profile from the published facts about a model and the caller's own profile."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, cast

from langchain_core.language_models import ModelProfile

from langchain_workers_gemma.models import GemmaModel, resolve_model

if TYPE_CHECKING:
    from langchain_workers_gemma.client.fields import ClientFields

    class _ChatModel(ClientFields):
        """The chat model that the methods below belong to."""

        profile: ModelProfile | None = None

else:
    _ChatModel = object

_KEYS = ModelProfile.__required_keys__ | ModelProfile.__optional_keys__  # the keys that this version of core has

# The keys of a profile that override facts about the model.
_PROFILE_FACTS = {
    "image_inputs": "images",
    "tool_calling": "tools",
    "tool_choice": "tool_choice",
    "max_input_tokens": "enforced_context",
}


class ResolvedProfile(dict[str, Any]):
    """The profile of a model object: the published facts about its model, and the caller's overrides.

    The two are kept separately, so that the profile has the new model's capabilities if the model changes.

    Args:
        published: The published facts.
        overrides: The caller's values.
    """

    def __init__(self, published: Mapping[str, Any] | None = None, overrides: Mapping[str, Any] | None = None) -> None:
        super().__init__({**(published or {}), **(overrides or {})})
        self.published = dict(published or {})

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.published, get_callers_profile(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> ResolvedProfile:
        return type(self)(copy.deepcopy(self.published, memo), copy.deepcopy(get_callers_profile(self), memo))


class ProfileMethods(_ChatModel):
    """A chat model whose profile changes with its model."""

    def _resolve_profile(self) -> None:
        overrides = get_callers_profile(self.profile)
        resolved = ResolvedProfile(self._resolve_model_profile(), overrides)
        super().__setattr__("profile", resolved or None)

    def _resolve_model_profile(self) -> ModelProfile | None:
        published = build_published_profile(resolve_model(self.model, self.host))
        return cast("ModelProfile", ResolvedProfile(published))

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field, and update the profile if the model has changed."""
        super().__setattr__(name, value)
        if name in ("model", "host"):
            self._resolve_profile()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with some fields changed, and update its profile if the model has changed."""
        duplicate = super().model_copy(update=update, deep=deep)
        if update and not update.keys().isdisjoint(("model", "host")):
            duplicate._resolve_profile()  # noqa: SLF001 - a copy of this object
        return duplicate


def get_callers_profile(profile: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the caller's values in a profile: all values, unless this package has created it."""
    if isinstance(profile, ResolvedProfile):
        published = profile.published
        return {key: value for key, value in profile.items() if key not in published or published[key] != value}
    return dict(profile or {})


def warn_of_unknown_keys(profile: Mapping[str, Any] | None) -> None:
    """Warn if a caller's profile has keys that this version of core does not know."""
    unknown = sorted(get_callers_profile(profile).keys() - _KEYS)
    if unknown:
        warnings.warn(f"profile: this version of langchain-core does not know the keys {unknown}.", stacklevel=2)


def build_published_profile(spec: GemmaModel) -> ModelProfile:
    """Return LangChain's profile of a model, without keys that this version of core does not have."""
    values: dict[str, Any] = {
        "name": spec.name or None,
        "status": "deprecated" if spec.retired else "active",
        "open_weights": True,
        "max_input_tokens": spec.max_input_tokens,
        "max_output_tokens": spec.max_output_tokens,
        "text_inputs": True,
        "image_inputs": spec.images,
        "image_url_inputs": False,
        "pdf_inputs": False,
        "audio_inputs": False,
        "video_inputs": False,
        "image_tool_message": spec.images,
        "text_outputs": True,
        "image_outputs": False,
        "audio_outputs": False,
        "video_outputs": False,
        "reasoning_output": spec.thinking,
        "tool_calling": spec.tools,
        "tool_choice": spec.tool_choice,
        "tool_call_streaming": spec.tools,
        "structured_output": spec.constraint is not None,
        "attachment": spec.images,
        "temperature": True,
    }
    return cast("ModelProfile", {key: value for key, value in values.items() if key in _KEYS and value is not None})


def apply_profile(spec: GemmaModel, profile: Mapping[str, Any] | None) -> GemmaModel:
    """Return the facts about a model, with the values of a caller's profile."""
    if profile is None:
        return spec
    facts: dict[str, Any] = {fact: profile[key] for key, fact in _PROFILE_FACTS.items() if profile.get(key) is not None}
    usable = facts.pop("enforced_context", spec.max_input_tokens)
    if usable != spec.max_input_tokens:
        facts["enforced_context"] = usable
    changed = {fact: value for fact, value in facts.items() if value != getattr(spec, fact)}
    return replace(spec, **changed) if changed else spec
