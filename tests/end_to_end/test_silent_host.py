from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import anyio
import orjson
import pytest

from tests.doors.token_doors import INITIALIZE, INITIALIZED, call
from tests.end_to_end.test_stdio import with_local_issuer
from tests.invariants.world import World, read_store
from tests.peers.relay import relay
from tests.peers.sshd import SSHServer
from tests.private import write_private
from tests.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

ENDS_WITHIN_SECONDS = 8.0
"""It takes less than two; a host that is waited for takes eleven."""
POLICY = """
@id("runs") permit (principal, action == Action::"run_ssh_command", resource);
"""


@pytest.mark.requirement("R8", "R9", "R33")
async def test_a_gateway_whose_client_is_gone_waits_for_no_silent_host(
    tmp_path: Path, world: World, ssh_server: SSHServer
) -> None:
    tmp_path.chmod(0o700)
    world.data_dirs.append(tmp_path / "data")
    began = tmp_path / "began"
    running = call()
    running["params"] = {
        "name": "run_ssh_command",
        "arguments": {"target": "host", "command": f"echo $$ > {began}; exec sleep 600"},
    }
    async with relay(ssh_server.port) as way:
        command = configured(tmp_path, ssh_server, port=way.port)
        with (tmp_path / "stderr.log").open("wb") as errors:
            gateway = await anyio.open_process(command, stdout=subprocess.DEVNULL, stderr=errors)
        async with gateway:
            assert gateway.stdin is not None
            for message in (INITIALIZE, INITIALIZED, running):
                await gateway.stdin.send(orjson.dumps(message) + b"\n")
            await until(lambda: began.exists() and began.read_text().strip())
            way.mode = "silence"
            await gateway.stdin.aclose()
            with anyio.fail_after(ENDS_WITHIN_SECONDS):
                status = await gateway.wait()

    os.kill(int(began.read_text()), signal.SIGKILL)  # nobody could

    assert status == 0
    assert [row.kind for row in read_store(tmp_path / "data").rows][-3:] == ["Cancelled", "Answered", "GatewayStopped"]
    assert b"Traceback" not in (tmp_path / "stderr.log").read_bytes()


def configured(folder: Path, host: SSHServer, *, port: int) -> list[str]:
    """The command line of a gateway on standard streams before a host that is reached by `port`."""
    known = folder / "known_hosts"
    write_private(known, host.known_hosts.read_text().replace(str(host.port), str(port)))
    target = f"""
        [targets.host]
        kind = "ssh"
        labels = {{ env = "dev" }}
        host = "{host.host}"
        port = {port}
        user = "{host.user}"
        known_hosts = "{known}"
        key = {{ file = "{host.key}" }}
        """
    return with_local_issuer(folder, target, policy=POLICY)
