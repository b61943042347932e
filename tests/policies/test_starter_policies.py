"""The starter policies load for any configuration, and `policies/tests` shows what each of them does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from mcp_gateway_policies import starter_policies

from mcp_gateway.decisions import Allow, Ask
from mcp_gateway.policy.cases import run_cases
from mcp_gateway.policy.compiling import compile_policies
from mcp_gateway.policy.engine import PolicyEngine
from mcp_gateway.policy.loader import load_policies, read_sources
from mcp_gateway.policy.split import Source
from tests.policy.worlds import CALLER, ORDERS, TARGETS, WRITE, question

CASES = Path(__file__).resolve().parents[2] / "policies" / "tests"


def test_every_case_passes_and_every_policy_has_one() -> None:
    report = run_cases([CASES])
    assert [(result.name, result.differences) for result in report.results if not result.passed] == []
    assert report.uncovered == ()
    assert len(report.results) > 40


@pytest.mark.parametrize("envs", [[], ["prod"], ["production", "qa"], ['odd "name"']])
def test_they_load_for_any_configuration(envs: list[str]) -> None:
    targets = [replace(ORDERS, name=env, labels={"env": env}) for env in envs]
    assert load_policies([starter_policies()], targets=targets, classes=[], guarded=False).policies


def test_each_says_why() -> None:
    policies = load_policies([starter_policies()], targets=TARGETS, classes=[], guarded=False).policies
    assert [policy.id for policy in policies.values() if not policy.annotations.reason] == []


@pytest.mark.parametrize("env", ["prod", "production", "live", "PROD", "prod ", "unknown"])
def test_an_environment_that_they_do_not_name_is_asked_about(env: str) -> None:
    target = replace(ORDERS, labels={"env": env})
    policies = load_policies([starter_policies()], targets=[target], classes=[], guarded=False)
    assert isinstance(policies.decide(question(target=target, facts=WRITE)), Ask)


def test_decisions_on_them_can_be_remembered() -> None:
    policies = load_policies([starter_policies()], targets=TARGETS, classes=[], guarded=False)
    assert all(view.cacheable for view in policies._enforced._views.values())


def test_secrets_stay_masked_whatever_is_permitted_beside_them() -> None:
    sources, _ = read_sources([starter_policies()], guarded=False)
    generous = Source(file="x.cedar", text='@id("x") permit (principal, action == Action::"reveal", resource);')
    policies = PolicyEngine(compile_policies([*sources, generous], targets=TARGETS, classes=[]), targets=TARGETS)
    asked = {"pii.email", "secret.token", "secret.password", "secret.private_key", "payment.card"}
    assert policies.reveal(question(), asked) == {"pii.email"}


def test_a_first_read_is_allowed_without_any_group() -> None:
    policies = load_policies([starter_policies()], targets=TARGETS, classes=[], guarded=False)
    assert isinstance(policies.decide(question(caller=replace(CALLER, groups=frozenset()))), Allow)
