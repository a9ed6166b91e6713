"""The methods of the asynchronous batch, for the chat model and for the runnable that `bind` returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable
from langchain_core.runnables.base import RunnableBinding
from langchain_core.runnables.utils import Output

from langchain_workers_gemma.batch import queue as batch
from langchain_workers_gemma.batch.job import BatchJob
from langchain_workers_gemma.batch.progress import open_progress_bar
from langchain_workers_gemma.batch.queue import DEFAULT_POLL_INTERVAL, PollPolicy
from langchain_workers_gemma.batch.requests import BatchPlan
from langchain_workers_gemma.client import connection
from langchain_workers_gemma.client.arguments import to_list
from langchain_workers_gemma.client.call_settings import ChatModel, build_call_settings
from langchain_workers_gemma.transport.driver import arun, run

if TYPE_CHECKING:
    # Core's own class for a bound chat model is private: a `RunnableBinding` with narrower types.
    from langchain_core.language_models.chat_models import _ChatModelBinding as Binding

    class _ChatModel(ChatModel):
        """The chat model that the methods below belong to."""

        output_version: str | None

        def _convert_input(self, model_input: LanguageModelInput) -> PromptValue:
            raise NotImplementedError

else:
    Binding = RunnableBinding[LanguageModelInput, AIMessage]
    _ChatModel = object

# Arguments of a call that core's `generate` removes before it calls the model.
_CORE_ARGUMENTS = frozenset({"ls_structured_output_format", "structured_output_format", "config"})


class BatchMethods(_ChatModel):
    """A chat model with Workers AI's asynchronous batch queue.

    The service answers queued inputs when it has capacity, usually within minutes. It never refuses them for lack of
    capacity.
    """

    def queue_batch(
        self,
        inputs: Sequence[LanguageModelInput],
        *,
        poll_interval: float = DEFAULT_POLL_INTERVAL,
        max_wait: float | None = None,
        show_progress: bool = False,
        return_exceptions: bool = False,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Queue many inputs at the service, and wait for the replies.

        Requests are split to stay below 10 MB. To fetch the replies in another process, use `submit_batch` and
        `fetch_batch`.

        Args:
            inputs: Any number of inputs, each as for `invoke`.
            poll_interval: Seconds between the first two polls. Each later interval is 1.5 times as long, at most 30
                seconds. `Retry-After` is obeyed.
            max_wait: Seconds to wait before `APITimeoutError` is raised. `None` waits indefinitely.
            show_progress: Show a progress bar. Needs `tqdm`.
            return_exceptions: Return the error of a failed input in its place, instead of raising the first error.
            stop: Stop sequences.
            **kwargs: Further arguments of the call, as for `invoke`.

        Returns:
            The messages that `invoke` would return, in the order of the inputs.

        Raises:
            ValueError: If the host or the model has no queue, or an input is not valid. Nothing is sent then.
            WorkersGemmaError: If the batch or an input fails. A note on the error shows how to fetch the other replies.

        Example:
            ```python
            llm.queue_batch(["Say 1", "Say 2"], show_progress=True)
            ```
        """
        poll_policy = PollPolicy(poll_interval, max_wait)
        batch_plan = self._plan_batch(stop, kwargs)
        conversations = self._convert_inputs(inputs)
        with open_progress_bar(len(conversations), show=show_progress) as progress:
            flow = batch.queue(batch_plan, conversations, poll_policy, progress, return_exceptions=return_exceptions)
            return self._finish_messages(run(connection.build_transport(self, kwargs.get("timeout")), flow))

    async def aqueue_batch(
        self,
        inputs: Sequence[LanguageModelInput],
        *,
        poll_interval: float = DEFAULT_POLL_INTERVAL,
        max_wait: float | None = None,
        show_progress: bool = False,
        return_exceptions: bool = False,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Queue many inputs at the service, and wait for the replies. See `queue_batch`."""
        poll_policy = PollPolicy(poll_interval, max_wait)
        batch_plan = self._plan_batch(stop, kwargs)
        conversations = self._convert_inputs(inputs)
        with open_progress_bar(len(conversations), show=show_progress) as progress:
            flow = batch.queue(batch_plan, conversations, poll_policy, progress, return_exceptions=return_exceptions)
            return self._finish_messages(await arun(connection.build_transport(self, kwargs.get("timeout")), flow))

    def submit_batch(
        self, inputs: Sequence[LanguageModelInput], *, stop: list[str] | None = None, **kwargs: Any
    ) -> BatchJob:
        """Queue many inputs at the service, and return at once.

        Args:
            inputs: Any number of inputs, each as for `invoke`.
            stop: Stop sequences.
            **kwargs: Further arguments of the call, as for `invoke`.

        Returns:
            The job. Store it with `to_json` or `pickle`, and pass it to `fetch_batch` in this or another process.

        Raises:
            ValueError: If the host or the model has no queue, or an input is not valid. Nothing is sent then.
            WorkersGemmaError: If the service refuses a request.

        Example:
            ```python
            job = llm.submit_batch(["Say 1", "Say 2"])
            text = job.to_json()
            llm.fetch_batch(BatchJob.from_json(text))
            ```
        """
        batch_plan = self._plan_batch(stop, kwargs)
        conversations = self._convert_inputs(inputs)
        flow = batch.submit_inputs(batch_plan, conversations)
        return run(connection.build_transport(self, kwargs.get("timeout")), flow)

    async def asubmit_batch(
        self, inputs: Sequence[LanguageModelInput], *, stop: list[str] | None = None, **kwargs: Any
    ) -> BatchJob:
        """Queue many inputs at the service, and return at once. See `submit_batch`."""
        batch_plan = self._plan_batch(stop, kwargs)
        conversations = self._convert_inputs(inputs)
        flow = batch.submit_inputs(batch_plan, conversations)
        return await arun(connection.build_transport(self, kwargs.get("timeout")), flow)

    def fetch_batch(
        self,
        job: BatchJob,
        *,
        poll_interval: float = DEFAULT_POLL_INTERVAL,
        max_wait: float | None = None,
        show_progress: bool = False,
        return_exceptions: bool = False,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Wait for a job of `submit_batch`, from this or another process, and return its replies.

        Args:
            job: The job.
            poll_interval: As for `queue_batch`.
            max_wait: As for `queue_batch`; 0 polls once.
            show_progress: As for `queue_batch`.
            return_exceptions: As for `queue_batch`.
            stop: The stop sequences that you passed to `submit_batch`.
            **kwargs: The arguments that you passed to `submit_batch`. Tools, for example, decide how an answer is read.

        Returns:
            The messages that `invoke` would return, in the order of the inputs.

        Raises:
            ValueError: If the job belongs to another model.
            WorkersGemmaError: If the batch or an input fails.
        """
        poll_policy = PollPolicy(poll_interval, max_wait)
        batch_plan = self._plan_batch(stop, kwargs, _check_job(job))
        with open_progress_bar(len(job), show=show_progress) as progress:
            outcomes = run(
                connection.build_transport(self, kwargs.get("timeout")),
                batch.fetch(batch_plan, job, poll_policy, progress),
            )
        if not return_exceptions:
            batch.raise_first(outcomes, job)
        return self._finish_messages(outcomes)

    async def afetch_batch(
        self,
        job: BatchJob,
        *,
        poll_interval: float = DEFAULT_POLL_INTERVAL,
        max_wait: float | None = None,
        show_progress: bool = False,
        return_exceptions: bool = False,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Wait for a job of `submit_batch`, and return its replies. See `fetch_batch`."""
        poll_policy = PollPolicy(poll_interval, max_wait)
        batch_plan = self._plan_batch(stop, kwargs, _check_job(job))
        with open_progress_bar(len(job), show=show_progress) as progress:
            driver = connection.build_transport(self, kwargs.get("timeout"))
            outcomes = await arun(driver, batch.fetch(batch_plan, job, poll_policy, progress))
        if not return_exceptions:
            batch.raise_first(outcomes, job)
        return self._finish_messages(outcomes)

    def bind(self, **kwargs: Any) -> BoundChatModel:
        """Bind arguments to each call. The methods of the asynchronous batch queue use them too."""
        return BoundChatModel(bound=self, kwargs=kwargs, config={})

    # --- Helpers ---

    def _plan_batch(self, stop: list[str] | None, kwargs: Mapping[str, Any], job: BatchJob | None = None) -> BatchPlan:
        settings = build_call_settings(
            self, stop, {name: value for name, value in kwargs.items() if name not in _CORE_ARGUMENTS}
        )
        if job is not None and job.model != settings.spec.id:
            raise ValueError(
                f"This batch was submitted to {job.model}, not {settings.spec.id}: pass model={job.model!r}."
            )
        return BatchPlan.from_settings(settings)

    def _convert_inputs(self, inputs: Sequence[LanguageModelInput]) -> list[list[BaseMessage]]:
        if isinstance(inputs, str):
            raise ValueError("A batch takes a list of inputs; for one input, use invoke.")
        return [self._convert_input(model_input).to_messages() for model_input in to_list("inputs", inputs)]

    def _finish_messages(self, outcomes: Sequence[Any]) -> list[Any]:
        """Convert the messages to the form that `output_version` requests, as core does for `invoke`."""
        if self.output_version != "v1":
            return list(outcomes)
        return [_convert_to_blocks(outcome) if isinstance(outcome, AIMessage) else outcome for outcome in outcomes]


def _check_job(job: object) -> BatchJob:
    if not isinstance(job, BatchJob):
        raise ValueError(f"job must be a BatchJob, as submit_batch returns it, not {type(job).__name__}.")
    return job


_TOOL_ARGUMENTS = frozenset({"parallel_tool_calls", "tool_choice", "tools"})


class BoundChatModel(Binding):  # type: ignore[no-redef]
    """A chat model with bound arguments, as `bind` returns it.

    Core's own class calls the model's methods without the bound arguments: `llm.bind_tools([...]).preview(...)`
    would show a call without the tools, and `llm.bind(temperature=0).bind_tools([...])` would lose the temperature.
    """

    @classmethod
    def lc_id(cls) -> list[str]:
        """Return the id of core's own class, so that `dumps` and `loads` use that class."""
        return RunnableBinding.lc_id()

    @property
    def _model(self) -> BatchMethods:
        if not isinstance(self.bound, BatchMethods):
            raise AttributeError(f"{type(self.bound).__name__} has no asynchronous batch")
        return self.bound

    def preview(self, messages: LanguageModelInput, **kwargs: Any) -> Any:
        """See `ChatWorkersGemma.preview`."""
        model: Any = self.bound
        return model.preview(messages, **{**self.kwargs, **kwargs})

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """See `ChatWorkersGemma.get_num_tokens_from_messages`; bound tools count."""
        model: Any = self.bound
        count: int = model.get_num_tokens_from_messages(messages, self.kwargs.get("tools") if tools is None else tools)
        return count

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """See `ChatWorkersGemma.bind_tools`."""
        model: Any = self.bound
        return self._add_own_config(model.bind_tools(tools, **{**self.kwargs, **kwargs}))

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Runnable[LanguageModelInput, Any]:
        """See `ChatWorkersGemma.with_structured_output`. Tools bound before are not used."""
        model: Any = self.bound
        arguments = {name: value for name, value in self.kwargs.items() if name not in _TOOL_ARGUMENTS}
        return self._add_own_config(model.with_structured_output(schema, **{**arguments, **kwargs}))

    def _add_own_config(self, runnable: Runnable[LanguageModelInput, Output]) -> Runnable[LanguageModelInput, Output]:
        return runnable.with_config(self.config) if self.config else runnable

    def queue_batch(self, inputs: Sequence[LanguageModelInput], **kwargs: Any) -> list[AIMessage]:
        """See `ChatWorkersGemma.queue_batch`."""
        return self._model.queue_batch(inputs, **{**self.kwargs, **kwargs})

    async def aqueue_batch(self, inputs: Sequence[LanguageModelInput], **kwargs: Any) -> list[AIMessage]:
        """See `ChatWorkersGemma.aqueue_batch`."""
        return await self._model.aqueue_batch(inputs, **{**self.kwargs, **kwargs})

    def submit_batch(self, inputs: Sequence[LanguageModelInput], **kwargs: Any) -> BatchJob:
        """See `ChatWorkersGemma.submit_batch`."""
        return self._model.submit_batch(inputs, **{**self.kwargs, **kwargs})

    async def asubmit_batch(self, inputs: Sequence[LanguageModelInput], **kwargs: Any) -> BatchJob:
        """See `ChatWorkersGemma.asubmit_batch`."""
        return await self._model.asubmit_batch(inputs, **{**self.kwargs, **kwargs})

    def fetch_batch(self, job: BatchJob, **kwargs: Any) -> list[AIMessage]:
        """See `ChatWorkersGemma.fetch_batch`."""
        return self._model.fetch_batch(job, **{**self.kwargs, **kwargs})

    async def afetch_batch(self, job: BatchJob, **kwargs: Any) -> list[AIMessage]:
        """See `ChatWorkersGemma.afetch_batch`."""
        return await self._model.afetch_batch(job, **{**self.kwargs, **kwargs})


def _convert_to_blocks(message: AIMessage) -> AIMessage:
    metadata = {**message.response_metadata, "output_version": "v1"}
    return message.model_copy(update={"content": message.content_blocks, "response_metadata": metadata})
