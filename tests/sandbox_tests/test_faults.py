"""Injected faults: errors, cuts, stalls, exact replies and random mixes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args

import httpx
import pytest

from langchain_workers_gemma.sandbox import Fault, Sandbox
from langchain_workers_gemma.sandbox.faults import KINDS, FaultKind
from langchain_workers_gemma.sandbox.http import thread
from tests.sandbox_tests.api_client import GEMMA_3, GEMMA_4, Api, get_error, read_events, to_messages


@contextmanager
def open_stream(api: Api, model: str = GEMMA_3) -> Iterator[httpx.Response]:
    body = {"messages": to_messages("Hello"), "stream": True}
    with api.http.stream("POST", f"{api.account}/ai/run/{model}", json=body, headers=api.auth) as response:
        yield response


def count_events(response: httpx.Response) -> tuple[int, str | None]:
    """Return the number of events, and the error that ended the stream, or `None`."""
    received = b""
    try:
        for packet in response.iter_raw():
            received += packet
    except httpx.TransportError as error:
        return received.count(b"data: "), f"{type(error).__name__}: {error}"
    return received.count(b"data: "), None


# --- errors -----------------------------------------------------------------------------------------------------------
def test_the_next_requests_fail(api: Api) -> None:
    api.sandbox.fail(next=3, status=429, code=3040)
    replies = [api.send_text(GEMMA_4, "Hello") for _ in range(4)]
    assert [reply.status_code for reply in replies] == [429, 429, 429, 200]
    assert get_error(replies[0])[1:] == (3040, "Capacity temporarily exceeded, please try again.")
    assert "retry-after" not in replies[0].headers


@pytest.mark.parametrize(("code", "status"), [(3040, 429), (5007, 400), (10000, 401), (5028, 410), (None, 500)])
def test_a_code_sets_the_status(api: Api, code: int | None, status: int) -> None:
    api.sandbox.fail(code=code)
    assert api.send_text(GEMMA_4, "Hello").status_code == status


def test_an_error_has_the_injected_message(api: Api) -> None:
    api.sandbox.fail(status=429, code=3036, message="No neurons left", retry_after=2.5)
    reply = api.send_text(GEMMA_4, "Hello")
    assert get_error(reply) == (429, 3036, "No neurons left")
    assert reply.headers["retry-after"] == "2.5"


def test_errors_have_the_form_of_their_route(api: Api) -> None:
    api.sandbox.fail(next=2, status=500, message="Oops")
    url = f"{api.sandbox.aimlapi_url}/chat/completions"
    assert api.http.post(url, json={}, headers=api.auth).json()["error"]["message"] == "Oops"
    assert api.http.post(f"{api.sandbox.binding_url}/run", json={}).json()["description"] == "Oops"


def test_faults_apply_in_the_order_of_injection(api: Api) -> None:
    api.sandbox.fail(status=500)
    api.sandbox.html()
    api.sandbox.empty(status=204)
    api.sandbox.garbage()
    replies = [api.send_text(GEMMA_4, "Hello") for _ in range(5)]
    assert [reply.status_code for reply in replies] == [500, 502, 204, 200, 200]
    assert replies[1].headers["content-type"] == "text/html"
    assert replies[1].text.startswith("<html>")
    assert replies[2].content == b""
    with pytest.raises(ValueError, match=r"decode|Expecting"):
        replies[3].json()


def test_a_fault_can_apply_to_one_path(api: Api) -> None:
    api.sandbox.fail(status=500, path="/chat/completions")
    assert api.send_text(GEMMA_4, "Hello").status_code == 200
    assert api.send_chat({"model": GEMMA_4, "messages": to_messages("Hello")}).status_code == 500


def test_clear_removes_faults(api: Api) -> None:
    api.sandbox.fail(next=5)
    api.sandbox.chaos(1.0)
    api.sandbox.clear()
    assert api.send_text(GEMMA_4, "Hello").status_code == 200


# --- cuts -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("after", [0, 1, 5])
def test_a_cut_closes_the_connection_in_the_stream(api: Api, after: int) -> None:
    api.sandbox.cut(after_events=after)
    with open_stream(api) as response:
        count, error = count_events(response)
    assert count == after
    assert error is not None
    assert "incomplete" in error


@pytest.mark.parametrize("after", [0, 1, 5])
def test_a_clean_cut_ends_the_body_as_if_it_were_complete(api: Api, after: int) -> None:
    api.sandbox.cut(after_events=after, clean=True)
    with open_stream(api) as response:
        assert count_events(response) == (after, None)


def test_a_cut_after_the_last_event_is_at_the_end(api: Api) -> None:
    api.sandbox.cut(after_events=10_000)
    with open_stream(api) as response:
        count, error = count_events(response)
    assert count > 5
    assert error is not None


@pytest.mark.parametrize("after", [0, 3])
def test_a_reset_is_a_tcp_reset(api: Api, after: int) -> None:
    api.sandbox.reset(after_events=after)
    with open_stream(api) as response:
        count, error = count_events(response)
    assert count == after
    assert error is not None
    assert error.startswith("ReadError")


def test_cuts_and_resets_of_a_whole_reply(api: Api) -> None:
    api.sandbox.cut()
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        api.send_text(GEMMA_4, "Hello")
    api.sandbox.cut(after_events=1)
    with pytest.raises(httpx.RemoteProtocolError, match=r"incomplete|without sending complete"):
        api.send_text(GEMMA_4, "Hello")
    api.sandbox.cut(clean=True)
    assert not api.send_text(GEMMA_4, "Hello").text.endswith("}")
    for after in (0, 1):
        api.sandbox.reset(after_events=after)
        with pytest.raises(httpx.ReadError):
            api.send_text(GEMMA_4, "Hello")


def test_an_error_object_instead_of_an_event(api: Api) -> None:
    api.sandbox.stream_error(after_events=2, code=3040, message="Busy")
    with open_stream(api) as response:
        events = read_events(response.read().decode())
    assert len(events) == 3
    assert events[-1]["errors"] == [{"message": "Busy", "code": 3040}]


def count_connections(sandbox: Sandbox) -> int:
    """Return the number of open requests."""
    assert sandbox._running is not None
    return len(sandbox._running.connections)


# --- stalls -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("after", [0, 2])
def test_a_stall_delays_and_continues(api: Api, after: int) -> None:
    api.sandbox.stall(0.05, after_events=after)
    started_at = time.perf_counter()
    with open_stream(api) as response:
        count, error = count_events(response)
    assert time.perf_counter() - started_at >= 0.05
    assert count > 5
    assert error is None
    api.sandbox.stall(0.05)
    started_at = time.perf_counter()
    assert api.send_text(GEMMA_4, "Hello").status_code == 200
    assert time.perf_counter() - started_at >= 0.05


@pytest.mark.parametrize("streamed", [True, False])
def test_a_stall_ends_when_the_client_disconnects(api: Api, streamed: bool) -> None:
    api.sandbox.stall(60, after_events=1 if streamed else 0)
    with pytest.raises(httpx.ReadTimeout):
        api.http.post(
            f"{api.account}/ai/run/{GEMMA_3}",
            json={"messages": to_messages("Hello"), "stream": streamed},
            headers=api.auth,
            timeout=0.05,
        )
    deadline = time.perf_counter() + 30
    while count_connections(api.sandbox) and time.perf_counter() < deadline:
        time.sleep(0.002)
    assert not count_connections(api.sandbox)


@pytest.mark.parametrize("streamed", [True, False])
def test_a_stall_ends_when_the_sandbox_closes(streamed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread, "_GRACE_TIMEOUT", 600.0)  # seconds; the test fails if something waits for it
    errors: list[str] = []
    with Sandbox() as sandbox, Api(sandbox) as api:
        sandbox.stall(60, after_events=1 if streamed else 0)

        def send() -> None:
            try:
                api.send_text(GEMMA_3, "Hello", stream=streamed)
            except httpx.TransportError as error:
                errors.append(type(error).__name__)

        sender = threading.Thread(target=send)
        sender.start()
        while not count_connections(sandbox):
            time.sleep(0.002)
        sandbox.close()
        sender.join(60)
    assert errors in (["RemoteProtocolError"], ["ReadError"]), (
        "the stall ends at once, not when the client times out after a minute"
    )


def test_latency_delays_every_reply(api: Api) -> None:
    api.sandbox.latency = 0.03
    started_at = time.perf_counter()
    for _ in "12":
        api.send_text(GEMMA_4, "Hello")
    assert time.perf_counter() - started_at >= 0.06
    assert api.sandbox.latency == 0.03


# --- scripts ----------------------------------------------------------------------------------------------------------
def test_a_script_is_sent_byte_for_byte(api: Api) -> None:
    api.sandbox.script(b'{"result": {"response": 42}}', status=201, headers={"x-extra": "1"})
    reply = api.http.get(f"{api.sandbox.base_url}/anything")
    assert (reply.status_code, reply.content, reply.headers["x-extra"]) == (201, b'{"result": {"response": 42}}', "1")
    assert reply.headers["content-type"] == "application/json"
    assert len(api.sandbox.requests) == 1


def test_a_script_is_sent_in_its_packets(api: Api) -> None:
    pieces = [b"da", b"ta: \xe4\xbd", b"\xa0\n", b"\ndata: [DONE]\n\n"]
    api.sandbox.script(pieces=pieces)
    with open_stream(api) as response:
        assert list(response.iter_raw()) == pieces
        assert response.headers["content-type"] == "text/event-stream"


@pytest.mark.parametrize(
    ("body", "content_type", "sent"),
    [
        ({"a": "ü"}, "application/json", '{"a": "ü"}'.encode()),
        ("data: x\n\n", "text/event-stream", b"data: x\n\n"),
        (": comment\n\n", "text/event-stream", b": comment\n\n"),
        (None, "application/json", b""),
        ([1], "application/json", b"[1]"),
    ],
)
def test_a_script_of_each_type(api: Api, body: object, content_type: str, sent: bytes) -> None:
    api.sandbox.script(body)  # type: ignore[arg-type]
    reply = api.send_text(GEMMA_3, "Hello")
    assert (reply.headers["content-type"], reply.content) == (content_type, sent)


def test_scripts_and_faults_share_one_queue(api: Api) -> None:
    api.sandbox.script({"n": 1}, times=2)
    api.sandbox.fail()
    api.sandbox.script({"n": 2}, content_type="text/plain")
    replies = [api.send_text(GEMMA_3, "Hello") for _ in range(4)]
    assert [reply.status_code for reply in replies] == [200, 200, 500, 200]
    assert replies[3].headers["content-type"] == "text/plain"


# --- a mix ------------------------------------------------------------------------------------------------------------
def collect_outcomes(api: Api, seed: int, rate: float = 0.5) -> list[str]:
    api.sandbox.chaos(rate, seed=seed)
    found = []
    for _ in range(25):
        try:
            response = api.send_text(GEMMA_3, "Hello", stream=True)
        except httpx.TransportError as error:
            found.append(type(error).__name__)
        else:
            found.append(f"{response.status_code} {len(response.content)}")
    return found


def test_the_same_seed_results_in_the_same_mix(api: Api) -> None:
    assert collect_outcomes(api, 1) == collect_outcomes(api, 1) != collect_outcomes(api, 2)
    assert len(set(collect_outcomes(api, 1))) > 3


def test_a_mix_of_chosen_kinds(api: Api) -> None:
    busy = Fault(kind="error", status=429, code=3040)
    api.sandbox.chaos(1.0, kinds=[busy])
    assert {api.send_text(GEMMA_3, "Hello").status_code for _ in range(5)} == {429}
    api.sandbox.chaos(0)
    assert api.send_text(GEMMA_3, "Hello").status_code == 200


def test_every_kind_is_in_the_default_mix() -> None:
    assert {*KINDS, "exact"} == set(get_args(FaultKind))
