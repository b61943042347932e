"""A server that breaks the protocol, stalls or lies: a typed error in time, little memory, and the slot is free again."""

from __future__ import annotations

import os
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcp_gateway.errors import OutcomeLost, TargetError, TargetFailed, TargetTimeout, TargetUnavailable
from mcp_gateway.targets.postgres import MAX_SESSIONS, PostgresConnector
from mcp_gateway.targets.postgres_statement import Result, Statement
from tests.peers.hostile_postgres import (
    Fault,
    HostilePostgres,
    Visit,
    described,
    error,
    hostile_postgres,
    message,
    ready,
    row,
)
from tests.targets.postgres_settings import CALL_ID, Settings, as_it_is
from tests.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R36")]

SHORT = timedelta(seconds=1)
MEGABYTE = 1024 * 1024


@pytest.fixture
async def peer() -> AsyncIterator[HostilePostgres]:
    async with hostile_postgres() as found:
        yield found


@pytest.fixture
async def connector(peer: HostilePostgres) -> AsyncIterator[PostgresConnector]:
    found = connector_to(peer)
    yield found
    peer.dismiss()
    await found.aclose()


def connector_to(peer: HostilePostgres, **changes: Any) -> PostgresConnector:
    settings: dict[str, Any] = {"tls": "disable", "timeout": timedelta(seconds=5)} | changes
    return PostgresConnector(
        Settings(
            host=peer.host, port=peer.port, database=peer.name, user=peer.user, password=peer.password, **settings
        ),
        name="orders",
        fetch=as_it_is,
    )


async def run(
    connector: PostgresConnector, *, writes: bool = False, harmless: bool = True, timeout: timedelta = SHORT
) -> Result:
    return await connector.run(
        Statement(
            sql="UPDATE users SET name = 'x'" if writes else "SELECT name FROM users",
            parameters=(),
            call_id=CALL_ID,
            read_only=not writes,
            harmless=harmless,
            quiet=False,
            touched=None,
            timeout=timeout,
            max_rows=100,
            max_bytes=100_000,
        )
    )


async def recovers(peer: HostilePostgres, connector: PostgresConnector) -> None:
    """Every slot is free: as many calls as there are slots are at the server at the same time."""
    together = anyio.Event()

    async def gather(visit: Visit) -> bool:
        if peer.faults >= MAX_SESSIONS:
            together.set()
        await together.wait()
        await visit.send(message("2") + row(b"fine") + message("C", b"SELECT 1\0"))
        return True

    peer.dismiss()
    peer.misbehave, peer.at, peer.faults = gather, "rows", 0
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            for _ in range(MAX_SESSIONS):
                group.start_soon(partial(run, connector, timeout=timedelta(seconds=20)))


def sends(data: bytes) -> Fault:
    async def fault(visit: Visit) -> None:
        await visit.send(data)
        await visit.hang()

    return fault


def says(data: bytes) -> Fault:
    async def fault(visit: Visit) -> bool:
        await visit.send(data)
        return True

    return fault


def floods(data: bytes) -> Fault:
    async def fault(visit: Visit) -> None:
        await visit.flood(data)

    return fault


def drips(data: bytes) -> Fault:
    async def fault(visit: Visit) -> None:
        await visit.drip(data)

    return fault


async def leaves(visit: Visit) -> None:
    """Close at once."""


async def hangs(visit: Visit) -> None:
    await visit.hang()


def header(kind: str, length: int) -> bytes:
    return kind.encode() + struct.pack("!i", length)


BEGUN = message("2")
GARBAGE = bytes(range(255, 0, -1)) * 40
NOTICE = message("N", b"SNOTICE\0Mcanary-words" + b"x" * 8000 + b"\0\0")

REFUSING = {
    "says nothing": (hangs, "did not answer within 1 s"),
    "leaves": (leaves, "closed the connection before the log-in had ended"),
    "sends garbage": (sends(GARBAGE), "cannot be used: a message of kind|does not speak PostgreSQL's protocol"),
    "speaks HTTP": (sends(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "cannot be used|does not speak PostgreSQL's protocol"),
    "a negative length": (sends(header("R", -1)), "claims the length -1"),
    "a length of two gigabytes": (sends(header("R", 2**31 - 1) + bytes(4)), "more than 4,194,304 bytes beside rows"),
    "an error of two gigabytes": (sends(header("E", 2**31 - 1)), "more than 4,194,304 bytes beside rows"),
    "an error without a code": (sends(error(None)), "refuses the connection: an error of its own"),
    "an error with a code of its own": (sends(error("ZZ\x01ZZ")), "refuses the connection: an error of its own"),
    "the password in the clear": (sends(message("R", struct.pack("!i", 3))), "asks for the password in the clear"),
    "a flood of notices": (floods(NOTICE), "did not answer within 1 s"),
    "reports without end": (floods(message("S", b"TimeZone\0UTC\0")), "reports parameters without end"),
    "a byte a second": (drips(message("R", struct.pack("!i", 0))), "did not answer within 1 s"),
    "starting up": (sends(error("57P03", severity="FATAL")), "is starting up or shutting down"),
    "no connection left": (sends(error("53300", severity="FATAL")), "has no connection left for 'gateway'"),
}


@pytest.mark.parametrize("how", REFUSING)
async def test_a_server_that_breaks_the_log_in_is_unavailable(peer: HostilePostgres, how: str) -> None:
    fault, words = REFUSING[how]
    peer.misbehave, peer.at = fault, "login"
    connector = connector_to(peer, timeout=SHORT)
    before = resident()

    with anyio.fail_after(5), pytest.raises(TargetUnavailable, match=words) as caught:
        await run(connector, timeout=timedelta(seconds=5))

    assert "canary" not in str(caught.value)
    assert resident() - before < 32 * MEGABYTE
    peer.dismiss()
    await connector.aclose()


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if Path("/proc/self/statm").exists() else 0
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("name", ["server_version", "client_encoding", "standard_conforming_strings"])
async def test_a_server_that_does_not_say_what_it_is_is_unavailable(
    peer: HostilePostgres, connector: PostgresConnector, name: str
) -> None:
    del peer.reports[name]

    with pytest.raises(TargetUnavailable, match=f"cannot be used: the server does not report {name}, as every"):
        await run(connector)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("server_version", "a dozen", "does not speak PostgreSQL's protocol"),
        ("client_encoding", "LATIN1", "the server does not accept client_encoding = 'UTF8'"),
        ("standard_conforming_strings", "off", "the server does not accept standard_conforming_strings = 'on'"),
    ],
)
async def test_a_server_that_would_read_another_statement_is_not_used(
    peer: HostilePostgres, connector: PostgresConnector, name: str, value: str, words: str
) -> None:
    peer.reports[name] = value

    with pytest.raises(TargetUnavailable, match=words):
        await run(connector)

    assert "SELECT name FROM users" not in peer.received


@pytest.mark.parametrize("tls", ["require", "verify-ca", "verify-full"])
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"N", "does not offer TLS, which tls = '.*' demands"),
        (b"S", "TLS with .* failed|cannot be reached|did not answer"),
        (b"E", "cannot be reached|does not offer TLS"),
        (b"S" + message("R", struct.pack("!i", 0)), "TLS|cannot be reached"),
        (
            GARBAGE,
            "does not speak PostgreSQL's protocol: asked for TLS it answers with what PostgreSQL never says there",
        ),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "asked for TLS it answers as an HTTP server; check the target's host and port",
        ),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "asked for TLS it answers as an SSH server"),
        (
            b"\x15\x03\x01\x00\x02\x02\x46",
            "answers as a server that speaks TLS from the beginning, such as one of HTTPS",
        ),
    ],
)
async def test_where_tls_is_demanded_nothing_is_sent_without_it(
    peer: HostilePostgres, tls: str, answer: bytes, words: str
) -> None:
    heard = bytearray()

    async def refuse(visit: Visit) -> None:
        await visit.send(answer)
        while more := await visit.reader.read(65536):
            heard.extend(more)
            await visit.send(GARBAGE)

    peer.misbehave, peer.at = refuse, "tls"
    connector = connector_to(peer, tls=tls, timeout=SHORT)

    with anyio.fail_after(5), pytest.raises(TargetUnavailable, match=words):
        await run(connector, timeout=timedelta(seconds=5))

    assert peer.received == []
    assert peer.user.encode() not in heard
    peer.dismiss()
    await connector.aclose()


@pytest.mark.requirement("R8")
async def test_a_server_that_stalls_after_the_log_in_is_given_up(peer: HostilePostgres) -> None:
    peer.misbehave, peer.at = hangs, "BEGIN"
    connector = connector_to(peer, timeout=SHORT)

    with pytest.raises(TargetUnavailable, match=r"no session with PostgreSQL at .* within 1 s"):
        await run(connector)

    await recovers(peer, connector)
    peer.dismiss()
    await connector.aclose()


@pytest.mark.requirement("R8")
async def test_a_look_at_a_server_that_stalls_is_given_up(peer: HostilePostgres) -> None:
    async def stall(visit: Visit) -> None:
        await visit.send(message("R", struct.pack("!i", 0)))
        reports = b"".join(message("S", f"{name}\0{value}\0".encode()) for name, value in peer.reports.items())
        await visit.send(reports + message("Z", b"I"))
        await visit.hang()

    peer.misbehave, peer.at = stall, "login"
    connector = connector_to(peer, timeout=SHORT)

    with anyio.fail_after(5), pytest.raises(TargetUnavailable, match=r"did not answer within 1 s"):
        await connector.catalog()

    peer.dismiss()
    await connector.aclose()


LOST_OR_LATE = "was lost while the statement ran|did not end within 1 s"
BROKEN_ROWS = {
    "says nothing": (hangs, TargetTimeout, "did not end within 1 s"),
    "stalls between rows": (sends(BEGUN + row(b"one")), TargetTimeout, "did not end within 1 s"),
    "stalls inside a row": (sends(BEGUN + row(b"one")[:-2]), TargetTimeout, "did not end within 1 s"),
    "a byte a second": (drips(BEGUN + row(b"one") * 9), TargetTimeout, "did not end within 1 s"),
    "a flood of notices": (floods(NOTICE), TargetError, LOST_OR_LATE),
    "leaves": (leaves, TargetFailed, "was lost while the statement ran .*; it changed nothing"),
    "more rows than were asked for": (
        sends(BEGUN + row(b"one") * 500),
        TargetFailed,
        "more than the 101 rows it was asked for",
    ),
    "rows without end": (floods(row(b"one") * 50), TargetError, "more than the 101 rows|did not end within 1 s"),
    "one row without end": (
        sends(BEGUN + header("D", 2**31 - 1) + b"\0\1" + b"x" * 100_000),
        TargetFailed,
        "the first row alone is larger than the 100,000 bytes",
    ),
    "a negative length": (sends(BEGUN + header("D", -9)), TargetFailed, "claims the length -9"),
    "a negative count of columns": (sends(BEGUN + message("D", b"\xff\xff")), TargetError, LOST_OR_LATE),
    "a value longer than its row": (
        sends(BEGUN + message("D", struct.pack("!hi", 1, 2**30) + b"x")),
        TargetError,
        LOST_OR_LATE,
    ),
    "two columns where one was described": (sends(BEGUN + row(b"one", b"two")), TargetError, LOST_OR_LATE),
    "text that is not UTF-8": (sends(BEGUN + row(b"\xff\xfe")), TargetError, LOST_OR_LATE),
    "an error without a code": (says(error(None)), TargetFailed, "an error of its own"),
    "an error without fields": (says(message("E", b"\0")), TargetFailed, "an error of its own"),
    "an error of two gigabytes": (sends(header("E", 2**31 - 1)), TargetFailed, "more than 4,194,304 bytes"),
    "a COPY": (sends(BEGUN + message("H", b"\0\0\0")), TargetFailed, "began a COPY that nobody asked for"),
    "the password again": (sends(message("R", struct.pack("!i", 3))), TargetFailed, "in the middle of a session"),
    "garbage": (sends(GARBAGE), TargetFailed, "was lost"),
    "an end nobody asked for": (sends(message("Z", b"I")), TargetError, LOST_OR_LATE),
}


@pytest.mark.requirement("R8")
@pytest.mark.parametrize("how", BROKEN_ROWS)
async def test_a_server_that_breaks_off_a_result_fails_the_call_and_no_other(
    peer: HostilePostgres, connector: PostgresConnector, how: str
) -> None:
    fault, kind, words = BROKEN_ROWS[how]
    peer.misbehave, peer.at = fault, "rows"
    before = resident()

    with anyio.fail_after(5), pytest.raises(kind, match=words) as caught:
        await run(connector)

    assert "canary" not in str(caught.value)
    assert resident() - before < 32 * MEGABYTE
    await recovers(peer, connector)


@pytest.mark.parametrize("how", ["leaves", "garbage", "says nothing", "a lie about columns"])
async def test_a_server_that_breaks_off_while_parsing_has_run_nothing(
    peer: HostilePostgres, connector: PostgresConnector, how: str
) -> None:
    lie = message("1") + message("t", b"\0\0") + message("T", b"\0\2" + described("answer")[7:])
    faults: dict[str, tuple[Fault, type[TargetError]]] = {
        "leaves": (leaves, TargetUnavailable),
        "garbage": (sends(GARBAGE), TargetUnavailable),
        "says nothing": (hangs, TargetTimeout),
        "a lie about columns": (sends(lie), TargetUnavailable),
    }
    peer.misbehave, kind = faults[how]
    peer.at = "parse"

    with anyio.fail_after(5), pytest.raises(kind):
        await run(connector, writes=True)

    assert "COMMIT" not in peer.received
    await recovers(peer, connector)


# Writes: what is known of them when the connection is lost.


@pytest.mark.requirement("R24")
@pytest.mark.parametrize("fault", [leaves, sends(GARBAGE), sends(error("57P01", severity="FATAL")), sends(error(None))])
async def test_a_commit_without_an_answer_is_an_unknown_outcome_and_is_sent_once(
    peer: HostilePostgres, connector: PostgresConnector, fault: Fault
) -> None:
    async def then_leave(visit: Visit) -> None:
        with anyio.move_on_after(0.1):
            await fault(visit)

    peer.misbehave, peer.at = then_leave, "COMMIT"

    with pytest.raises(OutcomeLost, match=r"was lost while the write was committed.*; whether it took effect is not"):
        await run(connector, writes=True)

    assert peer.received.count("COMMIT") == 1
    assert peer.received.count("UPDATE users SET name = 'x'") == 1
    await recovers(peer, connector)


@pytest.mark.requirement("R24")
async def test_a_harmless_write_that_is_lost_before_its_commit_has_failed(
    peer: HostilePostgres, connector: PostgresConnector
) -> None:
    peer.misbehave, peer.at = leaves, "rows"

    with pytest.raises(
        TargetFailed, match=r"was lost while the statement ran.*; it was not committed and changed nothing"
    ):
        await run(connector, writes=True)

    assert "COMMIT" not in peer.received
    await recovers(peer, connector)


@pytest.mark.requirement("R24")
async def test_a_write_that_may_act_outside_its_transaction_is_unknown_when_it_is_lost(
    peer: HostilePostgres, connector: PostgresConnector
) -> None:
    """Such as one that calls a function that writes a file or speaks to another database."""
    peer.misbehave, peer.at = leaves, "rows"

    with pytest.raises(OutcomeLost, match=r"; it was not committed, and what the code it called did elsewhere is not"):
        await run(connector, writes=True, harmless=False)


@pytest.mark.requirement("R9")
@pytest.mark.parametrize("at", ["rows", "parse"])
async def test_a_call_that_is_cancelled_asks_the_server_to_cancel(
    peer: HostilePostgres, connector: PostgresConnector, at: str
) -> None:
    reached = anyio.Event()

    async def stall(visit: Visit) -> None:
        reached.set()
        await visit.hang()

    peer.misbehave, peer.at = stall, at
    async with anyio.create_task_group() as group:
        group.start_soon(partial(run, connector, timeout=timedelta(seconds=20)))
        await reached.wait()
        group.cancel_scope.cancel()

    with anyio.fail_after(2):
        await peer.cancelled.wait()
    await recovers(peer, connector)


@pytest.mark.parametrize(
    "answer",
    [
        ready("I"),
        message("C", b"SELECT 1\0") + ready("I"),
        message("C", b"\xff\xfe\0") + ready("I"),
        row(b"committed") + ready("I"),
        message("E") + ready("I"),
    ],
    ids=["without a tag", "another command's", "no text", "a row", "an error that says nothing"],
)
async def test_a_commit_that_is_answered_by_something_else_is_unknown(
    peer: HostilePostgres, connector: PostgresConnector, answer: bytes
) -> None:
    async def answers(visit: Visit) -> bool:
        await visit.send(answer)
        return True

    peer.misbehave, peer.at = answers, "COMMIT"

    with pytest.raises(OutcomeLost, match="whether it took effect is not known"):
        await run(connector, writes=True)


async def test_what_a_server_says_while_nobody_asks_ends_its_session_and_nothing_else(
    peer: HostilePostgres, connector: PostgresConnector
) -> None:
    assert (await run(connector)).rows == 1
    for visit in peer.visits:
        with suppress(ConnectionError):  # one was opened for the path alone
            await visit.send(ready("I") + message("C", b"SELECT 1\0") + ready("I"))
    await until(lambda: all(visit.writer.transport.is_closing() for visit in peer.visits))

    assert (await run(connector, timeout=timedelta(seconds=10))).rows == 1


@pytest.mark.parametrize(
    ("answer", "goes_on", "words"),
    [
        (b"", False, "the server closed it"),
        (row(b"a", b"b"), True, "what the server says is not PostgreSQL's protocol"),
        (error("57P01", severity="FATAL"), False, r"the server ended it: 57P01 \(admin_shutdown\)"),
    ],
    ids=["hung up", "another row", "told"],
)
async def test_why_a_connection_was_lost_is_said_in_words(
    peer: HostilePostgres, connector: PostgresConnector, answer: bytes, goes_on: bool, words: str
) -> None:
    async def answers(visit: Visit) -> bool:
        await visit.send(answer)
        return goes_on

    peer.misbehave, peer.at = answers, "rows"

    with pytest.raises(TargetFailed, match=rf"was lost while the statement ran \({words}\); it changed nothing"):
        await run(connector)
