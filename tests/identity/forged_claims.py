"""Attacks on what a truly signed token says: an issuer that is careless, hostile, or made for somebody else.

Data for `test_claims.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mcp_gateway.identity.rules import IdentityPolicy
from tests.identity.forging import (
    ABSENT,
    AUDIENCE,
    CLAIMS,
    ISSUER,
    JWT_POLICY,
    POLICY,
    SECOND,
    Attack,
    claims,
    good,
    header,
    with_member,
)
from tests.peers.issuer import as_json, ec_signer

INVISIBLE = {
    "a line end": "da\nna",
    "a carriage return": "dana\r",
    "a NUL": "dana\0",
    "a tab": "da\tna",
    "an escape sequence": "\x1b[31mdana",
    "a delete": "dana\x7f",
    "a C1 control": "dana\x9b",
    "an override of direction (CVE-2021-42574)": "dana\u202etoor",
    "an isolate": "\u2066dana\u2069",
    "a zero width space": "da\u200bna",
    "a zero width joiner": "da\u200dna",
    "a byte order mark": "\ufeffdana",
    "a soft hyphen": "da\u00adna",
    "a line separator": "dana\u2028root",
    "a tag character": "dana\U000e0061",
    "a lone surrogate": "dana\ud800",
    "a private character": "dana\ue000",
    "a no-break space": "dana\u00a0",
    "an ideographic space": "\u3000dana",
    "a space before": " dana",
    "a space after": "dana ",
    "only a space": " ",
    "nothing": "",
    "too much": "d" * 256,
}
NOT_STRINGS: dict[str, tuple[Any, str]] = {
    "missing": (ABSENT, "missing"),
    "null": (None, "missing"),
    "a number": (1, "1"),
    "zero": (0, "0"),
    "a float": (1.5, "1.5"),
    "true": (True, "True"),
    "a list": (["dana"], "a list"),
    "an object": ({"sub": "dana"}, "an object"),
}


def one(name: str, value: Any) -> dict[str, Any]:
    """One changed claim whose name is computed."""
    return {name: value}


def shown(value: str) -> str:
    return ascii(value if len(value) <= 64 else value[:64] + "...")


def said(name: str, cause: str, *, policy: IdentityPolicy = POLICY, **changes: Any) -> Attack:
    """A truly signed token with these claims."""
    kind = "JWT" if policy is JWT_POLICY else "at+jwt"
    signer = ec_signer()
    return Attack(
        name=name,
        token=lambda: signer.token(header(signer, typ=kind), claims(**changes)),
        cause=cause,
        policy=policy,
    )


def raw(name: str, payload: bytes, cause: str) -> Attack:
    """A truly signed token with these bytes as its payload."""
    return Attack(
        name=f"payload: {name}",
        token=lambda: ec_signer().token(header(ec_signer()), payload),
        cause=f"token payload {cause}",
    )


def payloads() -> Iterator[Attack]:
    plain = as_json(CLAIMS)
    yield raw("not JSON", b"dana", "is not JSON")
    yield raw("a token in a token", good().encode(), "is not JSON")
    yield raw("a list", b"[" + plain + b"]", "is not a JSON object")
    yield raw("null", b"null", "is not a JSON object")
    yield raw("a byte order mark", b"\xef\xbb\xbf" + plain, "is not JSON")
    yield raw("UTF-16", plain.decode().encode("utf-16"), "is not UTF-8")
    yield raw("UTF-32", plain.decode().encode("utf-32"), "is not UTF-8")
    yield raw("UTF-7", b"+AHs-", "is not JSON")
    yield raw("a surrogate in UTF-8", plain.replace(b"dana", b"\xed\xa0\x80"), "is not UTF-8")
    yield raw("a second object", plain + plain, "is not JSON")
    yield raw("compressed", b"x\x9c\x03\x00\x00\x00\x00\x01", "is not UTF-8")
    for name in ("sub", "iss", "aud", "exp", "groups"):
        yield raw(f"{name} twice", with_member(f'"{name}":"x"'), "has a member twice")
    yield raw("sub twice, once escaped", with_member(r'"s\u0075b":"root"'), "has a member twice")
    yield raw("a member twice deep inside", with_member('"x":{"y":[{"z":1,"z":1}]}'), "has a member twice")
    yield raw("17 levels", with_member('"x":' + "[" * 16 + "]" * 16), "is nested deeper than 16 levels")
    yield raw("5000 levels", with_member('"x":' + '{"a":' * 1500 + "1" + "}" * 1500), "is nested deeper than 16 levels")
    yield raw("NaN", with_member('"x":NaN'), "has NaN, which is not JSON")
    yield raw("Infinity", with_member('"x":[Infinity]'), "has Infinity, which is not JSON")
    yield raw("19 digits", with_member('"x":1000000000000000000'), "has an integer of more than 18 digits")
    yield raw(
        "10000 digits (CVE-2020-10735)", with_member('"x":-' + "9" * 10_000), "has an integer of more than 18 digits"
    )
    yield raw("a leading zero", with_member('"x":01'), "is not JSON")
    yield raw("hexadecimal", with_member('"x":0x10'), "is not JSON")


def issuers() -> Iterator[Attack]:
    others: dict[str, tuple[Any, str]] = {name: NOT_STRINGS[name] for name in NOT_STRINGS} | {
        "a list that contains it (CVE-2024-53861)": ([ISSUER], "a list"),
    }
    for value in (
        "https://evil.example.com",
        "https://idp.example.com",
        ISSUER + "/",
        ISSUER + "2",
        ISSUER[:-1],
        ISSUER.upper(),
        ISSUER.replace("https", "http"),
        ISSUER + " ",
        "idp.example.com/realms/corp",
        "https://idp.example.com:443/realms/corp",
        "https://idp.example.com@evil.example.com/realms/corp",
        "https://idp.\u0435xample.com/realms/corp",
        "local",
    ):
        others[value] = (value, ascii(value))
    for name, (value, found) in others.items():
        yield said(f"iss: {name}", f"token is issued by {found}, expected {ISSUER!r}", iss=value)


def audiences() -> Iterator[Attack]:
    no_type = "expected a string or a list of strings"
    odd: dict[str, tuple[Any, str]] = {
        "missing": (ABSENT, "missing"),
        "null": (None, "missing"),
        "an empty list": ([], "a list"),
        "a number": (1, "1"),
        "true": (True, "True"),
        "an object": ({AUDIENCE: True}, "an object"),
        "a list in a list": ([[AUDIENCE]], "a list"),
        "a list with a number": ([AUDIENCE, 1], "a list"),
        "a list with null": ([None, AUDIENCE], "a list"),
    }
    for name, (value, found) in odd.items():
        yield said(f"aud: {name}", f"token audience is {found}, {no_type}", aud=value)
    for value in (
        "https://other.example.com",
        AUDIENCE + "/",
        AUDIENCE + "/mcp",
        AUDIENCE[:-1],
        AUDIENCE.upper(),
        f"{AUDIENCE} https://other.example.com",
        "*",
        "",
        "account",
    ):
        yield said(f"aud: {value!r}", f"token is meant for {value!r}, expected {AUDIENCE!r}", aud=value)
    yield said(
        "aud: a list of others",
        f"token is meant for 'https://a.example.com', expected {AUDIENCE!r}",
        aud=["https://a.example.com", AUDIENCE + "/"],
    )


def times() -> Iterator[Attack]:
    whole = "expected a whole number of seconds"
    odd: dict[str, tuple[Any, str]] = {
        "a string": (str(SECOND + 60), f"'{SECOND + 60}'"),
        "a float": (SECOND + 60.5, f"{SECOND + 60.5}"),
        "a whole float": (float(SECOND), f"{float(SECOND)}"),
        "true": (True, "True"),
        "false": (False, "False"),
        "a list": ([SECOND], "a list"),
        "an object": ({"seconds": SECOND}, "an object"),
        "a date": ("2099-01-01T00:00:00Z", "'2099-01-01T00:00:00Z'"),
    }
    for claim in ("exp", "iat", "nbf", "auth_time"):
        for name, (value, found) in odd.items():
            yield said(f"{claim}: {name}", f"token {claim!r} is {found}, {whole}", **one(claim, value))
        for value in (0, -1, -SECOND, 253_402_300_800, 10**17):
            yield said(f"{claim}: {value}", f"token {claim!r} is no time: {value}", **one(claim, value))
        yield said(f"{claim}: null", f"token has no {claim!r}", **one(claim, None))
    for claim in ("exp", "iat"):
        yield said(f"{claim}: missing", f"token has no {claim!r}", **one(claim, ABSENT))
    yield Attack(
        name="exp: beyond every number",
        token=lambda: ec_signer().token(
            header(ec_signer()), as_json(CLAIMS).replace(str(SECOND + 290).encode(), b"1e999")
        ),
        cause=f"token 'exp' is inf, {whole}",
    )
    yield said("exp: over by the leeway", "token expired at 2026-11-03T11:59:30Z", iat=SECOND - 90, exp=SECOND - 30)
    yield said("exp: over by a day", "token expired at 2026-11-02T12:00:00Z", iat=SECOND - 86_500, exp=SECOND - 86_400)
    yield said("iat: in the future", "token is not valid before 2026-11-03T12:00:31Z", iat=SECOND + 31, exp=SECOND + 90)
    yield said(
        "iat: next year",
        "token is not valid before 2027-11-03T12:00:00Z",
        iat=SECOND + 31_536_000,
        exp=SECOND + 31_536_060,
    )
    yield said("nbf: in the future", "token is not valid before 2026-11-03T12:00:31Z", nbf=SECOND + 31)
    yield said("nbf: after exp", "token is not valid before 2026-11-03T13:00:00Z", nbf=SECOND + 3600)
    yield said(
        "auth_time: in the future",
        "token says that its human signed in at 2026-11-03T12:00:31Z, which is in the future",
        auth_time=SECOND + 31,
    )
    longest = "at most 3600 s are allowed"
    yield said("lifetime: a second too long", f"token lives for 3601 s, {longest}", exp=SECOND - 10 + 3601)
    yield said("lifetime: ten years", f"token lives for 315360000 s, {longest}", exp=SECOND - 10 + 315_360_000)
    yield said(
        "lifetime: for ever", f"token lives for {253_402_300_799 - SECOND + 10} s, {longest}", exp=253_402_300_799
    )
    yield said("lifetime: since 1970", f"token lives for {SECOND + 289} s, {longest}", iat=1)
    yield said("lifetime: none", "token expires before it is issued", iat=SECOND + 10, exp=SECOND + 10)
    yield said("lifetime: backwards", "token expires before it is issued", iat=SECOND + 20, exp=SECOND + 10)


def subjects() -> Iterator[Attack]:
    for name, value in INVISIBLE.items():
        yield said(f"sub: {name}", f"token 'sub' is {shown(value)}, expected a printable string", sub=value)
    for name, (odd, found) in NOT_STRINGS.items():
        yield said(f"sub: {name}", f"token 'sub' is {found}, expected a printable string", sub=odd)


def agents() -> Iterator[Attack]:
    nobody = "token names no agent: neither 'act' nor 'azp' nor 'client_id'"
    yield said("agent: none", nobody, client_id=ABSENT)
    for name in ("azp", "client_id"):
        for kind in ("a number", "true", "a list", "an object", "null"):
            odd, found = NOT_STRINGS[kind]
            yield said(f"{name}: {kind}", f"token {name!r} is {found}, expected a printable string", **one(name, odd))
        yield said(f"{name}: empty", f"token {name!r} is '', expected a printable string", **one(name, ""))
    yield said(
        "agent: two clients",
        "token names two clients: 'approver' as 'azp', 'claude' as 'client_id'",
        azp="approver",
    )
    for kind, found in {"a string": "'claude'", "null": "missing", "a list": "a list", "true": "True"}.items():
        value = {"a string": "claude", "null": None, "a list": [{"sub": "claude"}], "true": True}[kind]
        yield said(f"act: {kind}", f"token 'act' is {found}, expected an object", act=value)
    no_name = "expected a printable string"
    yield said("act: empty", f"token 'act.sub' is missing, {no_name}", act={})
    yield said("act: a client only", f"token 'act.sub' is missing, {no_name}", act={"client_id": "claude"})
    yield said("act: a list of names", f"token 'act.sub' is a list, {no_name}", act={"sub": ["claude"]})
    yield said("act: no name", f"token 'act.sub' is '', {no_name}", act={"sub": ""})
    yield said("act: invisible", f"token 'act.sub' is 'a\\u202eb', {no_name}", act={"sub": "a\u202eb"})
    yield said(
        "act: of another issuer",
        f"token 'act' is of the issuer 'https://evil.example.com', expected {ISSUER!r}",
        act={"sub": "claude", "iss": "https://evil.example.com"},
    )
    yield said("act: a broken chain", "token 'act' is 'x', expected an object", act={"sub": "a", "act": "x"})
    yield said("act: an empty end", "token 'act' is missing, expected an object", act={"sub": "a", "act": None})
    yield said("act: a nameless end", f"token 'act.sub' is missing, {no_name}", act={"sub": "a", "act": {}})
    chain: dict[str, Any] = {"sub": "a1"}
    for number in range(2, 10):
        chain = {"sub": f"a{number}", "act": chain}
    yield said("act: nine actors", "token has a chain of more than 8 actors", act=chain)


def properties() -> Iterator[Attack]:
    printable = "expected printable strings"
    yield said("email: null", "token 'email' is missing, expected a printable string", email=None)
    yield said("email: a list", "token 'email' is a list, expected a printable string", email=["d@example.com"])
    yield said(
        "email: two lines",
        "token 'email' is 'd@example.com\\nx', expected a printable string",
        email="d@example.com\nx",
    )
    for claim in ("groups", "scp"):
        changes: dict[str, Any] = {"scope": ABSENT} if claim == "scp" else {}
        yield said(
            f"{claim}: an object",
            f"token {claim!r} is an object, expected a list of strings",
            **one(claim, {"dba": True}),
            **changes,
        )
        yield said(
            f"{claim}: a number", f"token {claim!r} is 1, expected a list of strings", **one(claim, 1), **changes
        )
        yield said(
            f"{claim}: null", f"token {claim!r} is missing, expected a list of strings", **one(claim, None), **changes
        )
        yield said(
            f"{claim}: a number inside", f"token {claim!r} has 7, {printable}", **one(claim, ["dba", 7]), **changes
        )
        yield said(
            f"{claim}: null inside", f"token {claim!r} has missing, {printable}", **one(claim, [None]), **changes
        )
        yield said(
            f"{claim}: a list inside", f"token {claim!r} has a list, {printable}", **one(claim, [["dba"]]), **changes
        )
        yield said(f"{claim}: nothing inside", f"token {claim!r} has '', {printable}", **one(claim, [""]), **changes)
        yield said(
            f"{claim}: invisible",
            f"token {claim!r} has 'dba\\u200b', {printable}",
            **one(claim, ["dba\u200b"]),
            **changes,
        )
        many = [f"g{number}" for number in range(501)]
        kind = "groups" if claim == "groups" else "scopes"
        yield said(f"{claim}: 501", f"token has 501 {kind}, at most 500 are accepted", **one(claim, many), **changes)
    yield said("groups: one string", "token 'groups' is 'dba', expected a list of strings", groups="dba")
    yield said(
        "groups: left out for their number",
        "token leaves out its 'groups': there are too many for it",
        groups=ABSENT,
        _claim_names={"groups": "src1"},
        _claim_sources={"src1": {"endpoint": "https://graph.example.com"}},
    )
    for name in ("a list", "a number", "an object", "true", "null"):
        odd, found = NOT_STRINGS[name]
        yield said(f"scope: {name}", f"token 'scope' is {found}, expected a string", scope=odd)
    yield said("scope: two spaces", f"token 'scope' has '', {printable}", scope="db  ssh")
    yield said("scope: a line end", f"token 'scope' has 'db\\nadmin', {printable}", scope="db\nadmin")
    for name, value, found in (
        ("a number", 7, "7"),
        ("empty", "", "''"),
        ("a list", ["t"], "a list"),
        ("two lines", "a\nb", "'a\\nb'"),
    ):
        yield said(f"jti: {name}", f"token 'jti' is {found}, expected a printable string", jti=value)
    bound = "token is bound to a key of its holder ('cnf'), which cannot be checked here"
    yield said("cnf: a DPoP key", bound, cnf={"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"})
    yield said("cnf: a certificate", bound, cnf={"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"})


def identity_tokens() -> Iterator[Attack]:
    """Where `JWT` is configured, ID tokens and others come with the right type."""
    for mark in ("nonce", "at_hash", "c_hash", "s_hash", "events"):
        yield said(f"JWT: {mark}", f"token has {mark!r}, so it is no access token", policy=JWT_POLICY, **one(mark, "x"))
    yield said("JWT: a nonce of null", "token has 'nonce', so it is no access token", policy=JWT_POLICY, nonce=None)
    for kind in ("ID", "Refresh", "Offline", "Logout", "DPoP", ""):
        yield said(f"JWT: typ {kind!r}", f"token 'typ' is {kind!r}, expected 'Bearer'", policy=JWT_POLICY, typ=kind)
    yield said("JWT: for identity", "token 'token_use' is 'id', expected 'access'", policy=JWT_POLICY, token_use="id")
    no_client = "token names no client: neither 'azp' nor 'client_id'"
    yield said("JWT: no client", no_client, policy=JWT_POLICY, client_id=ABSENT)
    yield said("JWT: an actor but no client", no_client, policy=JWT_POLICY, client_id=ABSENT, act={"sub": "claude"})


FORGED_CLAIMS: list[Attack] = [
    *payloads(),
    *issuers(),
    *audiences(),
    *times(),
    *subjects(),
    *agents(),
    *properties(),
    *identity_tokens(),
]
