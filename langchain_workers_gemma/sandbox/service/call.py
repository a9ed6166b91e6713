"""A request that the service processes, and the settings of the sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from langchain_workers_gemma.sandbox.dialects import DOCUMENTED, Dialect

if TYPE_CHECKING:
    from langchain_workers_gemma.models import HostName
    from langchain_workers_gemma.sandbox.records import ReceivedRequest

    from .gateway import GatewayOptions

Style = Literal["native", "openai", "binding", "dataoorts", "aimlapi", "compatible"]
"""The form of the requests, replies and errors of a route. `compatible`: a server with OpenAI's chat completions."""


@dataclass(kw_only=True)
class Options:
    """The settings of the sandbox.

    Attributes:
        account_id: The only account.
        api_token: Its token.
        gateway_token: The token of its gateways, or `None` for gateways without authentication.
        enforce_retirement: Whether retired models are refused.
        max_body: Maximum size of a body in bytes. The batch API publishes 10 MB.
        queue_polls: Number of polls after which a queued batch is finished.
        latency: Seconds before each reply.
        tokens_per_second: The speed of streams, or `None` for as fast as possible.
        dialect: The active behaviours.
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
    """A request that the service processes.

    Attributes:
        record: The request as it was received.
        style: The form of its route.
        ray: Its id, for the header `cf-ray`.
        dialect: The behaviours that were active when it was received.
        gateway: The options of its gateway, or `None` without a gateway.
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
    def has_openai_form(self) -> bool:
        """Whether its replies have OpenAI's form."""
        return self.style in ("openai", "aimlapi", "compatible")

    @property
    def has_envelope(self) -> bool:
        """Whether its replies have Cloudflare's envelope of `result`, `success` and `errors`."""
        return self.style in ("native", "dataoorts")

    @property
    def has_cloudflare_headers(self) -> bool:
        """Whether its replies have Cloudflare's headers."""
        return self.style not in ("aimlapi", "compatible")
