"""What agents and their people are called and write, where approvers and operators read it: nothing of it acts (R37)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest

from mcp_gateway.clock import new_id, utc_now
from mcp_gateway.identity.local import LocalPerson, open_local_issuer
from tests.faults.gateways import AUDIENCE, PEOPLE, Gateway, Targets, standing
from tests.invariants.world import World
from tests.plain_http import plain_client

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300), pytest.mark.requirement("R37")]

ACTING: Mapping[str, str] = {
    "terminal": "\x1b[2J\x1b]0;owned\x07\x1b[1;32mapproved\x1b[0m\x9b31m",
    "lines": "x\r\nneeds     nobody\npolicy  allow\r\x0b\x0c\u2028until  never\u0085",
    "bidirectional": "\u202edewolla\u202c \u2066\u2067\u200f\u061c",
    "invisible": "a\u200b\u200d\u2060\ufeff\u00ad\U000e0041b",
    "markup": "<script>alert(1)</script><img src=x onerror=alert(1)>&#x1b;",
    "formula": "=cmd|' /C calc'!A0\t@SUM(1+1)*-2+3",
    "markdown": "[click](javascript:alert(1)) `rm -rf /`",
}
"""What would act on a terminal, in a page, in a sheet, or on an eye."""
ODD_PEOPLE = {
    "=HYPERLINK(1)": LocalPerson(groups=frozenset({"dev"}), email="=cmd|x@example.com"),
    "<b>dana</b>": LocalPerson(groups=frozenset({"dev"}), email="<script>@example.com"),
}
CONTROLLING_PEOPLE = {
    "dana\x1b[8m": LocalPerson(groups=frozenset({"dev"})),
    "al\u202eex": LocalPerson(groups=frozenset({"dev"})),
    "a\nb": LocalPerson(groups=frozenset({"dev"})),
}
FIELDS = {"approval", "who", "wants", "needs", "until", "policy", "the agent says", "statement", "request", "body"}


def odd_characters(text: str) -> set[str]:
    """What is neither printable nor the end of a line or a tabulator, which a statement keeps."""
    return {character for character in text if not (character.isprintable() or character in "\n\t")}


async def asked(gateway: Gateway, number: int, text: str, *, person: str) -> str:
    call = {"target": "api", "path": f"{number}", "method": "POST", "body": text, "reason": text}
    held = await gateway.call("call_api", call, person=person)
    assert held["code"] == "approval_pending", held
    return str(held["approval"]["id"])


@pytest.mark.early
async def test_nothing_that_an_agent_writes_acts_on_who_decides(tmp_path: Path, world: World, targets: Targets) -> None:
    people = {**PEOPLE, **ODD_PEOPLE}
    async with standing(tmp_path / "gateway", targets, world=world, people=people) as gateway:
        await gateway.start()
        callers = ["alex", *ODD_PEOPLE]
        everything = " ".join(ACTING.values())
        ids = {
            await asked(gateway, number, text, person=callers[number % 3]): text
            for number, text in enumerate([*ACTING.values(), everything])
        }

        # The API: data for programs, in full, that no browser takes for a page.
        async with gateway.approver() as dana:
            answers = [await dana.get("/api/approvals"), await dana.get(f"/api/approvals/{next(iter(ids))}")]
        for answer in answers:
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert {item["id"]: item["shown"]["body"] for item in answers[0].json()} == ids

        # The command line: every text is visible, none begins a field of its own, whoever reads it where.
        as_dana = ("--as", "dana")
        printed = [await gateway.command("approvals", "list", *as_dana)]
        for approval in [one for one, text in ids.items() if text in (ACTING["lines"], everything)]:
            shown = await gateway.command("approvals", "show", approval, *as_dana)
            begins = [line[:14].strip() for line in shown.out.splitlines() if not line.startswith(" ")]
            assert [name for name in begins if name in FIELDS] == list(
                dict.fromkeys(name for name in begins if name in FIELDS)
            )
            assert not [
                line for line in shown.out.splitlines() if line.startswith(("needs     nobody", "policy  allow"))
            ]
            printed.append(shown)
        note = ACTING["terminal"]
        denied = await gateway.command("approvals", "deny", next(iter(ids)), *as_dana, "--note", note)
        late = await gateway.command("approvals", "approve", next(iter(ids)), *as_dana)
        assert (denied.status, late.status) == (0, 1)
        printed += [denied, late, await gateway.command("audit", "search", "--since", "1h")]
        call = gateway.store().history(next(iter(ids)))[0].call_id
        printed += [await gateway.command("audit", "show", str(call)), await gateway.command("revoke", "agent", note)]
        for ran in printed:
            assert odd_characters(ran.out + ran.err) == set()
        await who_has_a_name_that_acts_is_nobody(gateway)
        assert targets.api.requests == []
        await gateway.end()
    # The log: a line is one object, whatever stands in it.
    for line in gateway.log.read_text().splitlines():
        if line.startswith("{"):
            orjson.loads(line)
        assert line.isascii(), line
        assert odd_characters(line) == set()


async def who_has_a_name_that_acts_is_nobody(gateway: Gateway) -> None:
    issuer = open_local_issuer(gateway.data, audience=AUDIENCE, clock=utc_now, new_id=new_id, people=CONTROLLING_PEOPLE)
    for person in CONTROLLING_PEOPLE:
        token = issuer.mint(person, client_id="agent").reveal_text()
        headers = {"authorization": f"Bearer {token}"}
        async with plain_client(base_url=gateway.url, headers=headers) as http:
            assert await gateway.code("list_targets", {}, http=http) == "identity_required", person
            assert (await http.get("/api/approvals")).status_code == 401
