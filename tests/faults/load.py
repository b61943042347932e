"""A gateway's mixed load: each tool, every way to be refused, approvals, disconnects and held calls, in both eras.

A `Deck` is every kind of thing that clients do, each as often as it stands there; `deal` does all of it once, in an
order of its own. Each thing checks what it is answered. One answer in many is told to the world: to look at the store
and at every process after each would be most of the load.
"""

from __future__ import annotations

import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx2
import orjson
from anyio.abc import SocketAttribute

from mcp_gateway.clock import utc_now
from tests.faults.gateways import APPROVER, COMMAND, QUERY, REQUEST, Gateway
from tests.faults.wire import JSON_HEADERS, REVISION, call_body, call_headers, call_request, said

HEARD_EVERY = 25
TOKEN_SECONDS = 60.0
"""How long the clients use one; an issuer's tokens live longer."""
LEGACY = "2025-06-18"
INFO = {"name": "soak", "version": "1"}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": INFO},
}
ROWS = "SELECT n, 'somebody' || n || '@example.com' AS mail FROM generate_series(1, 400) AS t(n)"


@dataclass(slots=True, kw_only=True)
class Load:
    """The clients of one gateway."""

    gateway: Gateway
    http: httpx2.AsyncClient
    """Keeps its connections; every other client here opens its own."""
    random: random.Random
    done: Counter[str] = field(default_factory=Counter)
    """What was done, and how often."""
    sql_texts: int | None = None
    """How many texts of statements there are; None = each is new, and caches of them fill up."""
    renewed_at: float = 0.0
    numbers: int = 0
    approver: str = ""

    @property
    def calls(self) -> int:
        """Everything that was done."""
        return self.done.total()

    async def deal(self) -> None:
        """Everything once, in an order of its own."""
        self._renew()
        things = [thing for thing, often in self._deck() for _ in range(often)]
        self.random.shuffle(things)
        for thing in things:
            await thing()
            self.done[thing.__name__.strip("_")] += 1

    async def fill(self, *, statements: int, tokens: int) -> None:
        """Fill what the gateway remembers of statements and of tokens."""
        for _ in range(statements):
            await self._bad_sql()
        for _ in range(tokens):
            self.approver = ""
            await self._listed()
        self.done["filling"] += statements + tokens

    def _renew(self) -> None:
        """New tokens before the old ones end."""
        if time.monotonic() - self.renewed_at > TOKEN_SECONDS:
            self.renewed_at = time.monotonic()
            self.gateway.tokens.clear()
            self.approver = ""
            self.http.headers["authorization"] = f"Bearer {self.gateway.token()}"

    def _deck(self) -> list[tuple[Callable[[], Awaitable[None]], int]]:
        return [
            (self._query, 6), (self._command, 3), (self._request, 6), (self._large_result, 2), (self._listing, 2),
            (self._older_session, 2), (self._not_permitted, 2), (self._no_such_target, 1), (self._bad_arguments, 1),
            (self._bad_sql, 1), (self._failing_command, 1), (self._no_token, 1), (self._no_json, 1), (self._host, 1),
            (self._approved, 2), (self._approved_while_held, 1), (self._declined, 1), (self._withdrawn, 1),
            (self._reset_while_running, 2), (self._closed_while_running, 1),
        ]  # fmt: skip

    # What is answered.

    async def _query(self) -> None:
        await self._expect("ok", *QUERY)

    async def _command(self) -> None:
        await self._expect("ok", *COMMAND)

    async def _request(self) -> None:
        await self._expect("ok", *REQUEST)

    async def _large_result(self) -> None:
        await self._expect("ok", "query_database", {"target": "db", "sql": ROWS})

    async def _listing(self) -> None:
        await self._expect("ok", "list_targets", {})

    # What is refused, and what fails.

    async def _not_permitted(self) -> None:
        async with self.gateway.client("dana") as http:
            await self._expect("unknown_target", *QUERY, http=http)

    async def _no_such_target(self) -> None:
        await self._expect("unknown_target", "query_database", {"target": self._fresh(), "sql": "SELECT 1"})

    async def _bad_arguments(self) -> None:
        await self._expect("invalid_arguments", "call_api", {"target": "api", "path": 1})

    async def _bad_sql(self) -> None:
        await self._expect("failed", "query_database", {"target": "db", "sql": f"SELECT {self._name()} FROM notes"})

    async def _failing_command(self) -> None:
        await self._expect("ok", "run_ssh_command", {"target": "host", "argv": ["false"]})

    async def _no_token(self) -> None:
        headers = {"authorization": f"Bearer {self._fresh()}"}
        answer = await self.http.post("/mcp", content=b"{}", headers=JSON_HEADERS | headers)
        assert answer.status_code == 401, answer.text

    async def _no_json(self) -> None:
        headers = JSON_HEADERS | {"mcp-protocol-version": REVISION}
        answer = await self.http.post("/mcp", content=f"[{self._fresh()}".encode(), headers=headers)
        assert answer.status_code == 400, answer.text

    async def _host(self) -> None:
        answer = await self.http.post(
            "/mcp", content=b"{}", headers=JSON_HEADERS | {"host": f"{self._fresh()}.example"}
        )
        assert answer.status_code == 403, answer.text

    # What people decide.

    async def _approved(self) -> None:
        write = self._write()
        approval = await self._asked(write)
        await self._decide("approve", approval)
        await self._expect("ok", *write)

    async def _approved_while_held(self) -> None:
        marker = self._fresh()
        write = self._write(marker)
        ended: list[str] = []

        async def held() -> None:
            ended.append(str((await self._call(*write, http=self.http)).get("code", "ok")))

        async with anyio.create_task_group() as group:
            group.start_soon(held)
            with anyio.fail_after(30):
                while not (
                    found := [one["id"] for one in await self._listed() if marker in orjson.dumps(one).decode()]
                ):
                    await anyio.sleep(0.02)
            await self._decide("approve", found[0])
        if ended != ["ok"]:
            # It was held for no longer than it may be, and the yes came after that.
            assert ended == ["approval_pending"], ended
            await self._expect("ok", *write)

    async def _declined(self) -> None:
        write = self._write()
        await self._decide("deny", await self._asked(write))
        await self._expect("approval_denied", *write)

    async def _withdrawn(self) -> None:
        approval = await self._asked(self._write())
        assert await self.gateway.move("withdraw", approval, person="alex") == 200

    async def _asked(self, write: tuple[str, dict[str, Any]]) -> str:
        async with self.gateway.client() as http:
            error = await self._call(*write, http=http)
        assert error["code"] == "approval_pending", error
        return str(error["approval"]["id"])

    async def _decide(self, move: str, approval: str) -> None:
        answer = await self.http.post(f"/api/approvals/{approval}/{move}", headers=self._as_approver())
        assert answer.status_code == 200, answer.text

    async def _listed(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = (await self.http.get("/api/approvals", headers=self._as_approver())).json()
        return listed

    def _as_approver(self) -> dict[str, str]:
        self.approver = self.approver or (
            self.gateway.issuer.mint("dana", client_id=APPROVER, auth_time=utc_now()).reveal_text()
        )
        return {"authorization": f"Bearer {self.approver}"}

    # Who goes away.

    async def _reset_while_running(self) -> None:
        await self._leave_while_running(reset=True)

    async def _closed_while_running(self) -> None:
        await self._leave_while_running(reset=False)

    async def _leave_while_running(self, *, reset: bool) -> None:
        arguments = {"target": "db", "sql": f"SELECT pg_sleep(60) AS {self._name()}"}
        host, port = self.gateway.url.removeprefix("http://").split(":")
        request = call_request("query_database", arguments, host=f"{host}:{port}", token=self.gateway.token())
        async with await anyio.connect_tcp(host, int(port)) as stream:
            await stream.send(request)
            await anyio.sleep(self.random.random() / 5)
            if reset:
                raw = stream.extra(SocketAttribute.raw_socket)
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    # The older era.

    async def _older_session(self) -> None:
        async with self.gateway.client("sam") as http:
            opened = await http.post("/mcp", json=INITIALIZE, headers=JSON_HEADERS)
            headers = JSON_HEADERS | {
                "mcp-session-id": opened.headers["mcp-session-id"],
                "mcp-protocol-version": LEGACY,
            }
            initialized = {"jsonrpc": "2.0", "method": "notifications/initialized"}
            assert (await http.post("/mcp", json=initialized, headers=headers)).status_code == 202
            params = {"name": REQUEST[0], "arguments": REQUEST[1]}
            message = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}
            answer = await http.post("/mcp", json=message, headers=headers)
            assert '"isError":false' in answer.text, answer.text
            assert (await http.delete("/mcp", headers=headers)).status_code == 200

    # How.

    def _fresh(self) -> str:
        self.numbers += 1
        return f"n{self.random.getrandbits(40):010x}{self.numbers}"

    def _name(self) -> str:
        """A name for a statement."""
        fresh = self._fresh()
        return fresh if self.sql_texts is None else f"n{self.numbers % self.sql_texts}"

    def _write(self, marker: str = "") -> tuple[str, dict[str, Any]]:
        sql = "UPDATE notes SET text = $1 WHERE id = 1"
        return "query_database", {"target": "db", "sql": sql, "params": [marker or self._fresh()]}

    async def _expect(
        self, code: str, tool: str, arguments: dict[str, Any], *, http: httpx2.AsyncClient | None = None
    ) -> None:
        found = await self._call(tool, arguments, http=http or self.http)
        assert found.get("code", "ok") == code, found

    async def _call(self, tool: str, arguments: dict[str, Any], *, http: httpx2.AsyncClient) -> dict[str, Any]:
        if self.random.randrange(HEARD_EVERY) == 0:
            return await self.gateway.call(tool, arguments, http=http)
        answer = await http.post("/mcp", content=call_body(tool, arguments), headers=call_headers(tool))
        text = said(answer.text, answer.headers.get("content-type", ""))
        content: dict[str, Any] = orjson.loads(text)["result"]["structuredContent"]
        found: dict[str, Any] = content.get("error", content)
        return found
