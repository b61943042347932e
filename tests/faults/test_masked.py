"""Results that are hard to mask: each comes masked or not at all, and others are answered meanwhile."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from tests.faults.gateways import QUERY, Targets
from tests.faults.served import served
from tests.faults.sizes import times
from tests.invariants.world import World
from tests.memory import MIB
from tests.peers.api import answer

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R27", "I5"), pytest.mark.timeout(600)]

MAIL = "canary.of.somebody@example.com"
TYPES = {
    "text": "mail",
    "json": "json_build_object('a', json_build_array(mail, json_build_object(mail, 1)))",
    "jsonb": "jsonb_build_object(mail, mail)",
    "array": "ARRAY[mail, NULL, mail]",
    "two dimensions": "ARRAY[[mail, 'x'], ['y', mail]]",
    "bytea": "mail::bytea",
    "array of bytea": "ARRAY[mail::bytea]",
    "composite": "ROW(1, mail, NULL)",
    "a row of the table": "people",
    "range": "spans",
    "xml": "xmlelement(name a, mail)",
    "tsvector": "to_tsvector('simple', mail)",
    "hstore-like": "mail || '=>' || mail",
    "name": "mail::name",
    "char": "mail::char(60)",
    "a long text": "repeat('x ', 2000) || mail",
    "in many lines": "E'a\\n' || mail || E'\\r\\n\\tb'",
    "aggregate": "(SELECT string_agg(mail, ';') FROM people)",
    "an error": "mail::int",
    "an error of JSON": "mail::json",
}
HARD = {
    "at signs": b"@" * MIB,
    "dots and at signs": b"a.a@" * (MIB // 4),
    "digits": b"4111 1111 1111 1112 " * (MIB // 20),
    "base64 without end": b"QUJD" * (MIB // 4),
    "invisible characters": "\u200ba".encode() * (MIB // 4),
    "keys that never close": b"-----BEGIN PRIVATE KEY-----\n" * (MIB // 28),
    "percent signs": b"%25" * (MIB // 3),
    "NUL and broken UTF-8": b"\x00\xff\xfe\xed\xa0\x80" * (MIB // 6),
}


async def test_every_type_and_every_error(tmp_path: Path, world: World, targets: Targets) -> None:
    world.canaries["somebody's mail address"] = MAIL.encode()
    targets.database.execute("CREATE TYPE textrange AS RANGE (subtype = text)")
    targets.database.execute("CREATE TABLE people (mail text, spans textrange)")
    targets.database.execute("INSERT INTO people VALUES (%s, textrange(%s, %s))", [MAIL, MAIL, MAIL + "z"])
    async with served(tmp_path, targets, world=world) as gateway:
        for name, expression in TYPES.items():
            sql = f"SELECT {expression} FROM people"
            found = await gateway.call("query_database", {"target": "db", "sql": sql})
            wanted = {"failed"} if "error" in name else {"ok"}
            assert found.get("code", "ok") in wanted, (name, found)
        # The target's logs are its own, and so is what its tables hold.
        written = rb"printf '\377\376 %s \000 %s\n'"
        targets.api.answers = [answer(b"\xff\xfe " + MAIL.encode() + b"\x00" + MAIL.encode())]
        await gateway.call("call_api", {"target": "api", "path": "x", "method": "GET"})
        home = tmp_path / "there"
        home.write_text(MAIL)
        world.sources.add(home)
        command = f"w=$(cat {home}); {written.decode()} $w $w"
        shown = await gateway.call("run_ssh_command", {"target": "host", "command": command})
        assert shown["exit_status"] == 0, shown


async def test_what_is_slow_to_mask(tmp_path: Path, world: World, targets: Targets) -> None:
    """Ten megabytes and more of it: the result comes masked in its time, or is withheld; others go on."""
    size = times(commit=1, full=4)
    async with served(tmp_path, targets, world=world) as gateway:
        for name, text in HARD.items():
            targets.api.answers = [answer(text * size)]
            ended: list[str] = []

            async def hard(ended: list[str] = ended) -> None:
                ended.append(await gateway.code("call_api", {"target": "api", "path": "x", "method": "GET"}))

            others = 0
            with anyio.fail_after(120):
                async with anyio.create_task_group() as group:
                    group.start_soon(hard)
                    while not ended:
                        others += await gateway.code(*QUERY, person="sam") == "ok"
            assert ended[0] in {"ok", "withheld", "internal", "failed"}, (name, ended)
            assert others > 0, name
