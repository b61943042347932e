"""The reference of policies names everything that a policy can use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mcp_gateway.facts.inspect_sql import examine_text
from mcp_gateway.facts.traits import ALL_TRAITS, TRAIT_PREFIXES
from mcp_gateway.inference import KINDS
from mcp_gateway.policy.annotations import KNOWN
from mcp_gateway.policy.schema import ACTIONS, APPROVAL, CALL, KNOWN_ENVS, REVEAL, USAGE
from mcp_gateway.usage import HISTORY
from tests.policy.worlds import findings, problems

REFERENCE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "policy.md").read_text(encoding="utf-8")

SHOWN: list[str] = re.findall(r"```cedar\n(.*?)```", REFERENCE, re.DOTALL)

ATTRIBUTES = [
    *(f"context.call.{name}" for name in CALL),
    *(f"context.approval.{name}" for name in APPROVAL),
    *(f"context.{action.record}.{name}" for action in ACTIONS.values() for name in action.shape),
    *(f"context.{record}.{name}" for record in HISTORY for name in USAGE),
    *(f"principal.{name}" for name in ("subject", "issuer", "actor", "email")),
    *(f"resource.{name}" for name in ("name", "kind")),
    *(f"context.target.{name}" for name in ("name", "kind")),
]


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_every_attribute_has_its_entry(name: str) -> None:
    assert f"`{name}`" in REFERENCE


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_every_attribute_has_an_example_that_loads(name: str) -> None:
    assert re.search(rf"\b{re.escape(name)}\b", "".join(SHOWN))


def test_nothing_else_is_promised() -> None:
    promised = set(re.findall(r"`((?:context|principal|resource)\.[a-z_.0-9]+)`", REFERENCE)) - {
        "context.approval",
        "context.usage",
        "context.agent_usage",
    }
    assert promised == set(ATTRIBUTES)


def test_every_annotation_action_and_environment_has_its_entry() -> None:
    for name in KNOWN:
        assert f"`@{name}(" in REFERENCE
    for action in (*ACTIONS, REVEAL):
        assert f'Action::"{action}"' in REFERENCE
    for kind in KINDS:
        assert f'| `Inference::"{kind}"` |' in REFERENCE
    for env in KNOWN_ENVS:
        assert f"`{env}`" in REFERENCE


def test_the_policy_that_is_shown_loads() -> None:
    for text in SHOWN:
        assert problems(text) == []


def test_what_the_policies_that_are_shown_ask_for_can_be() -> None:
    for text in SHOWN:
        assert [str(one) for one in findings(text).warnings if "never" in one.message] == []


def test_every_trait_has_its_entry() -> None:
    (table,) = re.findall(r"### Traits\n(.*?)\n\n[A-Z]", REFERENCE, re.DOTALL)
    entries = re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE)
    named = {name for entry in entries for name in re.findall(r"`(.*?)`", entry)}

    assert {name for name in named if not name.startswith(TRAIT_PREFIXES)} == ALL_TRAITS


def test_columns_that_are_shown_apart_are() -> None:
    (table,) = re.findall(r"### Columns returned.*?\n\n\| statement.*?\n\|.*?\n(.*?)\n\n", REFERENCE, re.DOTALL)
    shown = re.findall(r"^\| `(.*?)` \|(.*?)\|(.*?)\|$", table, re.MULTILINE)
    assert len(shown) == len(table.splitlines())
    for sql, *cells in shown:
        context = examine_text(sql).facts.context()
        for cell, found in zip(cells, ("returned_columns", "condition_columns"), strict=True):
            names = set(re.findall(r"`(\w+)`", cell.partition(" of ")[0]))
            assert {column.rpartition(".")[2] for column in context[found]} == names, (sql, found)
