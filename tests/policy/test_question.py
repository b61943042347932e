from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any, cast

import pytest

from mcp_gateway.decisions import NOT_APPROVED, Approved
from mcp_gateway.policy.question import (
    MAX_LARGE_SET,
    MAX_SET,
    QuestionError,
    approval_of,
    context_of,
    principal_of,
    rendered,
)
from mcp_gateway.policy.schema import classes_of
from mcp_gateway.policy.scopes import Principal
from mcp_gateway.usage import Usage
from tests.policy.worlds import CALLER, NOW, READ, REQUEST, TARGETS, WEB, question

CLASSES = classes_of(TARGETS, configured=[])


def test_the_context_holds_the_call_the_approval_and_the_facts() -> None:
    context = json.loads(
        rendered(context_of(question(), classes=CLASSES), Approved(by=frozenset({"b", "a"}), approvers=2))
    )
    assert context == {
        "call": {
            "tool": "query_database",
            "door": "http",
            "assurance": "token",
            "scopes": ["db"],
            "token_age": 60,
            "time": {"__extn": {"fn": "datetime", "arg": "2026-01-05T12:00:00.000Z"}},
        },
        "approval": {"by": ["a", "b"], "approvers": 2},
        "usage": Usage().context(),
        "agent_usage": Usage().context(),
        "sql": READ.context(),
    }


def test_the_time_is_written_in_utc() -> None:
    local = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert '"2026-01-05T12:00:00.000Z"' in rendered(context_of(question(time=local), classes=CLASSES), NOT_APPROVED)


def test_the_caller_is_an_entity_with_its_groups_but_never_the_reserved_one() -> None:
    caller = replace(CALLER, groups=frozenset({"b", "a", "caller"}), email=None)
    assert principal_of(Principal.of(caller)) == {
        "uid": {"type": "Caller", "id": "https://idp.example.com|dana"},
        "attrs": {"subject": "dana", "issuer": "https://idp.example.com", "actor": "agent"},
        "parents": [{"type": "Group", "id": "a"}, {"type": "Group", "id": "b"}],
    }


def many(count: int) -> frozenset[str]:
    return frozenset(map(str, range(count)))


def test_a_set_may_have_as_many_members_as_the_limit() -> None:
    context_of(question(facts=replace(READ, functions=many(MAX_SET))), classes=CLASSES)
    tables = many(MAX_LARGE_SET)
    context_of(question(facts=replace(READ, reads=tables, writes=tables, columns=tables)), classes=CLASSES)


@pytest.mark.requirement("I7", "R28")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"facts": replace(READ, functions=many(501))}, "sql.functions has 501 members, more than 500"),
        ({"facts": replace(READ, reads=many(5001))}, "sql.reads has 5001 members, more than 5000"),
        ({"facts": replace(READ, writes=many(5001))}, "sql.writes has 5001 members, more than 5000"),
        ({"caller": replace(CALLER, scopes=many(501))}, "call.scopes has 501 members, more than 500"),
        ({"facts": replace(READ, statements=2**63)}, "sql.statements is not a Long"),
        ({"facts": replace(READ, statements=cast("Any", 1.0))}, "sql.statements is not a Long"),
        ({"facts": replace(READ, statements=True)}, "sql.statements is not a Long"),
        ({"facts": replace(READ, read_only=cast("Any", 1))}, "sql.read_only is not a Bool"),
        ({"facts": replace(READ, read_only=cast("Any", None))}, "sql.read_only is not a Bool"),
        ({"facts": replace(READ, reads=frozenset({"\ud800"}))}, "sql.reads is not a Set<String>"),
        ({"facts": replace(READ, reads=cast("Any", [1]))}, "sql.reads is not a Set<String>"),
        ({"token_age": -(2**63) - 1}, "call.token_age is not a Long"),
        ({"door": None}, "call.door is not a String"),
        ({"time": datetime(2026, 1, 5)}, "call.time is not a datetime"),  # noqa: DTZ001
        ({"time": "2026-01-05"}, "call.time is not a datetime"),
        (
            {"facts": replace(READ, returns=frozenset({"pii.odd"}))},
            "sql.returns names what no policy can name: pii.odd",
        ),
        (
            {"facts": replace(READ, inference={"guess": frozenset({"pii.email"})})},
            "sql.inference names what no policy can name: guess",
        ),
        ({"facts": REQUEST}, "the facts of query_database are HTTPFacts"),
        ({"facts": None}, "the facts of query_database are NoneType"),
        ({"tool": "reveal"}, "there is no action 'reveal' in the schema"),
        ({"tool": "drop_everything"}, "there is no action 'drop_everything' in the schema"),
        ({"target": WEB}, "query_database does not apply to a target of kind 'ssh'"),
    ],
)
def test_what_cedar_could_not_decide_is_refused_before_it_is_asked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(QuestionError) as caught:
        context_of(question(**changes), classes=CLASSES)
    assert str(caught.value) == message


@pytest.mark.requirement("I7")
def test_too_many_groups_and_unreadable_names_are_refused() -> None:
    with pytest.raises(QuestionError, match="the caller's groups has 501 members, more than 500"):
        principal_of(Principal.of(replace(CALLER, groups=many(501))))
    with pytest.raises(QuestionError, match=r"principal\.subject is not a String"):
        principal_of(Principal.of(replace(CALLER, subject="\udcff")))


@pytest.mark.requirement("I7")
def test_an_impossible_approval_is_refused() -> None:
    with pytest.raises(QuestionError, match=r"approval\.approvers is not a Long"):
        approval_of(Approved(by=frozenset({"dba"}), approvers=cast("Any", None)))
