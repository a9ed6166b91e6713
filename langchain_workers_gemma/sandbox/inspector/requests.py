"""Read requests of all routes (docs/wire.md section 1)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from langchain_workers_gemma.models import GemmaModel, HostName, get_model, resolve_model
from langchain_workers_gemma.sandbox.errors import ServiceError
from langchain_workers_gemma.sandbox.images import read_data_uri

from .prompt import is_image, render_prompt
from .replies import parse_json_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .exchanges import Exchange
    from .prompt_writer import RenderedPrompt

MAX_INPUTS = 20
"""Maximum number of displayed inputs of one batch."""
MAX_TEXT = 100_000
"""Maximum number of displayed characters of one text."""
MAX_DATA_URI = 120
"""Maximum number of displayed characters of a `data:` URI."""
_MAX_PREVIEW = 160
_INPUT_KEYS = ("input", "data", "inputs")
"""The keys of the model's input in the body: on the universal route, on Dataoorts, and of a binding."""
_NOT_OPTIONS = frozenset({"messages", "prompt", "tools", "requests", "text", "input"})
_HOSTS: dict[str, HostName] = {"dataoorts": "dataoorts", "aimlapi": "aimlapi"}
"""The hosts of the route styles that are not Cloudflare's."""
_COMPATIBLE = "compatible"


def find_model(exchange: Exchange, model: str) -> GemmaModel | None:
    """Return the published facts about a model on the host of a request, or `None` if the model is unknown."""
    if exchange.style == _COMPATIBLE:  # on other servers, only the family of a model is known
        return resolve_model(model, "openai_compatible") if "gemma" in model.lower() else None
    return get_model(model, _HOSTS.get(exchange.style or "", "cloudflare"))


def find_model_id(exchange: Exchange, body: object) -> str:
    """Return the model id in a request, or an empty text if there is none."""
    headers = dict(exchange.headers)
    in_body = body.get("model") if isinstance(body, dict) else None
    model_id = exchange.path_params.get("model") or headers.get("cf-consn-model-id") or in_body
    return model_id if isinstance(model_id, str) else ""


def find_inputs(body: object) -> list[Mapping[str, Any]]:
    """Return the model inputs in the body of a request: one, or those of a batch."""
    if not isinstance(body, dict):
        return []
    model_input: dict[str, Any] = next((body[key] for key in _INPUT_KEYS if isinstance(body.get(key), dict)), body)
    batch = model_input.get("requests")
    return [item for item in batch if isinstance(item, dict)] if isinstance(batch, list) else [model_input]


def build_preview(inputs: list[Mapping[str, Any]]) -> str:
    """Return the start of the last user message."""
    for body in inputs[:1]:
        messages = body.get("messages")
        valid = [message for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []
        content = next((message.get("content") for message in reversed(valid) if message.get("role") == "user"), None)
        text = (
            join_texts(content) or join_texts(body.get("prompt")) or join_texts(body.get("text") or body.get("input"))
        )
        return " ".join(text[: 4 * _MAX_PREVIEW].split())[:_MAX_PREVIEW]
    return ""


def join_texts(content: object) -> str:
    """Return the text of a message's content, with one line for each part."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part.get("text") if isinstance(part, dict) else part for part in content)
    return "\n".join(part for part in parts if isinstance(part, str))


def build_input_view(exchange: Exchange, model: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return an input in the form that the page shows."""
    messages = body.get("messages")
    spec = find_model(exchange, model)
    is_chat = "messages" in body or "prompt" in body
    return {
        "messages": [_build_message(message) for message in messages]
        if isinstance(messages, list)
        else _build_prompt_message(body),
        "tools": [_build_tool(tool) for tool in _to_list(body.get("tools"))],
        "options": {key: shorten(_dump_json(value)) for key, value in body.items() if key not in _NOT_OPTIONS},
        "prompt": _build_prompt(spec, model, body) if is_chat else None,
    }


def _build_prompt(spec: GemmaModel | None, model: str, body: Mapping[str, Any]) -> dict[str, Any]:
    if spec is None:
        refusal = f"There is no model {model!r}, so there is no template."
        return {"segments": [], "notes": [], "omitted": 0, "refusal": refusal}
    return _build_prompt_view(render_prompt(spec, body))


def _build_prompt_view(prompt: RenderedPrompt) -> dict[str, Any]:
    return {
        "segments": [[segment.kind, segment.text] for segment in prompt.segments],
        "notes": list(prompt.notes),
        "refusal": prompt.refusal,
        "omitted": prompt.omitted,
    }


def _build_prompt_message(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    text = join_texts(body.get("prompt")) or join_texts(body.get("text") or body.get("input"))
    return [_build_message({"role": "prompt" if "prompt" in body else "text", "content": text})] if text else []


def _build_message(message: object) -> dict[str, Any]:
    if not isinstance(message, dict):
        return {"role": "?", "text": shorten(_dump_json(message)), "images": [], "calls": []}
    content = message.get("content")
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    return {
        "role": str(message.get("role", "?")),
        "name": str(message.get("name") or ""),
        "text": shorten(join_texts(content) if isinstance(content, str | list) else _dump_json(content)),
        "images": [_describe_image(part) for part in parts if is_image(part)],
        "other_parts": [str(part.get("type")) for part in parts if "text" not in part and not is_image(part)],
        "reasoning": shorten(str(message.get("reasoning") or message.get("reasoning_content") or "")),
        "calls": [_build_call(call) for call in _to_list(message.get("tool_calls"))],
        "call_id": str(message.get("tool_call_id") or ""),
    }


def _build_call(call: object) -> dict[str, str]:
    holder = call if isinstance(call, dict) else {}
    function = holder.get("function")
    function = function if isinstance(function, dict) else holder
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) else _dump_json(arguments)
    return {"id": str(holder.get("id") or ""), "name": str(function.get("name") or ""), "arguments": shorten(text)}


def _build_tool(tool: object) -> dict[str, str]:
    holder = tool if isinstance(tool, dict) else {}
    function = holder.get("function")
    function = function if isinstance(function, dict) else holder
    return {
        "name": str(function.get("name") or ""),
        "description": shorten(str(function.get("description") or "")),
        "parameters": shorten(_dump_json(function.get("parameters"), indent=2)),
    }


def _describe_image(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of an image, without its bytes."""
    holder = part.get("image_url")
    url = holder.get("url") if isinstance(holder, dict) else holder
    if not isinstance(url, str):
        return {"label": "an image without a URL"}
    if not url.startswith("data:"):
        return {"label": url[:500]}
    try:
        image = read_data_uri(url)
    except ServiceError as error:
        return {"label": error.message}
    return {"label": f"{image.format}, {image.width}x{image.height} px, {len(url):,} characters"}


def shorten(value: Any) -> Any:
    """Return a value. A long text is truncated, and ends with the number of omitted characters."""
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return f"{value[:MAX_TEXT]}… ({len(value) - MAX_TEXT:,} more characters)"
    return value


def format_body(body: bytes | bytearray) -> str:
    """Return a body as text. JSON is indented, and long texts in it (images) are truncated."""
    value = parse_json_text(body)
    if value is None:
        return str(shorten(bytes(body[: 4 * MAX_TEXT]).decode("utf-8", errors="replace")))
    try:
        return str(shorten(_dump_json(_shorten_texts(value), indent=2)))
    except RecursionError:
        return str(shorten(bytes(body[: 4 * MAX_TEXT]).decode("utf-8", errors="replace")))


def _shorten_texts(value: Any) -> Any:
    if isinstance(value, str):
        if value.startswith("data:") and len(value) > MAX_DATA_URI:
            return f"{value[:MAX_DATA_URI]}… ({len(value) - MAX_DATA_URI:,} more characters)"
        return value
    if isinstance(value, list):
        return [_shorten_texts(item) for item in value]
    if isinstance(value, dict):
        return {key: _shorten_texts(item) for key, item in value.items()}
    return value


def _dump_json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _to_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
