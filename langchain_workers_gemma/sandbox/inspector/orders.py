"""The orders that the inspector's page sends, and their rules.

Importing pydantic takes as long as starting the rest of the sandbox, so this module is loaded with the first order.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from langchain_workers_gemma.sandbox.faults import KINDS, Fault

DEFAULT_STATUS = 500
"""The HTTP status of a fault for which none is given."""


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class DialectOrder(_Order):
    """Choose a dialect in a group, none for an empty name."""

    group: str
    name: str


class PaceOrder(_Order):
    """Wait before each reply, and pace streams as a model would."""

    latency: Annotated[float, Field(ge=0, le=600)]
    tokens_per_second: Annotated[float, Field(gt=0, le=100_000)] | None


class ChaosOrder(_Order):
    """Inject faults into a random share of all requests."""

    rate: Annotated[float, Field(ge=0, le=1)]


class FaultOrder(_Order):
    """Inject a fault into the next requests."""

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
            ValueError: For a kind that there is not.
        """
        kind = next((one for one in KINDS if one == self.kind), None)
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


OrderT = TypeVar("OrderT", bound=_Order)


def parse_order(kind: type[OrderT], body: bytes) -> OrderT:
    """Return an order from its JSON.

    Raises:
        ValueError: For what is not JSON, or against the rules; the text names each field.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in error.errors())
        raise ValueError("; ".join(problems)) from None
