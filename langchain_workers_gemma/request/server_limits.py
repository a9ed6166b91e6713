"""Learn from a server's errors which optional parts of a request it refuses.

OpenAI-compatible servers differ, and none publishes what it accepts. So the first request has the form of the model's
family; if the server refuses a part that this package added, the request is sent again without it. Parts that the
caller requested are never left out. The patterns below match the error messages of vLLM, SGLang, llama.cpp,
llama-cpp-python, Ollama, text generation inference, OpenRouter, Google's endpoint and OpenAI (`docs/wire.md`
section 12).
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
    """The limits of a server, as far as its errors have shown them.

    Attributes:
        context_window: The maximum of prompt and reply tokens together, from its errors; `None` if not known.
        max_tokens: The maximum value of `max_tokens`; `None` if not known, 0 if it accepts no value.
        max_tokens_once: The same for a single request.
        stream_options: Whether it accepts `stream_options`.
        system_role: Whether it accepts a system message.
        tools: Whether it accepts `tools`.
        thoughts: Whether it accepts the model's earlier thoughts in messages with calls.
    """

    context_window: int | None = None
    max_tokens: int | None = None
    max_tokens_once: int | None = None
    stream_options: bool = True
    system_role: bool = True
    tools: bool = True
    thoughts: bool = True

    def merge(self, other: ServerLimits) -> ServerLimits:
        """Return the stricter of both limits, without the limit for a single request."""
        return ServerLimits(
            context_window=_find_smaller(self.context_window, other.context_window),
            max_tokens=_find_smaller(self.max_tokens, other.max_tokens),
            stream_options=self.stream_options and other.stream_options,
            system_role=self.system_role and other.system_role,
            tools=self.tools and other.tools,
            thoughts=self.thoughts and other.thoughts,
        )

    def choose_max_tokens(self, wanted: int, known_window: int | None) -> int | None:
        """Return the `max_tokens` to send if the caller set none; `None` to send none.

        It leaves half of the context window to the prompt.

        Args:
            wanted: The tokens that the reply may need.
            known_window: The published context window, `None` if there is none.

        Example:
            >>> ServerLimits(context_window=4096).choose_max_tokens(12_288, None)
            2048
        """
        if self.max_tokens_once is not None:
            return self.max_tokens_once or None
        window = _find_smaller(self.context_window, known_window)
        budget = wanted if window is None else min(wanted, window // 2)
        return min(budget, budget if self.max_tokens is None else self.max_tokens) or None

    def apply_to(self, spec: GemmaModel, *, may_change_tools: bool) -> GemmaModel:
        """Return the facts about a model on this server.

        Args:
            spec: The facts about the model on any server.
            may_change_tools: Whether the caller left the tool method open.
        """
        if not self.system_role and spec.system_role:
            spec = replace(spec, system_role=False)
        if not self.tools and may_change_tools:
            spec = replace(spec, tools=False, tool_choice=False, function_calling=False)
        return spec


NO_SERVER_LIMITS = ServerLimits()


@dataclass(frozen=True, slots=True)
class OwnParts:
    """The parts of a request that this package added, and that can be left out or changed.

    Attributes:
        max_tokens: The `max_tokens` that was sent; `None` if none was sent, or the caller set it.
        context_window: The context window from which it was chosen; `None` if that is not known.
        stream_options: Whether `stream_options` was sent, and the caller did not set it.
        system_role: Whether a system message was sent.
        tools: Whether `tools` was sent, and another tool method is possible.
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
_TOOLS = (
    r"(?:not|n't|no endpoints found that) support (?:tools?\b|tool[ _-](?:use|call)|function[ _-]?call)"
    r"|(?:tools?|tool[ _-]?(?:use|calls?|calling)|function[ _-]?calling) (?:is|are) not (?:supported|enabled|available)"
    r"|enable-auto-tool-choice|tool-call-parser|tools? param requires"
)
# Gemma 2's template: `System role not supported`; Google's endpoint: `Developer instruction is not enabled for ...`.
_SYSTEM_ROLE = (
    r"(?:system|developer)[ _](?:role|message|prompt|instruction)s?(?: (?:is|are))? not (?:supported|enabled|allowed)"
    r"|(?:not|n't) support (?:the )?(?:system|developer)[ _](?:role|message|prompt|instruction)"
)
# Google's endpoint: `Unknown name "reasoning" at 'messages[1]': Cannot find field`; validators with pydantic:
# `messages.1.reasoning_content`, `Extra inputs are not permitted`.
_THOUGHTS = r"\breasoning(?:_content)?\b"
_STREAM_OPTIONS = r"stream_options|include_usage"
_TOKENS = (
    r"max_(?:completion_|new_|output_)?tokens|max_model_len|context[ _](?:length|window|size)"
    r"|(?:output|completion|number of) tokens"
)
_CONTEXT = r"context|max_model_len|model length|`?inputs`?.{0,40}\+"
_BOUND = (
    r"(?:context[ _](?:length|window|size)|max_model_len|maximum model length)[^\d.;]{0,40}(\d+)"
    r"|(?:at most|no more than|up to a maximum of|(?:less|smaller|lower) than(?: or equal to)?|<=|only afford"
    r"|maximum(?: allowed)?(?: value)?(?: of| is)?|limit(?: of| is))[^\d.;]{0,12}(\d+)"
)
_PROMPT = (
    r"(\d+)(?: tokens)? (?:(?:in|of|from) (?:the |your )?(?:text )?(?:input|prompt|messages)|(?:input|prompt) tokens)"
    r"|(\d+) `inputs` tokens"
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")


def find_limits_after(error: APIStatusError, sent: OwnParts, known: ServerLimits) -> ServerLimits | None:
    """Return the limits of a server after it refused a request; `None` if it refused no part that can be left out.

    Args:
        error: The error with which it refused the request.
        sent: The parts of the request that can be left out or changed.
        known: The limits that were known when the request was sent.
    """
    if not isinstance(error, _REFUSALS):
        return None
    words = collect_words(error)
    if sent.tools and _search(_TOOLS, words):
        return replace(known, tools=False)
    if sent.system_role and _search(_SYSTEM_ROLE, words):
        return replace(known, system_role=False)
    if sent.stream_options and _search(_STREAM_OPTIONS, words):
        return replace(known, stream_options=False)
    if sent.thoughts and _search(_THOUGHTS, words):
        return replace(known, thoughts=False)
    if sent.max_tokens is not None and (isinstance(error, ContextOverflowError) or _search(_TOKENS, words)):
        return _find_smaller_budget(_THOUSANDS.sub("", words), sent.max_tokens, sent.context_window, known)
    return None


def _find_smaller_budget(words: str, sent: int, window: int | None, known: ServerLimits) -> ServerLimits | None:
    """Return the limits with a smaller `max_tokens` from the numbers in the error, or with none at all.

    After a second refusal in one call no `max_tokens` is sent: the server then uses the tokens that are left. Return
    `None` if the prompt alone fills the context window.
    """
    found = _search(_BOUND, words)
    if found is None:  # if the window is known, only this prompt was too long, so the limit holds for one request
        return replace(known, max_tokens=0) if window is None else replace(known, max_tokens_once=0)
    bound = int(next(filter(None, found.groups())))
    is_window = _search(_CONTEXT, words) is not None
    learned = replace(known, context_window=bound) if is_window else replace(known, max_tokens=bound)
    prompt = _search(_PROMPT, words) if is_window else None
    if prompt is None:
        budget = learned.choose_max_tokens(sent, None) or 0
    else:
        budget = bound - int(next(filter(None, prompt.groups())))
        if budget <= 0:
            return None
    is_smaller = known.max_tokens_once is None and 0 < budget < sent
    return replace(learned, max_tokens_once=budget if is_smaller else 0)


def _search(pattern: str, words: str) -> re.Match[str] | None:
    return re.search(pattern, words, re.IGNORECASE)  # compiled when a server refuses something, not on import


def _find_smaller(first: int | None, second: int | None) -> int | None:
    return first if second is None else second if first is None else min(first, second)
