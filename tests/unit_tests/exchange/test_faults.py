"""Each network or server fault with each call method, on real sockets.

Each call returns the reply or raises a typed error without the token, after a known number of requests, and leaves no
connection open.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import httpx
import pytest
from langchain_core import exceptions as core
from langchain_core.messages import BaseMessage

from langchain_workers_gemma import APIConnectionError, APIStatusError, ChatWorkersGemma, InternalServerError
from tests.helpers.fault_server import (
    HELLO_RESPONSE,
    HELLO_STREAM,
    STALL,
    STALL_TIMEOUT,
    FaultServer,
    make_server_model,
    reserve_closed_port,
)
from tests.helpers.model_calls import (
    API_TOKEN,
    STREAM_METHODS,
    acollect_chunks,
    format_traceback_with_locals,
    make_model,
    merge_chunks,
)
from tests.unit_tests.exchange.faults import FAULTS, WHOLE_METHODS, Fault

pytestmark = pytest.mark.usefixtures("sleeps")


def run_call_method(llm: ChatWorkersGemma, call_method: str) -> BaseMessage:
    """Return the message of a call, with chunks merged, or raise the error of a batch."""
    if call_method == "invoke":
        return llm.invoke("Hi")
    if call_method == "ainvoke":
        return asyncio.run(llm.ainvoke("Hi"))
    if call_method == "batch":
        return _get_common_outcome(llm.batch(["Hi", "Hi there", "Hi again"], return_exceptions=True))
    if call_method == "abatch":
        return _get_common_outcome(asyncio.run(llm.abatch(["Hi", "Hi there", "Hi again"], return_exceptions=True)))
    if call_method == "stream":
        return merge_chunks(list(llm.stream("Hi")))
    return merge_chunks(asyncio.run(acollect_chunks(llm)))


def _get_common_outcome(outcomes: list[Any]) -> BaseMessage:
    """Return the first outcome of a batch, in which all outcomes must have one type."""
    assert len({type(outcome) for outcome in outcomes}) == 1, outcomes
    first = outcomes[0]
    if isinstance(first, BaseException):
        raise first
    assert isinstance(first, BaseMessage)
    return first


@pytest.mark.parametrize(
    ("fault", "call_method"),
    [
        pytest.param(fault, call_method, id=f"{fault.name}-{call_method}")
        for fault in FAULTS
        for call_method in fault.call_methods
    ],
)
def test_each_fault_has_the_expected_outcome(server: FaultServer, fault: Fault, call_method: str) -> None:
    scripts, outcome, requests = fault.scripts, fault.outcome, fault.requests
    if call_method in STREAM_METHODS and fault.streamed is not None:
        scripts, outcome, requests = fault.streamed
    successful_reply = HELLO_STREAM if call_method in STREAM_METHODS else HELLO_RESPONSE
    server.play(*(script or (successful_reply,) for script in scripts))
    stalls = any(STALL in script for script in scripts)
    timeout = httpx.Timeout(20, read=STALL_TIMEOUT) if stalls else 20
    llm = make_server_model(server, timeout=timeout, **fault.model)
    if isinstance(outcome, str):
        assert run_call_method(llm, call_method).text == outcome
    else:
        with pytest.raises(outcome) as raised:
            run_call_method(llm, call_method)
        error = raised.value
        assert type(error) is outcome or outcome is APIStatusError
        assert fault.message_part in str(error)
        assert isinstance(error, core.ModelError)
        assert API_TOKEN not in format_traceback_with_locals(error)
        if isinstance(error, InternalServerError) and "cannot be read" in str(error):
            assert error.status_code == 200
    assert len(server.requests) == requests * (3 if "batch" in call_method else 1)
    idle_connections = (
        3 if call_method == "batch" else 0 if call_method.startswith("a") else 1
    )  # sync calls keep connections for later calls
    assert server.wait_until_at_most_open(idle_connections) <= idle_connections


@pytest.mark.parametrize("call_method", [*WHOLE_METHODS, *STREAM_METHODS])
def test_a_refused_connection_raises(call_method: str) -> None:
    with reserve_closed_port() as port:
        llm = make_model(base_url=f"http://127.0.0.1:{port}", max_retries=1)
        with pytest.raises(APIConnectionError) as raised:
            run_call_method(llm, call_method)
    assert raised.value.is_retryable


@pytest.mark.parametrize("call_method", [*WHOLE_METHODS, *STREAM_METHODS])
def test_an_unknown_host_raises(call_method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(APIConnectionError):
        run_call_method(make_model(base_url="http://nowhere.invalid", max_retries=0), call_method)
