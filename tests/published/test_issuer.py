"""What an issuer says, and what tokens leave behind."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from mcp_gateway.identity.keys import IssuerKeys
from mcp_gateway.identity.rules import IdentityPolicy
from mcp_gateway.identity.tokens import TokenVerifier
from tests.doors.servers import served
from tests.identity.forged_claims import FORGED_CLAIMS
from tests.identity.forged_forms import FORGED_FORMS
from tests.identity.forged_signatures import FORGED_SIGNATURES
from tests.invariants.world import World
from tests.peers.issuer import CONNECT_METADATA, FakeIssuer
from tests.plain_http import plain_client

pytestmark = pytest.mark.anyio

PROGRAMS = frozenset({"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.startfile", "webbrowser.open"})
started: list[str] = []
watching = False


def _look(event: str, _: object) -> None:
    if watching and event in PROGRAMS:
        started.append(event)


sys.addaudithook(_look)


@contextmanager
def no_program_is_started() -> Iterator[None]:
    """Python says of every program that this process starts; nothing is started in the block."""
    global watching  # noqa: PLW0603 - an audit hook can never be taken back
    started.clear()
    watching = True
    try:
        yield
    finally:
        watching = False
    assert started == []


@pytest.mark.published("CVE-2025-6514")
async def test_the_issuers_metadata_reaches_no_shell_and_no_browser(tmp_path: Path, world: World) -> None:
    payload = f"file:///bin/sh -c $(touch {tmp_path}/owned); touch {tmp_path}/owned | touch {tmp_path}/owned"
    audience = "https://gateway.test"
    with FakeIssuer(audience=audience) as issuer:
        names = (
            "authorization_endpoint",
            "token_endpoint",
            "registration_endpoint",
            "op_policy_uri",
            "end_session_endpoint",
        )
        issuer.reply(CONNECT_METADATA, body=issuer.metadata(**dict.fromkeys(names, payload)))
        verifier = TokenVerifier(
            policy=IdentityPolicy(issuer=issuer.url, audience=audience),
            keys=IssuerKeys(issuer.url, clock=lambda: datetime.now(UTC)),
            revoked=lambda _: None,
            clock=lambda: datetime.now(UTC),
        )
        with no_program_is_started():
            async with served(tmp_path, world=world, verifier=verifier) as server:
                headers = {"authorization": f"Bearer {issuer.token()}"}
                async with plain_client(headers=headers) as client:
                    found = await client.get(f"{server.url}/api/approvals")
                    metadata = await client.get(f"{server.url}/.well-known/oauth-protected-resource")
        assert (found.status_code, found.json()) == (200, [])
        assert "touch" not in metadata.text
        assert issuer.requests == [CONNECT_METADATA, "/keys"]
    assert not (tmp_path / "owned").exists()


@pytest.mark.requirement("I5", "R26")
@pytest.mark.published("CVE-2026-20205")
async def test_no_token_is_logged_or_recorded(tmp_path: Path, world: World) -> None:
    async with served(tmp_path, world=world) as server:
        tokens = [server.token(), server.token("sam", agent="other")]
        bad = [attack.token() for attack in [*FORGED_FORMS, *FORGED_SIGNATURES, *FORGED_CLAIMS][::40]]
        with capture_logs() as logs:
            async with plain_client(timeout=30) as client:
                for token in (
                    *tokens,
                    *(text for text in bad if text.strip() and text.isascii() and text.isprintable()),
                ):
                    for path in ("/mcp", "/api/approvals"):
                        headers: Any = {"authorization": f"Bearer {token}", "cookie": f"session={token}"}
                        await client.get(f"{server.url}{path}", headers=headers)
                    for text in (f"Bearer {token} x", token):
                        await client.get(f"{server.url}/mcp", headers={"authorization": text})
        said = repr(logs)
        assert "token" in said
        for token in (*tokens, *bad):
            for part in token.split("."):
                assert len(part) < 20 or part not in said, part
    kept = b"".join(path.read_bytes() for path in (tmp_path / "data").iterdir() if path.name.startswith("audit"))
    for token in tokens:
        assert token.encode() not in kept
        assert token.split(".")[2].encode() not in kept
