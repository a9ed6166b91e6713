"""No error, traceback or log shows a token, for any input and any response."""

from __future__ import annotations

import pickle
import traceback

import httpx
import pytest

from langchain_workers_gemma import (
    AIGateway,
    APIConnectionError,
    ChatWorkersGemma,
    WorkersGemmaEmbeddings,
    WorkersGemmaError,
)
from tests.helpers.fault_server import (
    CLOSE,
    FIRST_EVENT,
    STREAM_END,
    STREAM_HEAD,
    FaultServer,
    Script,
    encode_event,
    make_error_envelope,
    make_http_response,
    make_server_model,
    reserve_closed_port,
)
from tests.helpers.model_calls import (
    ACCOUNT_ID,
    API_TOKEN,
    CALL_METHODS,
    call_model,
    format_traceback_with_locals,
    make_model,
)

pytestmark = [pytest.mark.usefixtures("sleeps"), pytest.mark.lowest]

GATEWAY_TOKEN = "a-token-of-the-gateway"
BAD_TOKEN = "a-token-that-nobody\nmay-see"


@pytest.mark.parametrize("token", [BAD_TOKEN, "a-tokén-that-nobody-may-see"])
@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_an_invalid_token_assigned_later_is_not_in_the_error(server: FaultServer, call_method: str, token: str) -> None:
    from pydantic import SecretStr

    for change in (SecretStr(token), token):
        with pytest.raises(ValueError, match="api_token") as raised:
            call_model(make_server_model(server).model_copy(update={"api_token": change}), call_method)
        assert "that-nobody" not in "".join(traceback.format_exception(raised.value))
    assert not server.requests


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize(
    "script",
    [
        (make_http_response(500, make_error_envelope(None)),),
        (make_http_response(401, make_error_envelope(10000)),),
        (CLOSE,),
    ],
)
def test_no_local_variable_in_a_traceback_has_the_token(server: FaultServer, call_method: str, script: Script) -> None:
    server.play(script)
    llm = make_server_model(server, ai_gateway=AIGateway("x", token=GATEWAY_TOKEN), max_retries=1)
    with pytest.raises(WorkersGemmaError) as raised:
        call_model(llm, call_method)
    text = format_traceback_with_locals(raised.value)
    assert API_TOKEN not in text
    assert GATEWAY_TOKEN not in text


ECHOED_TOKENS = {
    "in a body": (
        make_http_response(400, make_error_envelope(5006, f"Bad header: Bearer {API_TOKEN}, {GATEWAY_TOKEN}")),
    ),
    "in a page": (make_http_response(502, f"<p>{API_TOKEN} {GATEWAY_TOKEN}</p>".encode(), content_type="text/html"),),
    "in an unreadable body": (make_http_response(200, f"no JSON: {API_TOKEN} {GATEWAY_TOKEN}".encode()),),
    "in headers": (make_http_response(400, make_error_envelope(5006), x_echo=f"{API_TOKEN} {GATEWAY_TOKEN}"),),
    "in a location": (make_http_response(307, location=f"https://example.com/{API_TOKEN}/{GATEWAY_TOKEN}"),),
    "in a content encoding": (make_http_response(200, content_encoding=f"{API_TOKEN} {GATEWAY_TOKEN}"),),
    "in the reason": (f"HTTP/1.1 400 {API_TOKEN} {GATEWAY_TOKEN}\r\ncontent-length: 0\r\n\r\n".encode(),),
    "in a broken header": (f"HTTP/1.1 200 OK\r\n{API_TOKEN} {GATEWAY_TOKEN}\r\n\r\n".encode(), CLOSE),
    "not in HTTP": (f"{API_TOKEN} {GATEWAY_TOKEN}\r\n\r\n".encode(), CLOSE),
    "in an event": (
        STREAM_HEAD + FIRST_EVENT + encode_event({"error": {"message": f"{API_TOKEN} {GATEWAY_TOKEN}"}}) + STREAM_END,
    ),
    "in an unreadable event": (
        STREAM_HEAD + FIRST_EVENT + encode_event(f"nope {API_TOKEN} {GATEWAY_TOKEN}".encode()) + STREAM_END,
    ),
}


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("place", ECHOED_TOKENS)
@pytest.mark.parametrize("owner", ["ours", "the caller's"])
def test_a_token_that_the_server_echoes_is_masked(
    server: FaultServer, call_method: str, place: str, owner: str
) -> None:
    server.play(ECHOED_TOKENS[place])
    with httpx.Client() as client:
        client_argument = {"http_client": client} if owner != "ours" else {}
        llm = make_server_model(
            server, ai_gateway=AIGateway("x", token=GATEWAY_TOKEN), max_retries=0, **client_argument
        )
        with pytest.raises(WorkersGemmaError) as raised:
            call_model(llm, call_method)
    error: BaseException | None = raised.value
    while error is not None:  # `tblib`, which Dask loads, pickles causes and contexts too
        for text in (
            str(error),
            format_traceback_with_locals(error),
            repr(error),
            repr(vars(error)),
            str(pickle.dumps(error)),
        ):
            assert API_TOKEN not in text
            assert GATEWAY_TOKEN not in text
        error = error.__cause__ or error.__context__


def test_no_local_variable_in_a_traceback_has_the_token_without_a_server() -> None:
    with reserve_closed_port() as port:
        for client in (
            make_model,
            lambda **arguments: WorkersGemmaEmbeddings(account_id=ACCOUNT_ID, api_token=API_TOKEN, **arguments),
        ):
            llm = client(base_url=f"http://127.0.0.1:{port}", max_retries=0)
            with pytest.raises(APIConnectionError) as raised:
                llm.invoke("Hi") if isinstance(llm, ChatWorkersGemma) else llm.embed_query("Hi")
            assert API_TOKEN not in format_traceback_with_locals(raised.value)


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("arguments", [{"temperature": 99}, {"max_tokens": 0}, {"timeout": -1}, {"stop": 3}])
def test_a_default_header_is_not_in_the_error_for_an_argument_of_a_call(
    call_method: str, arguments: dict[str, object]
) -> None:
    llm = make_model(default_headers={"cf-aig-authorization": f"Bearer {GATEWAY_TOKEN}"})
    with pytest.raises(ValueError, match=next(iter(arguments))) as raised:
        call_model(llm, call_method, **arguments)
    assert GATEWAY_TOKEN not in format_traceback_with_locals(raised.value)


def test_a_default_header_is_not_in_the_error_for_a_missing_binding() -> None:
    llm = make_model(default_headers={"cf-aig-authorization": f"Bearer {GATEWAY_TOKEN}"})
    vars(llm)["api_token"] = None
    with pytest.raises(ValueError, match="binding is missing") as raised:
        llm.invoke("Hi")
    assert GATEWAY_TOKEN not in format_traceback_with_locals(raised.value)


def test_the_token_is_not_in_the_error_for_another_argument() -> None:
    def construct() -> None:
        ChatWorkersGemma(account_id="a/b", api_token="".join(API_TOKEN))

    with pytest.raises(ValueError, match="account_id") as raised:
        construct()
    assert API_TOKEN not in format_traceback_with_locals(raised.value)


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_the_token_of_a_gateway_given_as_a_dict_is_not_in_the_error(server: FaultServer, call_method: str) -> None:
    with pytest.raises(ValueError, match="ai_gateway") as raised:
        call_model(make_server_model(server).bind(ai_gateway={"id": "x", "token": GATEWAY_TOKEN}), call_method)
    assert GATEWAY_TOKEN not in str(raised.value)
