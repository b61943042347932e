"""The demo's story, step by step: what the agent asks, what policy decides, who approves, what comes back.

The agent is an MCP client that speaks streamable HTTP to the gateway; people decide by the real command. What is
printed is what was answered: nothing is written here but the questions.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from mcp_gateway.audit.search import show
from mcp_gateway.calls import JSONObject, Secret
from mcp_gateway.demo.configuration import APPROVER
from mcp_gateway.demo.page import Page

REFUND = "UPDATE orders SET status = 'refunded' WHERE id = 7"


class StoryError(Exception):
    """The demo did not go as it has to; the text says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where the story is played."""

    page: Page
    config: Path
    data_dir: Path
    url: str
    token: Callable[[], Secret]


async def play(stage: Stage) -> None:
    """The whole story. Raises `StoryError` when an answer is not the one that the gateway promises."""
    async with (
        httpx2.AsyncClient(
            headers={"authorization": f"Bearer {stage.token().reveal_text()}"}, timeout=60, trust_env=False
        ) as http,
        Client(streamable_http_client(f"{stage.url}/mcp", http_client=http)) as agent,
    ):
        story = _Story(stage, agent)
        await story.look_around()
        await story.read_personal_data()
        await story.try_to_get_around()
        await story.change_production()
        await story.run_commands()
        await story.call_the_api()
    await story.read_the_audit()


class _Story:
    def __init__(self, stage: Stage, agent: Client) -> None:
        self._page = stage.page
        self._config = stage.config
        self._data_dir = stage.data_dir
        self._url = stage.url
        self._agent = agent

    async def look_around(self) -> None:
        self._page.title(
            "The agent looks around", "It acts for alex, a developer, and holds no credential of any target."
        )
        found = await self._call("list_targets", {}, expect="ok")
        for target in found["targets"]:
            self._page.lines(f"{target['name']:<8} {target['description']}")

    async def read_personal_data(self) -> None:
        self._page.title(
            "It reads customers", "Reading is allowed; personal data comes back masked, by where it came from."
        )
        sql = "SELECT name, email, national_id, card, city FROM customers ORDER BY id"
        self._page.table(await self._call("query_database", {"target": "shop", "sql": sql}, expect="ok"))
        self._page.lines("masking follows the data through expressions, too:")
        sql = "SELECT upper(reverse(email)) AS handle, count(*) AS orders FROM customers c JOIN orders o ON o.customer_id = c.id GROUP BY c.id ORDER BY 2"
        self._page.table(await self._call("query_database", {"target": "shop", "sql": sql}, expect="ok"))

    async def try_to_get_around(self) -> None:
        self._page.title("It tries to get around", "The oldest trick against database tools: a second statement.")
        sql = "SELECT 1; DROP TABLE orders"
        await self._call("query_database", {"target": "shop", "sql": sql}, expect="invalid_arguments")
        self._page.lines(
            "and a question about what it may not see: half of the numbers, then half of these, and so on:"
        )
        sql = "SELECT name FROM customers WHERE national_id < '5'"
        await self._call("query_database", {"target": "shop", "sql": sql}, expect="approval_pending")

    async def change_production(self) -> None:
        self._page.title("It changes production", "Policy asks a DBA; the call is held, nothing runs.")
        arguments = {"target": "shop", "sql": REFUND, "reason": "customer 2 returned order 7"}
        held = await self._call("query_database", arguments, expect="approval_pending")
        await self._decide("approve", held["approval"]["id"])
        self._page.lines("the agent calls again with the same arguments, and it runs, once:")
        await self._call("query_database", arguments, expect="ok")
        await self._call("query_database", arguments, expect="already_run")

    async def run_commands(self) -> None:
        self._page.title(
            "It works on a host", "Looking around is allowed; what cannot be proved harmless waits for ops."
        )
        found = await self._call("run_ssh_command", {"target": "web1", "argv": ["uname", "-sr"]}, expect="ok")
        self._page.lines(found["stdout"].strip())
        command = "find / -name '*.log' -delete"
        held = await self._call("run_ssh_command", {"target": "web1", "command": command}, expect="approval_pending")
        await self._decide("deny", held["approval"]["id"], note="not on this host")
        await self._call("run_ssh_command", {"target": "web1", "command": command}, expect="approval_denied")

    async def call_the_api(self) -> None:
        self._page.title(
            "It calls an API", "The gateway adds the token; even an API that echoes it does not give it away."
        )
        found = await self._call("call_api", {"target": "billing", "path": "invoices"}, expect="ok")
        self._page.json(found["json"])

    async def read_the_audit(self) -> None:
        self._page.title(
            "What the audit store says", "Every step was recorded before it took effect; the chain is verified."
        )
        await self._command(["audit", "search", "--limit", "20"])
        await self._command(["audit", "verify"])

    # The machinery.

    async def _call(self, tool: str, arguments: JSONObject, *, expect: str) -> Any:
        """Call as the agent, print question and answer, and check that the answer is the promised one."""
        self._ask(tool, arguments)
        result = await self._agent.call_tool(tool, arguments)
        content = result.structured_content
        error = content.get("error") if isinstance(content, dict) else None
        code = error["code"] if error else "ok"
        await self._tell_decision((error or content)["call_id"])
        self._page.answer(code, error["message"] if error else _masked(content))
        if code != expect:
            raise StoryError(f"{tool} answered {code!r} where {expect!r} was expected: {error}")
        return error or content

    def _ask(self, tool: str, arguments: JSONObject) -> None:
        shown = arguments.get("sql") or arguments.get("command") or " ".join(arguments.get("argv", []))
        shown = shown or arguments.get("path", "")
        self._page.question(tool, target=arguments.get("target", ""), text=shown)

    async def _tell_decision(self, call_id: str) -> None:
        """What policy decided and why, as it was recorded."""
        record = await anyio.to_thread.run_sync(lambda: show(self._data_dir, call_id=call_id))
        for event in record.events if record else ():
            if event.kind == "Decided":
                why = "; ".join(reason for reason in event.body["reasons"] if reason)
                self._page.policy(f"{event.body['decision']}: {why} ({', '.join(event.body['policies'])})")

    async def _decide(self, move: str, approval_id: str, *, note: str = "") -> None:
        """Show the approval to the approver and decide, both by the real command."""
        await self._command(["approvals", "show", approval_id, "--as", APPROVER, "--url", self._url])
        more = ["--note", note] if note else []
        await self._command(["approvals", move, approval_id, "--as", APPROVER, "--url", self._url, *more])

    async def _command(self, arguments: Sequence[str]) -> None:
        program = [sys.executable, "-I", "-m", "mcp_gateway", "--config", str(self._config), *arguments]
        self._page.command(arguments)
        done = await anyio.to_thread.run_sync(
            lambda: subprocess.run(program, capture_output=True, check=False, text=True)  # noqa: S603 - our own command
        )
        self._page.said(done.stdout + done.stderr)
        if done.returncode != 0:
            raise StoryError(f"mcp-gateway {arguments[0]} {arguments[1]} ended with {done.returncode}")


def _masked(content: Any) -> str:
    counts = content.get("masked") or {} if isinstance(content, dict) else {}
    return "masked: " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) if counts else ""
