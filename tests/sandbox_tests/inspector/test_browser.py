"""The inspector in a real browser: `make test-browser`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from langchain_workers_gemma import ChatWorkersGemma
from langchain_workers_gemma.errors import WorkersGemmaError
from langchain_workers_gemma.sandbox import Sandbox
from tests.sandbox_tests.api_client import GEMMA_4, QUIET, WEATHER, Api, to_messages
from tests.sandbox_tests.inspector.browser import Watched, chromium, watched_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

pytestmark = pytest.mark.browser

HOSTILE = (
    "<img src=x onerror=\"window.hacked='img'\"><script>window.hacked='script'</script>"
    "<svg onload=\"window.hacked='svg'\"></svg>{{constructor.constructor('window.hacked=1')()}}"
    "</pre></textarea></script><a href=\"javascript:window.hacked='a'\">a</a>"
)
TABS = ("Messages", "Tools", "Prompt", "Request", "Response", "Stream")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    pytest.importorskip("playwright", reason="`make test-browser` installs it")
    with chromium() as started:
        yield started


class Inspector:
    """The inspector page of a sandbox, as a user sees it."""

    def __init__(self, sandbox: Sandbox, watched: Watched) -> None:
        from playwright.sync_api import expect

        self.sandbox = sandbox
        self.watched = watched
        self.page: Any = watched.page
        self.expect: Any = expect
        self.root = sandbox.base_url.removesuffix("/client/v4")
        self.page.goto(f"{self.root}/")
        self.expect(self.page.locator("#connection")).to_have_text("Live")

    def get_row(self, number: int) -> Locator:
        found: Locator = self.page.locator(f'#requests tr[data-id="{number}"]')
        return found

    def open(self, number: int) -> None:
        self.get_row(number).click()
        self.expect(self.page.locator("#detail-title")).to_contain_text(f"#{number} ")

    def open_tab(self, name: str) -> Locator:
        self.page.get_by_role("tab", name=re.compile(f"^{name}")).click()
        found: Locator = self.page.get_by_role("tabpanel")
        return found


@pytest.fixture
def own_sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def inspector(own_sandbox: Sandbox, browser: Browser) -> Iterator[Inspector]:
    with watched_page(browser) as watched:
        inspector = Inspector(own_sandbox, watched)
        yield inspector
        assert watched.problems == []
        assert [url for url in watched.urls if not url.startswith(f"{inspector.root}/")] == []


def make_llm(sandbox: Sandbox) -> ChatWorkersGemma:
    return ChatWorkersGemma(
        base_url=sandbox.base_url,
        account_id=sandbox.account_id,
        api_token=sandbox.api_token,
        thinking=False,
        max_retries=0,
    )


@pytest.fixture
def llm(own_sandbox: Sandbox) -> ChatWorkersGemma:
    return make_llm(own_sandbox)


def test_requests_appear_while_the_page_is_open(inspector: Inspector, llm: ChatWorkersGemma) -> None:
    page, expect = inspector.page, inspector.expect
    expect(page.locator("#empty")).to_contain_text(f"{inspector.root}/client/v4")
    llm.invoke("What is the weather?")
    expect(inspector.get_row(1)).to_contain_text("gemma-4-26b-a4b-it")
    expect(inspector.get_row(1)).to_contain_text("What is the weather?")
    expect(inspector.get_row(1)).to_contain_text("200")
    expect(inspector.get_row(1)).to_contain_text("$0.0000")
    expect(page.locator("#empty")).to_be_hidden()
    expect(page.locator("#announcer")).to_contain_text("Request 1: 200")
    page.get_by_role("button", name="Clear").click()
    expect(inspector.get_row(1)).to_have_count(0)
    llm.invoke("Again")
    expect(inspector.get_row(2)).to_be_visible()


def test_each_tab_shows_its_part(inspector: Inspector) -> None:
    expect = inspector.expect
    with Api(inspector.sandbox) as api:
        api.run(GEMMA_4, {"messages": to_messages("Weather in Paris?"), "tools": [WEATHER], "stream": True, **QUIET})
    inspector.open(1)
    expect(inspector.open_tab("Messages")).to_contain_text("Weather in Paris?")
    expect(inspector.open_tab("Messages").locator(".reply")).to_contain_text("get_weather")
    expect(inspector.open_tab("Tools")).to_contain_text("Get the current weather in a city")
    prompt = inspector.open_tab("Prompt")
    expect(prompt.locator("pre")).to_have_text(
        re.compile(r"<bos><\|turn>system\n<\|tool>declaration:get_weather\{"), use_inner_text=True
    )
    expect(prompt.locator("pre .token").first).to_have_text("<bos>")
    expect(inspector.open_tab("Request")).to_contain_text('"content": "Weather in Paris?"')
    expect(inspector.open_tab("Request")).to_contain_text("authorization•••")
    expect(inspector.open_tab("Response")).to_contain_text("text/event-stream")
    events = inspector.open_tab("Stream").locator("tbody tr")
    expect(events.first).to_contain_text(re.compile(r"\d m?s"))
    expect(events.last).to_contain_text("[DONE]")
    assert inspector.sandbox.api_token not in inspector.page.content()


def test_hostile_content_stays_text(inspector: Inspector) -> None:
    """Text of users, models, tools and headers is shown unchanged in every tab, and none of it is executed."""
    sandbox, page, expect = inspector.sandbox, inspector.page, inspector.expect
    tool = {"type": "function", "function": {"name": HOSTILE, "description": HOSTILE, "parameters": {HOSTILE: HOSTILE}}}
    call = {"id": HOSTILE, "type": "function", "function": {"name": HOSTILE, "arguments": HOSTILE}}
    messages = [
        {"role": HOSTILE, "content": HOSTILE, "name": HOSTILE, "reasoning": HOSTILE, "tool_calls": [call]},
        {"role": "user", "content": [{"type": HOSTILE}, {"type": "image_url", "image_url": {"url": HOSTILE}}]},
        {"role": "user", "content": HOSTILE},
    ]
    event = {"choices": [{"delta": {"content": HOSTILE, "reasoning": HOSTILE, "tool_calls": [call]}}]}
    with Api(sandbox) as api:
        sandbox.script([{"errors": [{"code": 1, "message": HOSTILE}]}], headers={"x-hostile": HOSTILE})
        sandbox.script({"errors": [{"code": 1, "message": HOSTILE}]}, status=400)
        import json

        sandbox.script(f"data: {json.dumps(event)}\n\ndata: {HOSTILE}", headers={"x-hostile": HOSTILE})
        body = {"model": HOSTILE, "messages": messages, "tools": [tool], HOSTILE: HOSTILE}
        for _ in range(3):
            api.http.post(
                f"{api.account}/ai/v1/chat/completions?{HOSTILE}", json=body, headers={**api.auth, "x-h": HOSTILE}
            )
    for number in (1, 2, 3):
        inspector.open(number)
        for name in TABS:
            expect(inspector.open_tab(name)).to_be_visible()
    expect(inspector.open_tab("Messages")).to_contain_text(HOSTILE)
    expect(inspector.open_tab("Tools")).to_contain_text(HOSTILE)
    expect(inspector.open_tab("Stream")).to_contain_text("incomplete")
    expect(page.locator("#detail-title")).to_contain_text("<script>")
    expect(page.locator("#requests")).to_contain_text("<img src=x onerror=")
    assert page.evaluate("window.hacked") is None
    for element in ("img", "script", "svg", "a"):
        assert page.locator(f"main {element}").count() == 0


def test_everything_is_reached_by_keyboard(inspector: Inspector, llm: ChatWorkersGemma) -> None:
    page, expect = inspector.page, inspector.expect
    for text in ("one", "two", "three"):
        llm.invoke(text)
    expect(inspector.get_row(3)).to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("Home")
    expect(inspector.get_row(3)).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(inspector.get_row(2)).to_be_focused()
    expect(inspector.get_row(2)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#detail-title")).to_contain_text("#2 ")
    page.keyboard.press("End")
    expect(inspector.get_row(1)).to_be_focused()
    expect(page.get_by_role("tabpanel")).to_contain_text("one")
    page.keyboard.press("Enter")
    expect(page.get_by_role("tab", name="Messages")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab", name="Stream")).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Prompt")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Tab")
    expect(page.get_by_role("tabpanel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(inspector.get_row(1)).to_be_focused()


def test_screen_readers_find_names_and_roles(inspector: Inspector, llm: ChatWorkersGemma) -> None:
    page, expect = inspector.page, inspector.expect
    llm.invoke("one")
    inspector.open(1)
    expect(page.get_by_role("grid", name="Requests")).to_be_visible()
    expect(page.get_by_role("row", name="gemma-4-26b-a4b-it")).to_be_visible()
    expect(page.get_by_role("tablist", name="Parts of the request")).to_be_visible()
    expect(page.get_by_role("tabpanel", name="Messages")).to_be_visible()
    page.locator("#settings summary").click()
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, [role=tab], [role=tabpanel]")]
            .filter((one) => one.checkVisibility() && !(one.textContent.trim() && one.tagName !== "SELECT")
                && !one.labels?.[0]?.textContent.trim() && !one.getAttribute("aria-labelledby")
                && !one.getAttribute("aria-label"))
            .map((one) => one.outerHTML)"""
    )
    assert nameless == []


def test_filters(inspector: Inspector, llm: ChatWorkersGemma) -> None:
    page, expect = inspector.page, inspector.expect
    llm.invoke("apples")
    list(llm.stream("pears"))
    inspector.sandbox.fail(status=500)
    with pytest.raises(WorkersGemmaError):
        llm.invoke("plums")
    expect(inspector.get_row(3)).to_contain_text("500")

    def find_visible_rows() -> Any:
        return page.locator("#requests tr:visible")

    page.get_by_role("searchbox").fill("apples gemma")
    expect(find_visible_rows()).to_have_count(1)
    expect(page.locator("#count")).to_have_text("1 of 3 requests")
    page.get_by_role("searchbox").fill("")
    page.get_by_label("Outcome").select_option("error")
    expect(find_visible_rows()).to_have_count(1)
    expect(find_visible_rows()).to_contain_text("plums")
    page.get_by_label("Outcome").select_option("")
    page.get_by_label("Streams").check()
    expect(find_visible_rows()).to_contain_text("pears")
    page.get_by_label("Streams").uncheck()
    page.get_by_label("Route").select_option("native")
    page.locator("#model").select_option(llm.model)  # fields of dialects have "model" in their labels as well
    expect(find_visible_rows()).to_have_count(3)


def test_dialects_and_faults_are_switched(inspector: Inspector, llm: ChatWorkersGemma) -> None:
    page, expect, sandbox = inspector.page, inspector.expect, inspector.sandbox
    page.locator("#settings summary").click()
    page.locator("#dialect-newline").select_option("crlf")
    expect(page.locator("#settings-state")).to_contain_text("crlf")
    assert sandbox.dialect.newline == "\r\n"
    page.get_by_label("Kind").select_option("error")
    page.get_by_label("Status", exact=True).fill("429")
    page.get_by_label("Code", exact=True).fill("3040")
    page.get_by_role("button", name="Inject").click()
    expect(page.locator("#pending")).to_have_text("error (status 429, code 3040)")
    page.locator("#settings summary").click()
    with pytest.raises(WorkersGemmaError, match="Capacity"):
        llm.invoke("Hello")
    expect(inspector.get_row(1)).to_contain_text("fault: error")
    expect(inspector.get_row(1)).to_contain_text("429")
    inspector.open(1)
    expect(page.locator("#facts")).to_contain_text("crlf")
    page.locator("#settings summary").click()
    expect(page.locator("#pending-title")).to_have_text("No fault is pending.")
    page.get_by_label("Requests that fail at random").fill("150")
    page.locator("#pace").evaluate("(form) => { form.noValidate = true; }")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#settings-error")).to_contain_text("rate")
    inspector.watched.problems.clear()  # the browser reports the status 422 as an error


def test_a_paused_page_does_not_change(inspector: Inspector, llm: ChatWorkersGemma) -> None:
    page, expect = inspector.page, inspector.expect
    page.get_by_role("button", name="Pause").click()
    llm.invoke("one")
    expect(page.get_by_role("button", name="Resume")).to_have_attribute("aria-pressed", "true")
    page.evaluate("() => fetch('/inspector/settings').then((one) => one.text())")  # after the events of the feed
    expect(inspector.get_row(1)).to_have_count(0)
    page.get_by_role("button", name="Resume").click()
    expect(inspector.get_row(1)).to_contain_text("200")


def test_a_long_stream_is_followed_while_it_runs(inspector: Inspector, llm: ChatWorkersGemma) -> None:
    page, expect = inspector.page, inspector.expect
    inspector.sandbox.stall(60, after_events=3)
    stream: Any = llm.stream("Hello")
    next(stream)
    inspector.open(1)
    expect(inspector.get_row(1)).to_contain_text("running")
    expect(inspector.open_tab("Stream").locator("tbody tr")).to_have_count(3)
    with contextlib.suppress(WorkersGemmaError):
        stream.close()
    expect(inspector.get_row(1)).to_contain_text("abandoned")
    expect(page.locator("#facts")).to_contain_text("abandoned")


def test_the_page_shows_that_the_sandbox_has_stopped(browser: Browser) -> None:
    with watched_page(browser) as watched:
        with Sandbox() as sandbox:
            inspector = Inspector(sandbox, watched)
        inspector.expect(inspector.page.locator("#connection")).to_contain_text("does not respond")


CONTRAST = """() => {
  const channel = (value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => 0.2126 * channel(r / 255) + 0.7152 * channel(g / 255) + 0.0722 * channel(b / 255);
  const background = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const color = parse(getComputedStyle(one).backgroundColor);
      if (color[3] !== 0) return color;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest("option, noscript, .visually-hidden")) continue;
    const [a, b] = [luminance(parse(getComputedStyle(element).color)), luminance(background(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push([element.tagName, element.className, ratio.toFixed(2), element.textContent.slice(0, 30)]);
  }
  return low;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_are_readable(own_sandbox: Sandbox, browser: Browser, scheme: str) -> None:
    llm = make_llm(own_sandbox)
    with watched_page(browser, scheme) as watched:
        inspector = Inspector(own_sandbox, watched)
        page = inspector.page
        llm.invoke("<end_of_turn> <turn|>")
        own_sandbox.fail(status=429, code=3040)
        with pytest.raises(WorkersGemmaError):
            llm.invoke("Hello")
        list(llm.stream("Hello"))
        page.locator("#settings summary").click()
        page.locator("#dialect-newline").select_option("crlf")
        for number in (1, 2, 3):
            inspector.open(number)
            for name in TABS:
                inspector.open_tab(name)
                assert page.evaluate(CONTRAST) == []
        bright = page.evaluate(
            "() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0] > 128"
        )
        assert bright is (scheme == "light")
        other = "dark" if scheme == "light" else "light"
        page.get_by_label("Theme").select_option(other)
        page.reload()
        inspector.expect(page.locator("html")).to_have_attribute("data-theme", other)
        bright = page.evaluate(
            "() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0] > 128"
        )
        assert bright is (other == "light")
