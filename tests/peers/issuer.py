"""An issuer of our own for tests: real keys, real signatures, and a loopback server that can misbehave.

`Signer` signs whatever it is given, right or wrong, with the primitives themselves: no JWT library stands between a
test and the bytes it wants. `FakeIssuer` publishes signers' keys over HTTP (or TLS) and answers as it is told to:
late, never, with HTML, endlessly. Tests of doors use it for tokens:

    with FakeIssuer(audience="https://gateway.test") as issuer:
        issuer.url, issuer.token(sub="dana", groups=["dba"])
"""

from __future__ import annotations

import base64
import datetime as dt
import functools
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

JSON: TypeAlias = Mapping[str, Any]
PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

CONNECT_METADATA = "/.well-known/openid-configuration"
OAUTH_METADATA = "/.well-known/oauth-authorization-server"
KEYS = "/keys"
CLIENT = "test-agent"


def b64(value: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def b64_int(value: int, *, size: int | None = None) -> str:
    """An unsigned integer as JWK members have it."""
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """A private key under a key id."""

    key_id: str
    private: PrivateKey = field(repr=False)
    algorithm: str

    def jwk(self, **changes: Any) -> dict[str, Any]:
        """The public key as an issuer publishes it."""
        public = self.private.public_key()
        jwk: dict[str, Any] = {"kid": self.key_id, "use": "sig"}
        match public:
            case rsa.RSAPublicKey():
                numbers = public.public_numbers()
                jwk |= {"kty": "RSA", "n": b64_int(numbers.n), "e": b64_int(numbers.e)}
            case ec.EllipticCurvePublicKey():
                point = public.public_numbers()
                size = (public.key_size + 7) // 8
                names = {"secp256r1": "P-256", "secp384r1": "P-384", "secp256k1": "secp256k1"}
                jwk |= {"kty": "EC", "crv": names[public.curve.name]}
                jwk |= {"x": b64_int(point.x, size=size), "y": b64_int(point.y, size=size)}
            case _:
                raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
                jwk |= {"kty": "OKP", "crv": "Ed25519", "x": b64(raw)}
        return jwk | changes

    def sign(self, signed: bytes, *, algorithm: str | None = None) -> bytes:
        """The raw signature that `algorithm` makes over these bytes."""
        name = algorithm or self.algorithm
        sha: dict[str, hashes.HashAlgorithm] = {
            "256": hashes.SHA256(),
            "384": hashes.SHA384(),
            "512": hashes.SHA512(),
        }
        match self.private:
            case rsa.RSAPrivateKey() as key:
                digest = sha[name[2:]]
                if name.startswith("PS"):
                    pss = padding.PSS(mgf=padding.MGF1(digest), salt_length=digest.digest_size)
                    return key.sign(signed, pss, digest)
                return key.sign(signed, padding.PKCS1v15(), digest)
            case ec.EllipticCurvePrivateKey() as key:
                r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
                size = (key.key_size + 7) // 8
                return r.to_bytes(size, "big") + s.to_bytes(size, "big")
            case ed25519.Ed25519PrivateKey() as key:
                return key.sign(signed)

    def token(self, header: JSON | bytes, claims: JSON | bytes, *, algorithm: str | None = None) -> str:
        """A token of these parts as they are; bytes stand for themselves."""
        signed = f"{b64(as_json(header))}.{b64(as_json(claims))}"
        return f"{signed}.{b64(self.sign(signed.encode(), algorithm=algorithm))}"


def as_json(part: JSON | bytes) -> bytes:
    """JSON of a mapping; bytes as they are."""
    return part if isinstance(part, bytes) else json.dumps(part, separators=(",", ":")).encode()


@functools.cache
def rsa_signer(key_id: str = "rsa-1", *, algorithm: str = "RS256", bits: int = 2048) -> Signer:
    """An RSA key; one for each key id and process."""
    return Signer(key_id=key_id, private=rsa.generate_private_key(65537, bits), algorithm=algorithm)


@functools.cache
def ec_signer(key_id: str = "ec-1") -> Signer:
    """A P-256 key; one for each key id and process."""
    return Signer(key_id=key_id, private=ec.generate_private_key(ec.SECP256R1()), algorithm="ES256")


@functools.cache
def ed_signer(key_id: str = "ed-1") -> Signer:
    """An Ed25519 key; one for each key id and process."""
    return Signer(key_id=key_id, private=ed25519.Ed25519PrivateKey.generate(), algorithm="EdDSA")


@dataclass(slots=True, kw_only=True)
class Reply:
    """What the server says to one path."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Callable[[], Iterable[bytes]] = b""
    """Chunks are sent as they come, without a length."""
    gate: threading.Event | None = None
    """Nothing is sent before it is set."""


class FakeIssuer:
    """An issuer on loopback. `replies` replaces what a path answers, `requests` lists what was asked."""

    def __init__(
        self,
        *,
        audience: str = "https://gateway.test",
        signers: Iterable[Signer] | None = None,
        path: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.audience = audience
        self.signers = list(signers) if signers is not None else [ec_signer()]
        self.path = path
        self.replies: dict[str, Reply] = {}
        self.requests: list[str] = []
        self.arrived = threading.Condition()
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = False
        self._scheme = "http"
        if tls is not None:
            self._scheme = "https"
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """The issuer identifier."""
        return self.origin + self.path

    @property
    def key_fetches(self) -> int:
        """How often the key set was asked for."""
        return self.requests.count(KEYS)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """The claims of a good token of now; a change of None leaves the claim out."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": self.audience,
            "sub": "dana",
            "client_id": CLIENT,
            "iat": now,
            "exp": now + 300,
            "jti": f"t-{time.time_ns()}",
        }
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def token(self, *, signer: Signer | None = None, typ: str = "at+jwt", **changes: Any) -> str:
        """A good token of now, with these claims changed."""
        signer = signer or self.signers[0]
        header = {"alg": signer.algorithm, "kid": signer.key_id, "typ": typ}
        return signer.token(header, self.claims(**changes))

    def reply(self, path: str, **reply: Any) -> Reply:
        """Let a path answer with something else from now on."""
        self.replies[path] = Reply(**reply)
        return self.replies[path]

    def metadata(self, **changes: Any) -> bytes:
        """The metadata document."""
        return as_json({"issuer": self.url, "jwks_uri": self.origin + KEYS} | changes)

    def key_set(self) -> bytes:
        """The key set document."""
        return as_json({"keys": [signer.jwk() for signer in self.signers]})

    def wait_for_requests(self, count: int, *, seconds: float = 10) -> None:
        """Wait until so many requests have arrived."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.requests) >= count, timeout=seconds), self.requests

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        for reply in self.replies.values():
            if reply.gate is not None:
                reply.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _reply_to(self, path: str) -> Reply:
        if path in self.replies:
            return self.replies[path]
        if path == self.path + CONNECT_METADATA:
            return Reply(body=self.metadata())
        if path == KEYS:
            return Reply(body=self.key_set())
        return Reply(status=404)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 20

            def do_GET(self) -> None:
                with issuer.arrived:
                    issuer.requests.append(self.path)
                    issuer.arrived.notify_all()
                reply = issuer._reply_to(self.path)
                if reply.gate is not None:
                    reply.gate.wait()
                try:
                    self.send_response(reply.status)
                    for name, value in reply.headers.items():
                        self.send_header(name, value)
                    self.send_header("Connection", "close")
                    self.end_headers()
                    for chunk in [reply.body] if isinstance(reply.body, bytes) else reply.body():
                        self.wfile.write(chunk)
                except OSError:
                    self.close_connection = True

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:
                    self.close_connection = True

            def log_message(self, *arguments: object) -> None:
                """Say nothing: refused connections are what tests are about."""

        return Handler


def server_certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a new certificate for 127.0.0.1, and the client's context that trusts it alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test issuer")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "issuer.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    client = ssl.create_default_context(cadata=certificate.public_bytes(serialization.Encoding.PEM).decode())
    return server, client
