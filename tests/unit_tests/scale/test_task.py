"""One attempt at a row: calls are counted and gated, errors are classified."""

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

BASE = "https://gemma.test"
ROW = {"text": "soup"}
USAGE = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
PRICE = (10 * 0.10 + 20 * 0.30) / 1e6


def make_llm(**settings: Any) -> ChatWorkersGemma:
    return ChatWorkersGemma(base_url=BASE, account_id="acc", api_token="secret-token", **settings)


def reply(content: str, **choice: Any) -> httpx.Response:
    message = {"role": "assistant", "content": content}
    body = {"choices": [{"message": message, "finish_reason": "stop", **choice}], "usage": USAGE}
    return httpx.Response(200, json={"result": body, "success": True})


@pytest.fixture
def service() -> Any:
    with respx.mock(base_url=BASE, assert_all_called=False) as router:
        yield router.post(url__startswith=BASE)


@pytest.fixture(params=["sync", "async"])
def attempt(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Attempts a row, gated by the numbers given; returns the outcome and the number of calls of the gate."""

    async def run(task: RowTask, *numbers: int | None, row: dict[str, Any] = ROW) -> tuple[Outcome, int]:
        left = list(numbers)

        async def further() -> int | None:
            return left.pop(0)

        if request.param == "async":
            outcome = await task.arun(row, 1, further)
        else:
            outcome = task.run(row, 1, lambda: left.pop(0))
        return outcome, len(numbers) - len(left)

    return run


async def test_a_chat_model_answers_a_prompt(service: Any, attempt: Any) -> None:
    service.mock(return_value=reply("Good"))
    task = make_task(make_llm(), prompt="Is {text} good?", system="One word.")
    outcome, asked = await attempt(task)
    assert (outcome.status, outcome.output, outcome.answered, outcome.permits) == ("done", "Good", 1, (1,))
    assert outcome.usage == {"input_tokens": 10, "output_tokens": 20, "total_tokens": 30}
    assert outcome.cost_usd == pytest.approx(PRICE)
    assert asked == 0
    sent = json.loads(service.calls[0].request.content)["messages"]
    assert [(message["role"], message["content"]) for message in sent] == [
        ("system", "One word."),
        ("user", "Is soup good?"),
    ]


async def test_a_chain_takes_the_row_itself(service: Any, attempt: Any) -> None:
    service.mock(return_value=reply("Good"))
    outcome, _ = await attempt(make_task(ChatPromptTemplate.from_template("{text}?") | make_llm()))
    assert (outcome.status, outcome.output) == ("done", "Good")
    assert json.loads(service.calls[0].request.content)["messages"][-1]["content"] == "soup?"


async def test_a_schema_makes_the_output_an_object(service: Any, attempt: Any) -> None:
    class Label(BaseModel):
        label: str

    service.mock(return_value=reply('{"label": "good"}'))
    outcome, _ = await attempt(make_task(make_llm(), prompt="{text}", schema=Label))
    assert outcome.output == {"label": "good"}
    assert outcome.cost_usd == pytest.approx(PRICE)


async def test_each_further_call_of_a_row_is_gated_and_counted(service: Any, attempt: Any) -> None:
    service.mock(return_value=reply("Good"))
    llm = make_llm()
    chain = RunnableLambda(lambda row: row["text"]) | llm | RunnableLambda(lambda message: message.text) | llm
    outcome, asked = await attempt(make_task(chain), 5)
    assert asked == 1
    assert outcome.permits == (1, 5)
    assert outcome.cost_usd == pytest.approx(2 * PRICE)
    assert outcome.usage == {"input_tokens": 20, "output_tokens": 40, "total_tokens": 60}
    assert outcome.answered == 2


async def test_each_repair_of_an_answer_is_gated_and_counted(service: Any, attempt: Any) -> None:
    """It happens within one call of the model, so LangChain's callbacks do not see it."""
    service.side_effect = [reply('{"label": 5}'), reply('{"label": "good"}')]
    schema = {"title": "L", "type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]}
    outcome, asked = await attempt(make_task(make_llm(), prompt="{text}", schema=schema), 5)
    assert (outcome.output, asked, outcome.permits) == ({"label": "good"}, 1, (1, 5))
    assert outcome.cost_usd == pytest.approx(2 * PRICE)


async def test_each_retry_of_a_model_that_stays_is_gated(service: Any, attempt: Any) -> None:
    """Such as one inside a runnable that a run does not know."""
    service.side_effect = [httpx.Response(500, headers={"retry-after": "0"}), reply("Good")]
    llm = make_llm(max_retries=1)
    hidden: Runnable[Any, Any] = RunnableLambda(lambda row: llm.invoke(row["text"]))
    outcome, asked = await attempt(make_task(hidden), 5)
    assert (outcome.output, asked, outcome.permits) == ("Good", 1, (1, 5))


async def test_a_model_called_the_other_way_is_gated_too(service: Any) -> None:
    service.mock(return_value=reply("Good"))
    llm = make_llm()
    numbers = [5, 6]

    def twice(row: dict[str, Any]) -> str:
        return asyncio.run(again(row))

    async def again(row: dict[str, Any]) -> str:
        await llm.ainvoke(row["text"])
        return str((await llm.ainvoke(row["text"])).text)

    outcome = await asyncio.to_thread(make_task(RunnableLambda(twice)).run, ROW, 1, lambda: numbers.pop(0))
    assert (outcome.output, outcome.permits) == ("Good", (1, 5))


async def test_other_chat_models_are_gated_by_their_calls(attempt: Any) -> None:
    model = GenericFakeChatModel(messages=iter(["a", "b", "c"]))
    chain = RunnableLambda(lambda row: row["text"]) | model | RunnableLambda(lambda message: message.text) | model
    outcome, asked = await attempt(make_task(chain), 5)
    assert (outcome.output, asked, outcome.permits) == ("b", 1, (1, 5))


async def test_a_further_call_without_a_permit_is_not_sent(service: Any, attempt: Any) -> None:
    service.mock(return_value=reply("Good"))
    llm = make_llm()
    chain = RunnableLambda(lambda row: row["text"]) | llm | RunnableLambda(lambda message: message.text) | llm
    outcome, _ = await attempt(make_task(chain), None)
    assert outcome.status == "unsent"
    assert outcome.cost_usd == pytest.approx(PRICE)  # the first call is paid all the same
    assert service.call_count == 1


async def test_an_answer_that_was_paid_for_and_cannot_be_used_still_counts(service: Any, attempt: Any) -> None:
    service.mock(return_value=reply("prose"))

    def refuse(message: AIMessage) -> str:
        raise OutputParserException(f"not a label: {message.text}")

    outcome, _ = await attempt(make_task(RunnableLambda(lambda row: row["text"]) | make_llm() | refuse))
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert outcome.error.startswith("OutputParserException: not a label: prose")
    assert outcome.cost_usd == pytest.approx(PRICE)


async def test_a_run_retries_itself_so_the_model_does_not(service: Any, attempt: Any) -> None:
    service.mock(return_value=httpx.Response(500))
    llm = make_llm(max_retries=7)
    outcome, _ = await attempt(make_task(llm, prompt="{text}"))
    assert outcome.status == "retry"
    assert service.call_count == 1
    assert llm.max_retries == 7


def test_retries_are_switched_off_on_every_model_of_a_runnable() -> None:
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
async def test_an_output_without_a_json_form_is_that_rows_error(attempt: Any, value: Any) -> None:
    outcome, _ = await attempt(make_task(RunnableLambda(lambda _: value)))
    assert outcome.status == "failed"


async def test_an_empty_answer_at_the_token_limit_is_an_error_that_names_the_cure(service: Any, attempt: Any) -> None:
    service.mock(return_value=reply("", finish_reason="length"))
    outcome, _ = await attempt(make_task(make_llm(max_tokens=1), prompt="{text}"))
    assert (outcome.status, outcome.error) == (
        "failed",
        "The reply is empty: raise max_tokens, or turn thinking off.",
    )
    service.mock(return_value=reply(""))
    outcome, _ = await attempt(make_task(make_llm(), prompt="{text}"))
    assert (outcome.status, outcome.output) == ("done", "")


async def test_a_missing_field_is_that_rows_error_and_nothing_is_sent(service: Any, attempt: Any) -> None:
    outcome, _ = await attempt(make_task(make_llm(), prompt="{other}"))
    assert outcome.status == "failed"
    assert outcome.error == "MissingFieldError: The prompt names the field 'other', but the row has 'text'."
    assert service.call_count == 0


def status_error(cls: type[errors.APIStatusError], status: int = 400, **details: Any) -> errors.APIStatusError:
    return cls("the service's words", status_code=status, **details)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (status_error(errors.RateLimitError, 429, retry_after=3.0), "refused"),
        (status_error(errors.CapacityError, 429, code=3040), "refused"),
        (status_error(errors.QuotaExceededError, 429, code=3036), "stop"),
        (status_error(errors.AuthenticationError, 401), "stop"),
        (status_error(errors.PermissionDeniedError, 403), "stop"),
        (status_error(errors.ModelNotFoundError, 404), "stop"),
        (status_error(errors.ModelDeprecatedError, 410, code=5028), "stop"),
        (status_error(errors.PermissionDeniedError, 403, code=2016), "failed"),
        (status_error(errors.ContextOverflowError), "failed"),
        (status_error(errors.RequestTooLargeError, 413), "failed"),
        (status_error(errors.BadRequestError), "failed"),
        (status_error(errors.InternalServerError, 502), "retry"),
        (status_error(errors.InternalServerError, 200), "retry"),
        (status_error(errors.RequestTimeoutError, 408), "retry"),
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
def test_what_each_error_means(error: Exception, status: Status) -> None:
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


def test_long_errors_are_shortened_and_empty_ones_are_named() -> None:
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
def test_arguments_that_do_not_fit(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_task(make_llm(), **arguments)


def test_a_schema_needs_a_chat_model() -> None:
    with pytest.raises(ValueError, match="schema needs a chat model as runnable, not RunnableLambda"):
        make_task(RunnableLambda(str), schema={"type": "object", "title": "x"})


def test_a_task_travels_to_a_worker(service: Any) -> None:
    service.mock(return_value=reply("Good"))
    task = pickle.loads(import_module("cloudpickle").dumps(make_task(make_llm(), prompt="{text}")))
    assert task.run(ROW, 1, lambda: None).output == "Good"
    assert task.prompt.build_messages(ROW) == [HumanMessage("soup")]
