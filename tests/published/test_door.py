"""Doors that answered whom they should not have: no token, another site's page, another route than was checked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from mcp_gateway.config import parse_settings
from mcp_gateway.errors import ConfigError
from tests.doors.servers import Served, served
from tests.invariants.world import World
from tests.plain_http import plain_client
from tests.published.raw import exchange, request, status

pytestmark = pytest.mark.anyio

ROUTES = ["/mcp", "/sse", "/messages/?session_id=x", "/api/approvals", "/api/approvals/x", "/docs", "/", "/metrics"]
FOREIGN = [
    ("host", "evil.example:8765"),
    ("host", "evil.example"),
    ("host", "127.0.0.1.evil.example"),
    ("origin", "http://evil.example"),
    ("origin", "null"),
    ("origin", "http://localhost.evil.example"),
    ("origin", "file://"),
]
WEBSOCKET = {
    "upgrade": "websocket",
    "connection": "Upgrade, close",
    "sec_websocket_version": "13",
    "sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==",
}
STAND_INS = """
x-mcp-gateway-secret x-internal-token x-forwarded-authorization proxy-authorization x-auth-request-user x-forwarded-user
x-original-url x-rewrite-url x-mcp-init-host x-authenticated-user cookie x-api-key
""".split()
CONFIGURATION = """
[identity]
issuer = "https://idp.example.com"
audience = "https://gateway.example.com"
"""


@pytest.fixture
async def server(tmp_path: Path, world: World) -> AsyncIterator[Served]:
    async with served(tmp_path, world=world) as found:
        yield found


@pytest.mark.published("apache-pinot-mcp", "alibaba-rds-mcp", "CVE-2026-33032")
async def test_nothing_is_served_and_nothing_is_said_before_a_token(server: Served) -> None:
    for route, method in product(ROUTES, ("GET", "POST", "DELETE", "OPTIONS")):
        answer = await exchange(server, request(server, route, method=method))
        assert status(answer) == 401
        assert b"call_api" not in answer
    for public in ("/healthz", "/readyz", "/.well-known/oauth-protected-resource"):
        answer = await exchange(server, request(server, public))
        assert status(answer) == 200
        assert b"call_api" not in answer
        assert server.bench.api.url.encode() not in answer


@pytest.mark.published("CVE-2025-49596", "CVE-2026-23744")
def test_a_gateway_listens_on_loopback_unless_tls_is_configured() -> None:
    assert parse_settings(CONFIGURATION, file="/gateway.toml").server.listen.startswith("127.0.0.1:")
    for address in ("0.0.0.0:8765", "[::]:8765", "192.0.2.1:8765"):
        with pytest.raises(ConfigError, match="listening beyond loopback needs 'tls_cert'"):
            parse_settings(f'{CONFIGURATION}[server]\nlisten = "{address}"\n', file="/gateway.toml")


@pytest.mark.published("CVE-2025-49596", "CVE-2026-23744", "CVE-2026-42271", "GHSA-v4p8")
async def test_no_route_starts_anything(server: Served) -> None:
    """The routes are these; none takes a command, and what others had for it is not there."""
    programs: dict[str, Any] = {
        "command": "/bin/sh",
        "args": ["-c", "id"],
        "env": {"A": "b"},
        "transport_type": "stdio",
    }
    async with server.client() as agent, server.approver() as person:
        for client in (agent, person):
            for path in ("/stdio", "/api/mcp/connect", "/mcp-rest/test/connection", "/mcp-rest/test/tools/list"):
                assert (await client.get(f"{server.url}{path}", params=programs)).status_code == 404
                assert (await client.post(f"{server.url}{path}", json=programs)).status_code == 404
            await client.get(f"{server.url}/mcp", params=programs)
            assert (await client.post(f"{server.url}/mcp", json=programs)).status_code in {400, 406}
    assert server.bench.api.requests == []


@pytest.mark.requirement("R38")
@pytest.mark.published(
    "CVE-2025-66414", "CVE-2025-66416", "CVE-2026-34742", "CVE-2026-35568", "CVE-2026-42559", "CVE-2026-35577", "CVE-2025-64443"
)  # fmt: skip
async def test_a_page_of_another_site_is_refused_even_with_a_good_token(server: Served) -> None:
    token = f"Bearer {server.token()}"
    for name, value in FOREIGN:
        for route in ("/mcp", "/sse", "/api/approvals", "/healthz"):
            for method in ("GET", "POST", "OPTIONS"):
                headers = {"authorization": token, name: value}
                answer = await exchange(server, request(server, route, method=method, **headers))
                assert status(answer) == 403, (name, value, route, method)
                assert b"access-control-allow" not in answer.lower()


@pytest.mark.published("CVE-2026-59950")
@pytest.mark.parametrize("origin", ["http://evil.example", None])
async def test_no_websocket_is_served(server: Served, origin: str | None) -> None:
    more = {"origin": origin} if origin else {}
    for route in ("/mcp", "/ws", "/sse/ws"):
        answer = await exchange(
            server, request(server, route, authorization=f"Bearer {server.token()}", **WEBSOCKET, **more)
        )
        assert status(answer) in ({403} if origin else {400, 404, 406})
        assert b"101 Switching" not in answer


@pytest.mark.requirement("R38")
@pytest.mark.published("CVE-2026-48710", "CVE-2026-42271", "GHSA-v4p8")
@pytest.mark.parametrize("public", ["/healthz", "/readyz", "/.well-known/oauth-protected-resource"])
async def test_what_is_checked_is_the_path_that_is_routed(server: Served, public: str) -> None:
    here = server.url.removeprefix("http://")
    for host in (f"{here}{public}", f"{here}{public}?", f"{here}{public}#", f"{here}/..{public}", f"x@{here}"):
        answer = await exchange(server, request(server, "/api/approvals", host=host))
        assert status(answer) == 403, host
    for target in (
        f"{public}/../mcp", f"/{public}", f"{public}/", f"{public}%2f..%2fmcp", f"/mcp;{public}", f"/mcp?{public}",
        f"/mcp%00{public}", f"http://{here}/mcp", f"http://x{public}/../mcp", f"{public}\\..\\mcp", "/MCP", "//mcp",
    ):  # fmt: skip
        answer = await exchange(server, request(server, target, method="POST"))
        assert status(answer) in {400, 401}, target


@pytest.mark.published("GHSA-g53w-w6mj-hrpp")
async def test_no_header_stands_in_for_a_token(server: Served) -> None:
    for header in STAND_INS:
        for value in (f"Bearer {server.token()}", "changeme", "/healthz", "admin"):
            name = header.replace("-", "_")
            answer = await exchange(server, request(server, "/api/approvals", **{name: value}))
            assert status(answer) == 401, (header, value)
    async with plain_client() as client:
        for place in ("access_token", "token", "key"):
            params = {place: server.token()}
            assert (await client.get(f"{server.url}/api/approvals", params=params)).status_code == 401


@pytest.mark.published("GHSA-g53w-w6mj-hrpp")
def test_no_secret_has_a_default_or_stands_in_the_configuration() -> None:
    target = '[targets.api]\nkind = "http"\nlabels = { env = "dev" }\nbase_url = "https://api.example.com"\n'
    for auth in ('"changeme"', '{ bearer = "changeme" }', '{ header = { name = "x-key", value = "changeme" } }'):
        with pytest.raises(ConfigError, match="a credential never stands here itself"):
            parse_settings(f"{CONFIGURATION}{target}auth = {auth}\n", file="/gateway.toml")
    for key in ("secret", "state_key", "shared_secret", "admin_token"):
        with pytest.raises(ConfigError, match=key):
            parse_settings(f'{CONFIGURATION}[server]\n{key} = "changeme"\n', file="/gateway.toml")


@pytest.mark.published("CVE-2026-27124")
async def test_the_gateway_gives_no_tokens_and_asks_for_none(server: Served) -> None:
    """It is a resource server alone: there is no consent that it could give for somebody."""
    async with server.client() as client, plain_client() as stranger:
        for path in (
            "/authorize", "/token", "/register", "/oauth/authorize", "/auth/callback", "/consent", "/login",
            "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration",
        ):  # fmt: skip
            assert (await client.get(f"{server.url}{path}")).status_code == 404
            assert (await stranger.get(f"{server.url}{path}")).status_code == 401
        metadata = (await stranger.get(f"{server.url}/.well-known/oauth-protected-resource")).json()
    assert metadata["bearer_methods_supported"] == ["header"]
    assert not [name for name in metadata if name.endswith("_endpoint")]
