"""A request that is ready to be sent, and the plan of a call."""

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


@dataclass(slots=True)  # not frozen, although it is never changed: construction would take three times as long
class Request:
    """One request.

    Attributes:
        address: The host, its base URL and the account.
        route: The path, and the form of request and response.
        model: The model's id.
        data: The model's input.
        headers: Headers in addition to those that every request has.
        options: The options of a call of a binding, its third argument.
        stream: Whether a stream is requested.
        query: The query string, which is appended to the URL.
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
        """The URL of the request."""
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
        """Whether the request demands JSON by a parameter, not only in the prompt."""

    def mark_working(self) -> None:
        """Remember for later calls that the server accepted it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """The reason why an answer does not have the requested form.

    Attributes:
        why: A description for the model.
        is_ignored_constraint: Whether the answer shows that the engine ignored the constraint.
    """

    why: str
    is_ignored_constraint: bool = False


@dataclass(frozen=True, slots=True)
class Correction:
    """How an answer in the wrong form is requested again.

    Attributes:
        problem: Returns the problem of a text; `None` if it has the requested form.
        plan: Returns the plan of the next request, for a text and its problem.
    """

    problem: Callable[[str], Problem | None]
    plan: Callable[[str, Problem], Plan]


@dataclass(frozen=True, slots=True)
class CallRepair:
    """How a tool call that cannot run is requested again.

    Attributes:
        problem: Takes a tool's name and arguments; returns why the arguments do not match the tool's schema, `None` if
            they do.
        plan: Takes a tool's name, the text of the arguments and the problem; returns the plan of another request with
            a constraint to the tool, `None` for a tool that is not bound.
    """

    problem: Callable[[str, Mapping[str, Any]], str | None]
    plan: Callable[[str, str, str], Plan | None]


@dataclass(slots=True)
class Plan:
    """The plan of a call: the request, how to read the reply, and when to request again.

    Attributes:
        request: The request.
        reader_options: How to read the reply.
        spec: The published facts about the model.
        retry: Which failures are retried.
        context: Facts about the call for the advice in an error.
        metadata: The part of `response_metadata` that is known in advance.
        used_ids: Returns the ids of tool calls in the conversation; called when a call arrives.
        constrained: Returns the plan of another request for a missing forced call; `None` if there is no other way.
        requests_missing_calls: Whether a reply without the calls that its finish reason reports is requested once more.
        form: The form of its constraint, which the server may refuse.
        after_refusal: Returns the plan of the request in the next form; `None` if there is no other form.
        without_refused: Returns the plan of the request without the part that an error refuses, other than the
            constraint; `None` if the error refuses no part that can be left out.
        keep_limits: Remembers the limits of the server for later calls.
        correction: How an answer in the wrong form is requested again.
        changes: Descriptions of the changes to the history that the model's template requires.
        call_repair: How a tool call that cannot run is requested again; `None` if that is off.
        unset_limit: A description of the token limit that the caller did not set; `None` if the caller set one.
        unreliable_tools: Whether the model gets tools but is not flagged for function calling.
    """

    request: Request
    reader_options: ReaderOptions
    spec: GemmaModel
    retry: RetryPolicy
    context: ErrorContext
    metadata: Mapping[str, Any]
    used_ids: Callable[[], Collection[str]] = tuple
    constrained: Callable[[], Plan] | None = None
    requests_missing_calls: bool = True
    form: Form | None = None
    after_refusal: Callable[[], Plan] | None = None
    without_refused: Callable[[APIStatusError], Plan | None] | None = None
    keep_limits: Callable[[], None] | None = None
    correction: Correction | None = None
    changes: tuple[str, ...] = ()
    call_repair: CallRepair | None = None
    unset_limit: str | None = None
    unreliable_tools: bool = False
