"""Attacks on the form of a token: its bytes, its header, its key and its signature. Data for `test_claims.py`."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from functools import partial

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from mcp_gateway.identity.claims import MAX_TOKEN_BYTES
from mcp_gateway.identity.encoding import decode_base64url
from tests.identity.forging import ABSENT, CLAIMS, Attack, claims, good, header
from tests.peers.issuer import Signer, as_json, b64, ec_signer, ed_signer, rsa_signer

ALLOWED = "expected one of RS256, PS256, ES256, EdDSA"
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493


def with_header(**changes: object) -> Callable[[], str]:
    """A good token with a changed header, truly signed."""
    return lambda: ec_signer().token(header(ec_signer(), **changes), claims())


def with_raw_header(raw: bytes) -> Callable[[], str]:
    """A token whose header is these bytes, truly signed."""
    return lambda: ec_signer().token(raw, claims())


def with_part(position: int, change: Callable[[str], str]) -> Callable[[], str]:
    """A good token with one part of it changed as text."""

    def token() -> str:
        parts = good().split(".")
        parts[position] = change(parts[position])
        return ".".join(parts)

    return token


def with_signature(signature: Callable[[bytes], bytes], *, signer: Signer | None = None) -> Callable[[], str]:
    """A good token with another signature, made from the right one."""

    def token() -> str:
        signed, _, right = good(signer).rpartition(".")
        return f"{signed}.{b64(signature(decode_base64url(right.encode())))}"

    return token


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
    yield raw("5000 open levels", b'{"x":' * 2000, "is nested deeper than 16 levels")

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


def fits() -> Iterator[Attack]:
    """An algorithm with another type's key: the token does not choose how a key is used."""
    described = {
        "rsa-1": "RSA, for PS256 or RS256",
        "ec-1": "EC P-256, for ES256",
        "ed-1": "OKP Ed25519, for EdDSA",
        "rsa-rs256": "RSA, for RS256",
    }
    pairs = {
        "RS256": ("ec-1", "ed-1"),
        "PS256": ("ec-1", "ed-1", "rsa-rs256"),
        "ES256": ("rsa-1", "ed-1"),
        "EdDSA": ("rsa-1", "ec-1"),
    }
    makers = {"RS256": rsa_signer, "PS256": rsa_signer, "ES256": ec_signer, "EdDSA": ed_signer}
    for algorithm, key_ids_of_others in pairs.items():
        for key_id in key_ids_of_others:
            yield Attack(
                name=f"key: {algorithm} with {key_id}",
                token=partial(misused, makers[algorithm], algorithm, key_id),
                cause=f"token algorithm {algorithm!r} does not fit the key {key_id!r} ({described[key_id]})",
            )


def misused(maker: Callable[[], Signer], algorithm: str, key_id: str) -> str:
    return maker().token({"alg": algorithm, "kid": key_id, "typ": "at+jwt"}, claims(), algorithm=algorithm)


def signatures() -> Iterator[Attack]:
    """Signatures that are none."""

    def forged(name: str, token: Callable[[], str], *, key_id: str = "ec-1") -> Attack:
        return Attack(name=f"signature: {name}", token=token, cause=f"token signature is not by the key {key_id!r}")

    def misfit(name: str, token: Callable[[], str], *, size: int, expected: int = 64) -> Attack:
        return Attack(
            name=f"signature: {name}",
            token=token,
            cause=f"token signature has {size} bytes, expected {expected}",
        )

    order = P256_ORDER.to_bytes(32, "big")
    yield forged("r = s = 0 (CVE-2022-21449)", with_signature(lambda _: bytes(64)))
    yield forged("r = 0", with_signature(lambda right: bytes(32) + right[32:]))
    yield forged("s = 0", with_signature(lambda right: right[:32] + bytes(32)))
    yield forged("r = s = the order", with_signature(lambda _: order + order))
    yield forged("r = s = 1", with_signature(lambda _: (bytes(31) + b"\1") * 2))
    yield forged("all ones", with_signature(lambda _: b"\xff" * 64))
    yield forged("r and s exchanged", with_signature(lambda right: right[32:] + right[:32]))
    yield misfit("one byte short", with_signature(lambda right: right[:-1]), size=63)
    yield misfit("one byte more", with_signature(lambda right: right + b"\0"), size=65)
    yield misfit("twice", with_signature(lambda right: right * 2), size=128)
    yield misfit("in DER", with_signature(lambda _: der_of_fixed_size()), size=70)
    yield misfit("by a P-384 key", with_signature(lambda _: bytes(96)), size=96)
    yield forged("by a stranger's key of the same id", lambda: stranger(ec_signer("ec-stranger"), "ec-1"))
    yield forged("by a stranger's RSA key", lambda: stranger(rsa_signer("rsa-stranger"), "rsa-1"), key_id="rsa-1")
    yield forged("by a stranger's Ed25519 key", lambda: stranger(ed_signer("ed-stranger"), "ed-1"), key_id="ed-1")
    yield forged("by another key of the issuer", lambda: stranger(rsa_signer(), "rsa-rs256"), key_id="rsa-rs256")
    yield forged("by a key on secp256k1", lambda: stranger(koblitz(), "ec-1"))
    yield forged("of another token", lambda: good().rpartition(".")[0] + "." + good(sub="eve").split(".")[2])
    yield forged("payload exchanged", with_part(1, lambda _: b64(as_json(claims(sub="root")))))
    yield forged("header exchanged", with_part(0, lambda _: b64(as_json(header(ec_signer(), x=1)))))
    yield forged(
        "header in another order", with_part(0, lambda _: b64(as_json(dict(reversed(header(ec_signer()).items())))))
    )
    yield forged("RS256 of zeros", with_signature(lambda _: bytes(256), signer=rsa_signer()), key_id="rsa-1")
    yield forged("RS256 of one", with_signature(lambda _: bytes(255) + b"\1", signer=rsa_signer()), key_id="rsa-1")
    yield forged(
        "RS256 above the modulus", with_signature(lambda _: b"\xff" * 256, signer=rsa_signer()), key_id="rsa-1"
    )
    yield misfit("RS256 short", with_signature(lambda right: right[1:], signer=rsa_signer()), size=255, expected=256)
    yield misfit("RS256 long", with_signature(lambda right: b"\0" + right, signer=rsa_signer()), size=257, expected=256)
    yield misfit("RS256 of a 1024-bit key", lambda: stranger(weak_rsa(), "rsa-1"), size=128, expected=256)
    yield forged("PS256 sold as RS256", lambda: sold_as("RS256", made_by="PS256"), key_id="rsa-1")
    yield forged("RS256 sold as PS256", lambda: sold_as("PS256", made_by="RS256"), key_id="rsa-1")
    yield forged("RS512 sold as RS256", lambda: sold_as("RS256", made_by="RS512"), key_id="rsa-1")
    yield forged("PS256 with another salt", lambda: salted(20), key_id="rsa-1")
    yield forged("RS256 over a SHA-1 digest", sha1_token, key_id="rsa-1")
    yield forged("EdDSA of zeros", with_signature(lambda _: bytes(64), signer=ed_signer()), key_id="ed-1")
    yield forged("EdDSA in its second form", with_signature(second_form, signer=ed_signer()), key_id="ed-1")
    yield forged(
        "EdDSA of the neutral point", with_signature(lambda _: b"\1" + bytes(63), signer=ed_signer()), key_id="ed-1"
    )


def stranger(signer: Signer, key_id: str) -> str:
    return signer.token({"alg": signer.algorithm, "kid": key_id, "typ": "at+jwt"}, claims())


def weak_rsa() -> Signer:
    return rsa_signer("weak", bits=1024)


def koblitz() -> Signer:
    return Signer(key_id="k", private=ec.generate_private_key(ec.SECP256K1()), algorithm="ES256")


def sold_as(algorithm: str, *, made_by: str) -> str:
    return rsa_signer().token(header(rsa_signer(), alg=algorithm), claims(), algorithm=made_by)


def signed_part(signer: Signer, **changes: object) -> bytes:
    return f"{b64(as_json(header(signer, **changes)))}.{b64(as_json(claims()))}".encode()


def salted(length: int) -> str:
    signed, private = signed_part(rsa_signer(), alg="PS256"), rsa_signer().private
    assert isinstance(private, rsa.RSAPrivateKey)
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=length)
    return f"{signed.decode()}.{b64(private.sign(signed, pss, hashes.SHA256()))}"


def sha1_token() -> str:
    signed, private = signed_part(rsa_signer()), rsa_signer().private
    assert isinstance(private, rsa.RSAPrivateKey)
    return f"{signed.decode()}.{b64(private.sign(signed, padding.PKCS1v15(), hashes.SHA1()))}"


def der_of_fixed_size() -> bytes:
    """A DER signature of 70 bytes, its usual least size: 32 bytes for r and s each."""
    return encode_dss_signature(2**255 - 20, 2**255 - 21)


def second_form(right: bytes) -> bytes:
    """S + L verifies where a reader forgets to check its range."""
    s = int.from_bytes(right[32:], "little") + ED25519_ORDER
    return right[:32] + s.to_bytes(32, "little")


def ecdsa_second_form(token: str) -> str:
    """The other valid form of an ES256 token, which anybody can compute: s becomes n - s."""
    signed, _, text = token.rpartition(".")
    raw = decode_base64url(text.encode())
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    return f"{signed}.{b64(r.to_bytes(32, 'big') + (P256_ORDER - s).to_bytes(32, 'big'))}"


FORGED_FORMS: list[Attack] = [
    *pieces(),
    *headers(),
    *types(),
    *algorithms(),
    *key_ids(),
    *fits(),
    *signatures(),
]
