"""Attacks on the form of a token: its bytes, its header and what the header names. Data for `test_claims.py`."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from functools import partial

from cryptography.hazmat.primitives import serialization

from mcp_gateway.identity.claims import MAX_TOKEN_BYTES
from tests.identity.forging import ABSENT, CLAIMS, Attack, claims, good, header, with_part
from tests.peers.issuer import as_json, b64, ec_signer, rsa_signer

ALLOWED = "expected one of RS256, PS256, ES256, EdDSA"


def with_header(**changes: object) -> Callable[[], str]:
    """A good token with a changed header, truly signed."""
    return lambda: ec_signer().token(header(ec_signer(), **changes), claims())


def with_raw_header(raw: bytes) -> Callable[[], str]:
    """A token whose header is these bytes, truly signed."""
    return lambda: ec_signer().token(raw, claims())


def keyed_hash(secret: Callable[[], bytes], *, name: str = "HS256") -> Callable[[], str]:
    """A token under an HMAC whose secret is something public (CVE-2016-10555)."""

    def token() -> str:
        signed = f"{b64(as_json(header(rsa_signer(), alg=name)))}.{b64(as_json(claims()))}"
        digest = hmac.new(secret(), signed.encode(), getattr(hashlib, f"sha{name[2:]}")).digest()
        return f"{signed}.{b64(digest)}"

    return token


def public_bytes(encoding: serialization.Encoding) -> Callable[[], bytes]:
    return lambda: (
        rsa_signer().private.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def unused_bits(part: str) -> str:
    """The same bytes in another spelling: the last character with an unused bit set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert len(part) % 4, "no unused bits in this part"
    return part[:-1] + alphabet[alphabet.index(part[-1]) ^ 1]


def pieces() -> Iterator[Attack]:
    """Sizes, parts and base64url."""

    def refused(name: str, token: Callable[[], str], cause: str) -> Attack:
        return Attack(name=name, token=token, cause=cause)

    not_base64 = "is not base64url without padding"
    yield refused("empty", lambda: "", "token is empty")
    yield refused("one byte too long", lambda: "a" * (MAX_TOKEN_BYTES + 1), "token is longer than 16384 bytes")
    yield refused("a megabyte of dots", lambda: "." * 1_000_000, "token is longer than 16384 bytes")
    yield refused("not ascii", lambda: good() + "é", "token is not ASCII")
    yield refused("a lone surrogate", lambda: good() + "\ud800", "token is not ASCII")
    yield refused("fullwidth dots", lambda: good().replace(".", "\uff0e"), "token is not ASCII")
    yield refused("one part", lambda: "token", "token has 1 part, expected 3")
    yield refused("two parts", lambda: good().rpartition(".")[0], "token has 2 parts, expected 3")
    yield refused("four parts", lambda: good() + ".e30", "token has 4 parts, expected 3")
    yield refused("many parts", lambda: "." * 1000, "token has 1001 parts, expected 3")
    encrypted = "token is encrypted (five parts), expected a signed one (three parts)"
    yield refused("an encrypted token", lambda: "e30.e30.e30.e30.e30", encrypted)
    yield refused("an encrypted token by password", encrypted_by_password, encrypted)
    yield refused("only dots", lambda: "..", "token header is empty")
    yield refused("no header", with_part(0, lambda _: ""), "token header is empty")
    yield refused("a detached payload", with_part(1, lambda _: ""), "token payload is empty")
    yield refused("no signature", with_part(2, lambda _: ""), "token signature is empty")
    yield refused("flattened JSON form", lambda: json_form(flat=True), "token has 1 part, expected 3")
    yield refused("general JSON form", lambda: json_form(flat=False), "token has 1 part, expected 3")
    yield refused("with its scheme", lambda: "Bearer " + good(), f"token header {not_base64}")
    yield refused("a space before", lambda: " " + good(), f"token header {not_base64}")
    yield refused("a line end after", lambda: good() + "\n", f"token signature {not_base64}")
    yield refused("a NUL after", lambda: good() + "\0", f"token signature {not_base64}")
    yield refused("a second token after a comma", lambda: f"{good()},x", f"token signature {not_base64}")
    yield refused("quoted", lambda: f'"{good()}"', f"token header {not_base64}")
    yield refused("padded header", with_part(0, lambda part: part + "="), f"token header {not_base64}")
    yield refused("padded payload", with_part(1, lambda part: part + "=="), f"token payload {not_base64}")
    yield refused("padded signature", with_part(2, lambda part: part + "=="), f"token signature {not_base64}")
    yield refused("the other alphabet", with_part(2, lambda part: "+/" + part[2:]), f"token signature {not_base64}")
    yield refused("impossible length", with_part(2, lambda _: "a" * 85), f"token signature {not_base64}")
    yield refused(
        "a line break inside", with_part(1, lambda part: part[:8] + "\r\n" + part[8:]), f"token payload {not_base64}"
    )
    yield refused("a tab inside", with_part(1, lambda part: part[:8] + "\t" + part[8:]), f"token payload {not_base64}")
    yield refused("percent encoded", with_part(0, lambda part: "%65" + part[1:]), f"token header {not_base64}")
    yield refused(
        "unused bits in the signature", with_part(2, unused_bits), "token signature is not in canonical base64url"
    )
    yield refused("unused bits in the header", padded_to_odd_header, "token header is not in canonical base64url")


def padded_to_odd_header() -> str:
    # One more space of JSON makes the header's length leave unused bits.
    for spaces in range(3):
        raw = as_json(header(ec_signer()))[:-1] + b" " * spaces + b"}"
        if len(raw) % 3:
            parts = ec_signer().token(raw, claims()).split(".")
            return ".".join([unused_bits(parts[0]), *parts[1:]])
    raise AssertionError


def encrypted_by_password() -> str:
    """CVE-2022-36083: an iteration count that keeps the reader busy for years."""
    p2c = {"alg": "PBES2-HS256+A128KW", "enc": "A128CBC-HS256", "p2s": "c2FsdA", "p2c": 2**31 - 1}
    return f"{b64(as_json(p2c))}.e30.e30.e30.e30"


def json_form(*, flat: bool) -> str:
    protected, payload, signature = good().split(".")
    one = {"protected": protected, "signature": signature}
    return json.dumps({"payload": payload} | (one if flat else {"signatures": [one]})).replace(".", "")


def headers() -> Iterator[Attack]:
    """The header as JSON, and members that nobody may bring."""

    def raw(name: str, text: bytes, cause: str) -> Attack:
        return Attack(name=f"header: {name}", token=with_raw_header(text), cause=f"token header {cause}")

    plain = as_json(header(ec_signer()))
    yield raw("not JSON", b"alg=ES256", "is not JSON")
    yield raw("single quotes", plain.replace(b'"', b"'"), "is not JSON")
    yield raw("a comment", plain[:-1] + b"/**/}", "is not JSON")
    yield raw("a comma at the end", plain[:-1] + b",}", "is not JSON")
    yield raw("two objects", plain + b"{}", "is not JSON")
    yield raw("something after it", plain + b"\0", "is not JSON")
    yield raw("a control character in a string", plain.replace(b"ec-1", b"ec\n1"), "is not JSON")
    yield raw("a byte order mark", b"\xef\xbb\xbf" + plain, "is not JSON")
    yield raw("UTF-16", plain.decode().encode("utf-16"), "is not UTF-8")
    yield raw("UTF-16 without a mark", plain.decode().encode("utf-16-le"), "is not JSON")
    yield raw("latin-1", plain.replace(b"ec-1", b"\xe9c-1"), "is not UTF-8")
    yield raw("an overlong character", plain.replace(b"ec-1", b"\xc0\xae"), "is not UTF-8")
    yield raw("a list", b"[" + plain + b"]", "is not a JSON object")
    yield raw("a string", b'"ES256"', "is not a JSON object")
    yield raw("null", b"null", "is not a JSON object")
    yield raw("a number", b"1", "is not a JSON object")
    yield raw("alg twice", b'{"alg":"none",' + plain[1:], "has a member twice")
    yield raw("kid twice", plain[:-1] + b',"kid":"ed-1"}', "has a member twice")
    yield raw("typ twice, once escaped", plain[:-1] + rb',"\u0074yp":"JWT"}', "has a member twice")
    yield raw("a member twice inside", plain[:-1] + b',"x":[{"y":1,"y":2}]}', "has a member twice")
    yield raw("NaN", plain[:-1] + b',"x":NaN}', "has NaN, which is not JSON")
    yield raw("minus infinity", plain[:-1] + b',"x":-Infinity}', "has -Infinity, which is not JSON")
    yield raw(
        "a number of 5000 digits", plain[:-1] + b',"x":' + b"9" * 5000 + b"}", "has an integer of more than 18 digits"
    )
    yield raw("17 levels", plain[:-1] + b',"x":' + b"[" * 16 + b"]" * 16 + b"}", "is nested deeper than 16 levels")
    yield raw(
        "5000 levels", plain[:-1] + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}", "is nested deeper than 16 levels"
    )
    yield raw("2000 objects", b'{"x":' * 2000 + b"1" + b"}" * 2000, "is nested deeper than 16 levels")

    brought: dict[str, tuple[str, object]] = {
        "a key of its own (CVE-2018-0114)": ("jwk", ec_signer("stranger").jwk()),
        "an address for keys": ("jku", "https://evil.example/keys"),
        "an address for certificates": ("x5u", "https://evil.example/chain.pem"),
        "certificates": ("x5c", ["MIIB"]),
        "an extension that must be understood (CVE-2025-59420)": ("crit", ["exp"]),
        "an empty list of extensions": ("crit", []),
        "extensions as null": ("crit", None),
        "an unencoded payload": ("b64", False),
        "an encoded payload, said so": ("b64", True),
        "content encryption": ("enc", "A128GCM"),
        "compression": ("zip", "DEF"),
    }
    for name, (member, value) in brought.items():
        yield Attack(
            name=f"header: {name}",
            token=partial(brought_along, member, value),
            cause=f"token header has {member!r}, which is never accepted",
        )
    yield Attack(
        name="header: an unencoded payload that must be understood (RFC 7797)",
        token=with_header(b64=False, crit=["b64"]),
        cause="token header has 'b64', which is never accepted",
    )


def brought_along(member: str, value: object) -> str:
    """Signed by the key that the header brings, or would lead to."""
    return ec_signer("stranger").token(header(ec_signer()) | {member: value}, claims())


def types() -> Iterator[Attack]:
    """`typ`: an ID token, a logout token or a proof is not an access token."""
    kinds: dict[str, tuple[object, str]] = {
        "no type": (ABSENT, "missing"),
        "null": (None, "missing"),
        "an ID token": ("JWT", "'JWT'"),
        "in capitals": ("AT+JWT", "'AT+JWT'"),
        "half in capitals": ("at+JWT", "'at+JWT'"),
        "the long spelling of JWT": ("application/jwt", "'application/jwt'"),
        "the prefix twice": ("application/application/at+jwt", "'application/application/at+jwt'"),
        "a space before": (" at+jwt", "' at+jwt'"),
        "a space after": ("at+jwt ", "'at+jwt '"),
        "a NUL after": ("at+jwt\0", "'at+jwt\\x00'"),
        "a parameter": ("at+jwt; charset=utf-8", "'at+jwt; charset=utf-8'"),
        "a proof of possession": ("dpop+jwt", "'dpop+jwt'"),
        "a logout token": ("logout+jwt", "'logout+jwt'"),
        "a security event": ("secevent+jwt", "'secevent+jwt'"),
        "an authorization request": ("oauth-authz-req+jwt", "'oauth-authz-req+jwt'"),
        "a client's assertion": ("client-authentication+jwt", "'client-authentication+jwt'"),
        "empty": ("", "''"),
        "a list": (["at+jwt"], "a list"),
        "an object": ({"at+jwt": 1}, "an object"),
        "a number": (1, "1"),
        "true": (True, "True"),
        "a look-alike": ("\u0430t+jwt", "'\\u0430t+jwt'"),
    }
    for name, (kind, shown) in kinds.items():
        yield Attack(
            name=f"typ: {name}", token=with_header(typ=kind), cause=f"token type is {shown}, expected 'at+jwt'"
        )


def algorithms() -> Iterator[Attack]:
    """`alg`: none, HMAC over public keys, and names that only look allowed."""
    names: dict[str, tuple[object, str]] = {
        "missing": (ABSENT, "missing"),
        "null": (None, "missing"),
        "empty": ("", "''"),
        "a list": (["ES256"], "a list"),
        "an object": ({}, "an object"),
        "a number": (256, "256"),
        "true": (True, "True"),
    }
    for spelling in (
        "none",
        "None",
        "NONE",
        "nOnE",
        "none ",
        "es256",
        "Es256",
        "ES256 ",
        " ES256",
        "ES256\0",
        "ES256K",
    ):
        names[repr(spelling)] = (spelling, ascii(spelling))
    for other in (
        "ES384",
        "ES512",
        "Ed25519",
        "Ed448",
        "RS384",
        "RS512",
        "PS384",
        "PS512",
        "RSA-OAEP",
        "dir",
        "A128KW",
    ):
        names[other] = (other, repr(other))
    for name, (value, shown) in names.items():
        yield Attack(name=f"alg: {name}", token=with_header(alg=value), cause=f"token algorithm is {shown}, {ALLOWED}")
    secrets: dict[str, Callable[[], bytes]] = {
        "the public key in PEM": public_bytes(serialization.Encoding.PEM),
        "the public key in DER": public_bytes(serialization.Encoding.DER),
        "the public key as JWK": lambda: as_json(rsa_signer().jwk()),
        "the modulus": lambda: bytes(rsa_signer().jwk()["n"], "ascii"),
        "nothing": lambda: b"",
        "the word secret": lambda: b"secret",
    }
    for name, secret in secrets.items():
        for algorithm in ("HS256", "HS512"):
            yield Attack(
                name=f"alg: {algorithm} keyed with {name}",
                token=keyed_hash(secret, name=algorithm),
                cause=f"token algorithm is {algorithm!r}, {ALLOWED}",
            )
    yield Attack(
        name="alg: really signed with RS384",
        token=lambda: rsa_signer().token(header(rsa_signer(), alg="RS384"), claims(), algorithm="RS384"),
        cause=f"token algorithm is 'RS384', {ALLOWED}",
    )
    yield Attack(
        name="alg: none, and the signature of another token",
        token=lambda: f"{b64(as_json({'alg': 'none', 'typ': 'at+jwt'}))}.{b64(as_json(CLAIMS))}.{good().split('.')[2]}",
        cause=f"token algorithm is 'none', {ALLOWED}",
    )


def key_ids() -> Iterator[Attack]:
    """`kid`: missing, unknown, or written for somebody who uses it as a path, a query or a command."""
    odd: dict[str, tuple[object, str]] = {
        "missing": (ABSENT, "missing"),
        "null": (None, "missing"),
        "empty": ("", "''"),
        "a number": (1, "1"),
        "a list": (["ec-1"], "a list"),
        "an object": ({"kid": "ec-1"}, "an object"),
        "a line end": ("ec-1\n", "'ec-1\\n'"),
        "a NUL": ("ec-1\0", "'ec-1\\x00'"),
        "a space after": ("ec-1 ", "'ec-1 '"),
        "an override of direction": ("\u202e1-ce", "'\\u202e1-ce'"),
        "an escape sequence": ("\x1b[2Jec-1", "'\\x1b[2Jec-1'"),
        "too long": ("k" * 256, f"'{'k' * 64}...'"),
    }
    for name, (value, shown) in odd.items():
        yield Attack(
            name=f"kid: {name}",
            token=with_header(kid=value),
            cause=f"token key id is {shown}, expected a printable string",
        )
    for value in (
        "EC-1",
        "ec-2",
        "../../../../dev/null",
        "/proc/sys/kernel/random/uuid",
        "' UNION SELECT 'secret",
        "|/usr/bin/id",
        "https://evil.example/keys",
        "__class__",
    ):
        yield Attack(
            name=f"kid: {value}",
            token=with_header(kid=value),
            cause=f"token key id {value!r} is none of the issuer's",
        )


FORGED_FORMS: list[Attack] = [
    *pieces(),
    *headers(),
    *types(),
    *algorithms(),
    *key_ids(),
]
