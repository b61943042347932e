"""Mutated statements, commands and requests: facts or a refusal, soon, in bounded memory, and nothing else.

Statements go through the process that parses them, as a gateway's do: one that breaks it is refused, and the next is
examined. `FUZZ=full` tries many more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from mcp_gateway.calls import HTTPFacts
from mcp_gateway.errors import GatewayError
from mcp_gateway.facts.http import RequestRefusedError, resolve
from mcp_gateway.facts.http_bodies import check_body
from mcp_gateway.facts.parser import SQLSyntaxError
from mcp_gateway.facts.requests import Interface, examine_request
from mcp_gateway.facts.shell import ShellError, examine_shell
from mcp_gateway.facts.worker import SQLWorker
from tests.facts.test_openapi_requests import BASE, DOCUMENT
from tests.facts.workers import child_of
from tests.fuzz.sizes import FULL

COUNT = 100_000 if FULL else 2_000
MIB = 1024 * 1024
SECONDS = 5.0
"""For one, on a machine that does other things, too."""
PIECES = (
    "'", '"', "$$", "E'\\", "/*", "*/", "--", ";", "(", ")", "((((((((", "[", "]", "{", "}", "::", "\\", "\n", "\t", " ", "|", "&", "&&",
    "<", ">", "`", "$(", "${x}", "*", "?", "~", "#", "!", "=", "%2e", "%00", "%25", "%c0%ae", "..", "//", "@", "[::1]", "\u202e",
    "\u0430", "\ufeff", "\U0001f600", "\x00", "\x1b[2J", "\ud800", "NULL", "SELECT ", "UNION ", " OR 1=1", "WITH RECURSIVE x AS (",
    "sudo ", "sh -c ", "a" * 300, "9" * 400, "1+" * 50,
)  # fmt: skip
STATEMENTS = (
    "SELECT a, count(*) FROM t JOIN u USING (id) WHERE b LIKE 'x%' AND c IN (1, 2) GROUP BY a HAVING count(*) > 1 ORDER BY 2 LIMIT 5",
    "WITH d AS (DELETE FROM t WHERE id = $1 RETURNING *) SELECT row_number() OVER (PARTITION BY a ORDER BY b) FROM d",
    "INSERT INTO t (a, b) VALUES (1, '{\"x\": [1]}'::jsonb) ON CONFLICT (a) DO UPDATE SET b = excluded.b WHERE t.c IS NULL",
    "MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN UPDATE SET a = u.a WHEN NOT MATCHED THEN INSERT VALUES (u.id)",
    "DO $x$ BEGIN PERFORM pg_sleep(1); END $x$",
    "SELECT (x).y, ARRAY[1,2][1], ROW(1, 'a'), CASE WHEN a THEN b END, interval '1 day', U&'\\0041' FROM f(1) AS x(y int)",
)
COMMANDS = (
    "journalctl -u nginx --since '1 hour ago' | grep -i error | tail -n 20",
    "sudo -u app env A=1 nice -n 5 timeout 5s ls -la /srv/app; df -h && free -m",
    "find /var/log -name '*.log' -mtime +7 -exec ls -l {} \\;",
    "kubectl get pods -n shop -o wide; docker ps --format '{{.Names}}'",
    "cat <<'X'\nhello\nX",
)
REQUESTS = ("/v1/invoices/42?expand=lines&q=%C3%A9", "v1/a;b=c/d", "/graphql?query={a}", "/a/./b", "/%7Euser/", "/")
BODIES = (
    '{"query": "query A($a: Int) { me(a: $a) { id ...F } } fragment F on Query { x: me @skip(if: true) { id } }", "operationName": "A"}',
    '{"amount": 1.5, "lines": [{"amount": 1}, {"amount": 2, "lines": []}], "note": "\\u00e9"}',
    "note=a+b&count=7&filter%5Bx%5D=1",
    '--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--',
)
KINDS = (
    "application/json", "application/graphql", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", ""
)  # fmt: skip
INTERFACE = Interface(graphql="/invoices", document=DOCUMENT)


def requests_of(text: str) -> list[HTTPFacts]:
    """The facts of a request with this body, under every kind, to what is GraphQL and a described operation as well."""
    body = text.encode()
    found = []
    for kind in KINDS:
        request = resolve(BASE, "/invoices", method="POST", headers={"content-type": kind} if kind else None)
        check_body(body, content_type=kind)
        found.append(examine_request(request, body, interface=INTERFACE))
    return found


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def mutated(random: Random, seed: str) -> str:
    text = seed
    for _ in range(random.randint(1, 6)):
        begin = random.randint(0, len(text))
        end = min(len(text), begin + random.choice((0, 0, 1, 2, 5, 30)))
        piece = random.choice(
            (random.choice(PIECES), text[begin:end] * random.randint(0, 3), chr(random.randint(1, 0x2FFF)))
        )
        text = text[:begin] + piece + text[end:]
    return text


def texts(seeds: tuple[str, ...]) -> list[str]:
    random = Random(7)
    return [mutated(random, random.choice(seeds)) for _ in range(COUNT)]


@pytest.mark.anyio
@pytest.mark.timeout(1800)
@pytest.mark.requirement("I7", "I8")
async def test_statements() -> None:
    worker, slowest, examined = SQLWorker(), 0.0, 0
    try:
        await worker.examine("SELECT 1")
        child = child_of(worker)
        before = resident(child)
        for text in texts(STATEMENTS):
            begin = time.monotonic()
            try:
                examination, _ = await worker.examine(text)
                assert examination.facts.statements >= 0
                examined += 1
            except (SQLSyntaxError, GatewayError):
                pass
            slowest = max(slowest, time.monotonic() - begin)
        assert (await worker.examine("SELECT 1"))[0].facts.read_only
        assert child_of(worker) == child, "no mutation broke the parser"
        assert resident(child) - before < 64 * MIB
    finally:
        await worker.aclose()
    assert slowest < SECONDS
    assert examined > COUNT // 20, "hardly anything was a statement: the mutations are too wild"


@pytest.mark.timeout(1800)
@pytest.mark.requirement("I7", "I8")
@pytest.mark.parametrize(
    ("seeds", "examine"),
    [
        (COMMANDS, lambda text: examine_shell(command=text)),
        (COMMANDS, lambda text: examine_shell(argv=text.split(" "))),
        (REQUESTS, lambda text: examine_request(resolve(BASE, text), None, interface=INTERFACE)),
        (BODIES, requests_of),
    ],
    ids=["commands", "arguments", "requests", "bodies"],
)
def test_commands_and_requests(seeds: tuple[str, ...], examine: Callable[[str], object]) -> None:
    slowest, examined = 0.0, 0
    for text in texts(seeds):
        begin = time.monotonic()
        try:
            assert examine(text) is not None
            examined += 1
        except (ShellError, RequestRefusedError, UnicodeEncodeError):
            pass
        slowest = max(slowest, time.monotonic() - begin)
    assert slowest < SECONDS
    assert examined > COUNT // 20
