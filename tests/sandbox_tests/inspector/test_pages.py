"""The inspector over HTTP: the page, the data that it shows, the settings that it changes, and refused requests."""

from __future__ import annotations

import json
import logging
from collections.abc import Generator
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import httpx
import pytest

from langchain_workers_gemma import ChatWorkersGemma
from langchain_workers_gemma.sandbox import Sandbox, get_dialect
from langchain_workers_gemma.sandbox.inspector.exchanges import ExchangeLog
from tests.sandbox_tests.api_client import GEMMA_3, GEMMA_4, QUIET, WEATHER, Api, to_messages

STATIC = files("langchain_workers_gemma.sandbox.inspector").joinpath("static")


class Page:
    """The inspector of a sandbox."""

    def __init__(self, sandbox: Sandbox, api: Api) -> None:
        self.sandbox = sandbox
        self.api = api
        self.root = sandbox.base_url.removesuffix("/client/v4")

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.api.http.get(
            f"{self.root}{path}", headers={name.replace("_", "-"): v for name, v in headers.items()}
        )

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.api.http.post(f"{self.root}/inspector/{path}", json=body)

    def iterate_feed(self) -> Generator[tuple[str, Any], None, None]:
        with self.api.http.stream("GET", f"{self.root}/inspector/feed") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            name = ""
            for line in response.iter_lines():
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    yield name, json.loads(line[6:])

    def wait_for_newest(self) -> dict[str, Any]:
        """Wait until the last request has ended, and return its summary."""
        found: dict[str, Any] = {}
        for name, value in self.iterate_feed():
            if name == "exchange":
                found = value
                if value["id"] == self.last_id and value["state"] != "running":
                    return found
        raise AssertionError(found)

    @property
    def last_id(self) -> int:
        return max(one.id for one in self.sandbox._inspector.log.list_all())

    def get_detail(self, exchange_id: int | None = None) -> dict[str, Any]:
        response = self.get(f"/inspector/requests/{exchange_id or self.last_id}")
        assert response.status_code == 200
        found: dict[str, Any] = response.json()
        return found


@pytest.fixture
def page(sandbox: Sandbox, api: Api) -> Page:
    sandbox._inspector.log.clear()
    return Page(sandbox, api)


@pytest.fixture
def llm(sandbox: Sandbox) -> ChatWorkersGemma:
    return ChatWorkersGemma(
        base_url=sandbox.base_url,
        account_id=sandbox.account_id,
        api_token=sandbox.api_token,
        thinking=False,
        max_retries=0,
    )


# --- the page ---------------------------------------------------------------------------------------------------------


class _PageResources(HTMLParser):
    """The URLs that a page loads, and its inline scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.inline: list[str] = []
        self._script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._script = tag == "script"
        for name, value in attrs:
            if (name in ("src", "href") or tag == "link") and value and not value.startswith("#") and "/" in value:
                self.urls.append(value)
            if name.startswith("on") or name == "style":
                self.inline.append(f"{tag} {name}")

    def handle_data(self, data: str) -> None:
        if self._script and data.strip():
            self.inline.append(data)


def test_the_page_is_strict_and_loads_nothing_from_elsewhere(page: Page) -> None:
    response = page.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().partition(" ")[::2] for part in response.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src", "img-src")} == {"'self'"}
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"
    resources = _PageResources()
    resources.feed(response.text)
    assert not resources.inline
    assert resources.urls
    for url in resources.urls:
        assert url.startswith("/inspector/files/")
        served = page.get(url)
        assert served.status_code == 200
        assert served.headers["content-security-policy"] == response.headers["content-security-policy"]


def test_every_file_is_served_and_none_names_another_server(page: Page) -> None:
    for file in STATIC.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text
        assert "https://" not in text
        assert page.get("/" if file.name == "index.html" else f"/inspector/files/{file.name}").status_code == 200
    assert page.get("/inspector/files/..%2F__init__.py").status_code == 404
    assert page.get("/inspector/files/index.html").status_code == 404


def test_no_script_can_write_markup() -> None:
    for file in STATIC.iterdir():
        if file.name.endswith(".js"):
            text = file.read_text(encoding="utf-8")
            for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "DOMParser"):
                assert sink not in text


def test_requests_of_the_page_are_not_recorded(page: Page, sandbox: Sandbox) -> None:
    for path in ("/", "/favicon.ico", "/inspector/settings", "/inspector/nothing"):
        page.get(path)
    assert sandbox.requests == []
    assert page.sandbox._inspector.log.list_all() == []


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "https://evil.example"}, {"origin": "null"}])
@pytest.mark.parametrize(
    "path",
    ["/", "/inspector/feed", "/inspector/settings", "/inspector/files/inspector.js", "/client/v4/user/tokens/verify"],
)
def test_foreign_pages_are_refused(page: Page, sandbox: Sandbox, path: str, headers: dict[str, str]) -> None:
    assert page.get(path, authorization=f"Bearer {sandbox.api_token}", **headers).status_code == 403


def test_a_foreign_page_cannot_change_anything(page: Page, sandbox: Sandbox) -> None:
    url, body = f"{page.root}/inspector/pace", {"latency": 9, "tokens_per_second": None}
    foreign = page.api.http.post(url, json=body, headers={"origin": "https://evil.example"})
    assert foreign.status_code == 403
    plain = page.api.http.post(url, content=json.dumps(body), headers={"content-type": "text/plain"})
    assert plain.status_code == 415
    assert sandbox.latency == 0


# --- data on the page -------------------------------------------------------------------------------------------------


def test_a_chat_with_a_tool(page: Page, api: Api) -> None:
    api.run(GEMMA_4, {"messages": to_messages("Weather in Paris?"), "tools": [WEATHER], **QUIET})
    summary = page.wait_for_newest()
    assert (summary["model"], summary["method"], summary["route"], summary["status"]) == (
        GEMMA_4,
        "POST",
        "native",
        200,
    )
    assert (summary["tools"], summary["calls"], summary["finish_reason"]) == (1, 1, "tool_calls")
    assert summary["preview"] == "Weather in Paris?"
    assert summary["input_tokens"] > 0
    assert summary["cost_usd"] == pytest.approx((summary["input_tokens"] * 0.1 + summary["output_tokens"] * 0.3) / 1e6)
    assert 0 <= summary["first_byte_ms"] <= summary["duration_ms"]
    detail = page.get_detail()
    assert detail["inputs"][0]["messages"][0]["text"] == "Weather in Paris?"
    assert detail["inputs"][0]["tools"][0]["name"] == "get_weather"
    assert detail["reply"]["calls"][0]["name"] == "get_weather"
    prompt = detail["inputs"][0]["prompt"]["segments"]
    assert ["token", "<|tool>"] in prompt
    assert "".join(text for _, text in prompt).startswith("<bos><|turn>system\n<|tool>declaration:get_weather{")
    assert json.loads(detail["request_body"])["messages"] == to_messages("Weather in Paris?")
    assert json.loads(detail["response_body"])["success"] is True


def test_a_stream_event_by_event(page: Page, llm: ChatWorkersGemma) -> None:
    text = "".join(chunk.text for chunk in llm.stream("Hello"))
    detail = page.get_detail()
    events = detail["events"]
    assert detail["summary"]["stream"] is True
    assert "".join(piece for event in events for kind, piece in event["adds"] if kind == "text") == text
    assert detail["reply"]["text"] == text
    times = [event["at_ms"] for event in events]
    assert times == sorted(times)
    assert events[-1]["text"] == "data: [DONE]"
    assert all(event["complete"] for event in events)


def test_errors_faults_and_cuts(page: Page, sandbox: Sandbox, llm: ChatWorkersGemma) -> None:
    sandbox.fail(status=429, code=3040)
    with pytest.raises(Exception, match="Capacity"):
        llm.invoke("Hello")
    failed = page.wait_for_newest()
    assert (failed["status"], failed["error"]) == (429, "3040: Capacity temporarily exceeded, please try again.")
    sandbox.cut(after_events=2)
    with pytest.raises(Exception, match=r"ended|closed|interrupted|cut"):
        list(llm.stream("Hello"))
    assert page.wait_for_newest()["state"] in ("cut", "abandoned")
    assert len(page.get_detail()["events"]) == 2


@pytest.mark.parametrize(
    ("path", "body", "route", "model"),
    [
        ("ai/run", {"model": GEMMA_3, "input": {"prompt": "Hi"}}, "native", GEMMA_3),
        ("ai/v1/chat/completions", {"model": GEMMA_4, "messages": to_messages("Hi")}, "openai", GEMMA_4),
        ("ai/v1/embeddings", {"model": "@cf/google/embeddinggemma-300m", "input": "Hi"}, "embeddings", None),
        (
            f"ai/run/{GEMMA_4}?queueRequest=true",
            {"requests": [{"messages": to_messages("Hi")}] * 25},
            "queue",
            GEMMA_4,
        ),
    ],
)
def test_every_route(page: Page, path: str, body: dict[str, Any], route: str, model: str | None) -> None:
    page.api.http.post(f"{page.api.account}/{path}", json=body, headers=page.api.auth)
    summary = page.wait_for_newest()
    assert summary["route"] == route
    assert summary["model"] == (model or body["model"])
    assert summary["preview"] == "Hi"
    detail = page.get_detail()
    assert len(detail["inputs"]) + detail["inputs_omitted"] == len(body.get("requests", [1]))


@pytest.mark.parametrize(
    "body",
    [
        b"not JSON",
        b"\xff\xfe",
        b'{"messages": "x", "tools": 3}',
        b'{"messages": [1, null, {"role": 5, "content": {"a": NaN}, "tool_calls": [7]}]}',
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"messages": ' + b"[" * 3000 + b"]" * 3000 + b"}",
        b'{"messages": [{"role": "user", "content": ' + b'{"a":' * 700 + b"1" + b"}" * 700 + b"}]}",
    ],
)
def test_no_request_breaks_the_page(page: Page, body: bytes) -> None:
    url = f"{page.api.account}/ai/run/{GEMMA_4}"
    answer = page.api.http.post(url, content=body, headers=page.api.auth)
    assert page.wait_for_newest()["status"] == answer.status_code
    assert page.get_detail()["summary"]["request_bytes"] == len(body)


def test_no_token_is_shown(page: Page, sandbox: Sandbox, llm: ChatWorkersGemma) -> None:
    real = "v1.0-a-real-token-used-by-mistake"
    llm.invoke(f"My token is {sandbox.api_token}")
    url = f"{page.api.account}/ai/run/{GEMMA_4}?api_key={real}"
    page.api.http.post(url, json={"messages": to_messages(real)}, headers={"Authorization": f"bearer {real}"})
    shown = [page.get(path).text for path in ("/", "/inspector/settings")]
    shown += [json.dumps(page.get_detail(exchange.id)) for exchange in sandbox._inspector.log.list_all()]
    for name, value in page.iterate_feed():
        shown.append(f"{name} {json.dumps(value)}")
        if value.get("id") == page.last_id:
            break
    for text in shown:
        assert sandbox.api_token not in text
        assert real not in text
    assert any("My token is \\u2022" in text for text in shown)


def test_one_line_is_logged_for_each_request(
    page: Page, llm: ChatWorkersGemma, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="langchain_workers_gemma.sandbox.access"):
        llm.invoke("Hello")
        page.api.http.get(f"{page.root}/a%0Ab/{page.sandbox.api_token}")
        page.get_detail()  # the second line is logged before this response
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("access")]
    assert len(lines) == 2
    assert f"POST  native {GEMMA_4}  200" in lines[0]
    assert "$0.0000" in lines[0]
    assert "GET  /a\\nb/•••  404" in lines[1]


# --- live -------------------------------------------------------------------------------------------------------------


def test_the_feed_reports_new_requests_and_clearing(page: Page, llm: ChatWorkersGemma) -> None:
    feed = page.iterate_feed()
    assert [next(feed), next(feed)] == [("reset", {"dropped": 0}), ("ready", {})]
    llm.invoke("Hello")
    states = []
    for name, value in feed:
        assert name == "exchange"
        states.append(value["state"])
        if value["state"] == "complete":
            break
    assert states[-1] == "complete"
    page.api.http.delete(f"{page.root}/inspector/requests")
    assert next(feed)[0] == "reset"
    feed.close()
    assert page.sandbox.requests, "clearing the page does not clear what tests read"


def test_the_sandbox_closes_while_a_page_is_open() -> None:
    with Sandbox() as sandbox, Api(sandbox) as api:
        feed = Page(sandbox, api).iterate_feed()
        assert [next(feed)[0], next(feed)[0]] == ["reset", "ready"]
        sandbox.close()
        assert list(feed) == []


def test_memory_is_bounded() -> None:
    log = ExchangeLog(max_exchanges=5, max_bytes=10_000)
    for number in range(20):
        exchange = log.add("POST", f"/{number}", "", ())
        exchange.receive(b"x" * 100)
        log.record_change(exchange)
    assert [one.path for one in log.list_all()] == ["/15", "/16", "/17", "/18", "/19"]
    assert log.dropped == 15
    large = log.add("POST", "/large", "", ())
    large.receive(b"x" * 9_900)
    log.record_change(large)
    assert [one.path for one in log.list_all()] == ["/19", "/large"]
    log.clear()
    assert (log.list_all(), log.dropped) == ([], 0)


# --- changed settings -----------------------------------------------------------------------------------------------


def get_choices(settings: dict[str, Any]) -> list[str]:
    return [one["choice"] for one in settings["dialects"] if one["choice"]]


def test_dialects_are_switched(page: Page, sandbox: Sandbox) -> None:
    page.post("dialect", {"group": "shape", "name": "native"})
    page.post("dialect", {"group": "newline", "name": "crlf"})
    settings = page.post("dialect", {"group": "habits.calls_as", "name": "calls_as_python"}).json()
    assert get_choices(settings) == ["native", "crlf", "calls_as_python"]
    assert sandbox.dialect == get_dialect("native", "crlf", "calls_as_python")
    settings = page.post("dialect", {"group": "newline", "name": ""}).json()
    assert get_choices(settings) == ["native", "calls_as_python"]
    assert sandbox.dialect == get_dialect("native", "calls_as_python")


def test_faults_are_injected(page: Page, sandbox: Sandbox, llm: ChatWorkersGemma) -> None:
    settings = page.post("faults", {"kind": "error", "status": 429, "code": 3036, "times": 2}).json()
    assert settings["pending"] == ["error (status 429, code 3036)"] * 2
    with pytest.raises(Exception, match="10,000 neurons"):
        llm.invoke("Hello")
    assert page.get("/inspector/settings").json()["pending_count"] == 1
    cleared = page.api.http.delete(f"{page.root}/inspector/faults").json()
    assert cleared["pending_count"] == 0
    assert llm.invoke("Hello").text
    assert page.post("chaos", {"rate": 1}).json()["chaos_rate"] == 1
    page.post("chaos", {"rate": 0})


def test_the_speed_of_streams_is_changed(page: Page, sandbox: Sandbox) -> None:
    settings = page.post("pace", {"latency": 0.001, "tokens_per_second": 90_000}).json()
    assert (settings["latency"], settings["tokens_per_second"]) == (0.001, 90_000)
    assert (sandbox.latency, sandbox.tokens_per_second) == (0.001, 90_000)
    page.post("pace", {"latency": 0, "tokens_per_second": None})
    assert (sandbox.latency, sandbox.tokens_per_second) == (0, None)


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("dialect", {"group": "nothing", "name": ""}, "group must be one of"),
        ("dialect", {"group": "newline", "name": "native"}, "name must be one of"),
        ("faults", {"kind": "explode"}, "kind must be one of"),
        ("faults", {"kind": "exact"}, "kind must be one of"),
        ("faults", {"kind": "error", "times": 0}, "times"),
        ("faults", {"kind": "error", "status": 700}, "status"),
        ("faults", {"kind": "error", "surprise": 1}, "surprise"),
        ("pace", {"latency": -1, "tokens_per_second": None}, "latency"),
        ("pace", {"latency": "1", "tokens_per_second": None}, "latency"),
        ("pace", {"latency": 1, "tokens_per_second": 0}, "tokens_per_second"),
        ("chaos", {"rate": 2}, "rate"),
        ("chaos", [], "body"),
    ],
)
def test_invalid_bodies_are_refused(page: Page, path: str, body: Any, named: str) -> None:
    refused = page.post(path, body)
    assert refused.status_code == 422
    assert named in refused.json()["error"]


def test_a_body_is_bounded(page: Page) -> None:
    assert page.post("faults", {"kind": "error", "message": "x" * 70_000}).status_code == 413
