from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from mcp_gateway_tools.run_ssh_command import Prepared, RunSSHCommand, RunSSHCommandArguments

from mcp_gateway.approval.holding import bound
from mcp_gateway.calls import Secret, Target
from mcp_gateway.facts.program_files import built_in, read_programs
from mcp_gateway.targets.ssh import SSHConnector
from mcp_gateway.tool import Examination

pytestmark = pytest.mark.anyio
TARGET = Target(
    name="web1", kind="ssh", description="", labels={"env": "prod"}, classes=frozenset(), fingerprint="f" * 64
)


@dataclass
class Settings:
    known_hosts: Path
    host: str = "web1.internal"
    port: int = 22
    user: str = "agent"
    key: Any = None


def connector(folder: Path) -> SSHConnector:
    """One whose host has a key of its own; nothing is connected to."""
    path = folder / "known_hosts"
    key = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    path.write_text(f"web1.internal {key}")
    return SSHConnector(Settings(path), fetch=_no_credential)


async def _no_credential(_: object) -> Secret:
    raise AssertionError("nothing is connected to")


async def examined(found: SSHConnector, **arguments: Any) -> Examination[Prepared]:
    given = RunSSHCommandArguments(target="web1", **arguments)
    return await RunSSHCommand().examine(given, target=TARGET, connector=found)


@pytest.mark.requirement("R14")
async def test_an_approver_is_shown_all_that_is_run(tmp_path: Path) -> None:
    found = connector(tmp_path)

    bare = await examined(found, command="cat")
    whole = await examined(found, argv=["cat", "a b"], stdin="rm -rf /\n" * 10_000, timeout_s=7)

    assert bare.shown == {"command": "cat"}
    assert whole.shown == {
        "command": "'cat' 'a b'",
        "standard input": "rm -rf /\n" * 10_000,
        "killed after": "7 s",
    }
    assert whole.private.line == whole.shown["command"]


@pytest.mark.requirement("R14")
async def test_an_approval_is_bound_to_all_that_is_shown_and_to_the_host_key(tmp_path: Path) -> None:
    found = connector(tmp_path)
    call = {"command": "cat", "stdin": "x"}
    before = bound(await examined(found, **call))

    assert bound(await examined(found, **call)) == before
    for change in ({"stdin": "y"}, {"command": "cat "}, {"timeout_s": 7}):
        assert bound(await examined(found, **call | change)) != before
    connector(tmp_path)  # The host's key is another one now.
    assert bound(await examined(found, **call)) != before


async def test_a_command_is_judged_by_what_the_tool_is_given_to_know(tmp_path: Path) -> None:
    found = connector(tmp_path)
    given = RunSSHCommandArguments(target="web1", command="shopctl status")
    own = read_programs([("own.toml", '[shopctl]\nsubcommands.reads = "status"')])
    tool = RunSSHCommand(knowledge=lambda: own)

    known = await tool.examine(given, target=TARGET, connector=found)
    unknown = await RunSSHCommand().examine(given, target=TARGET, connector=found)

    assert known.facts.to_json()["read_only"]
    assert not unknown.facts.to_json()["read_only"]
    assert known.sources == {"programs": own.version}
    assert unknown.sources == {"programs": built_in().version}


@pytest.mark.requirement("R14")
async def test_an_approval_is_bound_to_what_was_known_of_programs(tmp_path: Path) -> None:
    """Also where the same facts follow from both tables: what people were shown rests on the whole of one."""
    found = connector(tmp_path)
    given = RunSSHCommandArguments(target="web1", command="rm x")
    texts = ("[shopctl]", "[shopctl]\n", "[shopctl]")
    tools = [RunSSHCommand(knowledge=partial(read_programs, [("own.toml", text)])) for text in texts]
    seen = [await tool.examine(given, target=TARGET, connector=found) for tool in tools]

    assert seen[0].facts == seen[1].facts
    assert bound(seen[0]) == bound(seen[2]) != bound(seen[1])
