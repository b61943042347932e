from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.decisions import NOT_APPROVED, Allow, Approved, Ask, Decision, Deny, Requirement
from mcp_gateway.policy.decide import Verdict, decide, every_approval
from mcp_gateway.policy.statement import Policy
from tests.policy.worlds import compiled

TEXT = """
@id("permit") @max_rows("100") @timeout("30s") @reason("may read")
permit (principal, action == Action::"query_database", resource);
@id("permit-too") @max_rows("10") @timeout("1m")
permit (principal, action == Action::"query_database", resource);
@id("dba") @approval("dba") @ttl("10m") @reason("ask a DBA")
forbid (principal, action, resource) unless { context.approval.by.contains("dba") };
@id("dba-twice") @approval("dba") @approvers("2") @ttl("5m")
forbid (principal, action, resource) unless { context.approval.by.contains("dba") };
@id("both") @approval("dba, ops")
forbid (principal, action, resource)
unless { context.approval.by.contains("dba") && context.approval.by.contains("ops") };
@id("either") @approval("dba, ops")
forbid (principal, action, resource)
unless { context.approval.by.contains("dba") || context.approval.by.contains("ops") };
@id("people") @approval("legal") @approvers("2")
forbid (principal, action, resource) unless { context.approval.approvers >= 2 };
@id("loose") @approval("dba")
forbid (principal, action, resource)
unless { context.approval.by.contains("dba") || context.approval.approvers >= 1 };
@id("never") @reason("never")
forbid (principal, action, resource);
"""
POLICIES = compiled(TEXT).policies
LIFTED: dict[str, Callable[[Approved], bool]] = {
    "dba": lambda approval: "dba" in approval.by,
    "dba-twice": lambda approval: "dba" in approval.by,
    "both": lambda approval: {"dba", "ops"} <= approval.by,
    "either": lambda approval: bool({"dba", "ops"} & approval.by),
    "people": lambda approval: approval.approvers >= 2,
    "loose": lambda approval: "dba" in approval.by or approval.approvers >= 1,
    "never": lambda approval: False,
}


@dataclass
class Cedar:
    """Cedar's rule over policies whose conditions hold: any forbid that is not lifted, else any permit."""

    matching: tuple[str, ...]
    errors: frozenset[Approved] = frozenset()
    asked: int = 0

    def __call__(self, approval: Approved) -> Verdict:
        self.asked += 1
        if approval in self.errors:
            return Verdict(allowed=False, error="overflow")
        forbids = [name for name in self.matching if name in LIFTED and not LIFTED[name](approval)]
        permits = [name for name in self.matching if name not in LIFTED]
        return Verdict(allowed=bool(permits) and not forbids, policies=tuple(sorted(forbids or permits)))


def decided(*matching: str, approval: Approved = NOT_APPROVED) -> Decision:
    return decide(Cedar(matching), policies=POLICIES, approval=approval)


def approved(*groups: str, people: int = 1, **counts: int) -> Approved:
    return Approved(by=frozenset(groups), approvers=people, people=tuple(counts.items()))


def asks(*policies: str, **people: int) -> tuple[tuple[str, ...], dict[str, int]]:
    return policies, people


def test_a_permit_allows_with_its_obligations() -> None:
    assert decided("permit") == Allow(
        policies=("permit",), reasons=("may read",), max_rows=100, timeout=timedelta(seconds=30)
    )


def test_the_smallest_obligation_of_the_determining_permits_counts() -> None:
    assert decided("permit", "permit-too") == Allow(
        policies=("permit", "permit-too"), reasons=("may read", ""), max_rows=10, timeout=timedelta(seconds=30)
    )


def test_nothing_is_permitted_by_default() -> None:
    assert decided() == Deny(policies=())


def test_a_forbid_without_approval_denies_and_names_itself() -> None:
    assert decided("permit", "never") == Deny(policies=("never",), reasons=("never",))


def test_nobody_is_asked_where_an_approval_would_not_help() -> None:
    assert decided("permit", "dba", "never") == Deny(policies=("never",), reasons=("never",))
    assert decided("dba") == Deny(policies=())


@pytest.mark.parametrize(
    ("matching", "expected", "ttl"),
    [
        (("permit", "dba"), asks("dba", dba=1), 10),
        (("permit", "dba", "dba-twice"), asks("dba", "dba-twice", dba=2), 5),
        (("permit", "both"), asks("both", dba=1, ops=1), None),
        (("permit", "either"), asks("either", dba=1, ops=1), None),
        (("permit", "people", "dba"), asks("dba", "people", dba=1, legal=2), 10),
    ],
)
def test_an_ask_names_every_group_with_its_people_and_the_smallest_ttl(
    matching: tuple[str, ...], expected: tuple[tuple[str, ...], dict[str, int]], ttl: int | None
) -> None:
    decision = decided(*matching)
    assert isinstance(decision, Ask)
    policies, people = expected
    assert decision.policies == policies
    assert decision.requirements == tuple(Requirement(group=group, approvers=people[group]) for group in sorted(people))
    assert decision.ttl == (None if ttl is None else timedelta(minutes=ttl))
    assert decision.reasons == tuple(POLICIES[name].annotations.reason for name in policies)


@pytest.mark.parametrize(
    ("matching", "approval", "allowed"),
    [
        (("permit", "dba"), approved("dba"), True),
        (("permit", "dba"), approved("ops"), False),
        (("permit", "both"), approved("dba"), False),
        (("permit", "both"), approved("dba", "ops"), True),
        (("permit", "either"), approved("ops"), True),
        (("permit", "dba-twice"), approved("dba", people=1), False),
        (("permit", "dba-twice"), approved("dba", people=2), True),
        (("permit", "dba-twice"), approved("dba", "ops", people=2, dba=1, ops=1), False),
        (("permit", "dba-twice"), approved("dba", "ops", people=3, dba=2, ops=1), True),
        (("permit", "loose"), approved("ops", people=3), False),
        (("permit", "loose"), approved("dba"), True),
        (("permit", "people"), approved("dba", people=2), False),
        (("permit", "people"), approved("legal", people=2), True),
        (("permit", "people"), approved("legal", "dba", people=2, legal=1, dba=1), False),
    ],
)
def test_the_real_approval_counts_with_its_groups_and_people(
    matching: tuple[str, ...], approval: Approved, *, allowed: bool
) -> None:
    decision = decided(*matching, approval=approval)
    assert isinstance(decision, Allow if allowed else Ask)


def test_a_group_that_is_still_missing_is_asked_anew() -> None:
    decision = decided("permit", "dba", "both", approval=approved("dba"))
    assert isinstance(decision, Ask)
    assert decision.policies == ("both",)


@pytest.mark.requirement("I7", "R28")
@pytest.mark.parametrize("erring", [NOT_APPROVED, every_approval(POLICIES.values())])
def test_an_error_in_either_decision_denies_and_is_named(erring: Approved) -> None:
    decision = decide(Cedar(("permit", "dba"), errors=frozenset({erring})), policies=POLICIES, approval=NOT_APPROVED)
    assert decision == Deny(policies=(), error="overflow")


@pytest.mark.requirement("I7")
def test_an_error_that_the_approval_hides_denies_too() -> None:
    cedar = Cedar(("permit", "dba"), errors=frozenset({NOT_APPROVED}))
    decision = decide(cedar, policies=POLICIES, approval=approved("dba"))
    assert decision == Deny(policies=(), error="overflow")


@pytest.mark.requirement("I7")
def test_an_approval_that_helps_where_nobody_can_be_asked_denies() -> None:
    def odd(approval: Approved) -> Verdict:
        return Verdict(allowed=bool(approval.by), policies=("permit",) if approval.by else ("never",))

    assert decide(odd, policies=POLICIES, approval=NOT_APPROVED) == Deny(
        policies=("never",), error="an approval changed the decision, but nobody can be asked for it"
    )


def test_the_second_question_is_asked_only_after_a_deny() -> None:
    allowing, asking = Cedar(("permit",)), Cedar(("permit", "dba"))
    decide(allowing, policies=POLICIES, approval=NOT_APPROVED)
    decide(asking, policies=POLICIES, approval=NOT_APPROVED)
    assert (allowing.asked, asking.asked) == (1, 2)


@given(st.sets(st.sampled_from(sorted(POLICIES))))
def test_giving_what_an_ask_asks_for_allows(matching: set[str]) -> None:
    first = decided(*matching)
    if isinstance(first, Ask):
        groups = {needed.group: needed.approvers for needed in first.requirements}
        given = Approved(by=frozenset(groups), approvers=max(groups.values()), people=tuple(groups.items()))
        assert isinstance(decided(*matching, approval=given), Allow)


@given(
    st.sets(st.sampled_from(sorted(POLICIES))),
    st.sets(st.sampled_from(["dba", "ops", "legal"])),
    st.integers(min_value=0, max_value=3),
)
def test_no_approval_lifts_a_forbid_that_names_none(matching: set[str], groups: set[str], people: int) -> None:
    decision = decided(*matching, approval=Approved(by=frozenset(groups), approvers=people))
    if "never" in matching or not matching & {"permit", "permit-too"}:
        assert isinstance(decision, Deny)


def test_every_approval_gives_all_groups() -> None:
    policies: list[Policy] = list(POLICIES.values())
    everything = every_approval(policies)
    assert everything.by == {"dba", "ops", "legal"}
    assert everything.approvers >= 100
