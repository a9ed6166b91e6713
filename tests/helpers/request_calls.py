"""URLs, a prompt and replies that the tests of requests share."""

from __future__ import annotations

from tests.helpers.mock_service import MockService, encode_sse, make_stream_response
from tests.helpers.model_calls import ACCOUNT_ID, STREAM_METHODS

RUN_URL = f"https://api.cloudflare.com/client/v4/accounts/{ACCOUNT_ID}/ai/run/"
OPENAI_URL = f"https://api.cloudflare.com/client/v4/accounts/{ACCOUNT_ID}/ai/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]


def respond_to_method(service: MockService, call_method: str) -> None:
    """Make the service send a stream if the call method needs one."""
    if call_method in STREAM_METHODS:
        service.respond_with(make_stream_response(encode_sse({"response": "Hi"}, "[DONE]")))
