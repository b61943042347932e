"""Attacks on the signature of a token and on the key that it names. Data for `test_claims.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from mcp_gateway.identity.encoding import decode_base64url
from tests.identity.forging import Attack, claims, good, header, with_part
from tests.peers.issuer import Signer, as_json, b64, ec_signer, ed_signer, rsa_signer

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493


def with_signature(signature: Callable[[bytes], bytes], *, signer: Signer | None = None) -> Callable[[], str]:
    """A good token with another signature, made from the right one."""

    def token() -> str:
        signed, _, right = good(signer).rpartition(".")
        return f"{signed}.{b64(signature(decode_base64url(right.encode())))}"

    return token


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


FORGED_SIGNATURES: list[Attack] = [*fits(), *signatures()]
