"""Of an issuer's published keys only those are used that can be nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mcp_gateway.identity.encoding import Malformed, decode_base64url
from mcp_gateway.identity.jwks import MAX_KEYS, read_keys
from tests.peers.issuer import Signer, as_json, b64, b64_int, ec_signer, ed_signer, rsa_signer

P256_PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1


def key_set(*jwks: Any) -> bytes:
    return as_json({"keys": list(jwks)})


def test_every_type_of_key_is_read_with_its_algorithms() -> None:
    found = read_keys(key_set(rsa_signer().jwk(), ec_signer().jwk(), ed_signer().jwk())).keys

    assert {key_id: (key.description, key.algorithms) for key_id, key in found.items()} == {
        "rsa-1": ("RSA", frozenset({"RS256", "PS256"})),
        "ec-1": ("EC P-256", frozenset({"ES256"})),
        "ed-1": ("OKP Ed25519", frozenset({"EdDSA"})),
    }


def test_a_key_that_says_what_it_is_for_is_for_nothing_else() -> None:
    assert read_keys(key_set(rsa_signer().jwk(alg="PS256"))).keys["rsa-1"].algorithms == {"PS256"}


def without(jwk: dict[str, Any], name: str) -> dict[str, Any]:
    return {member: value for member, value in jwk.items() if member != name}


def without_its_leading_zero() -> dict[str, Any]:
    """A key whose x starts with a zero byte, one in 256, with that byte left out (RFC 7518 section 6.2.1.2)."""
    while True:
        private = ec.generate_private_key(ec.SECP256R1())
        jwk = Signer(key_id="short", private=private, algorithm="ES256").jwk()
        x = decode_base64url(jwk["x"].encode())
        if x[0] == 0:
            return jwk | {"x": b64(x[1:])}


PASSED_OVER: dict[str, Any] = {
    "a coordinate without its leading zero": without_its_leading_zero,
    "no id": lambda: without(ec_signer().jwk(), "kid"),
    "an empty id": lambda: ec_signer().jwk(kid=""),
    "a number as id": lambda: ec_signer().jwk(kid=1),
    "an invisible id": lambda: ec_signer().jwk(kid="a\u202eb"),
    "a long id": lambda: ec_signer().jwk(kid="k" * 256),
    "for encryption": lambda: ec_signer().jwk(use="enc"),
    "a use that is no text": lambda: ec_signer().jwk(use=["sig"]),
    "for signing only": lambda: ec_signer().jwk(key_ops=["sign"]),
    "operations as text": lambda: ec_signer().jwk(key_ops="verify"),
    "another algorithm": lambda: rsa_signer().jwk(alg="RS512"),
    "an algorithm of another type": lambda: rsa_signer().jwk(alg="ES256"),
    "HMAC over an RSA key": lambda: rsa_signer().jwk(alg="HS256"),
    "the algorithm none": lambda: ec_signer().jwk(alg="none"),
    "an algorithm that is no text": lambda: ec_signer().jwk(alg=["ES256"]),
    "symmetric": lambda: {"kty": "oct", "kid": "o-1", "k": b64(b"secret" * 8)},
    "an unknown type": lambda: ec_signer().jwk(kty="AKP"),
    "a type in other letters": lambda: ec_signer().jwk(kty="ec"),
    "no type": lambda: without(ec_signer().jwk(), "kty"),
    "on P-384": lambda: ec_signer().jwk(crv="P-384"),
    "on secp256k1": lambda: ec_signer().jwk(crv="secp256k1"),
    "X25519": lambda: ed_signer().jwk(crv="X25519"),
    "Ed448": lambda: ed_signer().jwk(crv="Ed448"),
    "RSA of 1024 bits": lambda: rsa_signer("weak", bits=1024).jwk(),
    "RSA of 2047 bits": lambda: rsa_signer().jwk(n=b64_int((1 << 2046) + 1)),
    "RSA of 16384 bits": lambda: rsa_signer().jwk(n=b64_int((1 << 16_383) + 1)),
    "RSA with zeros before a small modulus": lambda: rsa_signer().jwk(n=b64(bytes(200) + b"\xff" * 100)),
    "RSA with the exponent 1": lambda: rsa_signer().jwk(e=b64_int(1)),
    "RSA with an even exponent": lambda: rsa_signer().jwk(e=b64_int(65536)),
    "RSA with a huge exponent": lambda: rsa_signer().jwk(e=b64_int((1 << 64) + 1)),
    "RSA without a modulus": lambda: without(rsa_signer().jwk(), "n"),
    "RSA with padding": lambda: rsa_signer().jwk(n=rsa_signer().jwk()["n"] + "="),
    "RSA with a number": lambda: rsa_signer().jwk(e=65537),
    "not on the curve": lambda: ec_signer().jwk(y=b64(b"\1" * 32)),
    "the point at infinity": lambda: ec_signer().jwk(x=b64(bytes(32)), y=b64(bytes(32))),
    "beyond the field": lambda: ec_signer().jwk(x=b64_int(P256_PRIME + 1)),
    "a short coordinate": lambda: ec_signer().jwk(x=b64(b"\1" * 31)),
    "no coordinate": lambda: without(ec_signer().jwk(), "y"),
    "Ed25519 of 31 bytes": lambda: ed_signer().jwk(x=b64(b"\1" * 31)),
    "Ed25519 of 33 bytes": lambda: ed_signer().jwk(x=b64(b"\1" * 33)),
    "private": lambda: ec_signer().jwk(d=b64(b"\1" * 32)),
    "private RSA": lambda: rsa_signer().jwk(d=b64(b"\1" * 256)),
    "private in name": lambda: ed_signer().jwk(d=None),
    "only a certificate": lambda: {"kty": "RSA", "kid": "c-1", "x5c": ["MIIB"]},
    "only an address": lambda: {"kty": "RSA", "kid": "c-1", "x5u": "https://evil.example.com/c.pem"},
}


@pytest.mark.parametrize("name", PASSED_OVER)
def test_a_key_that_cannot_be_used_is_passed_over(name: str) -> None:
    usable = ec_signer("usable").jwk()

    assert set(read_keys(key_set(PASSED_OVER[name](), usable)).keys) == {"usable"}
    with pytest.raises(Malformed, match="has no usable key"):
        read_keys(key_set(PASSED_OVER[name]()))


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (b"{}", "has no list of keys"),
        (b'{"keys":{}}', "has no list of keys"),
        (b'{"keys":["ec-1"]}', "has no list of keys"),
        (b'{"keys":[null]}', "has no list of keys"),
        (b'{"keys":[]}', "has no usable key"),
        (b"[]", "is not a JSON object"),
        (b'{"keys":[],"keys":[]}', "has a member twice"),
    ],
)
def test_a_document_that_is_no_key_set_is_refused(document: bytes, problem: str) -> None:
    with pytest.raises(Malformed, match=problem):
        read_keys(document)


@pytest.mark.requirement("R17")
def test_two_keys_of_one_id_refuse_the_document() -> None:
    with pytest.raises(Malformed, match="has two keys with the id 'ec-1'"):
        read_keys(key_set(ec_signer().jwk(), ed_signer().jwk(kid="ec-1")))


def test_the_same_key_twice_refuses_the_document() -> None:
    with pytest.raises(Malformed, match="has two keys with the id 'ec-1'"):
        read_keys(key_set(ec_signer().jwk(), ec_signer().jwk()))


def test_a_member_twice_in_a_key_refuses_the_document() -> None:
    raw = key_set(ec_signer().jwk()).replace(b'"kid"', b'"kid":"x","kid"')

    with pytest.raises(Malformed, match="has a member twice"):
        read_keys(raw)


def test_an_id_that_a_key_for_encryption_shares_is_no_conflict() -> None:
    assert set(read_keys(key_set(ec_signer().jwk(), rsa_signer().jwk(kid="ec-1", use="enc"))).keys) == {"ec-1"}


def test_too_many_keys_refuse_the_document() -> None:
    with pytest.raises(Malformed, match="has 101 keys, at most 100 are accepted"):
        read_keys(key_set(*[{"kty": "oct"}] * (MAX_KEYS + 1)))


def test_as_many_keys_as_allowed_are_read() -> None:
    assert len(read_keys(key_set(*[{"kty": "oct"}] * (MAX_KEYS - 1), ec_signer().jwk())).keys) == 1


def test_a_key_is_itself_whatever_its_id() -> None:
    first, second = (read_keys(key_set(ec_signer().jwk(kid=name))) for name in ("a", "b"))

    assert first.keys["a"].thumbprint == second.keys["b"].thumbprint
    assert first.identities != second.identities


def test_a_key_set_shows_no_key_material() -> None:
    assert ec_signer().jwk()["x"] not in repr(read_keys(key_set(ec_signer().jwk())))
