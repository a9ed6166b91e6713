from __future__ import annotations

import base64
import math
import struct

import pytest

from tests.sandbox_tests.api_client import EMBEDDING, GEMMA_3, Api, get_error


def embed(api: Api, *texts: str) -> list[list[float]]:
    result = api.run(EMBEDDING, {"text": list(texts)}).json()["result"]
    assert result["shape"] == [len(texts), len(result["data"][0])]
    data: list[list[float]] = result["data"]
    return data


def compute_similarity(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_the_same_text_has_the_same_unit_vector(api: Api) -> None:
    first, second, other = embed(api, "a red car", "a red car", "quantum theory")
    assert first == second != other
    assert math.isclose(compute_similarity(first, first), 1, rel_tol=1e-5)


def test_texts_that_share_words_have_similar_vectors(api: Api) -> None:
    cat, kitten, bank = embed(api, "the cat sleeps on the mat", "a cat sleeps", "interest rates rise")
    assert compute_similarity(cat, kitten) > compute_similarity(cat, bank)


def test_one_text_needs_no_list(api: Api) -> None:
    assert api.run(EMBEDDING, {"text": "a"}).json()["result"]["data"] == embed(api, "a")


@pytest.mark.parametrize("encoding", [None, "float", "base64"])
def test_the_openai_route(api: Api, encoding: str | None) -> None:
    body = {"model": EMBEDDING, "input": ["a", "b c"], "encoding_format": encoding}
    reply = api.http.post(f"{api.account}/ai/v1/embeddings", json=body, headers=api.auth).json()
    assert [one["index"] for one in reply["data"]] == [0, 1]
    assert reply["usage"]["prompt_tokens"] == 3
    embedding = reply["data"][0]["embedding"]
    if encoding == "base64":
        embedding = list(struct.unpack("<768f", base64.b64decode(embedding)))
    assert embedding == pytest.approx(embed(api, "a")[0], abs=1e-6)


def test_a_chat_model_cannot_embed(api: Api) -> None:
    body = {"model": GEMMA_3, "input": "a"}
    reply = api.http.post(f"{api.account}/ai/v1/embeddings", json=body, headers=api.auth)
    assert get_error(reply)[:2] == (400, 5006)


def test_text_without_words_has_a_unit_vector(api: Api) -> None:
    assert math.isclose(compute_similarity(*embed(api, "   ", "   ")), 1, rel_tol=1e-5)
