"""From what Cedar says to Allow, Ask or Deny. Pure: the evaluation is an argument.

1. Decide as things stand. Whatever cannot be evaluated is a Deny that names the error.
2. Allowed, but by an approval of fewer people than a lifted policy now asks for: ask again.
3. Denied: decide once more as if every approval were given. Still denied: Deny, and nobody is bothered.
4. Otherwise ask all groups that the determining forbids of the first decision name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from mcp_gateway.decisions import NOT_APPROVED, Allow, Approved, Ask, Decision, Deny, Requirement
from mcp_gateway.policy.annotations import MAX_APPROVERS
from mcp_gateway.policy.statement import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one evaluation of the policies comes to."""

    allowed: bool
    policies: tuple[str, ...] = ()
    """Ids of those that determined it, sorted: permits if allowed, forbids if not, none where nothing permits."""
    error: str | None = None
    """Why it could not be evaluated; then it is not allowed."""


def every_approval(policies: Iterable[Policy]) -> Approved:
    """The approval of everybody who could be asked."""
    groups = frozenset(group for policy in policies for group in policy.annotations.approval)
    return Approved(by=groups, approvers=MAX_APPROVERS)


def decide(evaluate: Callable[[Approved], Verdict], *, policies: Mapping[str, Policy], approval: Approved) -> Decision:
    """Decide one question under `approval`; `evaluate` answers it for any approval."""
    # 1.
    first = evaluate(approval)
    if first.error is not None:
        return Deny(policies=(), error=first.error)
    if first.allowed:
        # 2.
        return (
            _allow(first.policies, policies)
            if approval == NOT_APPROVED
            else _lifted(first, evaluate, policies, approval)
        )
    # 3.
    second = evaluate(every_approval(policies.values()))
    if second.error is not None:
        return Deny(policies=(), error=second.error)
    if not second.allowed:
        return Deny(policies=second.policies, reasons=_reasons(second.policies, policies))
    # 4.
    if not first.policies or not all(policies[name].annotations.approval for name in first.policies):
        return Deny(policies=first.policies, error="an approval changed the decision, but nobody can be asked for it")
    return _ask(first.policies, policies)


def _lifted(
    first: Verdict, evaluate: Callable[[Approved], Verdict], policies: Mapping[str, Policy], approval: Approved
) -> Decision:
    """Allow, unless a policy was lifted without as many people as it asks for.

    Cedar sees that a group has approved, not with how many people, and the policy may have come after the Ask.
    """
    without = evaluate(NOT_APPROVED)
    if without.error is not None:
        return Deny(policies=(), error=without.error)
    short = short_of_people(without, policies, approval)
    return _ask(short, policies) if short else _allow(first.policies, policies)


def short_of_people(without: Verdict, policies: Mapping[str, Policy], approval: Approved) -> tuple[str, ...]:
    """Which of the forbids that hold without any approval would be lifted by fewer people than they ask for."""
    lifted = [] if without.allowed else [policies[name] for name in without.policies]
    return tuple(policy.id for policy in lifted if not _has_its_people(policy, approval))


def _has_its_people(policy: Policy, approval: Approved) -> bool:
    """Whether the groups of a lifted policy have said yes: all of them, or those that its `unless` was content with."""
    asked, counted = policy.annotations.approval, dict(approval.people)
    present = asked & approval.by
    if not present or (not policy.lifted_by and present != asked):
        return False
    return all(counted.get(group, approval.approvers) >= policy.annotations.approvers for group in present)


def _allow(determining: tuple[str, ...], policies: Mapping[str, Policy]) -> Allow:
    annotations = [policies[name].annotations for name in determining]
    return Allow(
        policies=determining,
        reasons=_reasons(determining, policies),
        max_rows=min((given.max_rows for given in annotations if given.max_rows is not None), default=None),
        timeout=min((given.timeout for given in annotations if given.timeout is not None), default=None),
    )


def _ask(determining: tuple[str, ...], policies: Mapping[str, Policy]) -> Ask:
    annotations = [policies[name].annotations for name in determining]
    people: dict[str, int] = {}
    for given in annotations:
        for group in given.approval:
            people[group] = max(people.get(group, 1), given.approvers)
    return Ask(
        policies=determining,
        reasons=_reasons(determining, policies),
        requirements=tuple(Requirement(group=group, approvers=people[group]) for group in sorted(people)),
        ttl=min((given.ttl for given in annotations if given.ttl is not None), default=None),
    )


def _reasons(determining: tuple[str, ...], policies: Mapping[str, Policy]) -> tuple[str, ...]:
    return tuple(policies[name].annotations.reason for name in determining)
