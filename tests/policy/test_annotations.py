from __future__ import annotations

from datetime import timedelta

import pytest

from mcp_gateway.policy.annotations import Annotations, Effect, parse_annotations


def test_every_annotation_is_read() -> None:
    forbid, wrong = parse_annotations(
        {"id": "a", "approval": "dba, Domain Admins", "approvers": "2", "ttl": "15m", "reason": "why"}, effect="forbid"
    )
    assert wrong == []
    assert forbid == Annotations(
        reason="why", approval=frozenset({"dba", "Domain Admins"}), approvers=2, ttl=timedelta(minutes=15)
    )
    permit, wrong = parse_annotations({"id": "a", "max_rows": "100", "timeout": "30s"}, effect="permit")
    assert wrong == []
    assert permit == Annotations(max_rows=100, timeout=timedelta(seconds=30))


@pytest.mark.parametrize(
    ("effect", "given", "message"),
    [
        ("forbid", {"aproval": "dba"}, "the annotation @aproval is unknown; there are @id, @reason, @approval, @approvers, @ttl, @max_rows, @timeout and @mode"),
        ("permit", {"approval": "dba"}, "@approval has no effect on a permit"),
        ("forbid", {"max_rows": "1"}, "@max_rows has no effect on a forbid"),
        ("forbid", {"timeout": "1s"}, "@timeout has no effect on a forbid"),
        ("forbid", {"approvers": "2"}, "@approvers has no effect without @approval"),
        ("forbid", {"ttl": "2m"}, "@ttl has no effect without @approval"),
        ("forbid", {"reason": None}, "@reason has no value"),
        ("permit", {"max_rows": "0"}, "@max_rows('0') is not a whole number from 1 to 1,000,000,000"),
        ("permit", {"max_rows": "\u0661"}, "@max_rows('\u0661') is not a whole number from 1 to 1,000,000,000"),
        ("permit", {"timeout": "30"}, "@timeout('30') is not a duration such as 30s, 15m, 2h or 1d"),
        ("permit", {"timeout": "0s"}, "@timeout('0s') is not a duration such as 30s, 15m, 2h or 1d"),
        ("forbid", {"approval": "dba,,ops"}, "@approval('dba,,ops') is not a list of different groups between commas"),
        ("forbid", {"approval": "dba, dba"}, "@approval('dba, dba') is not a list of different groups between commas"),
        ("forbid", {"approval": "dba", "approvers": "101"}, "@approvers('101') is not a whole number from 1 to 100"),
        ("permit", {"reason": "a\nb"}, "@reason('a\\nb') is not one line of at most 500 printable characters"),
        ("permit", {"id": "a b"}, "@id('a b') is not 1 to 100 letters, digits, '.', '_', '/' and '-', beginning with a letter or digit"),
    ],
)  # fmt: skip
def test_what_would_have_no_effect_is_an_error(effect: Effect, given: dict[str, str | None], message: str) -> None:
    _, wrong = parse_annotations(given, effect=effect)
    assert [text for _, text in wrong] == [message]
