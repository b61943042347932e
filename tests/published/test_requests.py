"""Requests that left where they belonged, and addresses that were read in two ways."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mcp_gateway.config import parse_settings
from mcp_gateway.errors import ConfigError, TargetUnavailable
from mcp_gateway.facts.addresses import allowed
from mcp_gateway.facts.http import RequestRefusedError, resolve
from mcp_gateway.targets.http import HTTPConnector
from mcp_gateway.trusted_files import UntrustedFileError, read_trusted
from tests.peers.api import answer, running_api
from tests.roads import Bench, Settings, laid, refusal, result

pytestmark = pytest.mark.anyio

EVERYTHING = ("0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1")
METADATA = """
169.254.169.254 169.254.170.2 100.100.100.200 192.0.0.192 168.63.129.16 fd00:ec2::254 ::ffff:169.254.169.254
64:ff9b::a9fe:a9fe 2002:a9fe:a9fe:: fe80::1 0.0.0.0 ::
""".split()
PRIVATE = """
127.0.0.1 10.0.0.1 172.16.0.1 192.168.0.1 100.64.0.1 192.0.0.8 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 240.0.0.1
255.255.255.255 ::1 fc00::1 2001:db8::1 ::ffff:10.0.0.1 64:ff9b:1::1 2002:0a00:0001::
""".split()
TWO_READINGS = (
    "0127.0.0.1 127.0.0.01 010.8.8.8 08.8.8.8 0x7f.0.0.1 127.1 2130706433 127.0.0.1%lo 127.0.0.1. ::1%lo".split()
)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with laid(tmp_path) as found:
        yield found


def leading_to(*addresses: str) -> Any:
    """A resolver that answers with these."""

    async def by_name(_host: str, _port: int) -> Sequence[str]:
        return addresses

    return by_name


async def no_credential(_: object) -> Any:
    raise AssertionError("this target has no credential")


@pytest.mark.published("CVE-2026-26118", "CVE-2025-65512", "CVE-2025-65513")
async def test_a_name_that_leads_to_a_metadata_address_is_never_connected_to() -> None:
    base = "http://api.example.com"
    for address in METADATA:
        for addresses in ((address,), ("192.88.99.1", address), (address, "192.88.99.1")):
            connector = HTTPConnector(
                Settings(base, networks=EVERYTHING), fetch=no_credential, resolve=leading_to(*addresses)
            )
            with pytest.raises(TargetUnavailable, match="may not connect to"):
                await connector.send(resolve(base, "latest/meta-data"), body=None, seconds=5, max_bytes=100)
            await connector.aclose()


@pytest.mark.published("CVE-2026-26118", "CVE-2025-65512", "CVE-2025-65513", "CVE-2026-27826")
async def test_an_agent_cannot_name_another_place(bench: Bench) -> None:
    async with running_api() as evil:
        for arguments in (
            {"path": f"{evil.url}/x"},
            {"path": f"//127.0.0.1:{evil.port}/x"},
            {"path": f"\\\\127.0.0.1:{evil.port}/x"},
            {"base_url": evil.url},
            {"url": evil.url},
            {"headers": {"host": f"127.0.0.1:{evil.port}"}},
            {"headers": {"x-atlassian-confluence-url": evil.url}},
            {"headers": {"x-forwarded-host": f"127.0.0.1:{evil.port}"}},
        ):
            assert refusal(await bench.call(arguments)).code == "invalid_arguments", arguments
        assert bench.api.requests == []
        for path in (f"@127.0.0.1:{evil.port}/x", f":{evil.port}/x"):
            await bench.call({"path": path})
            assert bench.api.requests[-1].startswith(
                f"GET /{path} HTTP/1.1\r\nHost: 127.0.0.1:{bench.api.port}".encode()
            )
        assert evil.requests == []


@pytest.mark.published("CVE-2025-65512", "CVE-2025-65513")
async def test_a_redirect_is_shown_and_not_followed(bench: Bench) -> None:
    async with running_api() as evil:
        for status in ("301 x", "302 x", "303 x", "307 x", "308 x"):
            bench.api.answers = [answer(b"", status=status, headers=f"location: {evil.url}/latest/meta-data")]
            assert result(await bench.call())["status"] == int(status[:3])
        assert evil.requests == []


@pytest.mark.published("CVE-2025-53110")
def test_a_prefix_of_a_path_is_not_the_folder() -> None:
    base = "https://api.example.com/allow_dir"
    for path in ("../allow_dir_sensitive", "..%2fallow_dir_sensitive", "x/../../allow_dir_sensitive", "%2e%2e/x"):
        with pytest.raises(RequestRefusedError):
            resolve(base, path)
    for path in ("_sensitive/x", "/_sensitive"):
        assert resolve(base, path).url.startswith(f"{base}/_sensitive")


@pytest.mark.published("CVE-2025-53109")
def test_a_link_is_followed_by_hand_and_every_step_is_checked(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    open_to_all, safe = tmp_path / "open", tmp_path / "safe"
    open_to_all.mkdir()
    safe.mkdir(mode=0o700)
    policy = open_to_all / "policy.cedar"
    policy.write_text("permit (principal, action, resource);")
    policy.chmod(0o600)
    (safe / "direct.cedar").symlink_to(policy)
    (safe / "folder").symlink_to(open_to_all)
    for link in (safe / "direct.cedar", safe / "folder" / "policy.cedar", safe / ".." / "open" / "policy.cedar"):
        open_to_all.chmod(0o700)
        assert read_trusted(link, max_bytes=100)
        open_to_all.chmod(0o777)
        with pytest.raises(UntrustedFileError, match="chmod go-w"):
            read_trusted(link, max_bytes=100)


@pytest.mark.published("CVE-2024-4032")
def test_no_private_address_counts_as_public() -> None:
    assert [address for address in (*METADATA, *PRIVATE) if allowed(address)] == []
    assert allowed("8.8.8.8")
    assert allowed("2606:4700::1111")


@pytest.mark.published("CVE-2021-29921")
def test_an_address_that_is_read_in_two_ways_is_none() -> None:
    assert [text for text in TWO_READINGS if allowed(text)] == []
    for text in TWO_READINGS:
        with pytest.raises((ConfigError, RequestRefusedError)):
            parse_settings(
                f"""
                [identity]
                issuer = "https://idp.example.com"
                audience = "x"
                [targets.api]
                kind = "http"
                labels = {{ env = "dev" }}
                base_url = "https://{text}/"
                """,
                file="/gateway.toml",
            )
