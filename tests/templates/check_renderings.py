"""Renders what the client sends, for every history, generation and tool-calling method: `make test-templates`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from langchain_core.messages import BaseMessage, HumanMessage

from langchain_workers_gemma import ChatWorkersGemma
from tests.helpers import model_calls
from tests.templates.conftest import RENDERINGS
from tests.templates.histories import histories
from tests.templates.marking import Marked, mark_history
from tests.templates.recording import recorded_histories
from tests.templates.rules import check_constraint, check_prompt
from tests.templates.templates import GEMMA_2, GEMMA_3, GEMMA_4, GEMMA_4_INTERLEAVED, ChatTemplate

TEMPLATES: dict[str, tuple[ChatTemplate, ...]] = {
    model_calls.GEMMA_4: (GEMMA_4, GEMMA_4_INTERLEAVED),
    model_calls.GEMMA_3: (GEMMA_3,),
    model_calls.SEA_LION: (GEMMA_3,),
    model_calls.GEMMA_7B: (GEMMA_2,),
    model_calls.GEMMA_7B_LORA: (GEMMA_2,),
}
WITH_IMAGES = (model_calls.GEMMA_4, model_calls.GEMMA_3)
METHODS = ("without tools", "native", "guided_json", "prompt", "guided_json, one call")


@dataclass(frozen=True)
class Way:
    """One model and method.

    Attributes:
        model: The model's id.
        api: The request's dialect.
        method: How tools reach the model.
    """

    model: str
    api: str
    method: str

    def __str__(self) -> str:
        return f"{self.model.rpartition('/')[2]}, {self.api}, {self.method}"


def _ways() -> Iterator[Way]:
    for model in TEMPLATES:
        for api in ("native", "openai"):
            for method in METHODS:
                if model != model_calls.GEMMA_7B_LORA or "guided" not in method:  # it has no constraint
                    yield Way(model, api, method)


class Client:
    """A model object with one method, and its requests."""

    def __init__(self, way: Way, **options: Any) -> None:
        self.way = way
        self._bodies: list[Any] = []
        self._instructions: dict[tuple[str, ...], str] = {}
        client = httpx.Client(transport=httpx.MockTransport(self._answer))
        tool_calling = way.method.partition(",")[0]
        arguments = {} if way.method == "without tools" else {"tool_calling": tool_calling}
        self._llm: ChatWorkersGemma = model_calls.make_model(
            model=way.model, api=way.api, http_client=client, **arguments, **options
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self._bodies.append(json.loads(request.content))
        return httpx.Response(200, json={"result": {"response": "Hi"}, "success": True})

    def body(self, messages: Sequence[BaseMessage], tools: Sequence[str | dict[str, Any]]) -> dict[str, Any]:
        """Return the body of the request for a history, with tools in OpenAI's form, or of these names."""
        llm: Any = self._llm
        if self.way.method != "without tools":
            options = {"parallel_tool_calls": False} if self.way.method.endswith("one call") else {}
            llm = llm.bind_tools([_tool(one) if isinstance(one, str) else one for one in tools], **options)
        llm.invoke(list(messages))
        body = self._bodies.pop()
        assert not self._bodies
        assert isinstance(body, dict)
        return body

    def refuses(self, messages: Sequence[BaseMessage]) -> bool:
        """Return whether the client refuses what no Gemma can take."""
        try:
            self.body(messages, ["f"])
        except ValueError as error:
            if not str(error).startswith("messages"):
                raise
            return True
        return False

    def instructions(self, tools: Sequence[str]) -> str:
        """Return the words in which tools are described in the prompt."""
        key = tuple(tools)
        if key not in self._instructions:
            messages = self.body([HumanMessage("Probe.")], tools)["messages"]
            self._instructions[key] = str(messages[0]["content"]).removesuffix("Probe.").strip()
        return self._instructions[key]


def _tool(name: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {}, "additionalProperties": True}
    return {"type": "function", "function": {"name": name, "description": "Do it.", "parameters": parameters}}


def check(client: Client, history: Marked) -> None:
    """Check the prompts that the model's templates make of a history."""
    tools = history.tools or ["f"]
    body = client.body(history.messages, tools)
    instructions = client.instructions(tools)
    one_call = client.way.method.endswith("one call")
    for template in TEMPLATES[client.way.model]:
        check_prompt(history, body, template, instructions=instructions, one_call=one_call)
        RENDERINGS[template.name] += 1
    if "guided" in client.way.method:
        check_constraint(body)


def without_images(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The same messages for a model that reads text only."""
    return [
        message
        if isinstance(message.content, str)
        else message.model_copy(
            update={
                "content": [
                    block
                    for block in message.content
                    if isinstance(block, str) or block.get("type") not in ("image", "image_url")
                ]
            }
        )
        for message in messages
    ]


@pytest.fixture(scope="session")
def recorded() -> list[list[BaseMessage]]:
    found = recorded_histories()
    assert found, "no histories are recorded: run `make test-templates`"
    return found


@pytest.mark.parametrize("way", list(_ways()), ids=str)
def test_the_histories_of_the_unit_tests(way: Way, recorded: list[list[BaseMessage]]) -> None:
    client = Client(way)
    wrong: list[str] = []
    checked = 0
    for messages in recorded:
        asked = messages if way.model in WITH_IMAGES else without_images(messages)
        if client.refuses(asked):
            continue
        checked += 1
        try:
            check(client, mark_history(asked))
        except AssertionError as error:
            wrong.append(str(error))
    assert checked > len(recorded) / 2
    assert not wrong, f"{len(wrong)} of {checked} are wrong, such as:\n" + min(wrong, key=len)


@pytest.mark.parametrize("way", list(_ways()), ids=str)
def test_any_history(way: Way) -> None:
    client = Client(way)

    @settings(max_examples=60 if way.api == "native" else 15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(histories(images=way.model in WITH_IMAGES))
    def renders(messages: list[BaseMessage]) -> None:
        check(client, mark_history(messages))

    renders()
