"""Checks of structured output, whole and streamed, of a real engine behind the sandbox."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial

from langchain_workers_gemma import ChatWorkersGemma
from langchain_workers_gemma.sandbox import Sandbox
from tests.helpers.schema_examples import EXAMPLES
from tests.real_model.outcomes import check_value

MODELS = ("@cf/google/gemma-4-26b-a4b-it", "@cf/google/gemma-3-12b-it")
MAX_TOKENS = 96  # small models tend to fill lists without end
Case = tuple[str, Callable[[], str | None]]


def list_cases(sandbox: Sandbox, count: int) -> Iterator[Case]:
    """Yield the cases: each schema whole and streamed, alternately with Gemma 4's and Gemma 3's request format."""
    models = [_connect(sandbox, model) for model in MODELS]
    for at, name in enumerate(sorted(EXAMPLES)[:count]):
        for method in ("invoke", "stream"):
            yield f"schema {name}, {method}", partial(_check, models[at % len(models)], name, method)


def _connect(sandbox: Sandbox, model: str) -> ChatWorkersGemma:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* was retired on ", category=UserWarning)
        return ChatWorkersGemma(
            model=model,
            base_url=sandbox.base_url,
            account_id=sandbox.account_id,
            api_token=sandbox.api_token,
            max_tokens=MAX_TOKENS,
            temperature=0.2,
            seed=7,
            timeout=300,
        )


def _check(llm: ChatWorkersGemma, name: str, method: str) -> str | None:
    example = EXAMPLES[name]
    runnable = llm.with_structured_output(example.schema)
    question = f"Invent a short example of {name.replace('_', ' ')}. One short item in each list."
    return check_value(
        example, runnable.invoke(question) if method == "invoke" else list(runnable.stream(question))[-1]
    )
