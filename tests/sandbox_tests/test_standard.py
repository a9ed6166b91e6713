"""LangChain's standard tests, against a server that is as strict as the service.

No test is marked as expected to fail. The classes do not claim support for audio and PDF, because no Gemma on Workers
AI accepts them.
"""

from __future__ import annotations

import warnings
from base64 import b64encode
from collections.abc import Iterator
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests
from vcr import VCR
from vcr.cassette import Cassette
from vcr.record_mode import RecordMode

from langchain_workers_gemma import ChatWorkersGemma
from langchain_workers_gemma.sandbox import Sandbox
from langchain_workers_gemma.transport import guarded_fetch
from tests.sandbox_tests.api_client import GEMMA_3, GEMMA_4, GEMMA_7B

SQUARE = Path(__file__).parents[1] / "data" / "square.png"
SQUARE_URI = f"data:image/png;base64,{b64encode(SQUARE.read_bytes()).decode()}"
STORY = "Write a story about a cat."


class QuietGemma(ChatWorkersGemma):
    """A model that does not warn about retirement."""

    def __init__(self, **kwargs: Any) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".* was retired on ", category=UserWarning)
            super().__init__(**kwargs)


class _Standard(ChatModelIntegrationTests):
    arguments: dict[str, Any]
    reads_images = True

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return QuietGemma

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"inline_image_urls": self.reads_images, **self.arguments}

    @pytest.fixture(autouse=True)
    def _surroundings(self, _clean_environment: None, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
        """Set the credentials for models that the tests create, and replace the images that they would fetch."""
        monkeypatch.setenv("WORKERS_GEMMA_BASE_URL", sandbox.base_url)
        monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", sandbox.account_id)
        monkeypatch.setenv("CLOUDFLARE_API_TOKEN", sandbox.api_token)
        monkeypatch.setattr(httpx, "get", lambda *_, **__: httpx.Response(200, content=SQUARE.read_bytes()))
        monkeypatch.setattr(guarded_fetch, "fetch_images", lambda urls: dict.fromkeys(urls, SQUARE_URI))

    @pytest.fixture
    def vcr(self, _surroundings: None, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cassette | None]:
        """Record the stream that `test_stream_time` measures, and yield its cassette."""
        if request.node.originalname != "test_stream_time":  # pytest-recording requests this fixture for every test
            yield None
            return
        model = request.getfixturevalue("model")
        path = str(tmp_path / "stream.yaml")
        recorder = VCR(filter_headers=["authorization"])
        with recorder.use_cassette(path):
            recorded = [chunk.content for chunk in model.stream(STORY)]
        with recorder.use_cassette(path, record_mode=RecordMode.NONE, allow_playback_repeats=True) as cassette:
            assert [chunk.content for chunk in model.stream(STORY)] == recorded
            yield cassette
            assert cassette.play_count > 1

    @pytest.fixture
    def model(self, request: Any) -> BaseChatModel:
        extra = getattr(request, "param", None) or {}
        return self.chat_model_class(**{**self.chat_model_params, **extra})

    @property
    def model_override_value(self) -> str:
        return GEMMA_4

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def supports_image_inputs(self) -> bool:
        return self.reads_images

    @property
    def supports_image_urls(self) -> bool:
        return self.reads_images

    @property
    def supports_image_tool_message(self) -> bool:
        return self.reads_images

    @property
    def enable_vcr_tests(self) -> bool:
        return True


class _WithDetails(_Standard):
    """Models whose replies have OpenAI's form, with usage details. The native form of older Gemmas has none."""

    @property
    def supported_usage_metadata_details(self) -> Any:
        details = ["reasoning_output", "cache_read_input"]
        return {"invoke": details, "stream": details}

    def invoke_with_reasoning_output(self, *, stream: bool = False) -> AIMessage:
        message = self._call(self._make_model(thinking=True), stream=stream)
        assert self._get_details(message, "output_token_details")["reasoning"] > 0
        return message

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        model = self._make_model(session_affinity=f"one-session-{stream}")
        self._call(model, stream=stream)
        message = self._call(model, stream=stream)
        assert self._get_details(message, "input_token_details")["cache_read"] > 0
        return message

    def _make_model(self, **more: Any) -> BaseChatModel:
        return self.chat_model_class(**{**self.chat_model_params, **more})

    def _call(self, model: BaseChatModel, *, stream: bool) -> AIMessage:
        message = reduce(add, model.stream(STORY)) if stream else model.invoke(STORY)
        assert isinstance(message, AIMessage)
        return message

    def _get_details(self, message: AIMessage, name: str) -> Any:
        assert message.usage_metadata is not None
        return dict(message.usage_metadata)[name]


class TestGemma4(_WithDetails):
    arguments = {"model": GEMMA_4}  # noqa: RUF012 - pytest creates an instance for each test


class TestGemma4OpenAI(_WithDetails):
    arguments = {"model": GEMMA_4, "api": "openai"}  # noqa: RUF012


class TestGemma4GuidedJson(_WithDetails):
    arguments = {"model": GEMMA_4, "tool_calling": "guided_json"}  # noqa: RUF012


class TestGemma4Prompt(_WithDetails):
    arguments = {"model": GEMMA_4, "tool_calling": "prompt"}  # noqa: RUF012


class TestGemma4FunctionCalling(_WithDetails):
    arguments = {"model": GEMMA_4}  # noqa: RUF012

    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        return {"method": "function_calling"}


class TestGemma3(_Standard):
    arguments = {"model": GEMMA_3}  # noqa: RUF012


class TestGemma3GuidedJson(_Standard):
    arguments = {"model": GEMMA_3, "tool_calling": "guided_json"}  # noqa: RUF012


class TestGemma3Prompt(_Standard):
    arguments = {"model": GEMMA_3, "tool_calling": "prompt"}  # noqa: RUF012

    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        return {"method": "function_calling"}


class TestGemma7b(_Standard):
    arguments = {"model": GEMMA_7B}  # noqa: RUF012
    reads_images = False
