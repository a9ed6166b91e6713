"""A request, ready to be sent, and how its reply is to be read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from langchain_workers_gemma.errors import APIStatusError
from langchain_workers_gemma.exchange.error_mapping import ErrorContext
from langchain_workers_gemma.exchange.retries import RetryPolicy
from langchain_workers_gemma.hosts import Address, Route
from langchain_workers_gemma.json_text.encoding import encode_json
from langchain_workers_gemma.models import GemmaModel
from langchain_workers_gemma.response.reader import ReaderOptions


@dataclass(slots=True)  # not frozen, which would make it three times as slow to make; nothing changes one all the same
class Request:
    """One request.

    Attributes:
        address: Where it goes.
        route: The route of the host.
        model: The model's id.
        data: The model's input.
        headers: Headers beside those that every request has.
        options: What a binding takes as its third argument.
        stream: Whether a stream is requested.
        query: Appended to the URL.
        method: The HTTP method; a `GET` has no body.
    """

    address: Address
    route: Route
    model: str
    data: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # one may hold a token
    options: Mapping[str, Any] = field(default_factory=dict)
    stream: bool = False
    query: str = ""
    method: Literal["POST", "GET"] = "POST"

    @property
    def url(self) -> str:
        """Where to send it."""
        return self.address.build_url(self.route, self.model) + self.query

    def encode_body(self) -> bytes:
        """Return the body's bytes."""
        if self.method == "GET":
            return b""
        return encode_json(self.route.envelope(self.model, self.data))

    def without_stream(self) -> Request:
        """Return the same request without streaming."""
        data = {key: value for key, value in self.data.items() if key not in ("stream", "stream_options")}
        return replace(self, data=data, stream=False)


class Form(Protocol):
    """The form in which a request demands JSON, which a server may refuse."""

    @property
    def constrains(self) -> bool:
        """Whether the request mentions it outside the prompt."""

    def mark_working(self) -> None:
        """Record for later calls that the server accepted it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a reply is not the answer.

    Attributes:
        why: What is wrong, in words for the model.
        is_ignored_constraint: Whether an engine that obeyed the constraint could not have written the reply.
    """

    why: str
    is_ignored_constraint: bool = False


@dataclass(frozen=True, slots=True)
class Correction:
    """How an answer in the wrong form is requested again.

    Attributes:
        problem: Returns why a text is not the answer; `None` if it is.
        plan: Returns the plan of the next request, from the text and its problem.
    """

    problem: Callable[[str], Problem | None]
    plan: Callable[[str, Problem], Plan]


@dataclass(frozen=True, slots=True)
class CallRepair:
    """How a tool call that cannot run is requested again.

    Attributes:
        problem: Returns why arguments do not fit a tool's schema, from its name and them; `None` if they fit.
        plan: Returns the plan of another request, constrained to the tool, from its name, the text of the arguments
            and the problem; `None` for a tool that is not bound.
    """

    problem: Callable[[str, Mapping[str, Any]], str | None]
    plan: Callable[[str, str, str], Plan | None]


@dataclass(slots=True)
class Plan:
    """A prepared call: what to send, and how to read the reply.

    Attributes:
        request: What to send.
        reader_options: How to read the reply.
        spec: The published facts about the model.
        retry: Which failures are retried.
        context: What is known of the call, for an error's advice.
        metadata: The part of `response_metadata` that is known in advance.
        used_ids: Returns the ids of tool calls in the conversation; called when a call arrives.
        constrained: Returns the plan of requesting a forced call again, under a constraint where the model has one.
        asks_again: Whether calls that a reply announced and did not have are requested once more.
        form: The form of its constraint, which the server may refuse.
        after_refusal: Gives the plan of asking in the next form.
        without_refused: Gives the plan of asking without what an error refuses of the request, beside its constraint;
            `None` if the error refuses nothing that may be left out.
        keep_limits: Keeps for later calls what the server refused.
        correction: How an answer in the wrong form is asked for again.
        changes: What was changed in the history to fit the model's template, in words.
        call_repair: How a tool call that cannot run is requested again; `None` where that is off.
        unset_limit: Which token limit applies that the caller did not set; `None` if the caller set one.
        unreliable_tools: Whether tools go to a model that is not flagged for calling them.
    """

    request: Request
    reader_options: ReaderOptions
    spec: GemmaModel
    retry: RetryPolicy
    context: ErrorContext
    metadata: Mapping[str, Any]
    used_ids: Callable[[], Collection[str]] = tuple
    constrained: Callable[[], Plan] | None = None
    asks_again: bool = True
    form: Form | None = None
    after_refusal: Callable[[], Plan] | None = None
    without_refused: Callable[[APIStatusError], Plan | None] | None = None
    keep_limits: Callable[[], None] | None = None
    correction: Correction | None = None
    changes: tuple[str, ...] = ()
    call_repair: CallRepair | None = None
    unset_limit: str | None = None
    unreliable_tools: bool = False
