"""The findings of `workers-gemma check`, and explanations of errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from langchain_workers_gemma import errors
from langchain_workers_gemma.exchange.similar_models import find_nearest_model_id
from langchain_workers_gemma.hosts import HOSTS
from langchain_workers_gemma.models import HostName

if TYPE_CHECKING:
    from collections.abc import Collection

    from pydantic import ValidationError

State: TypeAlias = Literal["ok", "note", "FAIL"]

# The likely cause of each error, with its topic. The first class that matches counts.
_EXPLANATIONS: tuple[tuple[type[errors.WorkersGemmaError], str, str], ...] = (
    (
        errors.APITimeoutError,
        "network",
        "The service did not respond in time: check the network, or try again, because a cold start can take minutes.",
    ),
    (errors.StreamInterruptedError, "network", "The stream ended prematurely: the connection was lost. Try again."),
    (errors.APIConnectionError, "network", "The service cannot be reached: check the network, the proxy and base_url."),
    (errors.AuthenticationError, "credentials", "The token was refused: check that it is complete and not revoked."),
    (errors.QuotaExceededError, "quota", "The credentials work, but today's free allocation is used up."),
    (
        errors.CapacityError,
        "capacity",
        "The credentials work, but the service has no capacity at the moment: try again later.",
    ),
    (errors.RateLimitError, "quota", "The credentials work, but there were too many requests: wait a minute."),
    (errors.ModelDeprecatedError, "model", "The credentials work, but the service has retired this model."),
    (errors.ModelNotFoundError, "model", "There is no such model, or no such account: check both ids."),
    (errors.PermissionDeniedError, "account", "The account, or this token in it, may not use this model."),
    (errors.RequestTimeoutError, "service", "The service took too long: it may be starting the model, so try again."),
    (
        errors.InternalServerError,
        "service",
        "The service failed, or its reply cannot be read: try again later.",
    ),
    (errors.WorkersGemmaError, "call", "The service refused the call."),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one step.

    Attributes:
        state: `ok`; `note` for a possible problem; `FAIL` for a problem that must be fixed.
        topic: One of credentials, base_url, token, account, model, quota, capacity, network, service and call.
        text: The finding, and what to do about it.
        server: The service's own message.
    """

    state: State
    topic: str
    text: str
    server: str = ""

    def __str__(self) -> str:
        return f"{self.state:4}  {self.topic}: {self.message}"

    @property
    def message(self) -> str:
        """The text, with the service's own message in parentheses."""
        return f"{self.text} ({self.server})" if self.server else self.text


class FailedError(Exception):
    """A step found a problem that must be fixed first."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


def make_failure(topic: str, text: str, error: errors.WorkersGemmaError | None = None) -> FailedError:
    """Return the failure of a step."""
    return FailedError(Finding("FAIL", topic, text, to_one_line(error) if error is not None else ""))


def explain(
    error: errors.WorkersGemmaError, model: str = "", host: HostName = "cloudflare", *, account_was_read: bool = False
) -> Finding:
    """Return a finding that explains an error, with the service's own message.

    Args:
        error: The error.
        model: The id of the model that was called.
        host: The host that was called.
        account_was_read: Whether the account is known to exist, so that it cannot be the cause.
    """
    topic, text = next((topic, text) for cls, topic, text in _EXPLANATIONS if isinstance(error, cls))
    if topic == "model":
        if account_was_read or not HOSTS[host].account_variables:
            text = text.replace("such model, or no such account: check both ids", "such model: check its id")
        text += suggest_model(model, host)
    return Finding("FAIL", topic, text, to_one_line(error))


def suggest_model(model: str, host: HostName, listed: Collection[str] = ()) -> str:
    """Return a question with the known id that is most similar, or an empty text.

    Args:
        model: An id that the service does not know.
        host: The hosting provider.
        listed: The ids that the service lists. If there are any, only one of these is suggested.
    """
    nearest = find_nearest_model_id(model, host)
    if nearest is None or nearest == model or (listed and nearest not in listed):
        return ""
    return f" Did you mean {nearest}?"


def describe_problems(error: ValidationError) -> str:
    """Return the messages of a validation error, without the text that pydantic adds."""
    return " ".join(str(problem["msg"]).removeprefix("Value error, ") for problem in error.errors())


def to_one_line(error: Exception) -> str:
    """Return the text of an error on one line, without control characters."""
    text = " ".join(str(error).split())
    return "".join(character for character in text if character.isprintable())
