"""`mcp-gateway audit`: what was recorded, and whether it is still what was recorded. Who looked is recorded, too."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from mcp_gateway.calls import person_key, person_name
from mcp_gateway.cli.failures import NoSuchError
from mcp_gateway.cli.groups import CommandGroup
from mcp_gateway.cli.output import AsJSON, print_beginning, print_below, print_json, print_line, progress
from mcp_gateway.cli.times import Time, seconds, time_of

if TYPE_CHECKING:
    from pathlib import Path

    from mcp_gateway.audit.chain import Flaw, Head
    from mcp_gateway.audit.search import Record
    from mcp_gateway.audit.summaries import CallSummary

app = typer.Typer(
    cls=CommandGroup, add_completion=False, no_args_is_help=True, help="Search, show and verify what was recorded."
)

DECISIONS = ("allow", "ask", "deny")
MOST_LISTED = 10_000
LONGEST_NAME = 64
NAME = re.compile(rf"[A-Za-z0-9_.-]{{1,{LONGEST_NAME}}}", re.ASCII)


@app.command()
def search(
    context: typer.Context,
    caller: Annotated[
        str | None, typer.Option(metavar="CALLER", help="Subject, e-mail address, issuer|subject or agent.")
    ] = None,
    tool: Annotated[str | None, typer.Option(metavar="NAME", help="The tool that was called.")] = None,
    target: Annotated[str | None, typer.Option(metavar="NAME", help="The target that was named.")] = None,
    decision: Annotated[str | None, typer.Option(metavar="DECISION", help="allow, ask or deny.")] = None,
    would: Annotated[
        str | None,
        typer.Option(
            metavar="DECISION", help="The same, where it was not enforced: in shadow mode, or on an observed target."
        ),
    ] = None,
    code: Annotated[str | None, typer.Option(metavar="CODE", help="What was answered: ok, or an error code.")] = None,
    since: Time = None,
    until: Time = None,
    text: Annotated[str | None, typer.Option(metavar="TEXT", help="Somewhere in what was recorded.")] = None,
    limit: Annotated[str, typer.Option(metavar="NUMBER", help=f"How many at most, 1 to {MOST_LISTED:,}.")] = "50",
    as_json: AsJSON = False,
) -> None:
    """List calls, the newest first. Times are UTC."""
    from mcp_gateway.answers import Code
    from mcp_gateway.audit.search import Filters
    from mcp_gateway.audit.search import search as find
    from mcp_gateway.cli.viewing import look_recorded

    for option, given, known in (
        ("--decision", decision, DECISIONS),
        ("--would", would, DECISIONS),
        ("--code", code, ("ok", *get_args(Code))),
    ):
        if given not in {None, *known}:
            raise typer.BadParameter(f"expected {', '.join(known)}, got {given!r}", param_hint=option)
    most = _limit(limit)
    filters = Filters(
        caller=caller,
        tool=tool,
        target=target,
        decision=decision,
        would=would,
        code=code,
        since=time_of(since, "--since"),
        until=time_of(until, "--until"),
        text=text,
    )
    data_dir = context.obj.settings().gateway.data_dir
    found = find(data_dir, filters=filters, limit=most)
    look_recorded(data_dir, what=f"search: {len(found)} calls")
    if as_json:
        print_json([summary.to_json() for summary in found])
        return
    if not found:
        print_line("no call fits")
    for summary in found:
        _print_summary(summary)


@app.command()
def show(
    context: typer.Context, call_id: Annotated[str, typer.Argument(metavar="CALL_ID")], as_json: AsJSON = False
) -> None:
    """Show everything about one call: its events, who decided about it, and its masked result.

    The beginning of an id is enough where only one call has it.
    """
    from mcp_gateway.audit.search import show as find
    from mcp_gateway.cli.viewing import look_recorded

    data_dir = context.obj.settings().gateway.data_dir
    call_id = _whole_id(data_dir, call_id)
    record = find(data_dir, call_id=call_id)
    if record is None:
        raise NoSuchError(f"there is no call {call_id!r}; `mcp-gateway audit search` lists them")
    look_recorded(data_dir, what=f"call {call_id}")
    if as_json:
        print_json(_record_json(record))
    else:
        from mcp_gateway.cli.showing import print_record

        print_record(record)


@app.command()
def verify(
    context: typer.Context,
    expect: Annotated[
        str | None,
        typer.Option(metavar="HEAD", help="A head of this store, SEQUENCE:HASH, that was kept somewhere else."),
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """Verify the whole store: every event, every result, and that nothing was taken out or put in.

    Without --expect nobody can tell whether the end was cut off or everything was written anew.
    """
    from mcp_gateway.audit.verify import verify as run

    data_dir = context.obj.settings().gateway.data_dir
    head = _head(expect)
    with progress("verifying") as tell:
        found = run(data_dir, expected=head, progress=tell)
    if as_json:
        print_json(found.to_json())
    elif found.flaw is not None:
        _print_flaw(found.flaw, fitting=found.events)
    else:
        results = _count(found.results, "result")
        print_line(f"{_count(found.events, 'event')} and {results} are as they were recorded")
        print_line(f"head {found.head.sequence}:{found.head.hash.hex()}")
        print_line("keep the head elsewhere, for `audit verify --expect` later")
    if found.flaw is not None:
        raise typer.Exit(1)


def _limit(given: str) -> int:
    number = int(given) if given.isascii() and given.isdigit() and len(given) <= len(str(MOST_LISTED)) else 0
    if not 1 <= number <= MOST_LISTED:
        raise typer.BadParameter(f"expected a number from 1 to {MOST_LISTED:,}, got {given!r}", param_hint="--limit")
    return number


def _whole_id(data_dir: Path, given: str) -> str:
    """The id that begins so, where there is one such call; what is none stays as it is."""
    from mcp_gateway.audit.search import calls_beginning
    from mcp_gateway.beginnings import CANDIDATES, several_text

    found = calls_beginning(data_dir, given, limit=CANDIDATES)
    if given in found or not found:
        return given
    if len(found) > 1:
        raise NoSuchError(several_text("calls", given, found))
    return found[0]


def _head(given: str | None) -> Head | None:
    from mcp_gateway.audit.chain import Head

    if given is None:
        return None
    match = re.fullmatch(r"([0-9]{1,15}):([0-9a-f]{64})", given, re.ASCII)
    if match is None:
        raise typer.BadParameter(f"expected SEQUENCE:HASH, as verify prints it, got {given!r}", param_hint="--expect")
    return Head(sequence=int(match[1]), hash=bytes.fromhex(match[2]))


def _print_flaw(flaw: Flaw, *, fitting: int) -> None:
    """The first thing wrong, and how far from the start nothing is. One in no event is the store's as a whole."""
    if flaw.sequence is None:
        print_line(f"NOT as it was recorded: the store {flaw.why}")
        print_line(f"the chain of {_count(fitting, 'event')} fits")
        return
    before = max(0, min(fitting, flaw.sequence - 1))
    print_line(f"NOT as it was recorded: event {flaw.sequence} {flaw.why}")
    print_line("no event before it fits" if before == 0 else f"up to event {before} the chain fits")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _print_summary(summary: CallSummary) -> None:
    """Three lines: what can be found by (the id), what happened, and how the call begins. A table has no room for it."""
    where = f" on {_name(summary.target)}" if summary.target else ""
    print_line(f"{summary.call_id}  {seconds(summary.at)}  {summary.code or 'not answered'}")
    who = person_name(person_key(summary.issuer, summary.subject), email=summary.email)
    person = f"{who}, through {summary.actor}; " if summary.subject else f"caller not proved, over {summary.door}; "
    decided = f": {' then '.join(summary.decisions)}" if summary.decisions else ""
    decided += f", not enforced: {' then '.join(summary.would)}" if summary.would else ""
    print_below(f"{person}{summary.tool}{where}{decided}")
    if summary.begins:
        print_beginning(summary.begins)


def _name(given: str) -> str:
    """What should be the name of a target, and may be any text of an agent's: that is quoted, and its beginning is enough."""
    if NAME.fullmatch(given):
        return given
    return repr(given if len(given) <= LONGEST_NAME else f"{given[:LONGEST_NAME]} ...")


def _record_json(record: Record) -> dict[str, Any]:
    return record.summary.to_json() | {
        "events": [event.to_json() for event in record.events],
        "result": None if record.result is None else record.result.decode("utf-8", "replace"),
        "result_flaw": record.result_flaw,
        "approvals": [consent.to_json() for consent in record.consents],
    }
