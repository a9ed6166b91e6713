"""One attempt at a row: calls need permits and are counted, and errors are classified."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Callable
from importlib import import_module
from typing import Any

import httpx
import pytest
import respx
from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableBinding, RunnableLambda, RunnableSequence
from pydantic import BaseModel

from langchain_workers_gemma import ChatWorkersGemma, errors
from langchain_workers_gemma.scale.outcome import NoPermitError, Outcome, Status, make_failure
from langchain_workers_gemma.scale.task import RowTask, disable_retries, make_task

BASE_URL = "https://gemma.test"
ROW = {"text": "soup"}
USAGE = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
PRICE = (10 * 0.10 + 20 * 0.30) / 1e6


def make_llm(**settings: Any) -> ChatWorkersGemma:
    return ChatWorkersGemma(base_url=BASE_URL, account_id="acc", api_token="secret-token", **settings)


def make_reply(content: str, **choice: Any) -> httpx.Response:
    """Return a response with a reply."""
    message = {"role": "assistant", "content": content}
    body = {"choices": [{"message": message, "finish_reason": "stop", **choice}], "usage": USAGE}
    return httpx.Response(200, json={"result": body, "success": True})


@pytest.fixture
def service() -> Any:
    with respx.mock(base_url=BASE_URL, assert_all_called=False) as router:
        yield router.post(url__startswith=BASE_URL)


@pytest.fixture(params=["sync", "async"])
def attempt(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """A function that attempts a row with these permits, and returns the outcome and the number of permits used."""

    async def run(task: RowTask, *numbers: int | None, row: dict[str, Any] = ROW) -> tuple[Outcome, int]:
        permits = list(numbers)

        async def request_permit() -> int | None:
            return permits.pop(0)

        if request.param == "async":
            outcome = await task.arun(row, 1, request_permit)
        else:
            outcome = task.run(row, 1, lambda: permits.pop(0))
        return outcome, len(numbers) - len(permits)

    return run


async def test_a_chat_model_with_a_prompt(service: Any, attempt: Any) -> None:
    service.mock(return_value=make_reply("Good"))
    task = make_task(make_llm(), prompt="Is {text} good?", system="One word.")
    outcome, permits_used = await attempt(task)
    assert (outcome.status, outcome.output, outcome.answered, outcome.permits) == ("done", "Good", 1, (1,))
    assert outcome.usage == {"input_tokens": 10, "output_tokens": 20, "total_tokens": 30}
    assert outcome.cost_usd == pytest.approx(PRICE)
    assert permits_used == 0
    sent = json.loads(service.calls[0].request.content)["messages"]
    assert [(message["role"], message["content"]) for message in sent] == [
        ("system", "One word."),
        ("user", "Is soup good?"),
    ]


async def test_a_chain_gets_the_row(service: Any, attempt: Any) -> None:
    service.mock(return_value=make_reply("Good"))
    outcome, _ = await attempt(make_task(ChatPromptTemplate.from_template("{text}?") | make_llm()))
    assert (outcome.status, outcome.output) == ("done", "Good")
    assert json.loads(service.calls[0].request.content)["messages"][-1]["content"] == "soup?"


async def test_a_schema_makes_the_output_an_object(service: Any, attempt: Any) -> None:
    class Label(BaseModel):
        label: str

    service.mock(return_value=make_reply('{"label": "good"}'))
    outcome, _ = await attempt(make_task(make_llm(), prompt="{text}", schema=Label))
    assert outcome.output == {"label": "good"}
    assert outcome.cost_usd == pytest.approx(PRICE)


async def test_each_further_call_of_a_row_needs_a_permit(service: Any, attempt: Any) -> None:
    service.mock(return_value=make_reply("Good"))
    llm = make_llm()
    chain = RunnableLambda(lambda row: row["text"]) | llm | RunnableLambda(lambda message: message.text) | llm
    outcome, permits_used = await attempt(make_task(chain), 5)
    assert permits_used == 1
    assert outcome.permits == (1, 5)
    assert outcome.cost_usd == pytest.approx(2 * PRICE)
    assert outcome.usage == {"input_tokens": 20, "output_tokens": 40, "total_tokens": 60}
    assert outcome.answered == 2


async def test_each_repair_of_a_reply_needs_a_permit(service: Any, attempt: Any) -> None:
    """A repair happens within one call of the model, so LangChain's callbacks are not called."""
    service.side_effect = [make_reply('{"label": 5}'), make_reply('{"label": "good"}')]
    schema = {"title": "L", "type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]}
    outcome, permits_used = await attempt(make_task(make_llm(), prompt="{text}", schema=schema), 5)
    assert (outcome.output, permits_used, outcome.permits) == ({"label": "good"}, 1, (1, 5))
    assert outcome.cost_usd == pytest.approx(2 * PRICE)


async def test_each_retry_of_a_hidden_model_needs_a_permit(service: Any, attempt: Any) -> None:
    """For example a model inside a function, whose retries cannot be disabled."""
    service.side_effect = [httpx.Response(500, headers={"retry-after": "0"}), make_reply("Good")]
    llm = make_llm(max_retries=1)
    hidden: Runnable[Any, Any] = RunnableLambda(lambda row: llm.invoke(row["text"]))
    outcome, permits_used = await attempt(make_task(hidden), 5)
    assert (outcome.output, permits_used, outcome.permits) == ("Good", 1, (1, 5))


async def test_an_async_call_inside_a_sync_runnable_needs_a_permit(service: Any) -> None:
    service.mock(return_value=make_reply("Good"))
    llm = make_llm()
    numbers = [5, 6]

    def call_twice(row: dict[str, Any]) -> str:
        return asyncio.run(call_twice_async(row))

    async def call_twice_async(row: dict[str, Any]) -> str:
        await llm.ainvoke(row["text"])
        return str((await llm.ainvoke(row["text"])).text)

    outcome = await asyncio.to_thread(make_task(RunnableLambda(call_twice)).run, ROW, 1, lambda: numbers.pop(0))
    assert (outcome.output, outcome.permits) == ("Good", (1, 5))


async def test_calls_of_other_chat_models_need_permits(attempt: Any) -> None:
    model = GenericFakeChatModel(messages=iter(["a", "b", "c"]))
    chain = RunnableLambda(lambda row: row["text"]) | model | RunnableLambda(lambda message: message.text) | model
    outcome, permits_used = await attempt(make_task(chain), 5)
    assert (outcome.output, permits_used, outcome.permits) == ("b", 1, (1, 5))


async def test_a_further_call_without_a_permit_is_not_sent(service: Any, attempt: Any) -> None:
    service.mock(return_value=make_reply("Good"))
    llm = make_llm()
    chain = RunnableLambda(lambda row: row["text"]) | llm | RunnableLambda(lambda message: message.text) | llm
    outcome, _ = await attempt(make_task(chain), None)
    assert outcome.status == "unsent"
    assert outcome.cost_usd == pytest.approx(PRICE)  # the first call is billed
    assert service.call_count == 1


async def test_an_unusable_reply_is_counted_as_paid(service: Any, attempt: Any) -> None:
    service.mock(return_value=make_reply("prose"))

    def raise_parser_error(message: AIMessage) -> str:
        raise OutputParserException(f"not a label: {message.text}")

    outcome, _ = await attempt(make_task(RunnableLambda(lambda row: row["text"]) | make_llm() | raise_parser_error))
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert outcome.error.startswith("OutputParserException: not a label: prose")
    assert outcome.cost_usd == pytest.approx(PRICE)


async def test_retries_of_the_model_are_disabled(service: Any, attempt: Any) -> None:
    service.mock(return_value=httpx.Response(500))
    llm = make_llm(max_retries=7)
    outcome, _ = await attempt(make_task(llm, prompt="{text}"))
    assert outcome.status == "retry"
    assert service.call_count == 1
    assert llm.max_retries == 7


def test_retries_are_disabled_on_every_model_of_a_runnable() -> None:
    chain: Runnable[Any, Any] = ChatPromptTemplate.from_template("{text}") | make_llm().bind(stop=["x"]) | str
    changed = disable_retries(chain)
    assert isinstance(changed, RunnableSequence)
    bound = changed.steps[1]
    assert isinstance(bound, RunnableBinding)
    assert isinstance(bound.bound, ChatWorkersGemma)
    assert bound.bound.max_retries == 0
    assert bound.kwargs == {"stop": ["x"]}
    other = RunnableLambda(str)
    assert disable_retries(other) is other


async def test_a_runnable_without_callbacks_is_counted_by_its_message(attempt: Any) -> None:
    message = AIMessage("x", response_metadata={"cost_usd": 0.5}, usage_metadata={
        "input_tokens": 1, "output_tokens": 2, "total_tokens": 3
    })  # fmt: skip
    outcome, _ = await attempt(make_task(RunnableLambda(lambda _: message)))
    assert (outcome.cost_usd, outcome.answered) == (0.5, 1)
    assert outcome.usage == {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}


@pytest.mark.parametrize("value", ["text", {"a": [1, None]}, [1], 7, None, True])
async def test_any_json_can_be_an_output(attempt: Any, value: Any) -> None:
    outcome, _ = await attempt(make_task(RunnableLambda(lambda _: value)))
    assert (outcome.status, outcome.output, outcome.cost_usd) == ("done", value, None)


@pytest.mark.parametrize("value", [object(), float("nan"), {"x": {1, 2}}, b"bytes"])
async def test_an_output_that_is_not_json_is_an_error_of_its_row(attempt: Any, value: Any) -> None:
    outcome, _ = await attempt(make_task(RunnableLambda(lambda _: value)))
    assert outcome.status == "failed"


async def test_an_empty_truncated_reply_is_an_error_that_names_the_cure(service: Any, attempt: Any) -> None:
    service.mock(return_value=make_reply("", finish_reason="length"))
    outcome, _ = await attempt(make_task(make_llm(max_tokens=1), prompt="{text}"))
    assert (outcome.status, outcome.error) == (
        "failed",
        "The reply is empty: raise max_tokens, or turn thinking off.",
    )
    service.mock(return_value=make_reply(""))
    outcome, _ = await attempt(make_task(make_llm(), prompt="{text}"))
    assert (outcome.status, outcome.output) == ("done", "")


async def test_a_missing_field_is_an_error_of_its_row_without_a_request(service: Any, attempt: Any) -> None:
    outcome, _ = await attempt(make_task(make_llm(), prompt="{other}"))
    assert outcome.status == "failed"
    assert outcome.error == "MissingFieldError: The prompt names the field 'other', but the row has 'text'."
    assert service.call_count == 0


def make_status_error(
    error_type: type[errors.APIStatusError], status: int = 400, **details: Any
) -> errors.APIStatusError:
    return error_type("the service's message", status_code=status, **details)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (make_status_error(errors.RateLimitError, 429, retry_after=3.0), "refused"),
        (make_status_error(errors.CapacityError, 429, code=3040), "refused"),
        (make_status_error(errors.QuotaExceededError, 429, code=3036), "stop"),
        (make_status_error(errors.AuthenticationError, 401), "stop"),
        (make_status_error(errors.PermissionDeniedError, 403), "stop"),
        (make_status_error(errors.ModelNotFoundError, 404), "stop"),
        (make_status_error(errors.ModelDeprecatedError, 410, code=5028), "stop"),
        (make_status_error(errors.PermissionDeniedError, 403, code=2016), "failed"),
        (make_status_error(errors.ContextOverflowError), "failed"),
        (make_status_error(errors.RequestTooLargeError, 413), "failed"),
        (make_status_error(errors.BadRequestError), "failed"),
        (make_status_error(errors.InternalServerError, 502), "retry"),
        (make_status_error(errors.InternalServerError, 200), "retry"),
        (make_status_error(errors.RequestTimeoutError, 408), "retry"),
        (errors.APIConnectionError("x"), "retry"),
        (errors.APITimeoutError("x"), "retry"),
        (errors.StreamInterruptedError("x"), "retry"),
        (errors.ToolChoiceError("x"), "retry"),
        (OutputParserException("x"), "failed"),
        (ValueError("x"), "failed"),
        (KeyError("x"), "failed"),
        (NoPermitError("x"), "unsent"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_errors_are_classified(error: Exception, status: Status) -> None:
    outcome = make_failure(error)
    assert outcome.status == status
    assert outcome.error is not None
    assert outcome.error.startswith(f"{type(error).__name__}: ")
    assert outcome.retry_after == getattr(error, "retry_after", None)
    assert outcome.rate_limit == isinstance(error, errors.RateLimitError)
    assert outcome.quota_exhausted == isinstance(error, errors.QuotaExceededError)
    assert outcome.may_be_billed == isinstance(
        error, errors.APITimeoutError | errors.RequestTimeoutError | errors.StreamInterruptedError
    )
    assert pickle.loads(pickle.dumps(outcome)) == outcome


def test_long_errors_are_shortened_and_empty_errors_have_a_text() -> None:
    assert len(make_failure(ValueError("x" * 100_000)).error or "") < 2100
    assert make_failure(ValueError()).error == "ValueError: no message"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "prompt is missing"),
        ({"system": "x"}, "system needs a prompt"),
        ({"prompt": "{"}, "is not a field in braces"),
    ],
)
def test_invalid_arguments_raise(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_task(make_llm(), **arguments)


def test_a_schema_needs_a_chat_model() -> None:
    with pytest.raises(ValueError, match="schema needs a chat model as runnable, not RunnableLambda"):
        make_task(RunnableLambda(str), schema={"type": "object", "title": "x"})


def test_a_task_can_be_pickled(service: Any) -> None:
    service.mock(return_value=make_reply("Good"))
    task = pickle.loads(import_module("cloudpickle").dumps(make_task(make_llm(), prompt="{text}")))
    assert task.run(ROW, 1, lambda: None).output == "Good"
    assert task.prompt.build_messages(ROW) == [HumanMessage("soup")]
