"""`mcp-gateway serve` ends TLS itself where it is given a certificate."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx2
import pytest

from tests.end_to_end.serving import gateway
from tests.peers.api import running_api
from tests.peers.certificates import Authority

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


async def test_agents_come_in_over_tls_and_nobody_without(tmp_path: Path) -> None:
    authority = Authority("a test's own")
    served = authority.certify("localhost")
    for name, content in (("cert.pem", served.certificate), ("key.pem", served.key)):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_bytes(content)
    trusted = ssl.create_default_context(cafile=authority.write(tmp_path / "authority.pem"))
    lines = f'tls_cert = "{tmp_path / "cert.pem"}"\n        tls_key = "{tmp_path / "key.pem"}"'

    async with (
        running_api() as api,
        gateway(tmp_path / "gateway", api, server=lines, verify=trusted) as found,
    ):
        assert found.url.startswith("https://127.0.0.1:")
        port = found.url.rpartition(":")[2]
        found.url = f"https://localhost:{port}"

        assert (await found.call(method="GET"))["text"] == "ok"
        async with httpx2.AsyncClient(trust_env=False) as client:
            with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.get(f"https://localhost:{port}/healthz")
            with pytest.raises(httpx2.RemoteProtocolError):
                await client.get(f"http://localhost:{port}/healthz")
