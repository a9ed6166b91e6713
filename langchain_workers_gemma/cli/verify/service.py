"""Checks of the service: refused requests, images, the list of models, other routes, embeddings, the batch queue."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_workers_gemma.cli.verify import reading, replies, tools
from langchain_workers_gemma.cli.verify.inputs import TEXT_TOKENS, build_chat_body, get_text_limit
from langchain_workers_gemma.cli.verify.probe import Probe
from langchain_workers_gemma.cli.verify.result import Result, cite, compare, observe
from langchain_workers_gemma.hosts import HOSTS
from langchain_workers_gemma.models import GemmaModel

_ERROR_FORMS = ("200, errors list, success false", "200, errors object, success false")


def _check_error(
    probe: Probe,
    name: str,
    fact: str,
    body: Mapping[str, Any],
    status: int,
    codes: tuple[int, ...],
    token: str | None = None,
) -> Iterator[Result]:
    response = probe.send_chat(body, token=token)
    yield compare(
        f"errors.{name}.form",
        f"Status and form of {fact}",
        cite(5),
        f"{status}, errors list, success false",
        reading.describe_error_form(response),
        reported=(
            *_ERROR_FORMS,
            f"{status}, errors object, success false",
            f"{status}, errors list, success false, internalCode",
        ),
    )
    code = reading.get_error_code(response)
    expected = code if code in codes else codes[0]
    yield compare(
        f"errors.{name}.code",
        f"Code of {fact}",
        cite(5),
        expected,
        code,
        reported=[f"{code}, also in the text" for code in codes],
    )


def check_refusals(probe: Probe) -> Iterator[Result]:
    """Send requests that the service must refuse."""
    spec = probe.spec
    valid_body = build_chat_body(spec, "Hi", 1)
    yield from _check_error(
        probe,
        "token",
        "a refused token",
        valid_body,
        401,
        (10000, 9109),
        token="not-a-token-of-anybody",  # noqa: S106
    )
    yield from _check_error(
        probe, "input", "an input that violates the schema", {**valid_body, "temperature": 99}, 400, (5006, 8001)
    )


def check_unknown_model(probe: Probe) -> Iterator[Result]:
    """Call a model that does not exist."""
    spec = probe.spec
    response = probe.post(HOSTS[spec.host].chat["native"], "@cf/google/no-such-gemma", build_chat_body(spec, "Hi", 1))
    yield compare(
        "errors.model.code",
        "Code of an unknown model",
        cite(5),
        5007,
        reading.get_error_code(response),
        reported=("5007, also in the text",),
    )


def make_square_png(side: int, red: int = 200) -> str:
    """Return a `data:` URI of a square of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes((red, 30, 30)) * side) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _build_image_body(spec: GemmaModel, url: str) -> dict[str, Any]:
    parts = [{"type": "text", "text": "Name the colour in one word."}, {"type": "image_url", "image_url": {"url": url}}]
    return {"messages": [{"role": "user", "content": parts}], "max_tokens": get_text_limit(spec)}


def check_images(probe: Probe) -> Iterator[Result]:
    """Send an image without a setting for thoughts, and an image that is too small."""
    response = probe.send_chat(_build_image_body(probe.spec, make_square_png(32)))
    yield compare("images.data_uri", "HTTP status of an image as a `data:` URI", cite(2), 200, response.status)
    yield observe(
        "images.answer",
        "What does the model see in a red square?",
        cite(2),
        reading.shorten(reading.get_text_value(response.result)),
    )
    if probe.spec.thinking:
        result = response.result
        observed = replies.describe_thoughts(reading.get_message(result), reading.get_text_value(result))
        yield observe("thinking.default", "Thoughts without `enable_thinking`?", cite(2), observed)
    if probe.spec.family == "gemma-4":
        small = probe.send_chat(_build_image_body(probe.spec, make_square_png(4)))
        yield compare(
            "images.small", "HTTP status of an image under 10 px", cite(2), 400, small.status, reported=("200",)
        )


def check_listed_model(probe: Probe) -> Iterator[Result]:
    """Request the list of models of the account."""
    search = probe.get("/accounts/{account}/ai/models/search?search=gemma&per_page=100&page=1")
    entries = search.result if isinstance(search.result, list) else []
    entry = next((item for item in entries if isinstance(item, dict) and item.get("name") == probe.spec.id), None)
    yield compare("models.listed", "Is the model listed?", cite(1), "yes", "yes" if entry is not None else "no")
    properties = {
        item.get("property_id"): item.get("value")
        for item in (entry or {}).get("properties") or ()
        if isinstance(item, dict)
    }
    window, listed = probe.spec.context_window, properties.get("context_window")
    if window is not None and listed is not None:
        yield compare("models.context", "Context window in the list", "models.py", window, listed)
    deprecation = properties.get("planned_deprecation_date")
    yield observe("models.deprecation", "Is a retirement planned?", cite(2), deprecation or "no")
    yield from _check_prices(probe.spec, properties.get("price"))


def _check_prices(spec: GemmaModel, prices: Any) -> Iterator[Result]:
    for kind, expected in (("input", spec.input_price), ("output", spec.output_price)):
        units = (
            [item for item in prices if isinstance(item, dict) and kind in str(item.get("unit"))]
            if isinstance(prices, list)
            else []
        )
        price = units[0].get("price") if units else None
        if expected is not None and isinstance(price, int | float):
            yield compare(
                f"models.price.{kind}",
                f"Price of {kind} tokens, $ per million",
                "models.py",
                f"{expected:.2f}",
                f"{price:.2f}",
            )


def check_openai_route(probe: Probe) -> Iterator[Result]:
    """Use the OpenAI-compatible route. If the model supports `tool_choice`, forbid calls."""
    spec = probe.spec
    body = tools.build_forbidding_body(spec) if spec.tool_choice else build_chat_body(spec, "Say hello.", TEXT_TOKENS)
    response = probe.send_chat(body, api="openai")
    yield compare(
        "openai.form",
        "Form of a reply on the OpenAI route",
        cite(3),
        reading.CHAT_CHOICES,
        reading.describe_form(response.json),
        reported=(reading.COMPLETION_CHOICES, reading.NATIVE),
    )
    if spec.tool_choice:
        yield tools.check_forbidden_call(response.json)


def check_embeddings(probe: Probe) -> Iterator[Result]:
    """Embed two texts."""
    route = HOSTS["cloudflare"].embeddings["native"]
    response = probe.post(route, "@cf/google/embeddinggemma-300m", {"text": ["Hello", "World"]})
    result = response.result if isinstance(response.result, dict) else {}
    data, shape = result.get("data"), result.get("shape")
    sizes = [len(vector) for vector in data if isinstance(vector, list)] if isinstance(data, list) else []
    matches = bool(sizes) and shape == [len(sizes), sizes[0]] and len(set(sizes)) == 1
    yield compare(
        "embeddings.form", "Embeddings: does `shape` match `data`?", cite(9), "yes", "yes" if matches else "no"
    )
    yield observe("embeddings.dimensions", "Dimensions of EmbeddingGemma", cite(9), sizes[0] if sizes else "none")


_MAX_POLLS, _POLL_INTERVAL = 5, 3.0


def check_queue(probe: Probe) -> Iterator[Result]:
    """Queue a batch and poll it."""
    route = HOSTS["cloudflare"].chat["native"]
    body = {"requests": [build_chat_body(probe.spec, "Reply with one word: Hello.", TEXT_TOKENS)]}
    queued = probe.post(route, probe.spec.id, body, query="?queueRequest=true").result
    queued = queued if isinstance(queued, dict) else {}
    yield compare("queue.submit", "Status of a submitted batch", cite(8), "queued", queued.get("status"))
    if not isinstance(queued.get("request_id"), str):
        return
    for _ in range(_MAX_POLLS):
        polled = probe.post(
            route, probe.spec.id, {"request_id": queued["request_id"]}, query="?queueRequest=true"
        ).result
        responses = polled.get("responses") if isinstance(polled, dict) else None
        if isinstance(responses, list):
            keys = sorted(responses[0]) if responses and isinstance(responses[0], dict) else []
            observed = "yes" if {"id", "result", "success"} <= set(keys) else ", ".join(keys) or "no keys"
            yield compare("queue.response", "Does a reply have id, result and success?", cite(8), "yes", observed)
            return
        probe.sleep(_POLL_INTERVAL)
    duration = f"more than {_MAX_POLLS * _POLL_INTERVAL:.0f} s"
    yield observe("queue.response", "How long does a batch take?", cite(8), duration)
