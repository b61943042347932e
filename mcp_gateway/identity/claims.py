"""What a token must be before it can name a caller: strict checks over its raw bytes and its verified payload. Pure.

`read_token` comes before the signature and decides nothing about who calls; `read_claims` comes after it and is
the only way to a `Caller`. Between the two, `jwks` checks the signature and `tokens` joins all three.

`read_token` (RFC 7515, RFC 9068 section 4):

 1. The token is ASCII and at most 16 KiB: the cap comes before any parsing.
 2. Exactly three parts (five is an encrypted token), each in canonical base64url.
 3. The header is one strict JSON object: no member twice, UTF-8, not deep.
 4. Nothing in the header that brings a key along, changes how it is read, or demands an extension.
 5. `typ` is one of the configured types: an ID token is not an access token.
 6. `alg` is on the allow-list, letter for letter.
 7. `kid` names a key of the issuer; without it a reader would have to guess.

`read_claims` (RFC 7519 section 4.1, RFC 9068 section 2.2, RFC 8693 section 4.1):

 8. The payload is one strict JSON object.
 9. `iss` is exactly the configured issuer.
10. `aud` contains this gateway, letter for letter.
11. `exp` and `iat` are there, `nbf` is honoured, all within the leeway; the lifetime is no longer than allowed.
12. A type that ID tokens use as well (`JWT`) brings more checks: no mark of an ID token, a client is named.
13. The token is not bound to a key of its holder: nobody here could check that.
14. `sub` is a printable string.
15. The agent is `act.sub`, else `azp` or `client_id`, which must agree.
16. E-mail, groups and scopes have their types; groups that were left out for their number refuse the token.
17. `jti` and `auth_time` have their types.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from mcp_gateway.calls import Assurance, Caller, JSONObject
from mcp_gateway.decisions import CALLER_GROUP
from mcp_gateway.errors import IdentityError
from mcp_gateway.identity.encoding import Malformed, decode_base64url, parse_object
from mcp_gateway.identity.rules import IdentityPolicy

MAX_TOKEN_BYTES = 16 * 1024
MAX_NAME_CHARACTERS = 255
"""Of a subject, an agent, a group, ...; OpenID Connect Core section 2 has the same limit for `sub`."""
MAX_GROUPS = 500
"""Sets beyond this are a Deny by policy; a token that carries them is refused before."""
MAX_ACTORS = 8
"""Length of a chain of `act` in `act`."""
STAMP = "%Y-%m-%dT%H:%M:%SZ"
MAX_SHOWN = 64
"""Characters of a value in an error."""
LAST_SECOND = 253_402_300_799
"""9999-12-31T23:59:59Z, the last time that `datetime` can hold."""
UNAMBIGUOUS_TYPE = "at+jwt"
"""The `typ` that only access tokens carry (RFC 9068). Any other that is configured, ID tokens may carry too."""

FORBIDDEN_HEADERS = ("b64", "crit", "enc", "jku", "jwk", "x5c", "x5u", "zip")
"""Keys that come with the token (CVE-2018-0114) or from where it says, extensions (CVE-2025-59420), encryption."""
ID_TOKEN_MARKS = ("nonce", "at_hash", "c_hash", "s_hash", "events")
"""Only ID tokens and logout tokens have these (OpenID Connect Core 3.1.3.6, 3.3.2.11, Back-Channel Logout 2.4)."""
USE_CLAIMS = {"typ": "Bearer", "token_use": "access"}
"""Claims by which Keycloak and Cognito tell access tokens from others, and what they must say if they are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedToken:
    """A token of the right form. Nobody has proved anything yet: its payload must not be looked at."""

    algorithm: str
    key_id: str
    type: str
    signed: bytes
    """Header and payload as they came: what the signature is over."""
    signature: bytes
    payload: bytes = field(repr=False)


def read_token(token: str | bytes, *, policy: IdentityPolicy) -> UnverifiedToken:
    """Steps 1 to 7: take a token apart without trusting any of it.

    Raises:
        IdentityError: with the first thing that is wrong.
    """
    # 1. and 2.
    raw, decoded = take_apart(token)
    # 3.
    header = _object(decoded[0], name="header")
    # 4.
    for name in FORBIDDEN_HEADERS:
        if name in header:
            raise IdentityError(f"token header has {name!r}, which is never accepted")
    # 5.
    kind = _token_type(header, allowed=policy.token_types)
    # 6.
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in policy.algorithms:
        raise IdentityError(f"token algorithm is {_shown(algorithm)}, expected one of {', '.join(policy.algorithms)}")
    # 7.
    key_id = header.get("kid")
    if not isinstance(key_id, str) or not _is_name(key_id):
        raise IdentityError(f"token key id is {_shown(key_id)}, expected a printable string")
    return UnverifiedToken(
        algorithm=algorithm,
        key_id=key_id,
        type=kind,
        signed=raw[: raw.rindex(b".")],
        signature=decoded[2],
        payload=decoded[1],
    )


def take_apart(token: str | bytes) -> tuple[bytes, list[bytes]]:
    """Steps 1 and 2: the token's bytes, and what its three parts hold. Raises `IdentityError` for what is no JWT at all."""
    # 1.
    raw = _ascii(token)
    # 2.
    parts = raw.split(b".")
    if len(parts) == 5:
        raise IdentityError("token is encrypted (five parts), expected a signed one (three parts)")
    if len(parts) != 3:
        raise IdentityError(f"token has {_count(len(parts), 'part')}, expected 3")
    names = ("header", "payload", "signature")
    return raw, [_decoded(part, name=name) for part, name in zip(parts, names, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedClaims:
    """What the payload of a verified token says, with what time can still change about it."""

    caller: Caller
    not_before: datetime
    """The later of `iat` and `nbf`."""


def read_claims(
    token: UnverifiedToken, *, policy: IdentityPolicy, now: datetime, assurance_of: Callable[[str], Assurance]
) -> VerifiedClaims:
    """Steps 8 to 17: turn the payload of a token whose signature has been verified into a caller.

    `assurance_of` says what a subject's proof is worth.

    Raises:
        IdentityError: with the first thing that is wrong.
    """
    # 8.
    claims = _object(token.payload, name="payload")
    # 9. Equality, not containment: a prefix or a list would let another issuer in (CVE-2024-53861).
    if claims.get("iss") != policy.issuer:
        raise IdentityError(f"token is issued by {_shown(claims.get('iss'))}, expected {policy.issuer!r}")
    # 10.
    _check_audience(claims.get("aud"), expected=policy.audience)
    # 11.
    issued_at, expires_at = _time(claims, "iat"), _time(claims, "exp")
    not_before = max(issued_at, _time(claims, "nbf")) if "nbf" in claims else issued_at
    check_times(not_before=not_before, expires_at=expires_at, leeway=policy.leeway, now=now)
    _check_lifetime(issued_at=issued_at, expires_at=expires_at, longest=policy.max_token_lifetime)
    # 12.
    client_id = _client(claims)
    if token.type != UNAMBIGUOUS_TYPE:
        _check_access_token(claims, client_id=client_id)
    # 13. A stolen token that needs a proof of possession must not work without one (RFC 9449 section 7.1).
    if "cnf" in claims:
        raise IdentityError("token is bound to a key of its holder ('cnf'), which cannot be checked here")
    # 14.
    subject = _name(claims, "sub")
    # 15.
    actor = _actor(claims["act"], issuer=policy.issuer) if "act" in claims else None
    agent = actor or client_id
    if agent is None:
        raise IdentityError("token names no agent: neither 'act' nor 'azp' nor 'client_id'")
    # 16.
    email, verified = _email(claims)
    groups = _groups(claims, claim=policy.groups_claim)
    scopes = _scopes(claims)
    # 17.
    token_id = _name(claims, "jti") if "jti" in claims else fingerprint(token)
    auth_time = _time(claims, "auth_time") if "auth_time" in claims else None
    if auth_time is not None and auth_time > now + policy.leeway:
        raise IdentityError(f"token says that its human signed in at {auth_time:{STAMP}}, which is in the future")
    caller = Caller(
        issuer=policy.issuer,
        subject=subject,
        actor=agent,
        client_id=client_id,
        delegated=actor is not None,
        email=email if verified else None,
        unverified_email=None if verified else email,
        groups=groups,
        scopes=scopes,
        token_id=token_id,
        issued_at=issued_at,
        expires_at=expires_at,
        auth_time=auth_time,
        assurance=assurance_of(subject),
    )
    return VerifiedClaims(caller=caller, not_before=not_before)


def fingerprint(token: UnverifiedToken) -> str:
    """The id of a token without `jti`: SHA-256 over what was signed, in hexadecimal.

    The signature is left out: an ECDSA signature has a second valid form that anybody can compute, and a revoked
    token must not come back under another id.
    """
    return hashlib.sha256(token.signed).hexdigest()


def check_times(*, not_before: datetime, expires_at: datetime, leeway: timedelta, now: datetime) -> None:
    """What time alone can change about a token: checked at first, on every later use, and after a call has waited."""
    # The leeway goes to `now`: beyond the last second there is no time to add it to.
    if now - leeway >= expires_at:
        raise IdentityError(f"token expired at {expires_at:{STAMP}}")
    if not_before > now + leeway:
        raise IdentityError(f"token is not valid before {not_before:{STAMP}}")


# Steps 1 to 5.


def _ascii(token: str | bytes) -> bytes:
    if not token:
        raise IdentityError("token is empty")
    if len(token) > MAX_TOKEN_BYTES:
        raise IdentityError(f"token is longer than {MAX_TOKEN_BYTES} bytes")
    if not token.isascii():
        raise IdentityError("token is not ASCII")
    return token.encode("ascii") if isinstance(token, str) else token


def _decoded(part: bytes, *, name: str) -> bytes:
    if not part:
        raise IdentityError(f"token {name} is empty")
    try:
        return decode_base64url(part)
    except Malformed as error:
        raise IdentityError(f"token {name} {error}") from None


def _object(text: bytes, *, name: str) -> JSONObject:
    try:
        return parse_object(text)
    except Malformed as error:
        raise IdentityError(f"token {name} {error}") from None


def _token_type(header: JSONObject, *, allowed: tuple[str, ...]) -> str:
    kind = header.get("typ")
    # RFC 9068 section 4 has both spellings accepted, RFC 7515 section 4.1.9 says why there are two.
    short = kind.removeprefix("application/") if isinstance(kind, str) else None
    if short is None or short not in {name.removeprefix("application/") for name in allowed}:
        raise IdentityError(f"token type is {_shown(kind)}, expected {' or '.join(map(repr, allowed))}")
    return short


# Steps 10 to 17.


def _check_audience(audience: object, *, expected: str) -> None:
    match audience:
        case str():
            found = [audience]
        case list() if audience and all(isinstance(item, str) for item in audience):
            found = audience
        case _:
            raise IdentityError(f"token audience is {_shown(audience)}, expected a string or a list of strings")
    if expected not in found:
        raise IdentityError(f"token is meant for {_shown(found[0])}, expected {expected!r}")


def _time(claims: JSONObject, name: str) -> datetime:
    """A NumericDate (RFC 7519 section 2) as a whole number of seconds. `True` is a number to Python, not here."""
    value = claims.get(name)
    if value is None:
        raise IdentityError(f"token has no {name!r}")
    if isinstance(value, bool) or not isinstance(value, int):
        raise IdentityError(f"token {name!r} is {_shown(value)}, expected a whole number of seconds")
    if not 0 < value <= LAST_SECOND:
        raise IdentityError(f"token {name!r} is no time: {value}")
    return datetime.fromtimestamp(value, UTC)


def _check_lifetime(*, issued_at: datetime, expires_at: datetime, longest: timedelta) -> None:
    lifetime = expires_at - issued_at
    if lifetime <= timedelta(0):
        raise IdentityError("token expires before it is issued")
    if lifetime > longest:
        raise IdentityError(
            f"token lives for {lifetime.total_seconds():.0f} s, at most {longest.total_seconds():.0f} s are allowed"
        )


def _client(claims: JSONObject) -> str | None:
    """The OAuth client that the token was issued to: `client_id` (RFC 9068), `azp` (OpenID Connect), or both alike."""
    named = [_name(claims, name) for name in ("azp", "client_id") if name in claims]
    if len(set(named)) > 1:
        raise IdentityError(f"token names two clients: {_shown(named[0])} as 'azp', {_shown(named[1])} as 'client_id'")
    return named[0] if named else None


def _check_access_token(claims: JSONObject, *, client_id: str | None) -> None:
    marks = [name for name in ID_TOKEN_MARKS if name in claims]
    if marks:
        raise IdentityError(f"token has {marks[0]!r}, so it is no access token")
    for name, expected in USE_CLAIMS.items():
        if name in claims and claims[name] != expected:
            raise IdentityError(f"token {name!r} is {_shown(claims[name])}, expected {expected!r}")
    if client_id is None:
        raise IdentityError("token names no client: neither 'azp' nor 'client_id'")


def _actor(act: object, *, issuer: str) -> str:
    """The outermost `act.sub`: only the current actor counts (RFC 8693 section 4.1); the chain must be well formed."""
    chain: list[str] = []
    while True:
        if not isinstance(act, dict):
            raise IdentityError(f"token 'act' is {_shown(act)}, expected an object")
        # Another issuer's agent may have the name of one of ours.
        if act.get("iss", issuer) != issuer:
            raise IdentityError(f"token 'act' is of the issuer {_shown(act['iss'])}, expected {issuer!r}")
        chain.append(_name(act, "sub", where="act.sub"))
        if len(chain) > MAX_ACTORS:
            raise IdentityError(f"token has a chain of more than {MAX_ACTORS} actors")
        if "act" not in act:
            return chain[0]
        act = act["act"]


def _email(claims: JSONObject) -> tuple[str | None, bool]:
    """The e-mail address and whether it counts: one that the issuer says nobody has verified the human chose freely."""
    if "email" not in claims:
        return None, True
    return _name(claims, "email"), claims.get("email_verified", True) is True


def _groups(claims: JSONObject, *, claim: str) -> frozenset[str]:
    """The groups, less the reserved one: a token cannot confirm on behalf of its own caller."""
    # Entra and others leave out a long list and say where to ask. No groups would mean: no forbid on a group holds.
    elsewhere = claims.get("_claim_names")
    if isinstance(elsewhere, dict) and claim in elsewhere:
        raise IdentityError(f"token leaves out its {claim!r}: there are too many for it")
    groups = _names(claims.get(claim, []), where=claim)
    if len(groups) > MAX_GROUPS:
        raise IdentityError(f"token has {len(groups)} groups, at most {MAX_GROUPS} are accepted")
    return groups - {CALLER_GROUP}


def _scopes(claims: JSONObject) -> frozenset[str]:
    """`scope` (RFC 9068 section 2.2.3), else `scp`, which some issuers write as a list."""
    name = "scope" if "scope" in claims else "scp"
    value = claims.get(name, "")
    if isinstance(value, str):
        value = value.split(" ") if value else []
    elif name == "scope":
        raise IdentityError(f"token 'scope' is {_shown(value)}, expected a string")
    scopes = _names(value, where=name)
    if len(scopes) > MAX_GROUPS:
        raise IdentityError(f"token has {len(scopes)} scopes, at most {MAX_GROUPS} are accepted")
    return scopes


def _names(value: object, *, where: str) -> frozenset[str]:
    if not isinstance(value, list):
        raise IdentityError(f"token {where!r} is {_shown(value)}, expected a list of strings")
    for item in value:
        if not isinstance(item, str) or not _is_name(item):
            raise IdentityError(f"token {where!r} has {_shown(item)}, expected printable strings")
    return frozenset(value)


def _name(claims: JSONObject, name: str, *, where: str = "") -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not _is_name(value):
        raise IdentityError(f"token {where or name!r} is {_shown(value)}, expected a printable string")
    return value


def _is_name(value: str) -> bool:
    """Whether a string can stand for somebody: not empty, nothing invisible, no space at its ends.

    Not printable are control and bidirectional characters, lone surrogates, and every space but U+0020: with them
    two names could look alike to an approver, or a name could break out of a line of a log.
    """
    return 0 < len(value) <= MAX_NAME_CHARACTERS and value.isprintable() and value.strip() == value


def _shown(value: Any) -> str:
    """What was found, for the audit row: short, on one line, never a whole structure."""
    match value:
        case None:
            return "missing"
        case str():
            return ascii(value if len(value) <= MAX_SHOWN else value[:MAX_SHOWN] + "...")
        case bool() | int() | float():
            return f"{value!r}"
        case list():
            return "a list"
        case _:
            return "an object"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
