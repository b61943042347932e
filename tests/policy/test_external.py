"""A second opinion can only tighten, and what is no answer is none."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.decisions import NOT_APPROVED, Allow, Approved, Ask, Decision, Deny, Requirement
from mcp_gateway.policy.external import POLICY, Opinion, OpinionError, document_of, opinion_of, tightened
from tests.policy.worlds import COMMAND, READ, REQUEST, WEB, question

ALLOW = Allow(policies=("all",), reasons=("",))
ASK = Ask(policies=("w",), reasons=("wait",), requirements=(Requirement(group="dba", approvers=2),))
DENY = Deny(policies=("never",), reasons=("no",))
STRICTNESS = {Allow: 0, Ask: 1, Deny: 2}


def answer(result: Any) -> bytes:
    return orjson.dumps({"result": result})


@pytest.mark.parametrize(
    ("result", "opinion"),
    [
        (True, Opinion(said="allow")),
        (False, Opinion(said="deny")),
        ({"allow": True}, Opinion(said="allow")),
        ({"allow": False, "reason": "not on Sundays"}, Opinion(said="deny", reason="not on Sundays")),
        ({"decision": "deny", "further": [1]}, Opinion(said="deny")),
        ({"decision": "deny", "allow": False}, Opinion(said="deny")),
        ({"decision": "ask", "approval": {"dba": 2}}, Opinion(said="ask", approvers={"dba": 2})),
    ],
)
def test_answers_of_the_data_api_are_read(result: Any, opinion: Opinion) -> None:
    assert opinion_of(answer(result)) == opinion


@pytest.mark.requirement("I7")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"true",
        b"{}",
        b'{"result": true',
        answer(None),
        answer(1),
        answer("allow"),
        answer([]),
        answer({}),
        answer({"allow": "true"}),
        answer({"allow": 1}),
        answer({"allow": True, "decision": "perhaps"}),
        answer({"allow": False, "decision": "allow"}),
        answer({"allow": True, "decision": "ask", "approval": {"dba": 1}}),
        answer({"allow": "no", "decision": "deny"}),
        b'{"result": false, "result": true}',
        b'{"result": {"decision": "ask", "approval": {"dba": 1}, "approval": {"caller": 1}}}',
        b'{"result": {"decision": "allow", "more": ' + b"[" * 980 + b"]" * 980 + b"}}",
        b'{"result": {"decision": "allow", "more": NaN}}',
        answer({"decision": "Allow"}),
        answer({"decision": "ask"}),
        answer({"decision": "ask", "approval": {}}),
        answer({"decision": "ask", "approval": ["dba"]}),
        answer({"decision": "ask", "approval": {"dba": 0}}),
        answer({"decision": "ask", "approval": {"dba": True}}),
        answer({"decision": "ask", "approval": {"": 1}}),
        answer({"decision": "ask", "approval": {"d\u202eba": 1}}),
        answer({"decision": "ask", "approval": {f"g{number}": 1 for number in range(21)}}),
        answer({"decision": "deny", "reason": "a\nb"}),
        answer({"decision": "allow", "reason": 7}),
        answer({"decision": "deny", "reason": "x" * 501}),
    ],
)
def test_what_is_no_answer_allows_nothing(body: bytes) -> None:
    with pytest.raises(OpinionError):
        opinion_of(body)


@given(st.binary(max_size=200) | st.recursive(st.none() | st.booleans() | st.text(max_size=6), st.lists).map(answer))
def test_whatever_comes_is_an_opinion_or_an_error(body: bytes) -> None:
    try:
        opinion = opinion_of(body)
    except OpinionError:
        return
    assert opinion.said in {"allow", "ask", "deny"}


@given(
    st.sampled_from([ALLOW, ASK, DENY]),
    st.sampled_from(
        [
            Opinion(said="allow"),
            Opinion(said="deny", reason="no"),
            Opinion(said="ask", approvers={"ops": 1}),
            Opinion(said="ask", approvers={"dba": 1, "ops": 3}),
        ]
    ),
    st.builds(Approved, by=st.frozensets(st.sampled_from(["dba", "ops"])), approvers=st.integers(0, 3)),
)
def test_nothing_is_loosened(decision: Decision, opinion: Opinion, approval: Approved) -> None:
    found = tightened(decision, opinion, approval=approval)
    assert STRICTNESS[type(found)] >= STRICTNESS[type(decision)]
    if isinstance(decision, Ask) and isinstance(found, Ask):
        needed = {need.group: need.approvers for need in found.requirements}
        assert all(needed[need.group] >= need.approvers for need in decision.requirements)


def test_an_ask_is_added_to_that_of_the_policies() -> None:
    found = tightened(ASK, Opinion(said="ask", reason="hm", approvers={"dba": 1, "ops": 1}), approval=NOT_APPROVED)
    assert found == Ask(
        policies=("w", POLICY),
        reasons=("wait", "hm"),
        requirements=(Requirement(group="dba", approvers=2), Requirement(group="ops", approvers=1)),
    )


def test_an_ask_is_content_with_the_people_that_it_asked_for() -> None:
    opinion = Opinion(said="ask", approvers={"dba": 2})
    assert isinstance(tightened(ALLOW, opinion, approval=NOT_APPROVED), Ask)
    assert isinstance(tightened(ALLOW, opinion, approval=Approved(by=frozenset({"dba"}), approvers=1)), Ask)
    assert isinstance(tightened(ALLOW, opinion, approval=Approved(by=frozenset({"ops"}), approvers=2)), Ask)
    assert tightened(ALLOW, opinion, approval=Approved(by=frozenset({"dba"}), approvers=2)) == ALLOW


def test_the_document_has_the_facts_of_each_kind() -> None:
    for facts, changes in ((READ, {}), (COMMAND, {"target": WEB, "tool": "run_ssh_command"}), (REQUEST, {})):
        document = document_of(question(facts=facts, **changes), ALLOW)
        orjson.dumps(document)
        assert document["facts"] == facts.to_json()
        assert document["cedar"] == {"decision": "allow", "policies": ["all"]}
        assert document["caller"]["groups"] == ["developers"]
