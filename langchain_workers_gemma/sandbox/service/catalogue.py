"""The catalogue of models and tasks, the schemas of their parameters, and the token check."""

from __future__ import annotations

import math
import uuid
from typing import TYPE_CHECKING, Any

from langchain_workers_gemma.models import MODELS, GemmaModel, Range
from langchain_workers_gemma.sandbox.errors import make_bad_input_error

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEXT = {"id": "c329a1f9-323d-4e91-b2aa-582dd4188d34", "name": "Text Generation"}
_EMBEDDINGS = {"id": "0137cdcf-162a-4108-94f2-1ca59e8c65ee", "name": "Text Embeddings"}
_MAX_PAGE_SIZE = 100


def search_models(query: Mapping[str, str], engine: str) -> dict[str, Any]:
    """Return the reply of `/ai/models/search`. Each description names the engine that replies."""
    page, per_page = _read_whole(query, "page", 1), min(_read_whole(query, "per_page", 50), _MAX_PAGE_SIZE)
    found = [
        _build_entry(model, engine)
        for model in MODELS.values()
        if model.host == "cloudflare" and query.get("search", "").lower() in model.id.lower()
    ]
    task = query.get("task", "").lower()
    found = [entry for entry in found if task in entry["task"]["name"].lower()]
    return {
        "result": found[(page - 1) * per_page : page * per_page],
        "success": True,
        "errors": [],
        "messages": [],
        "result_info": {
            "count": len(found[(page - 1) * per_page : page * per_page]),
            "page": page,
            "per_page": per_page,
            "total_count": len(found),
            "total_pages": math.ceil(len(found) / per_page),
        },
    }


def list_tasks() -> dict[str, Any]:
    """Return the reply of `/ai/tasks/search`."""
    return _wrap([{**task, "description": ""} for task in (_TEXT, _EMBEDDINGS)])


def get_schema(model: GemmaModel) -> dict[str, Any]:
    """Return the reply of `/ai/models/schema`: the JSON Schemas of a model's input and output."""
    if model.embeds:
        text = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
        return _wrap({"input": _build_object({"text": text}, "text"), "output": {"type": "object"}})
    properties: dict[str, Any] = {name: _build_number(allowed) for name, allowed in (model.parameters or {}).items()}
    properties["stream"] = {"type": "boolean", "default": False}
    if model.default_max_tokens is not None and "max_tokens" in properties:
        properties["max_tokens"]["default"] = model.default_max_tokens
    properties |= {name: {"type": kind} for name, kind, present in _list_fields(model) if present}
    messages = _build_object({**properties, "messages": {"type": "array", "minItems": 1}}, "messages")
    if not model.raw:
        return _wrap({"input": messages, "output": {"type": "object"}})
    prompt = _build_object({**properties, "prompt": {"type": "string", "minLength": 1}}, "prompt")
    return _wrap({"input": {"type": "object", "oneOf": [prompt, messages]}, "output": {"type": "object"}})


def list_openai_models() -> dict[str, Any]:
    """Return the reply of `/v1/models`: the ids of the models without Cloudflare's prefix `@cf/`."""
    names = dict.fromkeys(
        model.id.partition("/")[2] if model.id.startswith("@") else model.id for model in MODELS.values()
    )
    return {
        "object": "list",
        "data": [{"id": name, "object": "model", "created": 0, "owned_by": "sandbox"} for name in names],
    }


def _list_fields(model: GemmaModel) -> tuple[tuple[str, str, object], ...]:
    """Return the parameters that are not numbers: name, type, and whether the model has it."""
    return (
        ("raw", "boolean", model.raw),
        ("lora", "string", model.lora),
        ("stop", "array", model.stop),
        ("tools", "array", model.tools),
        ("tool_choice", "string", model.tool_choice),
        ("parallel_tool_calls", "boolean", model.tool_choice),
        ("guided_json", "object", model.constraint == "guided_json"),
        ("response_format", "object", model.constraint in ("bare_schema", "openai_schema")),
        ("stream_options", "object", model.stream_options),
        ("chat_template_kwargs", "object", model.thinking),
    )


def _build_object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def _build_number(allowed: Range) -> dict[str, Any]:
    bounds = {"minimum": allowed.low, "maximum": allowed.high}
    kind = "integer" if allowed.integer else "number"
    return {"type": kind, **{key: value for key, value in bounds.items() if value is not None}}


def _wrap(result: Any) -> dict[str, Any]:
    return {"result": result, "success": True, "errors": [], "messages": []}


def get_token_status() -> dict[str, Any]:
    """Return the reply of the token check for a valid token."""
    return {
        "result": {"id": uuid.uuid5(uuid.NAMESPACE_URL, "sandbox").hex, "status": "active"},
        "success": True,
        "errors": [],
        "messages": [{"code": 10000, "message": "This API Token is valid and active", "type": None}],
    }


def _build_entry(model: GemmaModel, engine: str) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "context_window": model.context_window,
        "function_calling": "true" if model.function_calling else None,
        "lora": "true" if model.lora else None,
        "async_queue": "true" if model.async_queue else None,
        "planned_deprecation_date": model.retired.isoformat() if model.retired else None,
        "price": [
            {"unit": "per M input tokens", "price": model.input_price, "currency": "USD"},
            {"unit": "per M output tokens", "price": model.output_price, "currency": "USD"},
        ]
        if model.input_price is not None
        else None,
    }
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, model.id)),
        "source": 1,
        "name": model.id,
        "description": f"{model.name}, answered by {engine}",
        "task": {**(_EMBEDDINGS if model.embeds else _TEXT), "description": ""},
        "tags": [],
        "properties": [
            {"property_id": name, "value": value if isinstance(value, list) else str(value)}
            for name, value in properties.items()
            if value is not None
        ],
    }


def _read_whole(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise make_bad_input_error(f"'/{name}' must be >= 1")
    return int(text)
