"""Authorities of a file's own: who is trusted by them, and files that are not used."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from mcp_gateway.authorities import trusting, trusting_system
from mcp_gateway.calls import Secret
from mcp_gateway.clock import utc_now
from mcp_gateway.config import parse_settings
from mcp_gateway.errors import ConfigError, IdentityError, TargetUnavailable
from mcp_gateway.facts.http import resolve
from mcp_gateway.identity.keys import IssuerKeys
from mcp_gateway.targets.http import HTTPConnector
from tests.peers.certificates import Authority
from tests.peers.issuer import FakeIssuer, server_certificate
from tests.roads import Settings


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    path = tmp_path / "ca.pem"
    Authority("the right one").write(path).chmod(0o644)
    return path


def test_the_certificates_of_the_file_are_trusted_and_no_others(authority: Path) -> None:
    context = trusting(authority, key="identity.tls_ca")

    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert [found["subject"] for found in context.get_ca_certs()] == [((("commonName", "the right one"),),)]


def test_without_a_file_the_systems_count() -> None:
    assert trusting(None, key="identity.tls_ca") is None
    assert (trusting_system().verify_mode, trusting_system().check_hostname) == (ssl.CERT_REQUIRED, True)
    assert trusting_system() is trusting_system()


@pytest.mark.anyio
async def test_a_target_without_tls_trusts_no_certificate() -> None:
    """Whatever it may be answered, TLS with it comes to nothing."""
    connector = HTTPConnector(Settings("http://127.0.0.1:1/", networks=["127.0.0.0/8"]), fetch=no_credential)
    try:
        assert connector._tls.get_ca_certs() == []
        assert (connector._tls.verify_mode, connector._tls.check_hostname) == (ssl.CERT_REQUIRED, True)
    finally:
        await connector.aclose()


@pytest.mark.parametrize("content", [b"", b"no certificate", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_file_without_a_certificate_is_a_problem_and_never_the_systems(authority: Path, content: bytes) -> None:
    authority.write_bytes(content)

    with pytest.raises(ConfigError, match=r"identity.tls_ca: it holds no certificate that can be read; expected PEM"):
        trusting(authority, key="identity.tls_ca")


def test_a_file_that_others_can_write_is_a_problem(authority: Path) -> None:
    authority.chmod(0o666)

    with pytest.raises(ConfigError, match=r"targets.api.tls_ca: it has mode 0666, so that others can write to it"):
        trusting(authority, key="targets.api.tls_ca")


@pytest.mark.anyio
@pytest.mark.parametrize("known", [True, False])
async def test_an_issuer_and_a_target_are_believed_by_their_own_authority_alone(tmp_path: Path, known: bool) -> None:
    server, _ = server_certificate(tmp_path)
    own, other = tmp_path / "issuer.pem", Authority("another one").write(tmp_path / "other.pem")
    tls = trusting(own if known else other, key="identity.tls_ca")
    with FakeIssuer(tls=server) as peer:
        keys = IssuerKeys(peer.url, clock=utc_now, tls=tls)
        connector = HTTPConnector(Settings(peer.url), fetch=no_credential, tls=tls)
        try:
            if known:
                assert set((await keys.current()).keys) == {"ec-1"}
                assert "proves its name" in await connector.check()
                found = await connector.send(resolve(peer.url, "x"), body=None, seconds=10, max_bytes=100)
                assert found.status == 404
                return
            with pytest.raises(IdentityError):
                await keys.current()
            with pytest.raises(TargetUnavailable):
                await connector.check()
            with pytest.raises(TargetUnavailable):
                await connector.send(resolve(peer.url, "x"), body=None, seconds=10, max_bytes=100)
            assert peer.requests == []
        finally:
            await connector.aclose()


async def no_credential(_: object) -> Secret:
    raise AssertionError("this target has no credential")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('issuer = "local"\ntls_ca = "/ca.pem"', "expected it only where 'issuer' is an https URL"),
        ('issuer = "http://127.0.0.1:1"\naudience = "x"\ntls_ca = "/ca.pem"', "expected it only where 'issuer' is"),
        ('issuer = "https://idp.example.com"\naudience = "x"\ntls_ca = "ca.pem"', "absolute path"),
        (
            'issuer = "local"\n[targets.a]\nkind = "http"\nlabels = { env = "dev" }\n'
            'base_url = "http://127.0.0.1:1"\ntls_ca = "/ca.pem"',
            "expected it only where 'base_url' is an https URL",
        ),
    ],
)
def test_an_authority_belongs_to_an_https_url(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse_settings(f"[identity]\n{text}\n", file="/gateway.toml")
