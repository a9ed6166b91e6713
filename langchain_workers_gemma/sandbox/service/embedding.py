"""Mock embeddings: texts that share words have similar vectors."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from typing import TYPE_CHECKING, Any

from langchain_workers_gemma.sandbox.errors import make_bad_input_error
from langchain_workers_gemma.sandbox.tokens import count_tokens
from langchain_workers_gemma.sandbox.validation.checker import Checker

if TYPE_CHECKING:
    from collections.abc import Mapping

DIMENSIONS = 768
"""The number of dimensions of EmbeddingGemma, from its model card."""
MAX_TEXTS = 100
"""Maximum number of texts in a request, as the embedding models of Workers AI publish it."""


def read_texts(body: Mapping[str, Any], key: str) -> list[str]:
    """Return the texts of a request.

    Raises:
        ServiceError: If the value is neither a text nor a list of 1 to `MAX_TEXTS` texts.
    """
    check = Checker()
    texts: list[str] = []
    if check.check_required(body, [key], "") and check.check_value(body[key], f"/{key}", "string", "array"):
        texts = [body[key]] if isinstance(body[key], str) else body[key]
        for index, text in enumerate(texts):
            if check.check_value(text, f"/{key}/{index}", "string") and not text:
                check.add(f"Length of '/{key}/{index}' must be >= 1 not met")
        if not 1 <= len(texts) <= MAX_TEXTS:
            check.add(f"'/{key}' must have from 1 to {MAX_TEXTS} items, got {len(texts)}")
    if check.problems:
        raise make_bad_input_error(*check.problems)
    return texts


def embed(text: str) -> list[float]:
    """Return a unit vector that depends on the words of a text and their parts."""
    vector = [0.0] * DIMENSIONS
    vector[0] = 1e-3  # so that a text without words is not a zero vector
    for word in text.lower().split():
        bounded = f"<{word.strip('.,;:!?()')}>"
        for part in (bounded, *(bounded[start : start + 3] for start in range(len(bounded) - 2))):
            digest = hashlib.blake2b(part.encode(), digest_size=8).digest()
            dimension, weight = int.from_bytes(digest[:4], "little") % DIMENSIONS, 3.0 if part == bounded else 1.0
            vector[dimension] += weight if digest[4] % 2 else -weight
    length = math.sqrt(sum(value * value for value in vector))
    return [round(value / length, 7) for value in vector]


def build_native_result(texts: list[str]) -> dict[str, Any]:
    """Return the result of the native route."""
    return {"data": [embed(text) for text in texts], "shape": [len(texts), DIMENSIONS], "pooling": "mean"}


def build_openai_result(texts: list[str], model: str, encoding: object) -> dict[str, Any]:
    """Return the reply of the OpenAI route."""
    tokens = sum(map(count_tokens, texts))
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _encode(embed(text), encoding)}
            for index, text in enumerate(texts)
        ],
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _encode(vector: list[float], encoding: object) -> list[float] | str:
    if encoding != "base64":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
