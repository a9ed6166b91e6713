"""No value of a caller or a server can change a header or a path of a request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from langchain_workers_gemma import AIGateway
from tests.helpers.mock_service import MockService
from tests.helpers.model_calls import make_model

INVALID_HEADER_VALUES = ["x\r\nX-Evil: 1", "x\nX-Evil: 1", "x\rX", "x\x00", "x\x7f", "ü", " x", "x ", "x\t"]


@pytest.mark.parametrize("value", INVALID_HEADER_VALUES)
@pytest.mark.parametrize(
    "arguments",
    [
        lambda value: {"session_affinity": value},
        lambda value: {"default_headers": {"x-mine": value}},
        lambda value: {"ai_gateway": value},
        lambda value: {"ai_gateway": AIGateway("gw", cache_key=value)},
        lambda value: {"ai_gateway": AIGateway("gw", token=value)},
        lambda value: {"account_id": value},
        lambda value: {"model": value},
        lambda value: {"base_url": f"https://example.com/{value}/x"},
    ],
)
def test_control_characters_never_reach_a_header_or_a_path(service: MockService, value: str, arguments: Any) -> None:
    try:
        make_model(**arguments(value)).invoke("Hi")
    except ValueError:
        assert not service.requests
    else:  # white space around an id is removed, and other characters in a URL are escaped
        path = service.only_request.url.raw_path
        assert path.startswith((b"/client/v4/accounts/x/ai/", b"/%C3%BC/x/accounts/"))
        assert not set(path) & set(b"\r\n\t \x00\x7f")


@pytest.mark.parametrize("name", ["x y", "x:", "", "x\r\ny", "ü", "x\x00"])
def test_invalid_header_names_raise(name: str) -> None:
    with pytest.raises(ValueError, match="default_headers"):
        make_model(default_headers={name: "value"})


@pytest.mark.parametrize(
    "model_id", ["../../secrets", "@cf/../x", "a//b", "/a", "a/", "a?b=c", "a#b", "a%2e", "a\\b", "", "."]
)
def test_model_ids_that_change_the_path_raise(service: MockService, model_id: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: make_model(model=model_id).invoke("Hi"),
        lambda: make_model().invoke("Hi", model=model_id),
    ]
    for call in calls:
        try:
            call()
        except ValueError:
            assert not service.requests
        else:
            assert not model_id  # an empty id selects the default
            service.requests.clear()
