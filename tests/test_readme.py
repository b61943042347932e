"""Every command of the README, run as it stands there: by a shell, in a home of its own, against a real gateway.

The README's own gateway.toml is what `$EDITOR` leaves behind, with this machine's addresses in place of the examples';
between the commands an agent calls as the text around them says. A command without a run fails.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_gateway_policies import starter_policies

from mcp_gateway.identity.system_user import operating_system_user
from mcp_gateway.policy.loader import load_policies
from mcp_gateway.policy.reach import findings_on
from mcp_gateway.policy.statement import NO_PERMIT
from tests.cli.running import SCRIPT
from tests.invariants.clients import heard
from tests.invariants.fixtures import tasks_return, world
from tests.invariants.witnesses import PostgresWitness
from tests.invariants.world import World
from tests.peers.issuer import FakeIssuer
from tests.peers.postgres import PostgresDatabase
from tests.plain_http import plain_client
from tests.policy.worlds import TARGETS

__all__ = ["tasks_return", "world"]

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

ELSEWHERE = {
    "make demo": ("tests/end_to_end/test_demo.py", 'DEMO = [sys.executable, "-I", "-m", "mcp_gateway", "demo"]'),
    "make demo ARGS=--serve": ("tests/end_to_end/test_demo.py", '"--serve"'),
    "make test": (".ci/run", "make test"),
}
"""Commands that CI runs in another way, the file that does, and what shows it there."""

PUBLIC_URL = "https://gateway.example.com"
ISSUER = "https://idp.example.com/realms/corp"
READ = {"target": "orders", "sql": "SELECT email FROM customers"}
WRITE = {"target": "orders", "sql": "DELETE FROM customers WHERE id = 7", "reason": "asked to be forgotten"}
ALONE = {"target": "orders", "sql": "DELETE FROM customers WHERE id = 8"}
"""What somebody on a machine of their own has an agent do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One line of a console block, without its comment."""

    text: str
    section: str


def commands() -> list[Command]:
    """All of them, in order, with the `##` section that they stand in."""
    found = []
    for section in re.split(r"^(?=## )", README, flags=re.MULTILINE):
        title = section.partition("\n")[0].removeprefix("## ")
        for block in re.findall(r"^```console\n(.*?)^```", section, re.DOTALL | re.MULTILINE):
            lines = block.splitlines()
            assert all(line.startswith("$ ") for line in lines), block
            found += [Command(text=re.sub(r"\s+# .*", "", line[2:]).strip(), section=title) for line in lines]
    return found


def block(kind: str, number: int = 0) -> str:
    found: list[str] = re.findall(rf"^```{kind}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    return found[number]


def test_no_command_is_named_that_is_not_there() -> None:
    from tests.test_reference import commands as all_commands

    known = {name for name, _ in all_commands()}
    prose = re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE)
    assert set(re.findall(r"`(make [^`]+)`", prose)) <= ELSEWHERE.keys()
    inline = re.findall(r"`(mcp-gateway [^`]+)`", prose)
    assert inline
    assert [text for text in inline if not any(f"{text} ".startswith(f"{name} ") for name in known)] == []
    assert not re.search(r"^(claude|pip|python3?|docker|npm) ", "\n".join(c.text for c in commands()), re.MULTILINE)


@pytest.mark.parametrize("text", ELSEWHERE)
def test_what_is_not_run_here_is_run_there(text: str) -> None:
    path, mark = ELSEWHERE[text]
    assert text in README
    assert mark in (ROOT / path).read_text(encoding="utf-8")


@dataclass(slots=True, kw_only=True)
class Home:
    """One person's or account's machine: a home folder, an environment, and what stands for the placeholders."""

    folder: Path
    environ: dict[str, str]
    placeholders: dict[str, str] = field(default_factory=dict)

    async def run(self, text: str) -> str:
        """Run a line in a shell; what it printed. It has to succeed."""
        for name, value in self.placeholders.items():
            text = re.sub(rf"(?<![\w-]){name}(?![\w-])" if name.isupper() else re.escape(name), value, text)
        if match := re.fullmatch(r"export (\w+)=(\S+)", text):
            self.environ[match[1]] = match[2].replace("~", str(self.folder))
            return ""

        def work() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                ["/bin/sh", "-c", text],
                cwd=self.folder,
                env=self.environ,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
                stdin=subprocess.DEVNULL,
            )

        done = await anyio.to_thread.run_sync(work)
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """`mcp-gateway serve`, until the block ends by SIGTERM."""
        log = self.folder / "serve.log"
        with log.open("wb") as sink:
            process = subprocess.Popen(["/bin/sh", "-c", "exec mcp-gateway serve"], cwd=self.folder, env=self.environ,
                                       stdout=sink, stderr=sink)  # fmt: skip
        try:
            with anyio.fail_after(30):
                while b"serving http" not in log.read_bytes():
                    assert process.poll() is None, log.read_text()
                    await anyio.sleep(0.02)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(lambda: process.wait(timeout=30))
        assert process.returncode == 0, log.read_text()


def a_home(folder: Path) -> Home:
    folder.mkdir(mode=0o700)
    return Home(folder=folder, environ={"HOME": str(folder), "PATH": f"{SCRIPT.parent}:{os.environ['PATH']}"})


def an_editor(home: Home, config: str) -> str:
    """What a person does in their editor: the README's configuration, in place of what `init` wrote."""
    (home.folder / "edited.toml").write_text(config)
    editor = home.folder / "editor"
    editor.write_text(f'#!/bin/sh\ncp "{home.folder}/edited.toml" "$1"\n')
    editor.chmod(0o700)
    return str(editor)


def localised(config: str, *, home: Home, issuer: str, database: PostgresDatabase, listen: str) -> str:
    """The README's configuration with what is true on this machine; each example has to be there to be replaced."""
    replaced = {
        ISSUER: issuer,
        PUBLIC_URL: f"http://{listen}",
        "127.0.0.1:8765": listen,
        "/etc/mcp-gateway/policies": str(home.folder / ".config/mcp-gateway/policies"),
        'host = "db.internal"': f'host = "127.0.0.1"\nport = {database.port}\ntls = "disable"',
        'database = "orders"': f'database = "{database.name}"',
        'user = "gateway"': f'user = "{database.user}"',
        # Nobody reads along here while a call waits for its approval.
        'clients = ["mcp-gateway-approver"]': 'clients = ["mcp-gateway-approver"]\nwait = "0s"',
    }
    for example, ours in replaced.items():
        assert example in config, example
        config = config.replace(example, ours)
    return f'[gateway]\ndata_dir = "{home.folder}/data"\n\n{config}'


def localised_alone(home: Home, server: str, *, database: PostgresDatabase) -> str:
    """What `init` wrote, with the README's local people and target; the password is in a file, as the README says."""
    password = home.folder / ".config/mcp-gateway/orders-password"
    password.write_text(database.password)
    password.chmod(0o600)
    written = (home.folder / ".config/mcp-gateway/gateway.toml").read_text()
    people = block("toml", 1).replace("you =", f'"{operating_system_user()}" =')
    source = 'password = { env = "ORDERS_PASSWORD" }'
    assert written.count('[identity]\nissuer = "local"\n') == server.count(source) == 1
    target = server[server.index("[targets.orders]") :].replace(source, f'password = {{ file = "{password}" }}')
    return written.replace('[identity]\nissuer = "local"\n', people) + target


@dataclass(slots=True, kw_only=True)
class Story:
    """The agent's part in the README, and the approver's token."""

    url: str
    issuer: FakeIssuer
    home: Home
    world: World
    database: PostgresDatabase

    async def call_alone(self, home: Home) -> Any:
        """Over stdio, by the program that a host starts."""
        way = StdioServerParameters(command=str(SCRIPT), args=["stdio"], env=home.environ)
        with (home.folder / "stdio.log").open("w") as errors:
            async with heard(self.world, stdio_client(way, errlog=errors)) as agent:
                return (await agent.call_tool("query_database", ALONE)).structured_content

    async def alone_before_an_approval(self, own: Home, config: str) -> None:
        """Who works alone has named people and a target, and a call waits."""
        text = localised_alone(own, config, database=self.database)
        (own.folder / ".config/mcp-gateway/gateway.toml").write_text(text.replace('# wait = "40s"', 'wait = "0s"'))
        self.world.sources.add(own.folder / ".config/mcp-gateway/orders-password")
        held = (await self.call_alone(own))["error"]
        assert held["code"] == "approval_pending", held
        own.placeholders["ID"] = held["approval"]["id"]

    async def call(self, arguments: dict[str, Any]) -> Any:
        token = self.issuer.token(sub="alex", client_id="agent", groups=["developers"])
        self.world.canaries["an agent's token"] = token.encode()
        headers = {"authorization": f"Bearer {token}"}
        async with (
            plain_client(headers=headers, timeout=60) as http,
            heard(self.world, streamable_http_client(f"{self.url}/mcp", http_client=http)) as agent,
        ):
            return (await agent.call_tool("query_database", arguments)).structured_content

    async def before_an_approval(self) -> None:
        """A call waits, and the approver has signed in."""
        held = (await self.call(WRITE))["error"]
        assert held["code"] == "approval_pending"
        self.home.placeholders["ID"] = held["approval"]["id"]
        token = self.home.folder / "approver-token"
        now = self.issuer.claims()["iat"]
        signed_in = {"client_id": "mcp-gateway-approver", "auth_time": now}
        token.write_text(self.issuer.token(sub="dana", groups=["dba"], **signed_in))
        token.chmod(0o600)
        self.world.sources.add(token)
        self.world.canaries["an approver's token"] = token.read_bytes()

    async def after_the_yes(self) -> None:
        """The agent calls again with the same arguments, and it runs."""
        found = await self.call(WRITE)
        assert found["row_count"] == 1, found
        self.home.placeholders["CALL_ID"] = found["call_id"]


@pytest.mark.anyio
@pytest.mark.timeout(300)
async def test_every_command_runs(tmp_path: Path, postgres_database: PostgresDatabase, world: World) -> None:
    world.data_dirs += [tmp_path / "server" / "data", tmp_path / "own" / ".local/share/mcp-gateway"]
    witness = PostgresWitness(postgres_database, target="orders")
    world.witnesses.append(witness)
    world.canaries |= {"the password": postgres_database.password.encode(), "an address": b"x.canary@example.com"}
    postgres_database.execute(
        "CREATE TABLE customers (id int PRIMARY KEY, email text); INSERT INTO customers VALUES (7, 'x.canary@example.com')"
    )
    server, own = a_home(tmp_path / "server"), a_home(tmp_path / "own")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    url = f"http://{listen}"
    left = [command for command in commands() if command.text not in ELSEWHERE]
    with FakeIssuer(audience=url) as issuer:
        config = localised(block("toml"), home=server, issuer=issuer.url, database=postgres_database, listen=listen)
        server.environ |= {"EDITOR": an_editor(server, config), "ORDERS_PASSWORD": postgres_database.password}
        server.placeholders[PUBLIC_URL] = url
        story = Story(url=url, issuer=issuer, home=server, world=world, database=postgres_database)
        while left[0].text != "mcp-gateway serve":
            await server.run(left.pop(0).text)
        left.pop(0)
        async with server.serving():
            masked = await story.call(READ)
            assert masked["columns"][0]["masked"] == ["pii.email"]
            assert await said(server, own, left, story, config=config) >= {
                "approvals list", "approvals show", "approvals approve", "revoke agent", "revoke list", "audit search",
                "audit show", "audit verify", "policy check", "policy explain", "client-config claude-code", "client-config claude-desktop",
                "init", "check",
            }  # fmt: skip
    assert postgres_database.execute("SELECT count(*) FROM customers") == [(0,)]
    assert [effect.what for effect in witness.effects() if not effect.own] == [
        READ["sql"],
        ALONE["sql"],
        WRITE["sql"],
    ]


EXPECTED: dict[str, Callable[[Home], str]] = {
    "policy explain": lambda _: "changes-need-a-dba",
    "approvals list": lambda home: home.placeholders["ID"],
    "approvals show": lambda _: WRITE["sql"],
    "approvals approve": lambda _: "is approved",
    "revoke list": lambda _: "incident 41",
    "audit search": lambda home: home.placeholders["CALL_ID"],
    "audit show": lambda _: "Started",
    "audit verify": lambda _: "are as they were recorded",
    "check": lambda _: "set-up: a safeguard",
}
"""What a command's answer says, as the README promises."""
CONFIRMED = "mcp-gateway approvals approve ID"
"""By the caller, who is not alone asked."""


async def said(server: Home, own: Home, left: list[Command], story: Story, *, config: str) -> set[str]:
    """Run what is left, with what happens between the commands; which commands ran."""
    ran = set()
    for command in left:
        home = own if command.section.startswith("A safeguard") else server
        if command.text.startswith("export MCP_GATEWAY_TOKEN_FILE"):
            await story.before_an_approval()
        if command.text == CONFIRMED:
            await story.alone_before_an_approval(own, config)
        answer = await home.run(command.text)
        words = command.text.split()
        name = " ".join(words[1:3]) if len(words) > 2 and not words[2].startswith("-") else " ".join(words[1:2])
        if command.text == CONFIRMED:
            assert answer == "your yes counts; still missing: one of dba\n"
        elif name in EXPECTED:
            assert EXPECTED[name](home) in answer, f"{command.text}\n{answer}"
        if name == "approvals approve" and home is server:
            await story.after_the_yes()
        elif name == "approvals approve" and command.text != CONFIRMED:
            assert (await story.call_alone(own))["row_count"] == 0
        ran.add(name)
    return ran


def test_the_files_of_hosts_are_as_the_readme_shows_them(tmp_path: Path) -> None:
    """What `client-config` prints is the README's JSON, but for the paths."""
    import json

    home = a_home(tmp_path / "home")
    environ = home.environ
    subprocess.run(["mcp-gateway", "init"], env=environ, check=True, capture_output=True, timeout=60)
    for number, arguments in enumerate((["claude-code", "--url", PUBLIC_URL], ["claude-desktop"])):
        done = subprocess.run(
            ["mcp-gateway", "client-config", *arguments], env=environ, check=True, capture_output=True, timeout=60
        )
        printed = done.stdout.decode().replace(str(SCRIPT), "/path/to/.venv/bin/mcp-gateway")
        printed = printed.replace(str(home.folder / ".config/mcp-gateway"), "/path/to")
        assert json.loads(printed) == json.loads(block("json", number))


def test_the_first_policy_adds_something_to_the_starter_policies(tmp_path: Path) -> None:
    """What a new user copies draws no warning; alone it permits nothing, which one does."""
    own = tmp_path / "own.cedar"
    own.write_text(block("cedar"))

    beside = load_policies([starter_policies(), own], targets=TARGETS, classes=[], guarded=False)
    alone = load_policies([own], targets=TARGETS, classes=[], guarded=False)

    assert findings_on(beside.compiled, targets=TARGETS).warnings == ()
    assert [warning.message for warning in findings_on(alone.compiled, targets=TARGETS).warnings] == [NO_PERMIT]


def test_the_demo_takes_as_long_by_make_help_as_by_the_readme() -> None:
    told = [
        next(line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if begin in line)
        for name, begin in (("README.md", "$ make demo "), ("Makefile", "demo: "))
    ]

    assert ["half a minute" in line for line in told] == [True, True]
