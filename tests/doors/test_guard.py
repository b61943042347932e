from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mcp_gateway.calls import Caller
from mcp_gateway.clock import new_id, utc_now
from mcp_gateway.doors.guard import CALLER_KEY, Guard, reachable
from mcp_gateway.identity.local import LocalIssuer, LocalPerson, open_local_issuer

pytestmark = pytest.mark.anyio

BASE = "http://127.0.0.1:8765"
METADATA = f'resource_metadata="{BASE}/.well-known/oauth-protected-resource"'


async def seen(request: Request) -> Response:
    caller: Caller | None = request.scope.get(CALLER_KEY)
    body = await request.body()
    return JSONResponse({"subject": caller.subject if caller else None, "body": body.decode()})


@pytest.fixture
def issuer(tmp_path: Path) -> LocalIssuer:
    tmp_path.chmod(0o700)
    return open_local_issuer(
        tmp_path, audience=BASE, clock=utc_now, new_id=new_id, people={"alex": LocalPerson(groups=frozenset({"dev"}))}
    )


@pytest.fixture
def client(issuer: LocalIssuer) -> httpx2.AsyncClient:
    app = Starlette(
        routes=[Route("/mcp", seen, methods=["GET", "POST"]), Route("/healthz", seen), Route("/api/approvals", seen)]
    )
    guard = Guard(
        app,
        names=reachable(public_url=BASE, listen="127.0.0.1:8765", allowed_origins=["https://app.example.com"]),
        verifier=issuer.verifier(revoked=lambda _: None),
        scope_of={"query_database": "db"}.get,
        scoped=True,
        metadata_url=f"{BASE}/.well-known/oauth-protected-resource",
        requests_each=100,
    )
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=guard), base_url=BASE)


def bearer(issuer: LocalIssuer) -> dict[str, str]:
    return {"authorization": f"Bearer {issuer.mint('alex', client_id='agent').reveal_text()}"}


async def test_a_verified_caller_passes(client: httpx2.AsyncClient, issuer: LocalIssuer) -> None:
    response = await client.post("/mcp", content=b'"hello"', headers=bearer(issuer))

    assert response.json() == {"subject": "alex", "body": '"hello"'}


@pytest.mark.parametrize(
    ("headers", "challenge"),
    [
        ([], f"Bearer {METADATA}"),
        ([("authorization", "Bearer nonsense")], f'Bearer error="invalid_token", {METADATA}'),
        ([("authorization", "Basic eA==")], f'Bearer error="invalid_token", {METADATA}'),
        ([("authorization", "Bearer ")], f'Bearer error="invalid_token", {METADATA}'),
    ],
)
@pytest.mark.parametrize("path", ["/mcp", "/api/approvals", "/nowhere", "//healthz", "/healthz/../mcp"])
async def test_nothing_but_health_and_metadata_is_public(
    client: httpx2.AsyncClient, headers: list[tuple[str, str]], challenge: str, path: str
) -> None:
    response = await client.get(path, headers=headers)

    assert response.status_code == 401
    assert response.headers["www-authenticate"] == challenge


async def test_two_tokens_are_no_token(client: httpx2.AsyncClient, issuer: LocalIssuer) -> None:
    token = bearer(issuer)["authorization"]

    response = await client.get("/mcp", headers=[("authorization", token), ("Authorization", token)])

    assert response.status_code == 401


async def test_health_needs_no_token(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/healthz")).json()["subject"] is None


@pytest.mark.requirement("R38")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("host", "evil.example")], 403),
        ([("host", "127.0.0.1")], 403),
        ([("host", "127.0.0.1:8765/x")], 403),
        ([("host", "127.0.0.1:8765"), ("host", "127.0.0.1:8765")], 403),
        ([("host", "")], 403),
        ([("host", "localhost:8765")], 200),
        ([("origin", "null")], 403),
        ([("origin", "https://evil.example")], 403),
        ([("origin", "https://app.example.com.evil.example")], 403),
        ([("origin", "https://app.example.com"), ("origin", "https://evil.example")], 403),
        ([("origin", "https://app.example.com")], 200),
        ([("origin", BASE)], 200),
    ],
)
async def test_host_and_origin_are_checked_before_any_handler(
    client: httpx2.AsyncClient, issuer: LocalIssuer, headers: list[tuple[str, str]], status: int
) -> None:
    for path in ("/mcp", "/healthz"):
        response = await client.get(path, headers=[*bearer(issuer).items(), *headers])
        assert response.status_code == status


async def test_a_tool_that_demands_a_scope_is_challenged_for_it(
    client: httpx2.AsyncClient, issuer: LocalIssuer
) -> None:
    call = orjson.dumps({"method": "tools/call", "params": {"name": "query_database"}})

    response = await client.post("/mcp", content=call, headers=bearer(issuer))

    assert response.status_code == 403
    assert response.headers["www-authenticate"] == f'Bearer error="insufficient_scope", {METADATA}, scope="db"'


@pytest.mark.parametrize(
    "message",
    [{"method": "tools/call", "params": {"name": "call_api"}}, {"method": "tools/list"}, [], "x", {"params": 1}],
)
async def test_other_messages_arrive_whole(client: httpx2.AsyncClient, issuer: LocalIssuer, message: Any) -> None:
    body = orjson.dumps(message)

    response = await client.post("/mcp", content=body, headers=bearer(issuer))

    assert response.json()["body"] == body.decode()
