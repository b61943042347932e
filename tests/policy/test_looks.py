"""How closely policies look: Cedar is shown enough for any condition, and whatever decides alike is remembered alike."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_gateway.calls import SQLFacts
from mcp_gateway.decisions import Allow, Deny
from mcp_gateway.usage import History, Usage
from tests.fuzz.sizes import FULL
from tests.policy.test_engine_memory import count, forbid
from tests.policy.test_sets import agree
from tests.policy.worlds import READ, READ_ALL, compiled, engine, question

NAMES = ("a", "b", "c", "\N{GREEK SMALL LETTER ALPHA}")
CLASSES = ("pii.email", "shop.margin")
SETS = ("reads", "writes", "columns")
NUMBERS = ("statements", "row_limit", "planned_rows")
VALUES = (-1, 0, 1, 2, 7)
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")

texts = st.sampled_from(NAMES).map('"{}"'.format)
classes = st.sampled_from(CLASSES).map('DataClass::"{}"'.format)
strings = st.sampled_from(SETS).map("context.sql.{}".format)
entities = st.sampled_from(("returns", "infers")).map("context.sql.{}".format)
numbers = st.sampled_from(NUMBERS).map("context.sql.{}".format)
constants = st.sampled_from(VALUES).map(str)


def listed(members: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(members, min_size=1, max_size=3).map(lambda found: f"[{', '.join(found)}]")


def asked(sets: st.SearchStrategy[str], members: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    several = st.sampled_from(("containsAny", "containsAll"))
    return st.one_of(
        st.builds("{}.contains({})".format, sets, members),
        st.builds("{}.{}({})".format, sets, several, listed(members)),
        st.builds("{1}.{2}({0})".format, sets, listed(members), several),
        st.builds("{}.{}({})".format, sets, several, sets),
        st.builds("{} == {}".format, sets, listed(members)),
        st.builds("{}.isEmpty()".format, sets),
    )


compared = st.one_of(
    st.builds("{} {} {}".format, numbers, st.sampled_from(COMPARISONS), constants),
    st.builds("{} {} {}".format, constants, st.sampled_from(COMPARISONS), numbers),
    st.builds("{} {} {}".format, numbers, st.sampled_from(COMPARISONS), numbers),
    st.builds("context.usage.rows_1h {} {}".format, st.sampled_from(COMPARISONS), constants),
)
conditions = st.recursive(
    st.one_of(asked(strings, texts), asked(entities, classes), compared),
    lambda inner: st.one_of(
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} || {})".format, inner, inner),
        st.builds("!({})".format, inner),
        st.builds("(if {} then {} else {})".format, inner, inner, inner),
    ),
    max_leaves=5,
)
some_names = st.frozensets(st.sampled_from(NAMES))
some_classes = st.frozensets(st.sampled_from(CLASSES))
value = st.sampled_from(VALUES)
facts = st.builds(
    lambda reads, writes, columns, returns, infers, statements, row_limit, planned_rows: replace(
        READ,
        reads=reads,
        writes=writes,
        columns=columns,
        returns=returns,
        inference={"filter": infers} if infers else {},
        statements=statements,
        row_limit=row_limit,
        planned_rows=planned_rows,
    ),
    *(some_names, some_names, some_names, some_classes, some_classes, value, value, value),
)
histories = value.map(lambda rows: History(person=Usage(counts={"rows_1h": max(rows, 0)}), agent=Usage()))


@pytest.mark.requirement("R28")
@settings(max_examples=1500 if FULL else 60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(conditions, min_size=1, max_size=4), st.lists(st.tuples(facts, histories), min_size=2, max_size=8))
def test_whatever_the_conditions_decisions_are_those_of_cedar_shown_everything(
    written: list[str], asked: list[tuple[SQLFacts, History]]
) -> None:
    text = READ_ALL + "".join(forbid(n, "query_database", condition, "") for n, condition in enumerate(written))
    remembering, fresh = engine(text), engine(text, remember=False)
    for facts, history in (*asked, *reversed(asked)):
        found = question(facts=facts, history=history)
        assert remembering.decide(found) == fresh.decide(found)
    policies = compiled(text)
    for facts, history in asked:
        agree(policies, question(facts=facts, history=history))


@pytest.mark.parametrize(
    ("condition", "remembered"),
    [
        ('context.sql.reads.contains("a")', 2),
        ('context.sql.reads.containsAny(["a", "b"])', 4),
        ('context.sql.reads.containsAll(["a", "b"])', 4),
        ('context.sql.reads.contains("a") || context.sql.reads.isEmpty()', 8),
        ('["a", "b"].containsAll(context.sql.reads)', 8),
        ("context.sql.statements > 1", 3),
        ("context.sql.statements > 1 || 5 < context.sql.statements", 4),
        ("context.sql.statements > context.sql.row_limit", 5),
    ],
)
def test_decisions_are_told_apart_by_what_is_looked_at(condition: str, remembered: int) -> None:
    policies = engine(READ_ALL + forbid(1, "query_database", condition, ""))
    several = [{name for name, has in zip("abc", which, strict=True) if has} for which in product((0, 1), repeat=3)]
    for reads, statements in product(several, (0, 1, 2, 6, 7)):
        policies.decide(question(facts=replace(READ, reads=frozenset(reads), statements=statements)))
    assert count(policies) == remembered


def test_another_policy_that_looks_at_everything_has_the_last_word() -> None:
    policies = engine(
        READ_ALL
        + forbid(1, "query_database", 'context.sql.reads.contains("a")', "")
        + forbid(2, "query_database", 'context.sql.reads == ["b"]', "")
    )
    for reads, allowed in (({"c"}, True), ({"b"}, False), ({"b", "c"}, True), ({"a", "c"}, False)):
        decision = policies.decide(question(facts=replace(READ, reads=frozenset(reads))))
        assert isinstance(decision, Allow if allowed else Deny), reads
