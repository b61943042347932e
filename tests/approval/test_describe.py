"""What an approver reads is short where facts say one thing many times, and tells which reason is whose."""

from __future__ import annotations

import pytest

from mcp_gateway.approval.describe import fact_text, policy_text
from mcp_gateway.inference import KINDS


@pytest.mark.parametrize(
    ("inference", "text"),
    [
        ({key: ["pii.email", "pii.name"] for key in KINDS}, "every kind, of pii.email, pii.name"),
        ({"where_range": ["pii.email"], "order": ["pii.email"]}, "where range, order of pii.email"),
        ({"where": ["a"], "join": ["b"], "order": ["a"]}, "where, order of a; join of b"),
        ({key: ["a"] for key in KINDS} | {"where": ["a", "b"]}, None),
    ],
)
def test_kinds_of_inference_that_tell_of_the_same_stand_together(
    inference: dict[str, list[str]], text: str | None
) -> None:
    found = fact_text(inference)
    assert found == text if text is not None else found.endswith("; where of a, b")


def test_each_policy_stands_with_its_own_reason() -> None:
    assert policy_text(["a", "b", "c"], ["one", "", "three"]) == "a: one; b; c: three"
