"""How tickets lie in their rows: those of earlier versions are read, too."""

from __future__ import annotations

import orjson

from mcp_gateway.approval.ticket import Ticket, deny
from mcp_gateway.approval.ticket_form import TicketForm
from mcp_gateway.calls import Secret
from tests.approval.tickets import NOW, a_ticket, a_vote

FORM = TicketForm(Secret(bytes(32)))


def test_a_ticket_is_read_as_it_was_written() -> None:
    ended = deny(a_ticket(), vote=a_vote(), now=NOW)
    assert isinstance(ended, Ticket)

    _, body, sealed = FORM.written(a_ticket())
    _, ended_body, nothing = FORM.written(ended)

    assert FORM.read(body, sealed) == a_ticket()
    assert nothing is None
    found = FORM.read(ended_body, nothing)
    assert (found.standing, found.votes, found.requirements) == (ended.standing, ended.votes, ended.requirements)


def test_a_row_of_before_addresses_of_deciders_were_kept_is_read() -> None:
    ended = deny(a_ticket(), vote=a_vote(), now=NOW)
    assert isinstance(ended, Ticket)
    _, body, _ = FORM.written(ended)
    older = orjson.loads(body)
    assert older.pop("ended_by_email") == "dana@example.com"

    found = FORM.read(orjson.dumps(older), None)

    assert found.standing == "denied by https://idp.example.com|dana at 2026-11-23T12:00:00Z"
