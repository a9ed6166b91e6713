"""What a server refuses of that which this package puts into a request on its own account, found out at run time.

Servers that speak OpenAI's chat completions differ, and none publishes what it accepts. So a request is sent in the
form that the model's family has, and one that is refused is sent again without what was refused. What the caller asked
for is never left out. The words below are those of the servers: vLLM, SGLang, llama.cpp, llama-cpp-python, Ollama, text
generation inference, OpenRouter, Google's endpoint and OpenAI (`docs/wire.md` section 12).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from langchain_workers_gemma.errors import (
    APIStatusError,
    BadRequestError,
    ContextOverflowError,
    InternalServerError,
    ModelNotFoundError,
    PermissionDeniedError,
)
from langchain_workers_gemma.exchange.refusals import collect_words
from langchain_workers_gemma.models import GemmaModel


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What a server was seen to refuse.

    Attributes:
        context_window: Tokens of prompt and reply together, as its errors name them; `None` if not known.
        max_tokens: The most that it takes as `max_tokens`; `None` if not known, 0 if it takes none.
        max_tokens_once: The same for one request alone.
        stream_options: Whether it takes `stream_options`.
        system_role: Whether it takes a system message.
        tools: Whether it takes `tools`.
        thoughts: Whether it takes the model's earlier thoughts beside its calls.
    """

    context_window: int | None = None
    max_tokens: int | None = None
    max_tokens_once: int | None = None
    stream_options: bool = True
    system_role: bool = True
    tools: bool = True
    thoughts: bool = True

    def merge(self, other: ServerLimits) -> ServerLimits:
        """Return what is known of a server from both, without what was for one request."""
        return ServerLimits(
            context_window=_find_least(self.context_window, other.context_window),
            max_tokens=_find_least(self.max_tokens, other.max_tokens),
            stream_options=self.stream_options and other.stream_options,
            system_role=self.system_role and other.system_role,
            tools=self.tools and other.tools,
            thoughts=self.thoughts and other.thoughts,
        )

    def choose_max_tokens(self, wanted: int, known_window: int | None) -> int | None:
        """Return the `max_tokens` to send where the caller set none; `None` to send none.

        Half of the context window is left to the prompt.

        Args:
            wanted: What the reply may need.
            known_window: The published context window, `None` where there is none.

        Example:
            >>> ServerLimits(context_window=4096).choose_max_tokens(12_288, None)
            2048
        """
        if self.max_tokens_once is not None:
            return self.max_tokens_once or None
        window = _find_least(self.context_window, known_window)
        budget = wanted if window is None else min(wanted, window // 2)
        return min(budget, budget if self.max_tokens is None else self.max_tokens) or None

    def apply_to(self, spec: GemmaModel, *, may_change_tools: bool) -> GemmaModel:
        """Return what is known of a model on this server.

        Args:
            spec: What is known of it on any server.
            may_change_tools: Whether the caller left it open how tools reach the model.
        """
        if not self.system_role and spec.system_role:
            spec = replace(spec, system_role=False)
        if not self.tools and may_change_tools:
            spec = replace(spec, tools=False, tool_choice=False, function_calling=False)
        return spec


NO_SERVER_LIMITS = ServerLimits()


@dataclass(frozen=True, slots=True)
class OwnParts:
    """The parts of a request that this package chose to send.

    Attributes:
        max_tokens: The `max_tokens` that the caller did not set; `None` if none was sent, or the caller set it.
        context_window: The context window by which it was chosen; `None` if that is not known.
        stream_options: Whether `stream_options` was sent that the caller did not set.
        system_role: Whether a system message was sent as one.
        tools: Whether `tools` was sent where another way of calling tools is open.
        thoughts: Whether earlier thoughts were sent.
    """

    max_tokens: int | None = None
    context_window: int | None = None
    stream_options: bool = False
    system_role: bool = False
    tools: bool = False
    thoughts: bool = False


_REFUSALS = (BadRequestError, ContextOverflowError, InternalServerError, ModelNotFoundError, PermissionDeniedError)
# Ollama and Google's endpoint: `does not support tools`, `Function calling is not enabled for models/...`; OpenRouter:
# `No endpoints found that support tool use`; vLLM: `"auto" tool choice requires --enable-auto-tool-choice and
# --tool-call-parser to be set`; llama.cpp: `tools param requires --jinja flag`.
_TOOLS = re.compile(
    r"(?:not|n't|no endpoints found that) support (?:tools?\b|tool[ _-](?:use|call)|function[ _-]?call)"
    r"|(?:tools?|tool[ _-]?(?:use|calls?|calling)|function[ _-]?calling) (?:is|are) not (?:supported|enabled|available)"
    r"|enable-auto-tool-choice|tool-call-parser|tools? param requires",
    re.IGNORECASE,
)
# Gemma 2's template: `System role not supported`; Google's endpoint: `Developer instruction is not enabled for ...`.
_SYSTEM_ROLE = re.compile(
    r"(?:system|developer)[ _](?:role|message|prompt|instruction)s?(?: (?:is|are))? not (?:supported|enabled|allowed)"
    r"|(?:not|n't) support (?:the )?(?:system|developer)[ _](?:role|message|prompt|instruction)",
    re.IGNORECASE,
)
# Google's endpoint: `Unknown name "reasoning" at 'messages[1]': Cannot find field`; validators with pydantic:
# `messages.1.reasoning_content`, `Extra inputs are not permitted`.
_THOUGHTS = re.compile(r"\breasoning(?:_content)?\b", re.IGNORECASE)
_STREAM_OPTIONS = re.compile(r"stream_options|include_usage", re.IGNORECASE)
_TOKENS = re.compile(
    r"max_(?:completion_|new_|output_)?tokens|max_model_len|context[ _](?:length|window|size)"
    r"|(?:output|completion|number of) tokens",
    re.IGNORECASE,
)
_CONTEXT = re.compile(r"context|max_model_len|model length|`?inputs`?.{0,40}\+", re.IGNORECASE)
_BOUND = re.compile(
    r"(?:context[ _](?:length|window|size)|max_model_len|maximum model length)[^\d.;]{0,40}(\d+)"
    r"|(?:at most|no more than|up to a maximum of|(?:less|smaller|lower) than(?: or equal to)?|<=|only afford"
    r"|maximum(?: allowed)?(?: value)?(?: of| is)?|limit(?: of| is))[^\d.;]{0,12}(\d+)",
    re.IGNORECASE,
)
_PROMPT = re.compile(
    r"(\d+)(?: tokens)? (?:(?:in|of|from) (?:the |your )?(?:text )?(?:input|prompt|messages)|(?:input|prompt) tokens)"
    r"|(\d+) `inputs` tokens",
    re.IGNORECASE,
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")


def find_limits_after(error: APIStatusError, sent: OwnParts, known: ServerLimits) -> ServerLimits | None:
    """Return what is known of a server after it refused a request; `None` if it refused nothing that may be left out.

    Args:
        error: The refusal.
        sent: Which parts of the request may be left out or changed.
        known: What was known of the server when the request was sent.
    """
    if not isinstance(error, _REFUSALS):
        return None
    words = collect_words(error)
    if sent.tools and _TOOLS.search(words):
        return replace(known, tools=False)
    if sent.system_role and _SYSTEM_ROLE.search(words):
        return replace(known, system_role=False)
    if sent.stream_options and _STREAM_OPTIONS.search(words):
        return replace(known, stream_options=False)
    if sent.thoughts and _THOUGHTS.search(words):
        return replace(known, thoughts=False)
    if sent.max_tokens is not None and (isinstance(error, ContextOverflowError) or _TOKENS.search(words)):
        return _find_smaller_budget(_THOUSANDS.sub("", words), sent.max_tokens, sent.context_window, known)
    return None


def _find_smaller_budget(words: str, sent: int, window: int | None, known: ServerLimits) -> ServerLimits | None:
    """Return the limits with a smaller `max_tokens`, by the numbers that the server names, or with none at all.

    A second refusal in one call ends in none: the server then takes what fits. `None` for a prompt that fills the
    context window by itself.
    """
    found = _BOUND.search(words)
    if found is None:  # by a window that is known, the prompt was too long: a shorter one has its budget again
        return replace(known, max_tokens=0) if window is None else replace(known, max_tokens_once=0)
    bound = int(next(filter(None, found.groups())))
    is_window = _CONTEXT.search(words) is not None
    learned = replace(known, context_window=bound) if is_window else replace(known, max_tokens=bound)
    prompt = _PROMPT.search(words) if is_window else None
    if prompt is None:
        room = learned.choose_max_tokens(sent, None) or 0
    else:
        room = bound - int(next(filter(None, prompt.groups())))
        if room <= 0:
            return None
    is_smaller = known.max_tokens_once is None and 0 < room < sent
    return replace(learned, max_tokens_once=room if is_smaller else 0)


def _find_least(first: int | None, second: int | None) -> int | None:
    return first if second is None else second if first is None else min(first, second)
