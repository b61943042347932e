"""What a server proves itself by is looked at before anything is served: a file that is open, odd or another's is named."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from mcp_gateway.doors.tls import server_context
from mcp_gateway.errors import ConfigError
from tests.cli.running import run_here, write_config
from tests.peers.certificates import Authority
from tests.private import write_private


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    served = Authority("a test's own").certify("localhost")
    return write_private(tmp_path / "cert.pem", served.certificate), write_private(tmp_path / "key.pem", served.key)


def refused(certificate: Path, key: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        server_context(certificate, key)
    return [str(problem) for problem in caught.value.problems]


def with_passphrase(key: bytes) -> bytes:
    return serialization.load_pem_private_key(key, password=None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"a passphrase"),
    )


def test_a_key_and_its_certificate_are_taken(files: tuple[Path, Path]) -> None:
    assert server_context(*files).minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.requirement("R26")
def test_files_that_others_can_read_or_change_are_refused(files: tuple[Path, Path]) -> None:
    certificate, key = files
    certificate.chmod(0o666)
    key.chmod(0o644)

    assert refused(certificate, key) == [
        f"{certificate}: server.tls_cert: it has mode 0666, so that others can write to it; run chmod go-w on it",
        f"{key}: server.tls_key: it has mode 0644, so that others can read it; run chmod go= on it",
    ]


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "a", tmp_path / "b") == [
        f"{tmp_path / 'a'}: server.tls_cert: there is no such file",
        f"{tmp_path / 'b'}: server.tls_key: there is no such file",
    ]


def test_files_that_cannot_be_used_say_which_and_why(files: tuple[Path, Path], tmp_path: Path) -> None:
    certificate, key = files
    other = write_private(tmp_path / "other.pem", Authority("another").certify("localhost").key)
    locked = write_private(tmp_path / "locked.pem", with_passphrase(key.read_bytes()))
    junk = write_private(tmp_path / "junk.pem", "junk")

    assert refused(certificate, other) == [
        f"{other}: server.tls_key: it does not belong to the certificate in '{certificate}'"
    ]
    assert refused(junk, key) == [f"{junk}: server.tls_cert: it holds no certificate that can be read; expected PEM"]
    no_key = "server.tls_key: it holds no private key that can be read; expected PEM, without a passphrase"
    assert refused(certificate, junk) == [f"{junk}: {no_key}"]
    assert refused(certificate, locked) == [f"{locked}: {no_key}"]  # and nobody is asked for it


def test_check_and_serve_say_it_in_one_line(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate, key = files
    key.chmod(0o644)
    lines = f'listen = "127.0.0.1:0"\ntls_cert = "{certificate}"\ntls_key = "{key}"\n'
    config = str(write_config(tmp_path, f'[server]\n{lines}[identity]\nissuer = "local"\n'))
    said = f"mcp-gateway: {key}: server.tls_key: it has mode 0644, so that others can read it; run chmod go= on it"

    checked = run_here(capsys, "--config", config, "check")
    served = run_here(capsys, "--config", config, "serve")

    assert (checked.status, checked.err.splitlines()[-1]) == (1, said)
    assert (served.status, served.err.splitlines()[-1]) == (2, said)
    assert not (tmp_path / "data").exists()
