"""One call of the record for people: its events, who decided about it, and its masked result.

What agents and targets wrote is in all of it; `output` makes it inert. `--json` has everything, this leaves out what says
nothing and what was said a moment ago.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from mcp_gateway.approval.describe import NOTHING, decision_text, fact_text
from mcp_gateway.cli.output import json_laid_out, print_fields, print_line
from mcp_gateway.cli.times import seconds

if TYPE_CHECKING:
    from mcp_gateway.audit.consents import Consent
    from mcp_gateway.audit.search import Record
    from mcp_gateway.audit.summaries import StoredEvent

Fields: TypeAlias = list[tuple[str, str]]

INDENT = "    "
PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")
"""What may stand where names of fields do: agents choose those of arguments, and none may look like more than it is."""
UNITS = {"duration": " s", "size": " bytes", "said": " bytes"}
"""Of numbers in events that would not tell theirs."""
OUTCOMES = {
    "Approved": "approved",
    "ApprovalDenied": "denied",
    "ApprovalRevoked": "revoked",
    "ApprovalWithdrawn": "withdrawn",
    "ApprovalExpired": "expired",
    "DecisionRefused": "not counted",
}


def print_record(record: Record) -> None:
    """Events in order, then what people decided, then the result."""
    said: dict[str, tuple[int, Any]] = {}
    for event in record.events:
        print_line(f"{event.sequence}  {event.at}  {event.kind}")
        print_fields(list(_event_fields(event, said)))
    for consent in record.consents:
        print_line(f"approval {consent.approval_id}")
        print_fields(list(_consent_fields(consent, call_id=record.summary.call_id)))
    if record.result is not None:
        print_line("result, masked")
        print_fields([(INDENT, _result_text(record.result))])
    elif record.result_flaw:
        print_line(f"the result cannot be shown: {record.result_flaw}")


def _event_fields(event: StoredEvent, said: dict[str, tuple[int, Any]]) -> Iterator[tuple[str, str]]:
    """`said`: what tables of earlier events held, and in which event; it is kept up."""
    for name, value in event.body.items():
        label = f"{INDENT}{_words(name)}"
        if value in NOTHING or (name, value) == ("said", 0):
            continue
        if not isinstance(value, dict):
            yield label, f"{_text(value)}{UNITS.get(name, '')}"
            continue
        before, earlier = said.get(name, (0, None))
        said[name] = (event.sequence, value)
        if value == earlier:
            yield label, f"as in event {before}"
            continue
        if not all(map(PLAIN_NAME.fullmatch, value)):
            yield label, _exact(value)
            continue
        yield label, ""
        given = name == "arguments"  # whatever an agent wrote says something
        for inner, found in value.items():
            if given or found not in NOTHING:
                yield f"{INDENT}  {_words(inner)}", _exact(found) if given else _text(found)


def _consent_fields(consent: Consent, *, call_id: str) -> Iterator[tuple[str, str]]:
    if consent.asked_by != call_id:
        yield f"{INDENT}asked by", f"call {consent.asked_by}" if consent.asked_by else "the record does not say"
    for event in consent.decisions:
        yield f"{INDENT}{OUTCOMES[event.kind]}", _decision_text(event)
    if not consent.decisions:
        yield f"{INDENT}decided", "by nobody that is on record"
    if consent.used_by:
        yield f"{INDENT}used by", "this call" if consent.used_by == call_id else f"call {consent.used_by}"
    yield f"{INDENT}see", f"mcp-gateway approvals show {consent.approval_id}"


def _decision_text(event: StoredEvent) -> str:
    """A decision, by whichever names its kind of event has for its parts."""
    body = event.body
    return decision_text(
        person=str(body.get("approver") or body.get("by") or ""),
        email=str(body.get("approver_email") or body.get("by_email") or ""),
        groups=_text(body.get("groups") or ""),
        at=f"{seconds(event.at)} UTC",
        channel=str(body.get("channel") or ""),
        why=str(body.get("note") or body.get("why") or body.get("cause") or ""),
    )


def _result_text(result: bytes) -> str:
    """A result as it was recorded; on a terminal over lines that fit, if nothing of it is lost by that."""
    text = result.decode("utf-8", "replace")
    try:
        value = json.loads(text)
        if json.dumps(value, ensure_ascii=False, separators=(",", ":")) != text:
            return text
        return json_laid_out(value, before=len(INDENT) + 2, otherwise=text)
    except (ValueError, RecursionError):
        return text


def _text(value: Any) -> str:
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return _exact(value)
    return fact_text(value)


def _exact(value: Any) -> str:
    """An argument: of several that read alike in words each is told from the others."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _words(name: str) -> str:
    return name.replace("_", " ")
