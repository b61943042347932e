"""`mcp-gateway approvals`: see and decide what waits for a person, from a terminal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import anyio
import typer

from mcp_gateway.approval.desk import NOT_FOUND, Move
from mcp_gateway.calls import JSONObject, person_key, person_name, person_text
from mcp_gateway.cli.groups import CommandGroup
from mcp_gateway.cli.output import (
    AsJSON,
    print_beginning,
    print_below,
    print_fields,
    print_json,
    print_line,
    print_warning,
)
from mcp_gateway.cli.times import seconds

app = typer.Typer(
    cls=CommandGroup, add_completion=False, no_args_is_help=True, help="See and decide what waits for a person."
)

As = Annotated[
    str | None, typer.Option("--as", metavar="NAME", help='Which local person you are; for issuer = "local" only.')
]
Url = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="A running gateway; without it this machine's own store.")
]
Note = Annotated[str, typer.Option(metavar="TEXT", help="Why, for the record and for the agent.")]
ApprovalId = Annotated[str, typer.Argument(metavar="ID")]

ID_LENGTH = 36
"""Characters of a UUID, which every approval's id is."""
WHOLE_ID = f"a decision takes the whole id, {ID_LENGTH} characters, as `mcp-gateway approvals list` has it"


@app.command("list")
def listing(
    context: typer.Context,
    person: As = None,
    url: Url = None,
    everything: Annotated[bool, typer.Option("--all", help="Ended ones, too.")] = False,
    as_json: AsJSON = False,
) -> None:
    """List what waits, and what is approved and not used yet."""
    found = _run(context, person, url, lambda counter: counter.listing(everything=everything))
    if found.note:
        print_warning(found.note)
    if as_json:
        print_json(found.items)
        return
    from mcp_gateway.approval.describe import people_text

    if not found.items:
        print_line("nothing is listed" if everything else "nothing waits that you may decide or have asked for")
    for item in found.items:
        print_line(f"{item['id']}  {item['state']:<9} {_left(item)}".rstrip())
        who = (
            f"{person_name(person_key(item['issuer'], item['subject']), email=item['email'])}, through {item['agent']}"
        )
        print_below(f"{who}; {item['tool']} on {item['target']}; needs {people_text(item['needs'])}")
        if item["shown"]:
            print_beginning(next(iter(item["shown"].values())))


@app.command()
def show(
    context: typer.Context, approval_id: ApprovalId, person: As = None, url: Url = None, as_json: AsJSON = False
) -> None:
    """Show one, complete. The beginning of an id is enough where you may see only one that begins so.

    What an ended one was about is shown as it is on record: what detectors found in it is masked.
    """
    item = _run(context, person, url, lambda counter: counter.show(approval_id))
    if as_json:
        print_json(item)
        return
    print_fields(_fields(item))


@app.command()
def approve(
    context: typer.Context,
    approval_id: ApprovalId,
    person: As = None,
    url: Url = None,
    note: Note = "",
    as_json: AsJSON = False,
) -> None:
    """Say yes to exactly this call."""
    _move(context, approval_id, "approve", person=person, url=url, note=note, as_json=as_json)


@app.command()
def deny(
    context: typer.Context,
    approval_id: ApprovalId,
    person: As = None,
    url: Url = None,
    note: Note = "",
    as_json: AsJSON = False,
) -> None:
    """Say no, or take a yes back before it is used."""
    _move(context, approval_id, "deny", person=person, url=url, note=note, as_json=as_json)


@app.command()
def withdraw(
    context: typer.Context,
    approval_id: ApprovalId,
    person: As = None,
    url: Url = None,
    note: Note = "",
    as_json: AsJSON = False,
) -> None:
    """Take your own request back."""
    _move(context, approval_id, "withdraw", person=person, url=url, note=note, as_json=as_json)


def _move(
    context: typer.Context,
    approval_id: str,
    move: Move,
    *,
    person: str | None,
    url: str | None,
    note: str,
    as_json: bool,
) -> None:
    from mcp_gateway.cli.people import MoveRefusedError

    try:
        item = _run(context, person, url, lambda counter: counter.move(approval_id, move=move, note=note))
    except MoveRefusedError as error:
        if str(error) != NOT_FOUND or len(approval_id) == ID_LENGTH:
            raise
        raise MoveRefusedError(f"{error}: {WHOLE_ID}, got {approval_id!r}") from None
    if as_json:
        print_json(item)
    elif item["state"] == "pending":
        from mcp_gateway.approval.describe import people_text

        print_line(f"your yes counts; still missing: {people_text(item['missing'])}")
    else:
        print_line(f"{item['id']} is {item['state']}")


def _run(context: typer.Context, person: str | None, url: str | None, work: Callable[[Any], Awaitable[Any]]) -> Any:
    from mcp_gateway.cli.people import counter

    settings = context.obj.settings()

    async def main() -> Any:
        async with counter(settings, person=person, url=url) as found:
            return await work(found)

    return anyio.run(main)


def _fields(item: JSONObject) -> list[tuple[str, str]]:
    """Label and text in the order to be read: the statement comes before anything that explains it."""
    from mcp_gateway.approval.describe import NOTHING, decision_text, fact_text, people_text, policy_text

    who = person_text(person_key(item["issuer"], item["subject"]), email=item["email"])
    rows = [("approval", f"{item['id']}, {item['state']}"), ("who", f"{who}, through the agent {item['agent']}")]
    rows.append(("wants", f"{item['tool']} on {item['target']}"))
    if item.get("as_recorded"):
        rows.append(("on record", "what was asked, in what follows; what detectors found in it is masked"))
    rows += list(item["shown"].items())
    facts = [(name, value) for name, value in sorted(item["facts"].items()) if value not in NOTHING]
    rows += [(name.replace("_", " "), fact_text(value)) for name, value in facts]
    if item["preview"]:
        rows.append(("preview", item["preview"]))
    rows.append(("policy", policy_text(item["policies"], item["policy_reasons"])))
    if item["reason"]:
        rows.append(("the agent says", item["reason"]))
    rows.append(("needs", people_text(item["needs"])))
    if item["state"] == "pending":
        rows.append(("until", _until(item)))
    for vote in item["votes"]:
        yes = decision_text(
            person=vote["person"],
            email=vote["email"],
            groups=fact_text(vote["groups"]),
            at=_time(vote["at"]),
            channel=vote.get("channel", ""),
            why=vote.get("note"),
        )
        rows.append(("approved", yes))
    if item["state"] == "approved" and item["claim_until"]:
        rows.append(("usable until", f"{_time(item['claim_until'])}, {_left(item).strip()}"))
    elif item["state"] == "consumed":
        rows.append(("used", f"at {_time(item['ended_at'])} by call {item.get('used_by')}"))
    elif item["ended_at"]:
        at = _time(item["ended_at"])
        email = item.get("ended_by_email")
        end = decision_text(person=item["ended_by"], email=email, groups="", at=at, channel="", why=item["why"])
        rows.append((item["state"], end))
    return rows


def _until(item: JSONObject) -> str:
    return f"{_time(item['deadline'])}, {_left(item).strip()}"


def _time(at: str) -> str:
    return f"{seconds(at)} UTC"


def _left(item: JSONObject) -> str:
    """Of a pending one to decide, of an approved one to use it."""
    match item:
        case {"state": "pending", "deadline": str(end)}:
            what = ""
        case {"state": "approved", "claim_until": str(end)}:
            what = " to use it"
        case _:
            return ""
    left = datetime.fromisoformat(end) - datetime.now(UTC)
    return f"{max(0, int(left.total_seconds())) // 60:>3} min left{what}"
