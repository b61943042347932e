"""The certified OpenID provider as a peer: npm's `oidc-provider`, on loopback, one for each test process.

It needs Node and its packages: `npm --prefix tests/peers/oidc ci`. `OIDCProvider.sign_in` walks through the
authorization-code flow with PKCE the way a browser does and gives the tokens that come of it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2
import pytest

from tests.peers.parts import missing

FOLDER = Path(__file__).with_name("oidc")
AUDIENCE = "https://gateway.test"
AGENT = "test-agent"
APPROVER = "mcp-gateway-approver"
MACHINE = ("test-machine", "a-secret-of-tests-only")
CALLBACK = "http://127.0.0.1/callback"
MAX_STEPS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What came of signing in."""

    access: str
    identity: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OIDCProvider:
    """A running provider."""

    issuer: str
    audience: str

    def sign_in(
        self,
        person: str,
        *,
        client_id: str = AGENT,
        scope: str = "openid email db",
        resource: str | None = None,
        nonce: str | None = None,
        resource_at_token: bool = True,
    ) -> Tokens:
        """Sign a person in (RFC 6749 section 4.1, RFC 7636, RFC 8707) and get tokens for the gateway.

        Without `resource_at_token` the access token is an opaque one for the provider itself.
        """
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        resource = resource or self.audience
        asked = {
            "client_id": client_id,
            "response_type": "code",
            "redirect_uri": CALLBACK,
            "scope": scope,
            "resource": resource,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "login_hint": person,
            "max_age": "600",
            **({"nonce": nonce} if nonce else {}),
        }
        with httpx2.Client(trust_env=False) as browser:
            code = self._walk(browser, asked)
            form = {
                "grant_type": "authorization_code",
                "client_id": client_id,
                "code": code,
                "redirect_uri": CALLBACK,
                "code_verifier": verifier,
            }
            answer = browser.post(
                f"{self.issuer}/token", data=form | ({"resource": resource} if resource_at_token else {})
            )
        found = _checked(answer)
        return Tokens(access=found["access_token"], identity=found.get("id_token"))

    def machine_token(self, *, scope: str = "db") -> str:
        """A client's own token (RFC 6749 section 4.4): nobody has signed in."""
        form = {"grant_type": "client_credentials", "scope": scope, "resource": self.audience}
        with httpx2.Client(trust_env=False) as client:
            answer = client.post(f"{self.issuer}/token", data=form, auth=MACHINE)
        return str(_checked(answer)["access_token"])

    def _walk(self, browser: httpx2.Client, asked: dict[str, str]) -> str:
        answer = browser.get(f"{self.issuer}/auth", params=asked)
        for _ in range(MAX_STEPS):
            assert answer.is_redirect, answer.text
            location = urljoin(str(answer.url), answer.headers["location"])
            if location.startswith(CALLBACK):
                answered = parse_qs(urlsplit(location).query)
                assert "code" in answered, answered
                return answered["code"][0]
            answer = browser.get(location)
        raise AssertionError("signing in does not come to an end")


def _checked(answer: httpx2.Response) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()
    assert answer.status_code == 200, found
    return found


@contextmanager
def running_oidc_provider(**options: Any) -> Iterator[OIDCProvider]:
    """Start a provider; `options` are those of `server.mjs`. It ends with its standard input."""
    node = shutil.which("node")
    if node is None:
        missing("the OpenID provider cannot run, there is no node", hint="apt-get install nodejs npm")
    if not (FOLDER / "node_modules" / "oidc-provider").is_dir():
        missing("the OpenID provider's packages are not installed", hint="npm --prefix tests/peers/oidc ci")
    options = {"audience": AUDIENCE} | options
    process = subprocess.Popen(
        [node, "server.mjs", json.dumps(options)],
        cwd=FOLDER,
        env={"PATH": os.environ["PATH"], "NODE_ENV": "production"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, "the OpenID provider did not start"
            yield OIDCProvider(issuer=json.loads(line)["issuer"], audience=options["audience"])
        finally:
            process.stdin.close()


@pytest.fixture(scope="session")
def oidc_provider() -> Iterator[OIDCProvider]:
    """The certified provider: `dana` of engineering, `erin` of engineering and dba."""
    with running_oidc_provider() as provider:
        yield provider
