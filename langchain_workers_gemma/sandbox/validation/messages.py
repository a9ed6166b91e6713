"""Parse `messages` by the published schema of each model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from langchain_workers_gemma.sandbox.chat import Call, Turn
from langchain_workers_gemma.sandbox.errors import INVALID_DATA, ServiceError
from langchain_workers_gemma.sandbox.images import Image, read_data_uri

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_workers_gemma.models import GemmaModel

    from .checker import Checker

_MIN_SIDE = 10
"""Gemma 4 refuses images under 10 px (reported)."""


def read_messages(check: Checker, model: GemmaModel, messages: list[Any]) -> tuple[Turn, ...]:
    """Read the conversation. Violations of the schema are added to the checker.

    Raises:
        ServiceError: If an image is not valid.
    """
    return tuple(
        _read_message(check, model, message, f"/messages/{index}")
        for index, message in enumerate(messages)
        if check.check_value(message, f"/messages/{index}", "object")
    )


def _read_message(check: Checker, model: GemmaModel, message: Mapping[str, Any], path: str) -> Turn:
    calls = _read_calls(check, message, path) if model.tool_role else ()
    # The published type of Gemma 4's input allows a null content beside calls.
    is_null_allowed = bool(calls) and message.get("content") is None
    if not check.check_required(message, ["role"] if is_null_allowed else ["role", "content"], path):
        return Turn("", "")
    role = message["role"]
    check.check_value(role, f"{path}/role", "string")
    if model.tool_role:
        check.get_optional(message, "name", path, "string")
    text, images = (
        ("", ()) if is_null_allowed else _read_content(check, model, message["content"], role, f"{path}/content")
    )
    call_id = None
    if model.tool_role and role == "tool" and check.check_required(message, ["role", "content", "tool_call_id"], path):
        call_id = check.get_optional(message, "tool_call_id", path, "string")
    return Turn(str(role), text, images, calls, call_id)


def _read_content(
    check: Checker, model: GemmaModel, content: object, role: object, path: str
) -> tuple[str, tuple[Image, ...]]:
    types = ("string", "array") if model.content_parts else ("string",)
    if not check.check_value(content, path, *types):
        return "", ()
    if isinstance(content, str):
        max_characters = model.max_content_characters
        if max_characters is not None and len(content) > max_characters:
            check.add(f"Length of '{path}' must be <= {max_characters}")
        return content, ()
    texts: list[str] = []
    images: list[Image] = []
    for at, part in enumerate(content if isinstance(content, list) else ()):
        where = f"{path}/{at}"
        if not check.check_value(part, where, "object"):
            continue
        kind = part.get("type")
        if kind == "text" or ("text" in part and "type" not in part):
            texts.append(check.get_optional(part, "text", where, "string") or "")
        elif kind == "image_url" and model.images and role == "user":
            images.extend(_read_image(check, model, part, where))
        else:
            check.check_enum(
                kind, f"{where}/type", ["text", "image_url"] if model.images and role == "user" else ["text"]
            )
    return "\n".join(texts), tuple(images)


def _read_image(check: Checker, model: GemmaModel, part: Mapping[str, Any], path: str) -> list[Image]:
    holder = check.get_optional(part, "image_url", path, "object")
    url = check.get_optional(holder, "url", f"{path}/image_url", "string") if holder is not None else None
    if url is None:
        check.check_required(holder or {}, ["url"], f"{path}/image_url")
        return []
    image = read_data_uri(url)
    if model.family == "gemma-4" and min(image.width, image.height) < _MIN_SIDE:
        raise ServiceError(
            INVALID_DATA,
            f"AiError: Invalid data: image of {image.width}x{image.height} px is too small, "
            f"each side must be at least {_MIN_SIDE} px",
        )
    return [image]


def _read_calls(check: Checker, message: Mapping[str, Any], path: str) -> tuple[Call, ...]:
    raw = message.get("tool_calls")
    if raw is None or not check.check_value(raw, f"{path}/tool_calls", "array"):
        return ()
    calls = []
    for at, call in enumerate(raw):
        where = f"{path}/tool_calls/{at}"
        if not check.check_value(call, where, "object") or not check.check_required(
            call, ["id", "type", "function"], where
        ):
            continue
        check.check_enum(call["type"], f"{where}/type", ["function"])
        function = check.get_optional(call, "function", where, "object")
        if function is None or not check.check_required(function, ["name", "arguments"], f"{where}/function"):
            continue
        named = check.check_value(function["name"], f"{where}/function/name", "string")
        if named and check.check_value(function["arguments"], f"{where}/function/arguments", "string"):
            _require_object(check, function["arguments"], f"{where}/function/arguments")
            calls.append(Call(str(call["id"]), function["name"], function["arguments"]))
    return tuple(calls)


def _require_object(check: Checker, arguments: str, path: str) -> None:
    # The chat template writes each argument with its key, so the arguments must be an object.
    try:
        is_object = isinstance(json.loads(arguments), dict)
    except ValueError:
        is_object = False
    if not is_object:
        check.add(f"'{path}' must be the JSON text of an object")
