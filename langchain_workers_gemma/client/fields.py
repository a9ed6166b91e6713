"""The fields that chat model and embeddings share, their validation, and how they are copied and pickled."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, Self

import httpx
from langchain_core.load.serializable import Serializable
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from langchain_workers_gemma.client import connection
from langchain_workers_gemma.client.arguments import normalise_arguments, validate_field
from langchain_workers_gemma.gateway import AIGateway
from langchain_workers_gemma.hosts import Api
from langchain_workers_gemma.models import HostName, resolve_model

_LIMITS = {"connect", "read", "write", "pool"}
_TIED_TO_PROCESS = ("http_client", "http_async_client", "binding")


class ClientFields(Serializable):
    """The hosting provider, the credentials, and how requests are sent.

    `ChatWorkersGemma` and `WorkersGemmaEmbeddings` add their own fields. Set a field by its name or by its alias. An
    unknown argument is an error that suggests the nearest name.
    """

    model_config = ConfigDict(
        arbitrary_types_allowed=True,
        extra="forbid",
        hide_input_in_errors=True,
        protected_namespaces=(),  # `model_kwargs` is LangChain's name; pydantic before 2.10 warns about it
    )

    aliases: ClassVar[Mapping[str, str]] = {
        "model_name": "model",
        "cloudflare_account_id": "account_id",
        "api_key": "api_token",
        "cloudflare_api_token": "api_token",
    }
    """Other names of the fields."""

    model: str = ""
    """Model id, as the host spells it; alias `model_name`. The host's default model if left out."""

    host: HostName = "cloudflare"
    """The hosting provider."""

    api: Api | None = None
    """The API of the host: `"native"` (default on Cloudflare and Dataoorts) or `"openai"` (default on other hosts)."""

    account_id: str | None = None
    """Cloudflare account id; alias `cloudflare_account_id`. Else from `CLOUDFLARE_ACCOUNT_ID`, then `CF_ACCOUNT_ID`."""

    api_token: SecretStr | None = None
    """API token; aliases `api_key`, `cloudflare_api_token`. Else from the first of the host's environment variables."""

    base_url: str | None = None
    """Base URL. Else from `WORKERS_GEMMA_BASE_URL`, else the host's own. May be a legacy AI Gateway URL."""

    ai_gateway: str | AIGateway | None = None
    """Route calls through this AI Gateway: its id, or an `AIGateway` with options."""

    session_affinity: str | None = None
    """Calls with the same value go to the same instance, which can then reuse a cached prompt prefix."""

    reject_if_busy: bool = False
    """Have the service refuse a call at once if it has no capacity, instead of waiting."""

    binding: Any = Field(default=None, exclude=True, repr=False)
    """A Workers AI binding (`env.AI`) inside a Python Worker. You then need no account id and no token."""

    timeout: float | httpx.Timeout | None = 300.0
    """Seconds to wait for the next bytes. A cold start can take more than 200. `None` waits indefinitely."""

    max_retries: int = Field(default=2, ge=0)
    """Number of retries after the first attempt."""

    http_client: httpx.Client | None = Field(default=None, exclude=True, repr=False)
    """Your own client for sync calls. Used without changes, never closed."""

    http_async_client: httpx.AsyncClient | None = Field(default=None, exclude=True, repr=False)
    """Your own client for async calls. Used without changes, never closed."""

    default_headers: dict[str, str] = Field(default_factory=dict, repr=False)
    """Headers added to every request."""

    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Further keys of the request body, sent unchanged."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs = connection.wrap_secrets(kwargs)  # so that no frame of this package holds the plain token
        super().__init__(**kwargs)
        spec = resolve_model(self.model, self.host)
        if spec.family == "unknown":
            warnings.warn(
                f"model={self.model!r} names no known Gemma. It is used in a way that every chat template allows: no "
                "system role, no tools in the request. If it has a family, put it into the id, such as 'gemma-3'.",
                UserWarning,
                stacklevel=2,
            )
        if spec.retired is not None:
            warnings.warn(
                f"{spec.id} was retired on {spec.retired.isoformat()}. Use model={spec.replacement!r} instead.",
                UserWarning,
                stacklevel=2,
            )

    @model_validator(mode="before")
    @classmethod
    def _normalise_arguments(cls, values: Any) -> Any:
        return normalise_arguments(values, cls.aliases, cls.model_fields) if isinstance(values, Mapping) else values

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return whether `langchain_core.load` may write and read it."""
        return True

    @property
    def lc_attributes(self) -> dict[str, Any]:
        """The fields that are serialised in another form.

        An `httpx.Timeout` is written as its four limits, and a header that holds a credential without its value.
        """
        written: dict[str, Any] = {}
        if isinstance(self.timeout, httpx.Timeout):
            written["timeout"] = self.timeout.as_dict()
        if credentials := connection.get_header_variables(self.default_headers):
            written["default_headers"] = {**self.default_headers, **dict.fromkeys(credentials)}
        return written

    @field_validator("timeout", mode="before")
    @classmethod
    def _read_timeout(cls, value: object) -> object:
        """Read the limits that `lc_attributes` wrote."""
        return httpx.Timeout(**value) if isinstance(value, dict) and value.keys() == _LIMITS else value

    @field_validator("default_headers", mode="before")
    @classmethod
    def _read_headers(cls, headers: object) -> object:
        """Restore the header values that `lc_attributes` left out, from the environment."""
        return connection.restore_header_credentials(headers) if isinstance(headers, Mapping) else headers

    @property
    def lc_secrets(self) -> dict[str, str]:
        """The arguments that are written as references to secrets."""
        return {"api_token": connection.get_token_variable(self.host)}

    # --- Changes and copies ---

    @classmethod
    @cache
    def _get_own_fields(cls) -> frozenset[str]:
        """Return the names of the fields that are not LangChain's."""
        bases = [base for base in cls.__mro__ if issubclass(base, BaseModel) and not issubclass(base, ClientFields)]
        return frozenset(cls.model_fields).difference(*(base.model_fields for base in bases))

    def __setattr__(self, name: str, value: Any) -> None:
        """Validate a value like the constructor, and set the field."""
        super().__setattr__(name, validate_field(type(self), name, value) if name in self._get_own_fields() else value)
        self._forget_serialized()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with some fields changed, each validated like in the constructor."""
        own = self._get_own_fields()
        changed = {
            name: validate_field(type(self), name, value) if name in own else value
            for name, value in (update or {}).items()
        }
        duplicate = super().model_copy(update=changed, deep=deep)
        duplicate._forget_serialized()  # noqa: SLF001 - a copy of this object
        return duplicate

    def _forget_serialized(self) -> None:
        """Drop core's serialised form of the fields, which it uses in traces and cache keys, and does not update."""
        vars(self).pop("_serialized", None)

    def __getstate__(self) -> dict[Any, Any]:
        """Return the state without the caller's clients and the binding, since connections cannot be pickled."""
        state = super().__getstate__()
        return {**state, "__dict__": {**state["__dict__"], **dict.fromkeys(_TIED_TO_PROCESS)}}

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Copy the object; the copy shares the caller's clients and the binding."""
        memo = {} if memo is None else memo
        for name in (*_TIED_TO_PROCESS, "rate_limiter"):
            shared = getattr(self, name, None)
            if shared is not None:
                memo[id(shared)] = shared
        duplicate = type(self).__new__(type(self))
        memo[id(self)] = duplicate
        object.__setattr__(duplicate, "__dict__", copy.deepcopy(self.__dict__, memo))
        object.__setattr__(duplicate, "__pydantic_fields_set__", set(self.__pydantic_fields_set__))
        object.__setattr__(duplicate, "__pydantic_extra__", None)
        object.__setattr__(duplicate, "__pydantic_private__", copy.deepcopy(self.__pydantic_private__, memo))
        return duplicate
