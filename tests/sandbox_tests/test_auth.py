from __future__ import annotations

import pytest

from langchain_workers_gemma.sandbox import Sandbox
from tests.sandbox_tests.api_client import EMBEDDING, GEMMA_3, GEMMA_4, Api, get_error, to_messages

ROUTES = [
    ("POST", "{base}/accounts/{account}/ai/run/" + GEMMA_3, {"messages": to_messages("Hello")}),
    ("POST", "{base}/accounts/{account}/ai/run", {"model": GEMMA_3, "input": {"messages": to_messages("Hello")}}),
    (
        "POST",
        "{base}/accounts/{account}/ai/v1/chat/completions",
        {"model": GEMMA_4, "messages": to_messages("Hello")},
    ),
    ("POST", "{base}/accounts/{account}/ai/v1/embeddings", {"model": EMBEDDING, "input": "Hello"}),
    ("GET", "{base}/accounts/{account}/ai/models/search", None),
    ("GET", "{base}/accounts/{account}/tokens/verify", None),
]


@pytest.mark.parametrize(("method", "url", "body"), ROUTES)
def test_a_valid_token_is_accepted(api: Api, method: str, url: str, body: object) -> None:
    url = url.format(base=api.sandbox.base_url, account=api.sandbox.account_id)
    assert api.http.request(method, url, json=body, headers=api.auth).status_code == 200


@pytest.mark.parametrize(("method", "url", "body"), ROUTES)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "sandbox-token"}])
def test_a_wrong_token_is_401(api: Api, method: str, url: str, body: object, headers: dict[str, str]) -> None:
    url = url.format(base=api.sandbox.base_url, account=api.sandbox.account_id)
    status, code, _ = get_error(api.http.request(method, url, json=body, headers=headers))
    assert (status, code) == (401, 1000 if "verify" in url else 10000)


@pytest.mark.parametrize(("method", "url", "body"), ROUTES)
def test_another_account_is_403(api: Api, method: str, url: str, body: object) -> None:
    url = url.format(base=api.sandbox.base_url, account="f" * 32)
    assert get_error(api.http.request(method, url, json=body, headers=api.auth))[0] == 403


def test_a_user_token_is_verified_without_account(api: Api) -> None:
    reply = api.http.get(f"{api.sandbox.base_url}/user/tokens/verify", headers=api.auth).json()
    assert reply["result"]["status"] == "active"


def test_an_authenticated_gateway_needs_its_own_token_too() -> None:
    with Sandbox(gateway_token="gate") as sandbox, Api(sandbox) as api:
        url = f"{sandbox.gateway_url}/{GEMMA_3}"
        body = {"messages": to_messages("Hello")}
        assert get_error(api.http.post(url, json=body, headers=api.auth))[:2] == (401, 2009)
        headers = {**api.auth, "cf-aig-authorization": "Bearer gate"}
        assert api.http.post(url, json=body, headers=headers).status_code == 200


def test_every_host_accepts_the_token(api: Api) -> None:
    hosts = [
        (api.sandbox.dataoorts_url, {"model": "google/gemma-3-12b-it", "data": {"messages": to_messages("Hello")}}),
        (
            f"{api.sandbox.aimlapi_url}/chat/completions",
            {"model": "google/gemma-3-4b-it", "messages": to_messages("Hello")},
        ),
    ]
    for url, body in hosts:
        assert api.http.post(url, json=body, headers=api.auth).status_code == 200
        assert api.http.post(url, json=body).status_code == 401
