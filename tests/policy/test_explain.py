from __future__ import annotations

import json

from mcp_gateway.decisions import Allow, Approved, Ask, Deny
from mcp_gateway.policy.explain import explain
from tests.policy.worlds import READ_ALL, WRITE, WRITES_ASK, engine, question

NEVER = '@id("never") @reason("not today")\nforbid (principal, action == Action::"query_database", resource);\n'


def test_an_allow_shows_the_permits_and_where_they_stand() -> None:
    found = explain(engine("\n" + READ_ALL), question())
    assert isinstance(found.decision, Allow)
    assert found.with_every_approval is None
    assert [(policy.id, str(policy.place)) for policy in found.policies] == [("all", "p.cedar:2:1")]


def test_an_ask_shows_both_decisions() -> None:
    found = explain(engine(READ_ALL + WRITES_ASK), question(facts=WRITE))
    assert isinstance(found.decision, Ask)
    assert found.as_things_stand.policies == ("writes",)
    assert found.with_every_approval is not None
    assert found.with_every_approval.allowed
    assert [policy.id for policy in found.policies] == ["all", "writes"]


def test_a_deny_shows_what_no_approval_would_lift_and_what_one_would() -> None:
    found = explain(engine(READ_ALL + WRITES_ASK + NEVER), question(facts=WRITE))
    assert found.decision == Deny(policies=("never",), reasons=("not today",))
    assert found.as_things_stand.policies == ("never", "writes")


def test_an_error_is_shown() -> None:
    found = explain(engine(READ_ALL), question(tool="unknown"))
    assert isinstance(found.decision, Deny)
    assert found.decision.error == "there is no action 'unknown' in the schema"
    assert found.policies == ()


def test_the_json_form_holds_everything_that_is_printed() -> None:
    policies = engine(
        READ_ALL + WRITES_ASK
        + '@id("r") permit (principal, action == Action::"reveal", resource == DataClass::"pii.email");'
    )  # fmt: skip
    asked = explain(policies, question(facts=WRITE), classes=["pii.email", "pii.phone"]).to_json()
    assert asked["decision"] == "ask"
    assert asked["approvers"] == {"dba": 1}
    assert asked["revealed"] == ["pii.email"]
    assert asked["as_things_stand"] == {"allowed": False, "policies": ["writes"], "error": None}
    assert asked["with_every_approval"] == {"allowed": True, "policies": ["all"], "error": None}
    assert asked["determining"][1]["reason"] == "writes wait for a DBA"
    assert asked["determining"][1]["line"] == 3
    assert asked["facts"]["writes"] == ["orders"]
    assert asked["version"] == policies.version
    dba = Approved(by=frozenset({"dba"}), approvers=1)
    allowed = explain(policies, question(facts=WRITE, approval=dba)).to_json()
    assert (allowed["decision"], allowed["max_rows"], allowed["timeout_seconds"]) == ("allow", None, None)
    denied = explain(engine(""), question()).to_json()
    assert (denied["decision"], denied["error"]) == ("deny", None)
    json.dumps([asked, allowed, denied])
