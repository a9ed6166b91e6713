"""The published facts about each model, the profile made of them, and the warning about retired models."""

from __future__ import annotations

import subprocess
import sys
import warnings
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from langchain_workers_gemma import ChatWorkersGemma
from langchain_workers_gemma.models import MODELS, GemmaModel, get_model
from tests.helpers.model_calls import ACCOUNT_ID, API_TOKEN, CHAT_MODELS, GEMMA_3, GEMMA_4, GEMMA_7B, make_model

EMBEDDING = "@cf/google/embeddinggemma-300m"

# host, id: context, prices, images, tools, tool_choice, flagged, constraint, lora, raw, stops, retired, queue
FACTS: dict[tuple[str, str], tuple[Any, ...]] = {
    ("cloudflare", GEMMA_4): (
        256_000, 0.10, 0.30, True, True, True, True, "openai_schema", False, False, 4, None, True,
    ),
    ("cloudflare", GEMMA_3): (
        80_000, 0.35, 0.56, True, True, False, False, "guided_json", True, True, 0, date(2026, 5, 30), False,
    ),
    ("cloudflare", GEMMA_7B): (
        8_192, None, None, False, True, False, False, "bare_schema", True, True, 0, date(2026, 5, 30), False,
    ),
    ("cloudflare", "@cf/google/gemma-2b-it-lora"): (
        8_192, None, None, False, True, False, False, "bare_schema", True, True, 0, None, False,
    ),
    ("cloudflare", "@cf/google/gemma-7b-it-lora"): (
        None, None, None, False, True, False, False, None, True, True, 0, None, False,
    ),
    ("cloudflare", "@cf/aisingapore/gemma-sea-lion-v4-27b-it"): (
        128_000, 0.35, 0.56, False, True, False, False, "bare_schema", True, True, 0, None, True,
    ),
    ("cloudflare", EMBEDDING): (
        None, None, None, False, False, False, False, None, False, False, 0, None, False,
    ),
    ("dataoorts", "google/gemma-3-12b-it"): (
        80_000, 0.11, 0.12, False, True, False, False, "guided_json", False, True, 0, None, False,
    ),
    **{
        ("aimlapi", f"google/gemma-3-{size}-it"): (
            None, None, None, True, False, False, False, None, False, False, 4, None, False,
        )
        for size in ("4b", "12b")
    },
    ("aimlapi", "google/gemma-3-27b-it"): (
        None, None, None, True, False, False, False, "openai_schema", False, False, 4, None, False,
    ),
    ("aimlapi", "google/gemma-4-26b-a4b-it-maas"): (
        None, None, None, True, True, False, True, "openai_schema", False, False, 4, None, False,
    ),
    ("aimlapi", "google/gemma-4-31b-it"): (
        None, None, None, True, False, False, False, "openai_schema", False, False, 4, None, False,
    ),
    ("aimlapi", "google/gemma-3n-e4b-it"): (
        None, None, None, False, False, False, False, None, False, False, 4, None, False,
    ),
}  # fmt: skip


def get_facts(model: GemmaModel) -> tuple[Any, ...]:
    """Return the facts of a model in the order of the table."""
    return (
        model.context_window, model.input_price, model.output_price, model.images, model.tools, model.tool_choice,
        model.function_calling, model.constraint, model.lora, model.raw, model.stop, model.retired, model.async_queue,
    )  # fmt: skip


def test_the_facts_about_all_models() -> None:
    assert {key: get_facts(model) for key, model in MODELS.items()} == FACTS


@pytest.mark.parametrize(("host", "model_id"), MODELS)
def test_get_model_returns_a_model(host: Any, model_id: str) -> None:
    assert get_model(model_id, host) is MODELS[host, model_id]
    assert get_model(model_id, host=host) == MODELS[host, model_id]
    assert (MODELS[host, model_id].host, MODELS[host, model_id].id) == (host, model_id)


def test_get_model_returns_none_for_an_unknown_id() -> None:
    assert get_model("@cf/google/gemma-5") is None
    assert get_model(GEMMA_4, host="aimlapi") is None


def test_facts_are_immutable() -> None:
    model = get_model(GEMMA_4)
    assert model is not None
    with pytest.raises(AttributeError):
        model.tools = False  # type: ignore[misc]
    with pytest.raises(TypeError):
        MODELS["cloudflare", GEMMA_4] = model  # type: ignore[index]
    with pytest.raises(TypeError):
        model.parameters["temperature"] = None  # type: ignore[index]


@pytest.mark.parametrize(
    ("model", "low", "high"),
    [(GEMMA_4, 0, 2), *((model, 0, 5) for model in CHAT_MODELS if model != GEMMA_4)],
)
def test_the_range_of_the_temperature_is_the_published_one(model: str, low: float, high: float) -> None:
    spec = get_model(model)
    assert spec is not None
    assert spec.parameters is not None
    temperature = spec.parameters["temperature"]
    assert (temperature.low, temperature.high) == (low, high)
    assert str(temperature) == f"a number from {low} to {high}"


def test_gemma_4_has_an_enforced_context() -> None:
    model = get_model(GEMMA_4)
    assert model is not None
    assert (model.context_window, model.enforced_context, model.usable_context) == (256_000, 131_072, 131_072)


# --- Profile ----------------------------------------------------------------------------------------------------------

CHAT_MODEL_KEYS = [key for key in MODELS if key[1] != EMBEDDING]


@pytest.mark.parametrize("profile", [None, {}, {"max_input_tokens": 1000}])
def test_a_profile_of_known_keys_gives_no_warning(profile: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert make_model(model=GEMMA_4, profile=profile).profile is not None


def test_an_unknown_key_of_a_profile_gives_a_warning() -> None:
    with pytest.warns(UserWarning, match="does not know the keys \\['speed'\\]"):
        llm = make_model(profile={"speed": 1, "max_input_tokens": 1000})
    assert llm.profile is not None
    assert llm.profile["max_input_tokens"] == 1000


@pytest.mark.parametrize(("host", "model_id"), CHAT_MODEL_KEYS)
def test_the_profile_of_a_known_model(host: Any, model_id: str) -> None:
    spec = MODELS[host, model_id]
    profile = make_model(host=host, model=model_id).profile
    assert profile is not None
    assert profile.get("max_input_tokens") == (spec.usable_context or spec.family_context)
    assert profile.get("max_output_tokens") == spec.max_output_tokens
    assert profile["image_inputs"] == spec.images
    assert profile["tool_calling"] == spec.tools
    assert profile["structured_output"] == (spec.constraint is not None)
    assert profile["reasoning_output"] == (spec.family == "gemma-4")
    assert profile["audio_inputs"] is False
    assert profile["pdf_inputs"] is False


def test_a_custom_profile_overrides_the_published_one() -> None:
    profile = make_model(profile={"max_input_tokens": 1000}).profile
    assert profile is not None
    assert profile["max_input_tokens"] == 1000
    assert profile["tool_calling"] is True


def test_a_custom_profile_overrides_the_capabilities_of_the_family() -> None:
    llm = make_model(model="@cf/google/gemma-3-27b-it", profile={"image_inputs": False})
    with pytest.raises(ValueError, match="text only"):
        llm.invoke([{"role": "user", "content": [{"type": "image", "url": "data:image/png;base64,AAAA"}]}])


# --- Retirement -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_7B])
def test_a_retired_model_warns_with_the_date_and_the_replacement(model: str) -> None:
    with pytest.warns(UserWarning, match=r"2026-05-30") as caught:
        ChatWorkersGemma(model=model, account_id=ACCOUNT_ID, api_token=API_TOKEN)
    (warning,) = caught
    assert model in str(warning.message)
    assert GEMMA_4 in str(warning.message)
    assert warning.filename == __file__


def test_other_models_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for host, model in CHAT_MODEL_KEYS:
            if MODELS[host, model].retired is None:
                make_model(host=host, model=model)


PROGRAM = """
from langchain_workers_gemma import ChatWorkersGemma
for _ in range(3):
    ChatWorkersGemma(model="@cf/google/gemma-3-12b-it", account_id="a", api_token="t")
"""


def test_the_warning_is_shown_once_by_default_filters(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    output = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    ).stderr
    assert output.count("was retired on 2026-05-30") == 1
    assert "program.py:4: UserWarning" in output
