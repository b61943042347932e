"""An issuer's published keys: the document in, usable keys out, and whether a signature is one of theirs. Pure.

Only here is a key matched with an algorithm. `keys` fetches the document, `claims` has checked the token's form.
joserfc verifies the signature and is asked nothing else.

A JWK (RFC 7517) is usable if it

1. has a printable `kid`, and is not marked for another use (`use`, `key_ops`) or another algorithm (`alg`);
2. is RSA of 2048 to 8192 bits, EC on P-256, or OKP on Ed25519, with its public members in strict form;
3. is public: an issuer that publishes a private key has lost it.

Others are passed over, as an issuer may publish keys for others to use. Two usable keys of one `kid` refuse the
whole document: a reader would have to guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from mcp_gateway.calls import JSONObject
from mcp_gateway.errors import IdentityError
from mcp_gateway.identity.claims import MAX_NAME_CHARACTERS, UnverifiedToken
from mcp_gateway.identity.encoding import Malformed, decode_base64url, parse_object

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
"""Beyond this a single verification takes long enough to be an attack of its own."""
MAX_RSA_EXPONENT_BITS = 33
MAX_KEYS = 100
SIGNATURE_BYTES = {"ES256": 64, "EdDSA": 64}

PublicKey: TypeAlias = RSAKey | ECKey | OKPKey


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationKey:
    """One public key of an issuer and the algorithms it may verify."""

    key_id: str
    algorithms: frozenset[str]
    description: str
    """`RSA`, `EC P-256` or `OKP Ed25519`."""
    thumbprint: str
    """RFC 7638: the key itself, whatever its `kid`."""
    key: PublicKey = field(repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class KeySet:
    """The usable keys of an issuer at one time."""

    keys: Mapping[str, VerificationKey]
    """By `kid`."""

    @cached_property
    def identities(self) -> frozenset[tuple[str, str]]:
        """`kid` and thumbprint of each key: a key that was replaced under its old `kid` is a removed one."""
        return frozenset((key.key_id, key.thumbprint) for key in self.keys.values())


def read_keys(document: bytes) -> KeySet:
    """Read a JWK Set (RFC 7517 section 5).

    Raises:
        Malformed: the document is no JWK Set, or has nothing usable, or two usable keys of one `kid`.
    """
    members = parse_object(document).get("keys")
    if not isinstance(members, list) or not all(isinstance(member, dict) for member in members):
        raise Malformed("has no list of keys")
    if len(members) > MAX_KEYS:
        raise Malformed(f"has {len(members)} keys, at most {MAX_KEYS} are accepted")
    found: dict[str, VerificationKey] = {}
    for member in members:
        key = _usable(member)
        if key is None:
            continue
        if key.key_id in found:
            raise Malformed(f"has two keys with the id {key.key_id!r}")
        found[key.key_id] = key
    if not found:
        raise Malformed("has no usable key")
    return KeySet(keys=MappingProxyType(found))


def verify_signature(token: UnverifiedToken, *, key: VerificationKey) -> None:
    """Check that the token was signed by this key.

    1. The algorithm belongs to the key's type: the token does not choose how its key is used (CVE-2022-29217).
    2. The signature has the one length that it can have.
    3. It verifies.

    Raises:
        IdentityError: it was not.
    """
    # 1.
    if token.algorithm not in key.algorithms:
        raise IdentityError(
            f"token algorithm {token.algorithm!r} does not fit the key {key.key_id!r} "
            f"({key.description}, for {' or '.join(sorted(key.algorithms))})"
        )
    # 2.
    expected = SIGNATURE_BYTES.get(token.algorithm) or _modulus_bytes(key.key)
    if len(token.signature) != expected:
        raise IdentityError(f"token signature has {len(token.signature)} bytes, expected {expected}")
    # 3. The registry's `get_alg` is passed by: it warns of "EdDSA" on each use (RFC 9864), and chooses nothing here.
    algorithm = JWSRegistry.algorithms[token.algorithm]
    try:
        algorithm.check_key(key.key)
        verified = algorithm.verify(token.signed, token.signature, key.key)
    except (JoseError, ValueError, UnsupportedAlgorithm):
        verified = False
    if verified is not True:
        raise IdentityError(f"token signature is not by the key {key.key_id!r}")


def _usable(jwk: JSONObject) -> VerificationKey | None:
    # 1.
    key_id, use, operations = jwk.get("kid"), jwk.get("use", "sig"), jwk.get("key_ops", ["verify"])
    if not isinstance(key_id, str) or not 0 < len(key_id) <= MAX_NAME_CHARACTERS or not key_id.isprintable():
        return None
    if use != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    # 2. and 3.
    try:
        found = _public_key(jwk)
    except (JoseError, ValueError, UnsupportedAlgorithm):
        return None
    if found is None:
        return None
    key, description, fitting = found
    algorithms = frozenset(name for name in fitting if jwk.get("alg", name) == name)
    if not algorithms:
        return None
    return VerificationKey(
        key_id=key_id, algorithms=algorithms, description=description, thumbprint=key.thumbprint(), key=key
    )


def _public_key(jwk: JSONObject) -> tuple[PublicKey, str, tuple[str, ...]] | None:
    """The key, what it is, and the algorithms that fit it; only its public members are ever read."""
    if "d" in jwk:
        return None
    match jwk.get("kty"), jwk.get("crv"):
        case "RSA", _:
            n, e = (int.from_bytes(_member(jwk, name)) for name in ("n", "e"))
            if not MIN_RSA_BITS <= n.bit_length() <= MAX_RSA_BITS or e.bit_length() > MAX_RSA_EXPONENT_BITS:
                return None
            return RSAKey.import_key({"kty": "RSA", "n": jwk["n"], "e": jwk["e"]}), "RSA", ("RS256", "PS256")
        case "EC", "P-256":
            x, y = (_member(jwk, name) for name in ("x", "y"))
            if len(x) != 32 or len(y) != 32:
                return None
            point = {"kty": "EC", "crv": "P-256", "x": jwk["x"], "y": jwk["y"]}
            return ECKey.import_key(point), "EC P-256", ("ES256",)
        case "OKP", "Ed25519":
            _member(jwk, "x")
            return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": jwk["x"]}), "OKP Ed25519", ("EdDSA",)
        case _:
            return None


def _member(jwk: JSONObject, name: str) -> bytes:
    value = jwk.get(name)
    if not isinstance(value, str) or not value.isascii():
        raise Malformed(f"has no {name!r}")
    return decode_base64url(value.encode("ascii"))


def _modulus_bytes(key: PublicKey) -> int:
    return (key.public_key.key_size + 7) // 8 if isinstance(key, RSAKey) else 0
