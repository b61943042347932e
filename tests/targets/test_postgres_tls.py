"""TLS with a real server and an authority of the test's own: who is let in, who is not, and what is said about it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mcp_gateway.errors import TargetUnavailable
from mcp_gateway.targets.postgres import PostgresConnector
from tests.peers.certificates import Authority, ServerCertificate
from tests.peers.postgres import PostgresDatabase, PostgresServer, running_server
from tests.targets.postgres_settings import connector_for, rows, run

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R36")]

HOST = "localhost"
ENCRYPTED = "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A server with TLS and the authority that signed its certificate."""

    server: PostgresServer
    authority: Path
    other: Path
    """Another authority, which signed nothing here."""

    def connector(self, **changes: Any) -> PostgresConnector:
        database = PostgresDatabase(
            server=self.server, name="postgres", user=self.server.user, password=self.server.password
        )
        return connector_for(database, **({"host": HOST, "tls_ca": self.authority} | changes))


def install(server: PostgresServer, certificate: ServerCertificate) -> None:
    """Give a running server a certificate; sessions that begin from now on see it."""
    owner = server.data.stat()
    for name, content in (("server.crt", certificate.certificate), ("server.key", certificate.key)):
        path = server.data / name
        path.write_bytes(content)
        path.chmod(0o600)
        os.chown(path, owner.st_uid, owner.st_gid)
    for setting in ("ssl_cert_file = 'server.crt'", "ssl_key_file = 'server.key'", "ssl = on"):
        server.execute(f"ALTER SYSTEM SET {setting}")
    server.execute("SELECT pg_reload_conf()")
    before = server.execute("SELECT pg_postmaster_start_time()")
    while server.execute("SHOW ssl") != [("on",)]:
        assert server.execute("SELECT pg_postmaster_start_time()") == before


@pytest.fixture(scope="module")
def site(postgres_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("authorities")
    authority = Authority("the right one")
    with running_server(postgres_programs) as server:
        install(server, authority.certify(HOST))
        yield Site(
            server=server,
            authority=authority.write(folder / "right.pem"),
            other=Authority("another one").write(folder / "other.pem"),
        )


@pytest.mark.parametrize("tls", ["verify-full", "verify-ca", "require"])
async def test_the_right_authority_and_host_let_in_over_tls(site: Site, tls: str) -> None:
    connector = site.connector(tls=tls)
    assert rows(await run(connector, ENCRYPTED)) == [[True, "TLSv1.3"]]
    await connector.aclose()


async def test_require_without_an_authority_encrypts_and_the_check_says_what_that_is_worth(site: Site) -> None:
    connector = site.connector(tls="require", tls_ca=None)
    assert rows(await run(connector, ENCRYPTED)) == [[True, "TLSv1.3"]]
    assert any(
        "'require' does not prove who the server is; verify-full does" in said
        for said in (await connector.check()).warnings
    )
    await connector.aclose()


async def test_only_verify_full_looks_at_the_host_name(site: Site) -> None:
    for tls in ("verify-ca", "require"):
        connector = site.connector(host="127.0.0.1", tls=tls)
        assert rows(await run(connector, ENCRYPTED)) == [[True, "TLSv1.3"]]
        await connector.aclose()
    with pytest.raises(TargetUnavailable) as caught:
        await site.connector(host="127.0.0.1", tls="verify-full").catalog()
    assert str(caught.value) == (
        f"the certificate of PostgreSQL at 127.0.0.1:{site.server.port} does not prove who it is: IP address mismatch, "
        "certificate is not valid for '127.0.0.1'; set 'host' to a name that the certificate holds"
    )


@pytest.mark.parametrize("tls", ["verify-full", "verify-ca", "require"])
async def test_an_unknown_authority_is_refused_wherever_one_is_given(site: Site, tls: str) -> None:
    with pytest.raises(TargetUnavailable) as caught:
        await site.connector(tls=tls, tls_ca=site.other).catalog()
    assert str(caught.value) == (
        f"the certificate of PostgreSQL at localhost:{site.server.port} does not prove who it is: "
        "unable to get local issuer certificate; set 'tls_ca' to the certificates of the authority that signed it"
    )


@pytest.mark.parametrize("tls", ["verify-full", "verify-ca"])
async def test_without_an_authority_of_ones_own_the_systems_are_asked(site: Site, tls: str) -> None:
    with pytest.raises(TargetUnavailable, match=r"does not prove who it is: .*; set 'tls_ca' to the certificates"):
        await site.connector(tls=tls, tls_ca=None).catalog()


async def test_files_of_the_users_are_not_asked(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".postgresql").mkdir()
    (tmp_path / ".postgresql" / "root.crt").write_bytes(site.authority.read_bytes())
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PGSSLROOTCERT", str(site.authority))
    with pytest.raises(TargetUnavailable, match="does not prove who it is"):
        await site.connector(tls="verify-full", tls_ca=None).catalog()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "'tls_ca' cannot be read: No such file or directory"),
        (b"no certificate", "'tls_ca' holds no certificate that can be read"),
        (b"", "'tls_ca' holds no certificate that can be read"),
    ],
)
async def test_an_authority_that_cannot_be_read_says_so_and_is_never_left_out(
    site: Site, tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "authority.pem"
    if content is not None:
        path.write_bytes(content)
    for tls in ("verify-full", "verify-ca", "require"):
        with pytest.raises(TargetUnavailable, match=words):
            await site.connector(tls=tls, tls_ca=path).catalog()


async def test_a_certificate_that_has_expired_is_refused(postgres_programs: Path, tmp_path: Path, site: Site) -> None:
    authority = Authority("late")
    late = replace(site, authority=authority.write(tmp_path / "late.pem"))
    with running_server(postgres_programs) as server:
        install(server, authority.certify(HOST, days=-1))
        with pytest.raises(TargetUnavailable, match="certificate has expired; whoever runs the server has to renew it"):
            await replace(late, server=server).connector(tls="verify-full").catalog()


@pytest.mark.parametrize("tls", ["verify-full", "verify-ca", "require"])
async def test_a_server_without_tls_is_refused_where_tls_is_demanded(
    site: Site, postgres_database: PostgresDatabase, tls: str
) -> None:
    for authority in (site.authority, None):
        with pytest.raises(TargetUnavailable) as caught:
            await connector_for(postgres_database, tls=tls, tls_ca=authority).catalog()
        assert str(caught.value) == (
            f"PostgreSQL at 127.0.0.1:{postgres_database.port} does not offer TLS, which tls = {tls!r} demands; "
            "whoever runs the server has to switch it on, or tls = 'disable' for the target, which on loopback nobody can "
            "read along"
        )
    assert not [line for line in postgres_database.log_lines() if "mcp-gateway" in line]


async def test_what_may_do_without_tls_says_so_in_the_check(site: Site, postgres_database: PostgresDatabase) -> None:
    """The configuration has `prefer`, `allow` and `disable` for loopback alone."""
    for tls in ("prefer", "allow"):
        over = site.connector(tls=tls, tls_ca=None)
        assert rows(await run(over, ENCRYPTED)) == [[True, "TLSv1.3"]]
        await over.aclose()
    for tls in ("prefer", "allow", "disable"):
        without = connector_for(postgres_database, tls=tls)
        assert rows(await run(without, ENCRYPTED)) == [[False, None]]
        assert "the connection is not encrypted" in (await without.check()).warnings
        await without.aclose()
