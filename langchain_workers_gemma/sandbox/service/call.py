"""One request on its way through the service, and the settings of the sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from langchain_workers_gemma.sandbox.dialects import DOCUMENTED, Dialect

if TYPE_CHECKING:
    from langchain_workers_gemma.models import HostName
    from langchain_workers_gemma.sandbox.records import ReceivedRequest

    from .gateway import GatewayOptions

Style = Literal["native", "openai", "binding", "dataoorts", "aimlapi", "compatible"]
"""The form of a route's requests, replies and errors; `compatible` is any server with OpenAI's chat completions."""


@dataclass(kw_only=True)
class Options:
    """The settings of the sandbox.

    Attributes:
        account_id: The only account.
        api_token: Its token.
        gateway_token: The token of its gateways; without one, no gateway is authenticated.
        enforce_retirement: Whether a retired model is refused.
        max_body: The largest body in bytes; 10 MB is what the batch API publishes.
        queue_polls: How many polls find a queued batch unfinished.
        latency: Seconds before each reply.
        tokens_per_second: The pace of streams, `None` for as fast as possible.
        dialect: The behaviours that are switched on.
    """

    account_id: str
    api_token: str
    gateway_token: str | None = None
    enforce_retirement: bool = False
    max_body: int = 10_000_000
    queue_polls: int = 1
    latency: float = 0.0
    tokens_per_second: float | None = None
    dialect: Dialect = DOCUMENTED


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way through the service.

    Attributes:
        record: The request as it arrived.
        style: The form of its route.
        ray: Its id.
        dialect: The behaviours that were switched on when it arrived.
        gateway: The gateway it goes through.
    """

    record: ReceivedRequest
    style: Style
    ray: str
    dialect: Dialect
    gateway: GatewayOptions | None = None

    @property
    def host(self) -> HostName:
        """The hosting provider whose model table applies."""
        return self.style if self.style in ("dataoorts", "aimlapi") else "cloudflare"

    @property
    def openai_form(self) -> bool:
        """Whether its replies are in OpenAI's form."""
        return self.style in ("openai", "aimlapi", "compatible")

    @property
    def enveloped(self) -> bool:
        """Whether its replies have Cloudflare's envelope of `result`, `success` and `errors`."""
        return self.style in ("native", "dataoorts")

    @property
    def of_cloudflare(self) -> bool:
        """Whether its replies carry Cloudflare's headers."""
        return self.style not in ("aimlapi", "compatible")
