"""The checks of `verify`: small calls whose responses are compared with docs/wire.md and `models.py`.

A fact that a source states is compared. A fact that no source states, or on which sources disagree, is only observed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from langchain_workers_gemma.cli.verify import replies, service, tools
from langchain_workers_gemma.cli.verify.inputs import (
    CALL_TOKENS,
    JSON_TOKENS,
    TEXT_TOKENS,
    TRUNCATED_CALL_TOKENS,
    TRUNCATED_TOKENS,
    get_expected_form,
    get_text_limit,
)
from langchain_workers_gemma.cli.verify.probe import Probe
from langchain_workers_gemma.cli.verify.reading import NATIVE
from langchain_workers_gemma.cli.verify.result import Result
from langchain_workers_gemma.hosts import HOSTS
from langchain_workers_gemma.models import GemmaModel


@dataclass(frozen=True, slots=True)
class Check:
    """One call, or a few related calls.

    Attributes:
        name: The subject of the check.
        run: Sends the requests and yields the results.
        applies: Returns whether the check applies to a model and its host.
        calls: The number of requests.
        output_tokens: Maximum number of tokens that the model generates, without thoughts.
        input_tokens: Approximate number of input tokens.
        replies_with_thoughts: The number of requests whose `max_tokens` includes thoughts if the model can think.
    """

    name: str
    run: Callable[[Probe], Iterator[Result]]
    applies: Callable[[GemmaModel], bool]
    calls: int = 1
    output_tokens: int = 0
    input_tokens: int = 0
    replies_with_thoughts: int = 0

    def get_max_output_tokens(self, spec: GemmaModel) -> int:
        """Return the maximum number of tokens that a model generates for the check, including thoughts."""
        return self.output_tokens + self.replies_with_thoughts * (get_text_limit(spec) - TEXT_TOKENS)


def _is_on_cloudflare(spec: GemmaModel) -> bool:
    return HOSTS[spec.host].has_account_api


def _is_always_applicable(_spec: GemmaModel) -> bool:
    return True


def _has_native_form(spec: GemmaModel) -> bool:
    return get_expected_form(spec) == NATIVE


def _has_response_format(spec: GemmaModel) -> bool:
    return spec.constraint in ("openai_schema", "bare_schema")


CHECKS: tuple[Check, ...] = (
    Check("the account's list of models", service.check_listed_model, _is_on_cloudflare),
    Check("a chat", replies.check_plain_reply, _is_always_applicable, 1, TEXT_TOKENS, 25),
    Check("a number as text", replies.check_number_as_text, _has_native_form, 1, TEXT_TOKENS, 25),
    Check("JSON as text", replies.check_json_as_text, _has_native_form, 1, TEXT_TOKENS, 30),
    Check("truncation", replies.check_truncated_reply, _is_always_applicable, 1, TRUNCATED_TOKENS, 25),
    Check("a stream", replies.check_plain_stream, lambda spec: HOSTS[spec.host].streams, 1, TEXT_TOKENS, 35, 1),
    Check("tool calls", tools.check_tool_calls, lambda spec: spec.function_calling, 2, 2 * CALL_TOKENS, 400),
    Check(
        "truncated calls",
        tools.check_truncated_call,
        lambda spec: spec.function_calling,
        2,
        TRUNCATED_CALL_TOKENS + CALL_TOKENS,
        400,
    ),
    Check("tool choices", tools.check_tool_choices, lambda spec: spec.tool_choice, 2, 2 * CALL_TOKENS, 370),
    Check("response formats", tools.check_response_formats, _has_response_format, 3, 3 * JSON_TOKENS, 210),
    Check("an unsatisfiable schema", tools.check_unsatisfiable_schema, _has_response_format, 1, JSON_TOKENS, 70),
    Check("guided_json", tools.check_guided_json, lambda spec: spec.constraint == "guided_json", 1, JSON_TOKENS, 70),
    Check("refusals", service.check_refusals, _is_on_cloudflare, 2),
    Check("an unknown model", service.check_unknown_model, _is_on_cloudflare),
    Check("images", service.check_images, lambda spec: spec.images, 2, 2 * TEXT_TOKENS, 560, 2),
    Check("the OpenAI route", service.check_openai_route, _is_on_cloudflare, 1, CALL_TOKENS, 200),
    Check("embeddings", service.check_embeddings, _is_on_cloudflare, 1, 0, 10),
    Check("the queue", service.check_queue, lambda spec: spec.async_queue, 2, TEXT_TOKENS, 25),
)
"""All checks, in the order in which they run."""
