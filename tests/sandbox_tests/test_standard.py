"""LangChain's own standard tests, against a server that enforces what the service does.

Nothing is marked as expected to fail. What a class does not claim (audio, PDF, image URLs) is what
no Gemma on Workers AI takes.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests

from langchain_workers_gemma import ChatWorkersGemma
from langchain_workers_gemma.sandbox import Sandbox
from tests.sandbox_tests.talking import GEMMA_3, GEMMA_4, GEMMA_7B

SQUARE = Path(__file__).parents[1] / "data" / "square.png"


class QuietGemma(ChatWorkersGemma):
    """Says nothing about retired models."""

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
        return self.arguments

    @pytest.fixture(autouse=True)
    def _surroundings(self, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
        """Credentials where the tests make models of their own, and an image where they would fetch one."""
        monkeypatch.setenv("WORKERS_GEMMA_BASE_URL", sandbox.base_url)
        monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", sandbox.account_id)
        monkeypatch.setenv("CLOUDFLARE_API_TOKEN", sandbox.api_token)
        monkeypatch.setattr(httpx, "get", lambda *_, **__: httpx.Response(200, content=SQUARE.read_bytes()))

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
    def supports_image_tool_message(self) -> bool:
        return self.reads_images

    @property
    def supported_usage_metadata_details(self) -> Any:
        return {"invoke": [], "stream": []}


class TestGemma4(_Standard):
    arguments = {"model": GEMMA_4}  # noqa: RUF012 - pytest makes an object of this class for each test


class TestGemma4OpenAI(_Standard):
    arguments = {"model": GEMMA_4, "api": "openai"}  # noqa: RUF012


class TestGemma4GuidedJson(_Standard):
    arguments = {"model": GEMMA_4, "tool_calling": "guided_json"}  # noqa: RUF012


class TestGemma4Prompt(_Standard):
    arguments = {"model": GEMMA_4, "tool_calling": "prompt"}  # noqa: RUF012


class TestGemma4FunctionCalling(_Standard):
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
