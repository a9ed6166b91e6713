"""Published facts about each Gemma, as data.

There are three layers, each of which overrides the one before: the family (facts about a generation of Gemma and its
chat template), the host (facts that the service publishes: ranges, prices, features, retirement) and the caller (a
`profile` passed to the model object). A fact that is not published is `None`.

Sources: `docs/wire.md` sections 2, 5 and 6, which name for each fact the page, type definition or report it comes from.
No service could be reached when this was written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache
from math import isfinite
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

HostName: TypeAlias = Literal["cloudflare", "dataoorts", "aimlapi", "openai_compatible"]
"""The hosting provider. `openai_compatible` is any server with OpenAI's chat completions API."""

Constraint: TypeAlias = Literal["guided_json", "bare_schema", "openai_schema", "unknown_schema"]
"""How a request constrains the reply to a JSON Schema.

`guided_json`: the parameter of that name. `bare_schema`: `response_format` whose `json_schema` is the schema itself, as
documented on the JSON-mode page of Workers AI. `openai_schema`: `response_format` with OpenAI's envelope of name,
schema and strict. `unknown_schema`: a form of `response_format` that is determined at run time.
"""


@dataclass(frozen=True, slots=True)
class Range:
    """Allowed values of a number.

    Attributes:
        low: Smallest value allowed, `None` if there is no bound.
        high: Largest value allowed, `None` if there is no bound.
        integer: Whether it must be an integer.
    """

    low: float | None = None
    high: float | None = None
    integer: bool = False

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if not (isinstance(value, int) or (isfinite(value) and not self.integer)):
            return False
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        kind = "a whole number" if self.integer else "a number"
        if self.low is not None and self.high is not None:
            return f"{kind} from {self.low:g} to {self.high:.10g}"
        if self.low is not None:
            return f"{kind} of at least {self.low:g}"
        return kind if self.high is None else f"{kind} of at most {self.high:.10g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmaModel:
    """The published facts about one Gemma on one host.

    Attributes:
        id: The model's id as the host spells it.
        host: The hosting provider.
        family: Its generation: `gemma`, `gemma-3`, `gemma-4`, `sea-lion-v4` or `embeddinggemma`.
        name: Display name.
        context_window: Tokens of input and output together, as documented.
        enforced_context: A smaller limit that the service enforces, as users report.
        input_price: US dollars per million input tokens.
        output_price: US dollars per million output tokens.
        parameters: Sampling parameters of the model, with ranges. `None`: not published, so any value is sent.
        default_max_tokens: The limit that the service uses if `max_tokens` is not sent.
        max_output_tokens: Maximum number of tokens of one response.
        family_context: The context window in the family's model card.
        images: Whether it reads images.
        content_parts: Whether a message's content may be a list of parts; else it must be one string.
        system_role: Whether the chat template has a system role.
        tool_role: Whether the chat template has tool calls and a tool role.
        thinking: Whether it can think, which `chat_template_kwargs.enable_thinking` turns on or off.
        reasoning_effort: Whether it accepts `reasoning_effort`. `None`: not published.
        logprobs: Whether it accepts `logprobs` and `top_logprobs`. `None`: not published, so they are sent.
        tools: Whether its published schema has `tools`.
        function_calling: Whether the service lists it as capable of function calling.
        tool_choice: Whether it accepts `tool_choice` and `parallel_tool_calls`.
        constraint: How a request constrains its reply to a JSON Schema, `None` if it cannot.
        stream_options: Whether its schema has `stream_options`, without which a stream has no usage.
        stop: Maximum number of stop sequences; 0 if its schema has no `stop`.
        lora: Whether it accepts `lora`.
        raw: Whether it accepts `prompt` and `raw` instead of `messages`.
        max_content_characters: Maximum length of a message's content.
        async_queue: Whether it is listed for the asynchronous batch queue.
        retired: The date on which the service retired it.
        replacement: The model to use instead.
    """

    id: str
    host: HostName = "cloudflare"
    family: str = ""
    name: str = ""
    context_window: int | None = None
    enforced_context: int | None = None
    input_price: float | None = None
    output_price: float | None = None
    parameters: Mapping[str, Range] | None = field(default=None, hash=False)
    default_max_tokens: int | None = None
    max_output_tokens: int | None = None
    family_context: int | None = None
    images: bool = False
    content_parts: bool = True
    system_role: bool = True
    tool_role: bool = False
    thinking: bool = False
    reasoning_effort: bool | None = None
    logprobs: bool | None = None
    tools: bool = True
    function_calling: bool = False
    tool_choice: bool = False
    constraint: Constraint | None = None
    stream_options: bool = False
    stop: int = 0
    lora: bool = False
    raw: bool = False
    max_content_characters: int | None = None
    async_queue: bool = False
    retired: date | None = None
    replacement: str | None = None

    @property
    def embeds(self) -> bool:
        """Whether it is an embedding model."""
        return self.family == "embeddinggemma"

    @property
    def usable_context(self) -> int | None:
        """The context window that the service enforces: tokens of input and output together."""
        return self.enforced_context or self.context_window

    @property
    def max_input_tokens(self) -> int | None:
        """Maximum number of input tokens, by the host, else by the family's model card."""
        return self.usable_context or self.family_context

    def cost_usd(self, input_tokens: int, output_tokens: int) -> float | None:
        """Return the cost of a call in US dollars; `None` if no prices are published."""
        if self.input_price is None or self.output_price is None:
            return None
        return (input_tokens * self.input_price + output_tokens * self.output_price) / 1_000_000


_WHOLE = Range(integer=True)
_MAX_TOKENS = Range(low=1, integer=True)

# The published input schema of Gemma 3 12B, which the two LoRA models and Dataoorts repeat (docs/wire.md section 2).
_GEMMA_3_PARAMETERS = MappingProxyType(
    {
        "temperature": Range(0, 5),
        "max_tokens": _MAX_TOKENS,
        "top_p": Range(0, 2),
        "top_k": Range(1, 50, integer=True),
        "seed": Range(1, 9_999_999_999, integer=True),
        "repetition_penalty": Range(0, 2),
        "frequency_penalty": Range(0, 2),
        "presence_penalty": Range(0, 2),
    }
)
# The published input schema of Gemma 7B; SEA-LION's is the same (docs/wire.md section 2).
_GEMMA_7B_PARAMETERS = MappingProxyType(
    {
        **_GEMMA_3_PARAMETERS,
        "top_p": Range(0.001, 1),
        "frequency_penalty": Range(-2, 2),
        "presence_penalty": Range(-2, 2),
    }
)
# `Ai_Cf_Google_Gemma_4_26B_A4B_It_Input` is OpenAI's chat-completions input, whose own pages bound `top_p`; there is
# no `top_k` and no `repetition_penalty`.
_GEMMA_4_PARAMETERS = MappingProxyType(
    {
        "temperature": Range(0, 2),
        "max_tokens": _MAX_TOKENS,
        "top_p": Range(0, 1),
        "seed": _WHOLE,
        "frequency_penalty": Range(-2, 2),
        "presence_penalty": Range(-2, 2),
    }
)

# --- The family: facts about a generation of Gemma on any host (docs/wire.md section 6) -------------------------------
# Context windows and output limits come from Google's model cards.
_GEMMA = GemmaModel(
    id="",
    family="gemma",
    system_role=False,
    content_parts=False,
    constraint="bare_schema",
    family_context=8_192,
    max_output_tokens=8_192,
)
_GEMMA_2 = replace(_GEMMA, family="gemma-2")
_GEMMA_3 = GemmaModel(
    id="",
    family="gemma-3",
    images=True,
    constraint="guided_json",
    family_context=131_072,
    max_output_tokens=8_192,
)
_GEMMA_3_SMALL = replace(_GEMMA_3, images=False, family_context=32_768)  # 1B and 270M read text only
_GEMMA_3N = replace(_GEMMA_3, family="gemma-3n", system_role=False, family_context=32_768, max_output_tokens=32_768)
_FUNCTION_GEMMA = replace(_GEMMA_3_SMALL, family="functiongemma", tool_role=True, function_calling=True)
_GEMMA_4 = GemmaModel(
    id="",
    family="gemma-4",
    images=True,
    tool_role=True,
    thinking=True,
    function_calling=True,
    tool_choice=True,
    constraint="openai_schema",
    stream_options=True,
    stop=4,
    family_context=131_072,
    max_output_tokens=16_384,  # reported, models.dev
)
_SEA_LION = GemmaModel(id="", family="sea-lion-v4", constraint="bare_schema", family_context=128_000)
_EMBEDDING = GemmaModel(id="", family="embeddinggemma", tools=False)
# Every chat template accepts this: no system role, alternating roles, no tool role.
_UNKNOWN = GemmaModel(id="", family="unknown", images=True, system_role=False)

# --- The host: facts that the service publishes (docs/wire.md section 2) ----------------------------------------------
_RETIREMENT = date(2026, 5, 30)
_CLOUDFLARE_GEMMA_4 = "@cf/google/gemma-4-26b-a4b-it"
# The schema that the older text-generation models of Workers AI share: no `stop`, no `tool_choice`, `max_tokens` 256.
_WORKERS_AI: dict[str, Any] = {
    "default_max_tokens": 256,
    "raw": True,
    "lora": True,
    "reasoning_effort": False,
    "logprobs": False,
}
# Reported: `No endpoints found that support tool use` and `JSON mode is not enabled`. `stop` is OpenAI's.
_AIMLAPI: dict[str, Any] = {"tools": False, "constraint": None, "stream_options": True, "stop": 4}
# OpenAI's chat completions on any server: the form of `response_format` that it accepts is determined at run time.
_OPENAI_COMPATIBLE: dict[str, Any] = {"constraint": "unknown_schema", "stream_options": True, "stop": 4}

_PUBLISHED = (
    replace(
        _GEMMA_4,
        id=_CLOUDFLARE_GEMMA_4,
        name="Gemma 4 26B A4B IT",
        context_window=256_000,
        enforced_context=131_072,  # reported, cloudflare/cloudflare-docs#29731
        input_price=0.10,
        output_price=0.30,
        parameters=_GEMMA_4_PARAMETERS,
        default_max_tokens=256,
        reasoning_effort=False,
        logprobs=True,
        async_queue=True,
    ),
    replace(
        _GEMMA_3,
        id="@cf/google/gemma-3-12b-it",
        name="Gemma 3 12B IT",
        context_window=80_000,
        input_price=0.35,
        output_price=0.56,
        parameters=_GEMMA_3_PARAMETERS,
        retired=_RETIREMENT,
        replacement=_CLOUDFLARE_GEMMA_4,
        **_WORKERS_AI,
    ),
    replace(
        _GEMMA,
        id="@hf/google/gemma-7b-it",
        name="Gemma 7B IT",
        context_window=8_192,
        parameters=_GEMMA_7B_PARAMETERS,
        retired=_RETIREMENT,
        replacement=_CLOUDFLARE_GEMMA_4,
        **_WORKERS_AI,
    ),
    replace(
        _GEMMA,
        id="@cf/google/gemma-2b-it-lora",
        name="Gemma 2B IT LoRA",
        context_window=8_192,
        parameters=_GEMMA_3_PARAMETERS,
        **_WORKERS_AI,
    ),
    replace(
        _GEMMA,
        id="@cf/google/gemma-7b-it-lora",
        name="Gemma 7B IT LoRA",
        parameters=_GEMMA_3_PARAMETERS,
        constraint=None,
        max_content_characters=131_072,
        **_WORKERS_AI,
    ),
    replace(
        _SEA_LION,
        id="@cf/aisingapore/gemma-sea-lion-v4-27b-it",
        name="Gemma SEA-LION v4 27B IT",
        context_window=128_000,
        input_price=0.35,
        output_price=0.56,
        parameters=_GEMMA_7B_PARAMETERS,
        async_queue=True,
        **{**_WORKERS_AI, "default_max_tokens": 2000},
    ),
    replace(_EMBEDDING, id="@cf/google/embeddinggemma-300m", name="EmbeddingGemma 300M"),
    replace(
        _GEMMA_3,
        id="google/gemma-3-12b-it",
        host="dataoorts",
        name="Gemma 3 12B IT",
        context_window=80_000,
        input_price=0.11,
        output_price=0.12,
        parameters=_GEMMA_3_PARAMETERS,
        images=False,  # its documentation has neither images nor LoRA
        **{**_WORKERS_AI, "lora": False},
    ),
    *(
        replace(_GEMMA_3, id=f"google/gemma-3-{size}-it", host="aimlapi", name=f"Gemma 3 {size.upper()} IT", **_AIMLAPI)
        for size in ("12b", "4b")
    ),
    replace(
        _GEMMA_3,
        id="google/gemma-3-27b-it",
        host="aimlapi",
        name="Gemma 3 27B IT",
        **{**_AIMLAPI, "constraint": "openai_schema"},
    ),
    replace(
        _GEMMA_4,
        id="google/gemma-4-26b-a4b-it-maas",
        host="aimlapi",
        name="Gemma 4 26B A4B IT (MaaS)",
        tool_choice=False,
        **{**_AIMLAPI, "tools": True, "constraint": "openai_schema"},
    ),
    replace(
        _GEMMA_4,
        id="google/gemma-4-31b-it",
        host="aimlapi",
        name="Gemma 4 31B IT",
        function_calling=False,
        tool_choice=False,
        reasoning_effort=True,
        **{**_AIMLAPI, "constraint": "openai_schema"},
    ),
    replace(_GEMMA_3N, id="google/gemma-3n-e4b-it", host="aimlapi", name="Gemma 3n E4B IT", images=False, **_AIMLAPI),
)

MODELS: Mapping[tuple[HostName, str], GemmaModel] = MappingProxyType({(m.host, m.id): m for m in _PUBLISHED})
"""Every Gemma with published facts, by host and id. The first model of a host is its default."""

DEFAULT_MODEL: Mapping[HostName, str] = MappingProxyType({m.host: m.id for m in reversed(_PUBLISHED)})
"""The default model of each host: the newest Gemma that it serves."""

# A Gemma that is not in the table has the facts of its family. The most specific pattern comes first. A digit before a
# `b` is a size (`gemma-2b`), any other digit is a generation (`gemma-2-9b`, `gemma3:12b`).
_FAMILIES: tuple[tuple[re.Pattern[str], GemmaModel], ...] = tuple(
    (re.compile(pattern), spec)
    for pattern, spec in (
        (r"embedding-?gemma", _EMBEDDING),
        (r"sea-?lion", _SEA_LION),
        (r"function-?gemma", _FUNCTION_GEMMA),
        (r"gemma[-_ ]?3n", _GEMMA_3N),
        (r"gemma[-_ ]?[4-9](?![0-9.]*b)", _GEMMA_4),
        (r"gemma[-_ ]?3(?![0-9.]*b).*\b(?:1b|270m)", _GEMMA_3_SMALL),
        (r"gemma[-_ ]?3(?![0-9.]*b)", _GEMMA_3),
        (r"(?:med|translate)-?gemma.*text", replace(_GEMMA_3, images=False)),
        (r"(?:med|translate)-?gemma", _GEMMA_3),
        (r"gemma[-_ ]?2(?![0-9.]*b)", _GEMMA_2),
        (r"gemma", _GEMMA),
    )
)
_ANY_SERVER: HostName = "openai_compatible"
_HOST_DEFAULTS: Mapping[HostName, Mapping[str, Any]] = MappingProxyType(
    {"aimlapi": _AIMLAPI, "openai_compatible": _OPENAI_COMPATIBLE}
)
"""The facts about every model of a host that are not published in more detail."""


def get_model(model_id: str, host: HostName = "cloudflare") -> GemmaModel | None:
    """Return the published facts about a model, or `None` for an unknown id.

    Args:
        model_id: The id as the host spells it.
        host: The hosting provider.

    Example:
        >>> get_model("@cf/google/gemma-3-12b-it").context_window
        80000
        >>> get_model("google/gemma-3-12b-it", host="dataoorts").input_price
        0.11
    """
    return MODELS.get((host, model_id))


@lru_cache(maxsize=256)
def resolve_model(model_id: str, host: HostName) -> GemmaModel:
    """Return the published facts about a model, else those of the family that its id names.

    If the id names no family, the model is treated as Gemma 4 on a host that serves only Gemmas, since a new model is
    probably similar. On a server that may serve any model, it gets the facts that work with every chat template.

    Example:
        >>> resolve_model("gemma3:12b", "openai_compatible").family
        'gemma-3'
    """
    known = get_model(model_id, host)
    if known is not None:
        return known
    spelled = model_id.lower()
    unknown = _UNKNOWN if host == _ANY_SERVER else _GEMMA_4
    family = next((spec for pattern, spec in _FAMILIES if pattern.search(spelled)), unknown)
    return replace(family, id=model_id, host=host, **_HOST_DEFAULTS.get(host, {}))
