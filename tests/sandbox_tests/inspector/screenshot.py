"""Take the screenshots of the inspector for the documentation.

    python -m tests.sandbox_tests.inspector.screenshot

Look at them before you commit them.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_workers_gemma import ChatWorkersGemma
from langchain_workers_gemma.errors import WorkersGemmaError
from langchain_workers_gemma.sandbox import Sandbox
from tests.sandbox_tests.inspector.browser import chromium, watched_page

IMAGES = Path(__file__).parents[3] / "docs" / "images"
SELECTED_REQUEST = 4
"""The request that the screenshots show: the second one of the agent."""


@tool
def get_weather(city: str) -> str:
    """Get the current weather in a city."""
    return f"24 degrees and sunny in {city}"


class Person(BaseModel):
    """A person that a text is about."""

    name: str
    age: int


def make_requests(sandbox: Sandbox) -> None:
    """Use the sandbox as an application would."""
    llm = ChatWorkersGemma(
        base_url=sandbox.base_url,
        account_id=sandbox.account_id,
        api_token=sandbox.api_token,
        thinking=False,
        max_retries=1,
    )
    llm.invoke([("system", "You are a friendly assistant."), ("human", "What is the origin of Hello, World?")])
    sandbox.tokens_per_second = 60
    list(llm.stream("Explain quantum entanglement in one sentence."))
    sandbox.tokens_per_second = None
    agent = llm.bind_tools([get_weather])
    question = HumanMessage("What is the weather in Paris?")
    message = agent.invoke([question])
    agent.invoke([question, message, get_weather.invoke(message.tool_calls[0])])
    sandbox.fail(status=429, code=3040, retry_after=0)
    llm.with_structured_output(Person).invoke("Ada Lovelace was 36 years old.")
    sandbox.cut(after_events=4)
    with contextlib.suppress(WorkersGemmaError):
        list(llm.stream("Tell me a story."))


def main() -> None:
    """Take the screenshots."""
    with Sandbox() as warm_up:
        make_requests(warm_up)  # the first call imports the constraint engine, so its times are not representative
    with Sandbox() as sandbox, chromium() as browser:
        make_requests(sandbox)
        for scheme, name in (("light", "inspector.png"), ("dark", "inspector-dark.png")):
            with watched_page(browser, scheme) as watched:
                page = watched.page
                page.goto(sandbox.base_url.removesuffix("client/v4"))
                page.locator(f'#requests tr[data-id="{SELECTED_REQUEST}"]').click()
                page.get_by_role("tab", name="Prompt").click()
                page.locator(".prompt .token").first.wait_for()
                page.screenshot(path=IMAGES / name)


if __name__ == "__main__":
    main()
