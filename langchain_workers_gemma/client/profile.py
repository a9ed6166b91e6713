"""LangChain's model profiles, made of what is published about a model, and what a caller's own profile overrules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast, get_type_hints

from langchain_core.language_models import ModelProfile

from langchain_workers_gemma.models import GemmaModel

# What a caller's profile may overrule among the facts that decide a request.
_PROFILE_FACTS = {
    "image_inputs": "images",
    "tool_calling": "tools",
    "tool_choice": "tool_choice",
    "max_input_tokens": "enforced_context",
}


def published_profile(spec: GemmaModel) -> ModelProfile:
    """LangChain's profile of a model; keys that this version of core does not know are left out."""
    values: dict[str, Any] = {
        "name": spec.name or None,
        "status": "deprecated" if spec.retired else "active",
        "open_weights": True,
        "max_input_tokens": spec.usable_context,
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
    known = get_type_hints(ModelProfile)
    return cast("ModelProfile", {key: value for key, value in values.items() if key in known and value is not None})


def apply_profile(spec: GemmaModel, profile: ModelProfile | None) -> GemmaModel:
    """The facts, with what a caller's profile says in place of what is published."""
    if profile is None:
        return spec
    said: dict[str, Any] = {
        fact: profile[key]  # type: ignore[literal-required]
        for key, fact in _PROFILE_FACTS.items()
        if profile.get(key) is not None
    }
    usable = said.pop("enforced_context", spec.usable_context)
    if usable != spec.usable_context:
        said["enforced_context"] = usable
    changed = {fact: value for fact, value in said.items() if value != getattr(spec, fact)}
    return replace(spec, **changed) if changed else spec
