"""Render the client's requests for every history, generation and tool calling method: `make test-templates`."""

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
from tests.templates.marking import MarkedHistory, mark_history
from tests.templates.recording import load_histories
from tests.templates.rules import check_constraint, check_prompt
from tests.templates.templates import GEMMA_2, GEMMA_3, GEMMA_4, GEMMA_4_INTERLEAVED, ChatTemplate

TEMPLATES: dict[str, tuple[ChatTemplate, ...]] = {
    model_calls.GEMMA_4: (GEMMA_4, GEMMA_4_INTERLEAVED),
    model_calls.GEMMA_3: (GEMMA_3,),
    model_calls.SEA_LION: (GEMMA_3,),
    model_calls.GEMMA_7B: (GEMMA_2,),
    model_calls.GEMMA_7B_LORA: (GEMMA_2,),
}
MODELS_WITH_IMAGES = (model_calls.GEMMA_4, model_calls.GEMMA_3)
METHODS = ("without tools", "native", "guided_json", "prompt", "guided_json, one call")


@dataclass(frozen=True)
class RequestFormat:
    """A model with a request format.

    Attributes:
        model: The model's id.
        api: The value of `api`.
        method: How tools are sent to the model.
    """

    model: str
    api: str
    method: str

    def __str__(self) -> str:
        return f"{self.model.rpartition('/')[2]}, {self.api}, {self.method}"


def _make_formats() -> Iterator[RequestFormat]:
    for model in TEMPLATES:
        for api in ("native", "openai"):
            for method in METHODS:
                if model != model_calls.GEMMA_7B_LORA or "guided" not in method:  # it supports no schemas
                    yield RequestFormat(model, api, method)


class Client:
    """A model object with one request format, and its requests."""

    def __init__(self, request_format: RequestFormat, **options: Any) -> None:
        self.request_format = request_format
        self._bodies: list[Any] = []
        self._instructions: dict[tuple[str, ...], str] = {}
        client = httpx.Client(transport=httpx.MockTransport(self._respond))
        tool_calling = request_format.method.partition(",")[0]
        arguments = {} if request_format.method == "without tools" else {"tool_calling": tool_calling}
        self._llm: ChatWorkersGemma = model_calls.make_model(
            model=request_format.model, api=request_format.api, http_client=client, **arguments, **options
        )

    def _respond(self, request: httpx.Request) -> httpx.Response:
        self._bodies.append(json.loads(request.content))
        return httpx.Response(200, json={"result": {"response": "Hi"}, "success": True})

    def make_body(self, messages: Sequence[BaseMessage], tools: Sequence[str | dict[str, Any]]) -> dict[str, Any]:
        """Return the request body for a history. The tools are names, or definitions in OpenAI's format."""
        llm: Any = self._llm
        if self.request_format.method != "without tools":
            options = {"parallel_tool_calls": False} if self.request_format.method.endswith("one call") else {}
            llm = llm.bind_tools([_make_tool(one) if isinstance(one, str) else one for one in tools], **options)
        llm.invoke(list(messages))
        body = self._bodies.pop()
        assert not self._bodies
        assert isinstance(body, dict)
        return body

    def is_refused(self, messages: Sequence[BaseMessage]) -> bool:
        """Return whether the client refuses a history that no Gemma supports."""
        try:
            self.make_body(messages, ["f"])
        except ValueError as error:
            if not str(error).startswith("messages"):
                raise
            return True
        return False

    def get_instructions(self, tools: Sequence[str]) -> str:
        """Return the text that describes tools in the prompt."""
        key = tuple(tools)
        if key not in self._instructions:
            messages = self.make_body([HumanMessage("Probe.")], tools)["messages"]
            self._instructions[key] = str(messages[0]["content"]).removesuffix("Probe.").strip()
        return self._instructions[key]


def _make_tool(name: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {}, "additionalProperties": True}
    return {"type": "function", "function": {"name": name, "description": "Do it.", "parameters": parameters}}


def check_history(client: Client, history: MarkedHistory) -> None:
    """Render a history with the model's templates, and check the prompts."""
    tools = history.tools or ["f"]
    body = client.make_body(history.messages, tools)
    instructions = client.get_instructions(tools)
    one_call = client.request_format.method.endswith("one call")
    for template in TEMPLATES[client.request_format.model]:
        check_prompt(history, body, template, instructions=instructions, one_call=one_call)
        RENDERINGS[template.name] += 1
    if "guided" in client.request_format.method:
        check_constraint(body)


def remove_images(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return the messages without images, for a model that reads only text."""
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
    found = load_histories()
    assert found, "There are no recorded histories. Run `make test-templates`."
    return found


@pytest.mark.parametrize("request_format", list(_make_formats()), ids=str)
def test_histories_of_the_unit_tests(request_format: RequestFormat, recorded: list[list[BaseMessage]]) -> None:
    client = Client(request_format)
    errors: list[str] = []
    checked = 0
    for messages in recorded:
        history = messages if request_format.model in MODELS_WITH_IMAGES else remove_images(messages)
        if client.is_refused(history):
            continue
        checked += 1
        try:
            check_history(client, mark_history(history))
        except AssertionError as error:
            errors.append(str(error))
    assert checked > len(recorded) / 2
    assert not errors, f"{len(errors)} of {checked} are wrong, for example:\n" + min(errors, key=len)


@pytest.mark.parametrize("request_format", list(_make_formats()), ids=str)
def test_any_history(request_format: RequestFormat) -> None:
    client = Client(request_format)

    @settings(
        max_examples=60 if request_format.api == "native" else 15,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(histories(images=request_format.model in MODELS_WITH_IMAGES))
    def check_any_history(messages: list[BaseMessage]) -> None:
        check_history(client, mark_history(messages))

    check_any_history()
