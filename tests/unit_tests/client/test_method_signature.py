"""`inspect` returns the right signature of methods whose signature is cached."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import pytest

from langchain_workers_gemma import ChatWorkersGemma
from langchain_workers_gemma.client.method_signature import cache_signature

pytestmark = pytest.mark.lowest


class _Example:
    @cache_signature
    def add(self, first: int, second: int = 2, **more: Any) -> int:
        return first + second + len(more)

    def plain(self, first: int, second: int = 2, **more: Any) -> int:
        return first + second + len(more)


def test_a_cached_signature_is_that_of_the_method() -> None:
    example = _Example()
    for _ in range(2):
        assert inspect.signature(example.add) == inspect.signature(example.plain)
        assert inspect.signature(_Example.add) == inspect.signature(_Example.plain)
    assert example.add(1, other=3) == 4


def test_other_changes_give_another_signature() -> None:
    signature = inspect.signature(_Example.add)
    first = signature.replace(return_annotation=str)
    assert first == inspect.signature(_Example.plain).replace(return_annotation=str)
    assert signature.replace(return_annotation=str) is first
    assert signature.replace(parameters=[]).parameters == {}
    assert pickle.loads(pickle.dumps(signature)) == signature


@pytest.mark.parametrize("name", ["_generate", "_agenerate"])
def test_langchain_core_reads_the_parameters_of_the_chat_model(name: str) -> None:
    llm = ChatWorkersGemma(account_id="a", api_token="t")
    assert list(inspect.signature(getattr(llm, name)).parameters) == ["messages", "stop", "run_manager", "kwargs"]
