"""Call methods that return a whole reply."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage

from tests.helpers.mock_service import MockService
from tests.helpers.model_calls import CALL_METHODS, EVENT_METHODS, call_model, make_model

ALL_CALL_METHODS = (*CALL_METHODS, *EVENT_METHODS)


def get_reply_message(service: MockService, result: Any, call_method: str = "invoke", **arguments: Any) -> AIMessage:
    """Return the message for a result. Stream methods get one JSON body too."""
    service.respond_with_results(result)
    return call_model(make_model(**arguments), call_method)
