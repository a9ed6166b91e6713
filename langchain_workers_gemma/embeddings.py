"""`WorkersGemmaEmbeddings`: embeddings with the same hosts, credentials, errors and retries as the chat model."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar, Self

from langchain_core.embeddings import Embeddings
from pydantic import Field, model_validator

from langchain_workers_gemma.client import connection
from langchain_workers_gemma.client.arguments import to_list
from langchain_workers_gemma.client.fields import ClientFields
from langchain_workers_gemma.exchange.actions import Action
from langchain_workers_gemma.exchange.call import call
from langchain_workers_gemma.exchange.error_mapping import ErrorContext
from langchain_workers_gemma.exchange.payload_chunks import MAX_PAYLOAD_BYTES, split
from langchain_workers_gemma.exchange.request import Request
from langchain_workers_gemma.exchange.retries import RetryPolicy
from langchain_workers_gemma.hosts import HOSTS
from langchain_workers_gemma.json_text.encoding import encode_json
from langchain_workers_gemma.models import get_model, resolve_model
from langchain_workers_gemma.response.vectors import VectorsError, read_vectors
from langchain_workers_gemma.transport.driver import arun, run

# The published schemas of Workers AI's embedding models take at most 100 texts of at least one character.
MAX_TEXTS_PER_REQUEST = 100
_MAX_TEXT_BYTES = MAX_PAYLOAD_BYTES - 100_000  # the rest is for the model's id and further keys

# EmbeddingGemma's model card.
_QUERY_PROMPT = "task: search result | query: "
_DOCUMENT_PROMPT = "title: none | text: "


class WorkersGemmaEmbeddings(ClientFields, Embeddings):
    """Google's EmbeddingGemma on Cloudflare Workers AI, and other embedding models there.

    Setup:
        Install `langchain-workers-gemma` and set two environment variables.

        ```bash
        pip install langchain-workers-gemma
        export CLOUDFLARE_ACCOUNT_ID="your-account-id"
        export CLOUDFLARE_API_TOKEN="your-api-token"
        ```

    Key init args, embedding:
        model: The model's id, `@cf/google/embeddinggemma-300m` if left out.
        prompts: Add the prompts that EmbeddingGemma was trained with to each text.
        batch_size: Maximum number of texts in one request.

    Key init args, client:
        As for `ChatWorkersGemma`: `account_id`, `api_token`, `host`, `timeout`, `max_retries`, `ai_gateway`, ...

    Instantiate:
        ```python
        from langchain_workers_gemma import WorkersGemmaEmbeddings

        embeddings = WorkersGemmaEmbeddings(prompts=True)
        ```

    Embed:
        ```python
        vectors = embeddings.embed_documents(["The cat sleeps.", "Interest rates rise."])
        vector = embeddings.embed_query("Who is asleep?")
        ```

    Async:
        ```python
        vectors = await embeddings.aembed_documents(["The cat sleeps."])
        ```

    Raises:
        ValueError: If an argument is wrong, credentials are missing, or a text is empty.
        WorkersGemmaError: If a call fails; see `langchain_workers_gemma.errors`.
    """

    aliases: ClassVar[Mapping[str, str]] = {**ClientFields.aliases, "chunk_size": "batch_size"}
    """Other names of the fields."""

    prompts: bool = False
    """Whether to add EmbeddingGemma's own prompts: `task: search result | query: ` before a query and
    `title: none | text: ` before a document.

    They improve retrieval. They are off by default, so that vectors are compatible with an index that another client
    built. Use the same setting to build an index and to query it.
    """

    batch_size: int = Field(default=MAX_TEXTS_PER_REQUEST, ge=1)
    """Maximum number of texts in one request; alias `chunk_size`. Workers AI accepts at most 100."""

    @model_validator(mode="after")
    def _resolve(self) -> Self:
        host = HOSTS[self.host]
        self.model = self.model or host.default_embedding_model or ""
        if not self.model:
            raise ValueError(f"model is missing: host={self.host!r} publishes no embedding model. Pass one.")
        connection.resolve(self)
        spec = resolve_model(self.model, self.host)
        if get_model(self.model, self.host) is not None and not spec.embeds:
            raise ValueError(f"model: {spec.id} generates text; use ChatWorkersGemma.")
        if self.prompts and not spec.embeds:
            raise ValueError(f"prompts: {spec.id} has none; only EmbeddingGemma has them. Leave it out.")
        if host.max_embedding_texts is not None and self.batch_size > host.max_embedding_texts:
            raise ValueError(
                f"batch_size={self.batch_size}: {host.label} accepts at most {host.max_embedding_texts} texts in a "
                "request."
            )
        return self

    # --- The public methods ---

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed documents, in as many requests as needed.

        Args:
            texts: The documents.

        Returns:
            One vector for each document, in the same order.

        Raises:
            ValueError: If a text is empty. Then nothing is sent.
            InternalServerError: If the response does not have one vector for each text.
        """
        return run(connection.build_transport(self), self._embed(self._prepare_documents(texts)))

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed documents. See `embed_documents`."""
        return await arun(connection.build_transport(self), self._embed(self._prepare_documents(texts)))

    def embed_query(self, text: str) -> list[float]:
        """Embed a query.

        Args:
            text: The query.

        Raises:
            ValueError: If it is empty. Then nothing is sent.
            InternalServerError: If the response does not have one vector.
        """
        return run(connection.build_transport(self), self._embed(self._prepare_query(text)))[0]

    async def aembed_query(self, text: str) -> list[float]:
        """Embed a query. See `embed_query`."""
        return (await arun(connection.build_transport(self), self._embed(self._prepare_query(text))))[0]

    # --- Requests and vectors ---

    def _prepare_documents(self, texts: Sequence[str]) -> list[str]:
        if isinstance(texts, str):
            raise ValueError("embed_documents takes a list of texts; for one text, use [text] or embed_query.")
        prompt = _DOCUMENT_PROMPT if self.prompts else ""
        return [prompt + _check_text(text, f"text {at}") for at, text in enumerate(to_list("texts", texts))]

    def _prepare_query(self, text: str) -> list[str]:
        return [(_QUERY_PROMPT if self.prompts else "") + _check_text(text, "the query")]

    def _embed(self, texts: list[str]) -> Generator[Action, Any, list[list[float]]]:
        batches: list[list[list[float]]] = []
        for request, count in self._build_requests(texts):
            answer = yield from call(request, RetryPolicy(self.max_retries), self._build_context())
            try:
                vectors = read_vectors(answer.result, count)
            except VectorsError as error:
                raise answer.make_unreadable_error(str(error)) from None
            if batches and len(vectors[0]) != len(batches[0][0]):
                raise answer.make_unreadable_error("its vectors have another length than those of earlier responses")
            batches.append(vectors)
        return list(chain.from_iterable(batches))

    def _build_requests(self, texts: list[str]) -> Iterator[tuple[Request, int]]:
        address = connection.build_address(self)
        model = connection.check_model(self.model, self.host)
        api = self.api or "native"
        gateway = connection.parse_gateway(self.ai_gateway)
        headers = connection.build_call_headers(self, self.session_affinity, gateway)
        options: dict[str, Any] = {"rejectIfBusy": True} if self.reject_if_busy else {}
        further = {"options": dict(options)} if options else {}
        if gateway is not None:
            options["gateway"] = gateway.binding_options()
        sizes = [len(encode_json(text)) for text in texts]
        for part in split(sizes, max_bytes=_MAX_TEXT_BYTES, max_count=self.batch_size):
            data = {"text" if api == "native" else "input": texts[part], **further, **self.model_kwargs}
            request = Request(address, address.get_embeddings_route(api), model, data, headers=headers, options=options)
            yield request, len(texts[part])

    def _build_context(self) -> ErrorContext:
        return connection.build_error_context(
            self, resolve_model(self.model, self.host), connection.parse_gateway(self.ai_gateway)
        )


def _check_text(text: object, which: str) -> str:
    if not isinstance(text, str):
        raise ValueError(f"{which} must be a string, not {type(text).__name__}.")
    if not text:
        raise ValueError(f"{which} is empty, and the service accepts no empty text: leave it out.")
    return text
