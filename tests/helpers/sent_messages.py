"""Messages that are sent, and images in every form in which users write them."""

from __future__ import annotations

from typing import Any

from langchain_core.messages.content import create_image_block

from tests.helpers.mock_service import MockService
from tests.helpers.model_calls import GEMMA_4, PNG_BASE64, PNG_DATA_URI, call_model, make_model


def send_messages(
    service: MockService, *messages: Any, model: str = GEMMA_4, call_method: str = "invoke"
) -> list[dict[str, Any]]:
    """Send messages and return them as they are in the request."""
    call_model(make_model(model=model), call_method, list(messages))
    return service.last_messages


IMAGE_FORMS: dict[str, Any] = {
    "openai": {"type": "image_url", "image_url": {"url": PNG_DATA_URI}},
    "openai with detail": {"type": "image_url", "image_url": {"url": PNG_DATA_URI, "detail": "low"}},
    "openai, bare string": {"type": "image_url", "image_url": PNG_DATA_URI},
    "v1 base64": create_image_block(base64=PNG_BASE64, mime_type="image/png"),
    "v1 url": create_image_block(url=PNG_DATA_URI),
    "v0 base64": {"type": "image", "source_type": "base64", "data": PNG_BASE64, "mime_type": "image/png"},
    "v0 url": {"type": "image", "source_type": "url", "url": PNG_DATA_URI},
    "anthropic base64": {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": PNG_BASE64},
    },
    "anthropic url": {"type": "image", "source": {"type": "url", "url": PNG_DATA_URI}},
    "data uri in base64": {"type": "image", "base64": PNG_DATA_URI, "mime_type": "image/png"},
    "base64 in lines": {"type": "image", "base64": f"{PNG_BASE64[:60]}\n{PNG_BASE64[60:]}\n", "mime_type": "image/png"},
    "data uri in lines": {"type": "image_url", "image_url": {"url": f"{PNG_DATA_URI[:70]}\r\n{PNG_DATA_URI[70:]}"}},
    "anthropic without mime type": {"type": "image", "source": {"type": "base64", "data": PNG_BASE64}},
}
