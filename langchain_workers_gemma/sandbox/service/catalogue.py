"""The model search and the token check."""

from __future__ import annotations

import math
import uuid
from typing import TYPE_CHECKING, Any

from langchain_workers_gemma.models import MODELS, GemmaModel
from langchain_workers_gemma.sandbox.errors import bad_input

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEXT = {"id": "c329a1f9-323d-4e91-b2aa-582dd4188d34", "name": "Text Generation"}
_EMBEDDINGS = {"id": "0137cdcf-162a-4108-94f2-1ca59e8c65ee", "name": "Text Embeddings"}
_MOST_PER_PAGE = 100


def search(query: Mapping[str, str]) -> dict[str, Any]:
    """The reply of `/ai/models/search`."""
    page, per_page = _whole(query, "page", 1), min(_whole(query, "per_page", 50), _MOST_PER_PAGE)
    found = [
        _entry(model)
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


def token_status() -> dict[str, Any]:
    """The reply of the token check for a good token."""
    return {
        "result": {"id": uuid.uuid5(uuid.NAMESPACE_URL, "sandbox").hex, "status": "active"},
        "success": True,
        "errors": [],
        "messages": [{"code": 10000, "message": "This API Token is valid and active", "type": None}],
    }


def _entry(model: GemmaModel) -> dict[str, Any]:
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
        "description": model.name,
        "task": {**(_EMBEDDINGS if model.embeds else _TEXT), "description": ""},
        "tags": [],
        "properties": [
            {"property_id": name, "value": value if isinstance(value, list) else str(value)}
            for name, value in properties.items()
            if value is not None
        ],
    }


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise bad_input(f"'/{name}' must be >= 1")
    return int(text)
