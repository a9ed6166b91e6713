"""LangChain's standard unit tests for chat models, with Gemma 4 and Gemma 3."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_workers_gemma import ChatWorkersGemma
from tests.helpers.model_calls import GEMMA_3, GEMMA_4

core_load = importlib.import_module("langchain_core.load.load")

_CREDENTIALS = {"account_id": "test-account", "api_key": "test"}


class _Standard(ChatModelUnitTests):
    @pytest.fixture(autouse=True)
    def _trusted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Allow `test_serdes` to load this class: `allowed_objects="all"` lists only LangChain's partner packages."""
        path = tuple(ChatWorkersGemma.lc_id())
        monkeypatch.setitem(core_load.ALL_SERIALIZABLE_MAPPINGS, path, path)
        monkeypatch.setattr(core_load, "_default_class_paths_cache", {})

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatWorkersGemma

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_urls(self) -> bool:
        return True  # with `inline_image_urls`

    @property
    def supports_image_tool_message(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return (
            {"CLOUDFLARE_ACCOUNT_ID": "env-account", "CLOUDFLARE_API_TOKEN": "env-token"},
            {"model": self.chat_model_params["model"]},
            {"account_id": "env-account", "api_token": "env-token"},
        )


class TestGemma4(_Standard):
    @property
    def supported_usage_metadata_details(self) -> Any:
        details = ["reasoning_output", "cache_read_input"]
        return {"invoke": details, "stream": details}

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": GEMMA_4, **_CREDENTIALS}

    @property
    def model_override_value(self) -> str:
        return GEMMA_3


@pytest.mark.filterwarnings("ignore:.* was retired on:UserWarning")
class TestGemma3(_Standard):
    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": GEMMA_3, **_CREDENTIALS}

    @property
    def model_override_value(self) -> str:
        return GEMMA_4


def test_the_suites_are_not_empty() -> None:
    with warnings.catch_warnings():
        assert {name for name in dir(TestGemma4) if name.startswith("test_")} >= {"test_serdes", "test_init_from_env"}
