"""The bodies of the requests that the inspector's page sends, and their validation.

Importing pydantic takes as long as starting the rest of the sandbox, so this module is loaded with the first body.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from langchain_workers_gemma.sandbox.faults import KINDS, Fault

DEFAULT_STATUS = 500
"""The HTTP status of a fault if the body has none."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class DialectBody(_Body):
    """Choose a dialect of a group. An empty name chooses none."""

    group: str
    name: str


class PaceBody(_Body):
    """Set the delay before each reply, and the speed of streams."""

    latency: Annotated[float, Field(ge=0, le=600)]
    tokens_per_second: Annotated[float, Field(gt=0, le=100_000)] | None


class ChaosBody(_Body):
    """Apply faults to a random share of all requests."""

    rate: Annotated[float, Field(ge=0, le=1)]


class FaultBody(_Body):
    """Apply a fault to the next requests."""

    kind: str
    times: Annotated[int, Field(ge=1, le=1000)] = 1
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    code: Annotated[int, Field(ge=0, le=99_999_999)] | None = None
    message: Annotated[str, Field(max_length=2000)] | None = None
    retry_after: Annotated[float, Field(ge=0, le=86_400)] | None = None
    after_events: Annotated[int, Field(ge=0, le=100_000)] = 0
    seconds: Annotated[float, Field(ge=0, le=600)] = 0
    path: Annotated[str, Field(max_length=500)] = ""

    def make_fault(self) -> Fault:
        """Return the fault.

        Raises:
            ValueError: If the kind does not exist.
        """
        kind = next((known for known in KINDS if known == self.kind), None)
        if kind is None:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {self.kind!r}.")
        return Fault(
            kind=kind,
            status=DEFAULT_STATUS if self.status is None else self.status,
            code=self.code,
            message=self.message,
            retry_after=self.retry_after,
            after_events=self.after_events,
            seconds=self.seconds,
            path=self.path,
        )


BodyT = TypeVar("BodyT", bound=_Body)


def parse_body(kind: type[BodyT], body: bytes) -> BodyT:
    """Parse and validate the body of a request.

    Raises:
        ValueError: If the body is not JSON or not valid. The text names each field.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, item['loc'])) or 'body'}: {item['msg']}" for item in error.errors())
        raise ValueError("; ".join(problems)) from None
