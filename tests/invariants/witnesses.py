"""Who saw what reached a target: PostgreSQL's statement log, sshd's log, and the log of a test's own API.

A log that several tests share is read from where it stood when this test began.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import orjson

from mcp_gateway.targets.postgres_preface import OWN as PREPARED
from mcp_gateway.targets.postgres_queries import GIVEN_SETTINGS
from tests.invariants.world import Effect
from tests.peers.postgres import PostgresDatabase

POSTGRES_LINE = re.compile(
    r"(?P<at>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) UTC \[\d+\] (?P<application>\S*?)@(?P<database>\S+) LOG:  "
    r"(?P<how>execute [^:]+|statement): (?P<text>.*)",
    re.DOTALL,
)
CONTROL = {f"execute {name}": text.strip() for name, text in PREPARED.items()} | {"execute <unnamed>": GIVEN_SETTINGS}
"""What precedes an agent's statement in its session, and the look at a new one. An agent's own `EXECUTE` is a statement
without a name."""
OWN = "mcp-gateway/catalog"
SSH_ACCEPTED = re.compile(r"Accepted publickey for \S+ from \S+ port (\d+)")
SSH_ENDED = re.compile(r"(?:Disconnected from|Connection closed by) user \S+ \S+ port (\d+)")
ESTABLISHED = "01"
"""A TCP state as `/proc/net/tcp` has it."""
SSH_SESSION = re.compile(r"Starting session: (?P<what>.*) for \S+ from \S+ port \d+ id (?P<number>\d+)")
OWN_NUMBER = "0"
"""The first session of a connection. Each call has a connection of its own, and its command is the first; one beside it
may only be the gateway's, which kills a command that took too long or whose caller went away."""


class _Log:
    def __init__(self, path: Path, *, whole: bool = False) -> None:
        self._path = path
        self._start = path.stat().st_size if path.exists() and not whole else 0

    def text(self) -> str:
        if not self._path.exists():
            return ""
        return self._path.read_bytes()[self._start :].decode("utf-8", "replace")


class PostgresWitness:
    """`log_statement = all` with `application_name` in the prefix, as `tests.peers.postgres` sets it up.

    The gateway's own session control goes by the simple protocol ("statement:") or by statements that it has prepared under
    a name, what an agent sent by the extended one without a name ("execute <unnamed>:").
    """

    def __init__(self, database: PostgresDatabase, *, target: str) -> None:
        self._target = target
        self._database = database
        self._log = _Log(database.server.log)

    def effects(self) -> list[Effect]:
        """What was executed in sessions of the gateway."""
        found = []
        # A statement's further lines begin with a tab.
        for entry in self._log.text().replace("\n\t", "\r\t").split("\n"):
            match = POSTGRES_LINE.match(entry.replace("\r\t", "\n"))
            if match is None or match["database"] != self._database.name or match["how"] == "statement":
                continue
            if CONTROL.get(match["how"]) == match["text"]:
                continue
            application = match["application"]
            if not application.startswith("mcp-gateway"):
                continue
            found.append(
                Effect(
                    target=self._target,
                    what=match["text"],
                    at=datetime.strptime(match["at"], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC),
                    # A statement under the bare name belongs to no call, and no call has this id.
                    call_id=None if application == OWN else application.partition("/")[2] or "(none)",
                    own=application == OWN,
                )
            )
        return found

    def left_open(self) -> list[str]:
        """Sessions that are still there."""
        found = self._database.execute(
            "SELECT application_name FROM pg_stat_activity WHERE datname = %s AND application_name LIKE 'mcp-gateway%%'",
            [self._database.name],
        )
        return [name for (name,) in found]


class SSHWitness:
    """OpenSSH's server at `LogLevel VERBOSE`: one line for each session, without time, call or command."""

    def __init__(self, *, target: str, log: Path, port: int) -> None:
        self._target = target
        self._log = _Log(log)
        self._port = port

    def effects(self) -> list[Effect]:
        """Sessions that were started."""
        return [
            Effect(target=self._target, what=match["what"], kills=match["number"] != OWN_NUMBER)
            for match in SSH_SESSION.finditer(self._log.text())
        ]

    def left_open(self) -> list[str]:
        """Connections that were opened and not closed: sshd does not write down each end, so the system is asked, too."""
        text = self._log.text()
        opened, ended = set(SSH_ACCEPTED.findall(text)), set(SSH_ENDED.findall(text))
        left = {port for port in opened - ended if is_connected(int(port), self._port)}
        return [f"{len(left)} connections"] if left else []


def is_connected(client: int, server: int) -> bool:
    """Whether a connection between these TCP ports of this machine stands; where the system does not say, it is taken to.

    The client's alone tells nothing: what came from there may be over, and the port another connection's by now.
    """
    table = Path("/proc/net/tcp")
    if not table.exists():
        return True
    rows = [line.split() for line in table.read_text().splitlines()[1:]]
    ends = {f":{client:04X}", f":{server:04X}"}
    return any(row[3] == ESTABLISHED and {row[1][-5:], row[2][-5:]} == ends for row in rows)


class APIWitness:
    """The log of `tests.peers.api`: each request, and which intents were durable when its first byte was read."""

    def __init__(self, *, target: str, log: Path, whole: bool = False) -> None:
        self._target = target
        self._log = _Log(log, whole=whole)

    def effects(self) -> list[Effect]:
        """Requests that arrived."""
        lines = [orjson.loads(line) for line in self._log.text().splitlines()]
        return [
            Effect(
                target=self._target,
                what=line["request"],
                at=datetime.fromisoformat(line["at"]),
                intents=None if line["intents"] is None else frozenset(line["intents"]),
            )
            for line in lines
        ]

    def left_open(self) -> list[str]:
        """Nothing: it closes each connection after one request."""
        return []
