"""The laws that every rule obeys, checked on generated matches."""

from __future__ import annotations

import re
from re import _parser as parser  # type: ignore[attr-defined]  # the width of a pattern; nothing public knows it
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_gateway.masking.classes import BUILT_IN
from mcp_gateway.masking.folding import compiled
from mcp_gateway.masking.rules import MAX_MATCH, RULES, Rule
from mcp_gateway.masking.scan import AT_START, END_WINDOW, UNANCHORED, Scanner

EVERY = [pytest.param(rule, id=f"{rule.detector}-{index}") for index, rule in enumerate(RULES)]
SCANNER = Scanner(RULES)
FEW = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("rule", EVERY)
def test_a_match_fits_into_the_window_and_is_never_empty(rule: Rule) -> None:
    shortest, longest = parser.parse(rule.pattern).getwidth()

    assert 0 < shortest <= longest <= MAX_MATCH
    assert not rule.until or parser.parse(rule.until).getwidth()[1] <= END_WINDOW


@pytest.mark.parametrize("rule", EVERY)
def test_no_rule_captures_and_every_class_is_built_in(rule: Rule) -> None:
    assert compiled(rule.pattern).NumberOfCapturingGroups() == 0
    assert rule.data_class in BUILT_IN


@pytest.mark.parametrize("rule", EVERY)
def test_no_rule_goes_on_over_a_nul(rule: Rule) -> None:
    if rule.tail:
        assert compiled(rule.tail).Match(UNANCHORED, b"\0", 0, 1)[0] == (-1, -1)


@pytest.mark.parametrize("rule", EVERY)
@FEW
@given(data=st.data())
def test_a_generated_match_is_found_where_it_begins_and_breaks_at_a_nul(rule: Rule, data: Any) -> None:
    match = data.draw(st.from_regex(re.compile(rule.pattern), fullmatch=True))
    place = data.draw(st.integers(0, len(match) - 1))
    broken = match[:place] + b"\0" + match[place + 1 :]
    pattern = compiled(rule.pattern)

    assert 0 < pattern.Match(AT_START, match, 0, len(match))[0][1] <= len(match)
    assert pattern.Match(AT_START, broken, 0, len(broken))[0][1] <= place
    assert RULES.index(rule) in SCANNER._firsts[match[0]]
    for text in (match, b"x " + match + b" y", match + b"0"):
        # Raises where naming a span disagrees with finding it.
        assert all(0 <= start < end <= len(text) for start, end, _ in SCANNER.hits(text))
