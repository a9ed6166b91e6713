"""`WorkersGemmaEmbeddings`: requests, replies, errors and copies, sync and async."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from typing import Any

import httpx
import pytest
from langchain_core.load import dumps, load
from langchain_tests.unit_tests import EmbeddingsUnitTests
from pydantic import SecretStr

from langchain_workers_gemma import (
    AIGateway,
    APITimeoutError,
    CapacityError,
    InternalServerError,
    WorkersGemmaEmbeddings,
)
from langchain_workers_gemma.response.vectors import VectorsError, read_vectors
from tests.helpers.mock_service import MockService, make_response
from tests.helpers.model_calls import ACCOUNT_ID, API_TOKEN, run_async

MODEL = "@cf/google/embeddinggemma-300m"
RUN_URL = f"https://api.cloudflare.com/client/v4/accounts/{ACCOUNT_ID}/ai/run/{MODEL}"


def make_embeddings(**arguments: Any) -> WorkersGemmaEmbeddings:
    """Return an embeddings object with credentials and no retries."""
    if arguments.get("host", "cloudflare") == "cloudflare":
        arguments = {"account_id": ACCOUNT_ID, **arguments}
    return WorkersGemmaEmbeddings(**{"api_token": API_TOKEN, "max_retries": 0, **arguments})


def make_native_result(*vectors: list[Any], **more: Any) -> dict[str, Any]:
    return {"data": [*vectors], "shape": [len(vectors), len(vectors[0])], **more}


def make_openai_reply(*vectors: list[Any]) -> dict[str, Any]:
    return {
        "data": [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    }


def embed_documents(client: WorkersGemmaEmbeddings, call_method: str, texts: list[str]) -> list[list[float]]:
    vectors = client.embed_documents(texts) if call_method == "sync" else run_async(client.aembed_documents(texts))
    assert isinstance(vectors, list)
    return vectors


def embed_query(client: WorkersGemmaEmbeddings, call_method: str, text: str) -> list[float]:
    vector = client.embed_query(text) if call_method == "sync" else run_async(client.aembed_query(text))
    assert isinstance(vector, list)
    return vector


class TestStandard(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[WorkersGemmaEmbeddings]:
        return WorkersGemmaEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"account_id": ACCOUNT_ID, "api_token": API_TOKEN}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        variables = {"CLOUDFLARE_ACCOUNT_ID": ACCOUNT_ID, "CLOUDFLARE_API_TOKEN": API_TOKEN}
        return variables, {}, {"account_id": ACCOUNT_ID, "api_token": API_TOKEN, "model": MODEL}


@pytest.fixture(params=["sync", "async"])
def call_method(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param


# --- Requests ---------------------------------------------------------------------------------------------------------


def test_documents_are_sent_to_the_native_route(service: MockService, call_method: str) -> None:
    service.respond_with_results(make_native_result([0.5, 1], [0, -0.25]))
    assert embed_documents(make_embeddings(), call_method, ["a cat", "Zürich"]) == [[0.5, 1.0], [0.0, -0.25]]
    assert service.only_request.method == "POST"
    assert str(service.only_request.url) == RUN_URL
    assert service.only_request.content == '{"text":["a cat","Zürich"]}'.encode()
    assert service.only_request.headers["authorization"] == f"Bearer {API_TOKEN}"


def test_a_query_is_sent_as_one_text(service: MockService, call_method: str) -> None:
    service.respond_with_results(make_native_result([1, 2]))
    vector = embed_query(make_embeddings(), call_method, "a cat")
    assert vector == [1.0, 2.0]
    assert all(isinstance(number, float) for number in vector)
    assert service.only_request.content == b'{"text":["a cat"]}'


def test_documents_are_sent_to_the_openai_route(service: MockService, call_method: str) -> None:
    service.respond_with_bodies(make_openai_reply([1, 2], [3, 4]))
    assert embed_documents(make_embeddings(api="openai"), call_method, ["a", "b"]) == [[1.0, 2.0], [3.0, 4.0]]
    assert (
        str(service.only_request.url) == f"https://api.cloudflare.com/client/v4/accounts/{ACCOUNT_ID}/ai/v1/embeddings"
    )
    assert service.only_request.content == b'{"model":"@cf/google/embeddinggemma-300m","input":["a","b"]}'


@pytest.mark.parametrize(
    ("arguments", "url", "content"),
    [
        (
            {"host": "dataoorts", "model": "google/embeddinggemma-300m"},
            "https://cloud.dataoorts.com/api/v1",
            b'{"model":"google/embeddinggemma-300m","data":{"text":["a"]}}',
        ),
        (
            {"host": "aimlapi", "model": "google/embeddinggemma-300m"},
            "https://api.aimlapi.com/v1/embeddings",
            b'{"model":"google/embeddinggemma-300m","input":["a"]}',
        ),
        (
            {"base_url": "https://gateway.ai.cloudflare.com/v1/acc/gate/workers-ai"},
            f"https://gateway.ai.cloudflare.com/v1/acc/gate/workers-ai/{MODEL}",
            b'{"text":["a"]}',
        ),
        (
            {"base_url": "https://gateway.ai.cloudflare.com/v1/acc/gate/workers-ai/", "api": "openai"},
            "https://gateway.ai.cloudflare.com/v1/acc/gate/workers-ai/v1/embeddings",
            b'{"model":"@cf/google/embeddinggemma-300m","input":["a"]}',
        ),
        ({"model": "@cf/baai/bge-m3"}, RUN_URL.replace(MODEL, "@cf/baai/bge-m3"), b'{"text":["a"]}'),
        (
            {"model_kwargs": {"pooling": "cls"}, "reject_if_busy": True},
            RUN_URL,
            b'{"text":["a"],"options":{"rejectIfBusy":true},"pooling":"cls"}',
        ),
    ],
    ids=["dataoorts", "aimlapi", "legacy-native", "legacy-openai", "another-model", "further-keys"],
)
def test_requests_of_every_route(service: MockService, arguments: dict[str, Any], url: str, content: bytes) -> None:
    service.respond_with_bodies({"result": make_native_result([1])} if b'"text"' in content else make_openai_reply([1]))
    assert make_embeddings(**arguments).embed_query("a") == [1.0]
    assert str(service.only_request.url) == url
    assert service.only_request.content == content


def test_all_headers_are_sent(service: MockService) -> None:
    service.respond_with_results(make_native_result([1]))
    make_embeddings(
        ai_gateway=AIGateway("gate", cache_ttl=60, token=SecretStr("gateway-token")),
        session_affinity="session",
        default_headers={"x-team": "blue"},
    ).embed_query("a")
    sent = service.only_request.headers
    assert sent["cf-aig-gateway-id"] == "gate"
    assert sent["cf-aig-cache-ttl"] == "60"
    assert sent["cf-aig-authorization"] == "Bearer gateway-token"
    assert sent["x-session-affinity"] == "session"
    assert sent["x-team"] == "blue"


def test_prompts_are_those_of_the_model_card(service: MockService, call_method: str) -> None:
    service.respond_with_results(make_native_result([1]))
    client = make_embeddings(prompts=True)
    embed_query(client, call_method, "Which planet is red?")
    embed_documents(client, call_method, ["Mars is red."])
    assert service.request_bodies == [
        {"text": ["task: search result | query: Which planet is red?"]},
        {"text": ["title: none | text: Mars is red."]},
    ]


# --- Splitting --------------------------------------------------------------------------------------------------------


def test_documents_are_split_and_keep_their_order(service: MockService, call_method: str) -> None:
    service.respond_with_results(
        *(make_native_result(*([float(n)] for n in part)) for part in (range(100), range(100, 200), range(200, 250)))
    )
    vectors = embed_documents(make_embeddings(), call_method, [f"text {n}" for n in range(250)])
    assert vectors == [[float(n)] for n in range(250)]
    assert [len(sent["text"]) for sent in service.request_bodies] == [100, 100, 50]
    assert [text for sent in service.request_bodies for text in sent["text"]] == [f"text {n}" for n in range(250)]


def test_chunk_size_limits_the_texts_of_a_request(service: MockService) -> None:
    service.respond_with_results(make_native_result([1], [2]), make_native_result([3]))
    assert make_embeddings(chunk_size=2).embed_documents(["a", "b", "c"]) == [[1.0], [2.0], [3.0]]


def test_a_payload_stays_under_10_mb(service: MockService) -> None:
    service.respond_with_results(make_native_result([1], [2]), make_native_result([3]))
    long = "ü" * 2_400_000
    assert len(make_embeddings().embed_documents([long, long, long])) == 3
    assert [len(sent["text"]) for sent in service.request_bodies] == [2, 1]
    assert all(len(request.content) < 10_000_000 for request in service.requests)


def test_an_empty_list_of_documents_sends_no_request(service: MockService, call_method: str) -> None:
    assert embed_documents(make_embeddings(), call_method, []) == []
    assert service.requests == []


# --- Invalid input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", ""], "text 1 is empty"),
        (["a", None], "text 1 must be a string, not NoneType"),
        ("a text", "takes a list of texts"),
    ],
)
def test_invalid_texts_raise(service: MockService, call_method: str, texts: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        embed_documents(make_embeddings(prompts=True), call_method, texts)
    assert service.requests == []


def test_an_empty_query_raises(service: MockService, call_method: str) -> None:
    with pytest.raises(ValueError, match="the query is empty"):
        embed_query(make_embeddings(), call_method, "")
    assert service.requests == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "@cf/google/gemma-3-12b-it"}, "generates text; use ChatWorkersGemma"),
        ({"host": "aimlapi"}, "model is missing"),
        ({"prompts": True, "model": "@cf/baai/bge-m3"}, "prompts: @cf/baai/bge-m3 has none"),
        ({"batch_size": 101}, "at most 100"),
        ({"batch_size": 0}, "greater than or equal to 1"),
        ({"promts": True}, "Did you mean prompts?"),
        ({"account_id": None}, "CLOUDFLARE_ACCOUNT_ID or CF_ACCOUNT_ID"),
        ({"api_token": None}, "CLOUDFLARE_API_TOKEN, CLOUDFLARE_AUTH_TOKEN, CF_AI_API_TOKEN or CF_API_TOKEN"),
        ({"base_url": "ftp://example.com"}, "base_url must be an http"),
        ({"host": "aimlapi", "model": "m", "ai_gateway": "gate"}, "ai_gateway is a feature of Cloudflare"),
    ],
)
def test_invalid_arguments_raise(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        make_embeddings(**arguments)


VECTORS = [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    "result",
    [
        None,
        {},
        {"data": None},
        {"response": "text"},
        {"data": VECTORS[:1]},
        {"data": [*VECTORS, [5.0, 6.0]]},
        {"data": [[1.0, 2.0], [3.0]]},
        {"data": [[1.0], []]},
        {"data": [[], []]},
        {"data": [[1.0, "2"], [3.0, 4.0]]},
        {"data": [[1.0, None], [3.0, 4.0]]},
        {"data": [[1.0, True], [3.0, 4.0]]},
        {"data": [[1.0, float("nan")], [3.0, 4.0]]},
        {"data": [[1.0, float("inf")], [3.0, 4.0]]},
        {"data": [[1.0, 10**400], [3.0, 4.0]]},
        {"data": [[1.0, [2.0]], [3.0, 4.0]]},
        {"data": ["text", "text"]},
        {"data": VECTORS, "shape": [2, 3]},
        {"data": VECTORS, "shape": [3, 2]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [2.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 2, "embedding": [2.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"embedding": [2.0]}]},
        {"data": [{"index": False, "embedding": [1.0]}, {"index": True, "embedding": [2.0]}]},
        {"data": [{"index": [0], "embedding": [1.0]}, {"index": [1], "embedding": [2.0]}]},
        {"data": [{"index": 0, "embedding": "AAAA"}, {"index": 1, "embedding": "AAAA"}]},
    ],
    ids=str,
)
def test_partial_and_invalid_replies_raise(result: Any) -> None:
    with pytest.raises(VectorsError):
        read_vectors(result, 2)


def test_a_partial_reply_is_an_error_with_its_true_status(service: MockService, call_method: str) -> None:
    service.respond_with_results(make_native_result([1.0]), headers={"cf-ray": "ray-1"})
    with pytest.raises(InternalServerError, match="1 vectors for 2 texts") as caught:
        embed_documents(make_embeddings(max_retries=2), call_method, ["a", "b"])
    assert caught.value.status_code == 200
    assert caught.value.request_id == "ray-1"
    assert len(service.requests) == 1


def test_vectors_of_different_lengths_raise(service: MockService) -> None:
    service.respond_with_results(make_native_result([1.0]), make_native_result([1.0, 2.0]))
    with pytest.raises(InternalServerError, match="another length than"):
        make_embeddings(batch_size=1).embed_documents(["a", "b"])


@pytest.mark.parametrize("content", [b"", b"<html>", b'{"result": {"data": [[1'])
def test_a_reply_that_is_not_json_raises(service: MockService, content: bytes) -> None:
    service.respond_with(make_response(content))
    with pytest.raises(InternalServerError, match="not JSON"):
        make_embeddings().embed_query("a")


def test_vectors_are_ordered_by_index() -> None:
    result = {"data": [{"index": 2, "embedding": [3]}, {"index": 0, "embedding": [1]}, {"index": 1, "embedding": [2]}]}
    assert read_vectors(result, 3) == [[1.0], [2.0], [3.0]]


# --- Errors and retries -----------------------------------------------------------------------------------------------

CAPACITY_ERROR = {
    "success": False,
    "errors": [{"code": 3040, "message": "Capacity temporarily exceeded"}],
    "result": None,
}


def test_errors_are_retried(service: MockService, call_method: str, sleeps: list[float]) -> None:
    refused = make_response(CAPACITY_ERROR, 429, {"retry-after": "7"})
    service.respond_with(refused, refused, make_response({"result": make_native_result([1.0])}))
    assert embed_query(make_embeddings(max_retries=2), call_method, "a") == [1.0]
    assert sleeps == [7.0, 7.0]


def test_a_retry_repeats_only_its_part(service: MockService, sleeps: list[float]) -> None:
    service.respond_with(
        make_response({"result": make_native_result([1.0])}),
        make_response(CAPACITY_ERROR, 429, {"retry-after": "0"}),
        make_response({"result": make_native_result([2.0])}),
    )
    assert make_embeddings(max_retries=1, batch_size=1).embed_documents(["a", "b"]) == [[1.0], [2.0]]
    assert [sent["text"] for sent in service.request_bodies] == [["a"], ["b"], ["b"]]


def test_errors_are_typed(service: MockService, call_method: str, sleeps: list[float]) -> None:
    service.respond_with(make_response(CAPACITY_ERROR, 429))
    with pytest.raises(CapacityError) as caught:
        embed_query(make_embeddings(), call_method, "a")
    assert caught.value.code == 3040
    assert sleeps == []


def test_a_timeout_is_typed(service: MockService, call_method: str, sleeps: list[float]) -> None:
    def time_out() -> httpx.Response:
        raise httpx.ReadTimeout("late")

    service.respond_with(time_out)
    with pytest.raises(APITimeoutError):
        embed_query(make_embeddings(max_retries=1), call_method, "a")
    assert len(sleeps) == 1


def test_the_token_is_never_visible(service: MockService) -> None:
    client = make_embeddings()
    service.respond_with(
        make_response({"success": False, "errors": [{"code": 10000, "message": f"Bad token {API_TOKEN}"}]}, 401)
    )
    with pytest.raises(Exception, match="Bad token") as caught:
        client.embed_query("a")
    assert API_TOKEN not in f"{client!r} {client} {caught.value!r} {caught.value} {dumps(client)}"
    with pytest.raises(ValueError, match="promts") as raised:
        make_embeddings(promts=API_TOKEN)
    assert API_TOKEN not in str(raised.value)


# --- Copies -----------------------------------------------------------------------------------------------------------


def test_clients_of_the_caller_are_used_and_not_closed(service: MockService) -> None:
    service.respond_with_results(make_native_result([1.0]))
    with httpx.Client(headers={"x-own": "1"}) as http:
        client = make_embeddings(http_client=http)
        client.embed_query("a")
        assert copy.deepcopy(client).http_client is http
        assert pickle.loads(pickle.dumps(client)).http_client is None
        assert not http.is_closed
    assert service.only_request.headers["x-own"] == "1"


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_copies_send_the_same_requests(service: MockService) -> None:
    service.respond_with_results(make_native_result([1.0]))
    client = make_embeddings(prompts=True, default_headers={"x-team": "blue"})
    serialized = json.loads(dumps(client))
    loaded = load(
        serialized,
        allowed_objects=[WorkersGemmaEmbeddings],
        valid_namespaces=["langchain_workers_gemma"],
        secrets_map={"CLOUDFLARE_API_TOKEN": API_TOKEN},
    )
    for copied in (client, loaded, pickle.loads(pickle.dumps(client)), copy.deepcopy(client), client.model_copy()):
        copied.embed_query("a")
    assert len({request.content for request in service.requests}) == 1
    assert len({request.headers["authorization"] for request in service.requests}) == 1
    assert {request.headers["x-team"] for request in service.requests} == {"blue"}


def test_several_event_loops_in_sequence(service: MockService) -> None:
    service.respond_with_results(make_native_result([1.0]))
    client = make_embeddings()
    for _ in range(2):
        assert asyncio.run(client.aembed_query("a")) == [1.0]
