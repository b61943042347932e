"""Tokens that have to be accepted, each good in a way of its own. Data for `tests/doors/test_tokens.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.identity.forging import ABSENT, AUDIENCE, JWT_POLICY, POLICY, SECOND, claims, good, header
from tests.peers.issuer import ec_signer, ed_signer, rsa_signer


def with_header(**changes: Any) -> str:
    return ec_signer().token(header(ec_signer(), **changes), claims())


ACCEPTED: dict[str, Callable[[], str]] = {
    "ES256": good,
    "RS256": lambda: good(rsa_signer()),
    "PS256": lambda: rsa_signer().token(header(rsa_signer(), alg="PS256"), claims(), algorithm="PS256"),
    "EdDSA": lambda: good(ed_signer()),
    "a key that says its algorithm": lambda: good(rsa_signer("rsa-rs256")),
    "the long spelling of the type": lambda: with_header(typ="application/at+jwt"),
    "headers that mean nothing here": lambda: with_header(x5t="abc", cty="x"),
    "one of several audiences": lambda: good(aud=["https://other.example.com", AUDIENCE]),
    "an agent that acts for a human": lambda: good(act={"sub": "claude"}),
    "a client as azp": lambda: good(client_id=ABSENT, azp="claude"),
    "scopes as a list": lambda: good(scope=ABSENT, scp=["db", "ssh"]),
    "no groups": lambda: good(groups=ABSENT),
    "no id": lambda: good(jti=ABSENT),
    "at the end of its time": lambda: good(iat=SECOND - 100, exp=SECOND - 29),
    "an hour": lambda: good(iat=SECOND - 10, exp=SECOND + 3590),
    "letters of other scripts": lambda: good(email="zoë@example.com", groups=["δοκιμή", "日本"]),
    "15 KiB": lambda: good(filler="x" * 10_000),
}
ACCEPTED_AS_JWT: dict[str, Callable[[], str]] = {
    "JWT, where it is configured": lambda: with_header(typ="JWT"),
    "as Keycloak writes it": lambda: ec_signer().token(
        header(ec_signer(), typ="JWT"), claims(client_id=ABSENT, azp="claude", typ="Bearer", acr="1", sid="s-1")
    ),
}
BY_POLICY = ((POLICY, ACCEPTED), (JWT_POLICY, ACCEPTED_AS_JWT))
