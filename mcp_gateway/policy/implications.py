"""What one attribute of a context says of another, by how the facts of the built-in tools are made. Pure.

As data, each with its reason in words, and each true of every request: `tests/policy/test_implications.py` holds them against
facts of the labelled statements, commands and requests. What only mostly holds does not belong here: `policy check` says of a
policy that it never matches, and somebody takes it away.

    unbounded => not read_only   EXPLAIN without ANALYZE runs nothing, and then nothing is unbounded
    writes    => not read_only   does not belong here: code that rows are read through may write, and nobody can tell
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import pairwise, product
from typing import NamedTuple

import cedarpy
import orjson

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.sql_statements import ALL_KINDS
from mcp_gateway.policy.expressions import Path
from mcp_gateway.policy.literals import Literal, conflict
from mcp_gateway.policy.scopes import Entity
from mcp_gateway.policy.steps import Claim, Followed, Inclusion, Order, Rule, Said, World, step_of
from mcp_gateway.policy.terms import key_of
from mcp_gateway.policy.vocabulary import Domain, Vocabulary
from mcp_gateway.usage import COUNTED, HISTORY, TOUCHED_WINDOWS, WINDOWS

REMEMBERED_MEMBERS = 4096
NOTHING_ELSE = World(action="", attributes={}, domains={})

_CHANGE_ROWS = frozenset({"UPDATE", "DELETE", "MERGE"})
_OTHERS = ", ".join(f'"{kind}"' for kind in sorted(ALL_KINDS - _CHANGE_ROWS))


class Implication(NamedTuple):
    """Two conditions of which the second holds wherever the first does. Each says something of one attribute."""

    premise: str
    then: str
    because: str


IMPLICATIONS: Mapping[str, Sequence[Implication]] = {
    "query_database": [
        Implication(
            "!context.sql.merge_actions.isEmpty()",
            'context.sql.kinds.contains("MERGE")',
            "only a MERGE has merge_actions",
        ),
        Implication("context.sql.unbounded", "!context.sql.read_only", "what is unbounded changes rows"),
        Implication(
            "context.sql.unbounded",
            f"![{_OTHERS}].containsAll(context.sql.kinds)",
            "only an UPDATE, a DELETE or a MERGE is unbounded",
        ),
        Implication(
            "!context.sql.infers.isEmpty()",
            "!context.sql.inference.isEmpty()",
            "what it infers has a kind of inference",
        ),
        Implication(
            "!context.sql.inference.isEmpty()",
            "!context.sql.infers.isEmpty()",
            "a kind of inference is one of a class that it infers",
        ),
        Implication(
            "!context.sql.returned_columns.isEmpty()", "!context.sql.columns.isEmpty()", "columns has returned_columns"
        ),
        Implication(
            "!context.sql.condition_columns.isEmpty()",
            "!context.sql.columns.isEmpty()",
            "columns has condition_columns",
        ),
    ],
    "run_ssh_command": [
        Implication("context.shell.read_only", "!context.shell.opaque", "what is opaque is not read_only"),
        Implication("context.shell.read_only", "!context.shell.privileged", "what is privileged is not read_only"),
        Implication("context.shell.read_only", "!context.shell.writes_files", "what is read_only writes no files"),
        Implication("context.shell.read_only", "!context.shell.network", "what is read_only reaches no network"),
        Implication("context.shell.read_only", "context.shell.paths_known", "what is read_only writes no paths"),
        Implication("context.shell.opaque", "context.shell.writes_files", "what is opaque may write files"),
        Implication("context.shell.opaque", "context.shell.network", "what is opaque may reach the network"),
        Implication("context.shell.opaque", "context.shell.privileged", "what is opaque may take more rights"),
        Implication("context.shell.opaque", "!context.shell.paths_known", "what is opaque may write any path"),
        Implication("!context.shell.paths_known", "context.shell.writes_files", "what writes no files writes no paths"),
        Implication("!context.shell.writes.isEmpty()", "context.shell.writes_files", "writes are of files"),
        Implication("!context.shell.removes.isEmpty()", "context.shell.writes_files", "who removes writes"),
    ],
    "call_api": [
        Implication("context.http.matches", "context.http.documented", "what matches is documented"),
        Implication("!context.http.tags.isEmpty()", "context.http.documented", "tags are those of a document"),
        Implication('context.http.operation != ""', "context.http.documented", "an operation is one of a document"),
        Implication(
            "context.http.graphql_opaque",
            'context.http.graphql_operation == "mutation"',
            "GraphQL that is opaque counts as a mutation",
        ),
        Implication(
            "!context.http.graphql_fields.isEmpty()",
            'context.http.graphql_operation != ""',
            "graphql_fields are those of an operation",
        ),
    ],
}
SUBSETS: Mapping[str, Sequence[tuple[Path, Path]]] = {
    "query_database": [
        (("sql", "returned_columns"), ("sql", "columns")),
        (("sql", "condition_columns"), ("sql", "columns")),
    ],
}
"""Sets whose members are all members of another one."""
LONGER = tuple(pairwise(WINDOWS))
"""Windows, each with one in which all of it lies."""


def world_of(vocabulary: Vocabulary, action: str, *, target: str = "") -> World:
    """What is certain of every request for an action, on a target where one is named."""
    certain = vocabulary.knows_facts_of(action)
    return World(
        action=action,
        attributes=vocabulary.attributes(action),
        domains=vocabulary.domains(action, target=target),
        within=vocabulary.entities_of(target),
        rules=_rules(action) if certain else {},
        inclusions=_inclusions(action if certain else ""),
        orders=_orders(),
    )


def following(said: Said, world: World) -> Sequence[Followed]:
    """What else holds where this is said of a value, and why."""
    if said.key not in world.rules and said.key not in world.inclusions and said.key not in world.orders:
        return ()
    known = world.followed.get((said.key, said.literal))
    if known is None:
        known = world.followed[said.key, said.literal] = tuple(_following(said, world))
    return known


def _following(said: Said, world: World) -> Iterator[Followed]:
    for rule in world.rules.get(said.key, ()):
        if entails(said.literal, rule.literal, said.domain):
            yield Followed(rule.then, rule.because)
    yield from _ordered(said, world)
    if said.literal.kind == "member" and not isinstance(member := said.literal.constant, int):
        for inclusion in world.inclusions.get(said.key, ()):
            if inclusion.holds is said.literal.holds:
                yield Followed(Claim(_contains(inclusion.path, member), inclusion.holds), inclusion.because)


def _ordered(said: Said, world: World) -> Iterator[Followed]:
    """What a bound of one count says of counts that are no less, or no more."""
    at_least, at_most = _bounds(said.literal)
    for order in world.orders.get(said.key, ()):
        bound = at_least if order.is_more else at_most
        if bound is not None:
            operator = ">=" if order.is_more else "<="
            claim = {operator: {"left": _attribute(order.path), "right": {"Value": bound}}}
            yield Followed(Claim(claim, holds=True), order.because)


def _bounds(literal: Literal) -> tuple[int | None, int | None]:
    """The least and the most that a number can be of which this is said."""
    match literal:
        case Literal(kind="below", holds=True, number=number):
            return None, number - 1
        case Literal(kind="below", holds=False, number=number):
            return number, None
        case Literal(kind="equal", holds=True) if isinstance(literal.constant, int):
            return literal.constant, literal.constant
        case _:
            return None, None


def entails(literal: Literal, other: Literal, domain: Domain) -> bool:
    """Whether every value of which one is true is one of which the other is, as far as that is certain."""
    return conflict((literal, other._replace(holds=not other.holds)), domain)


@cache
def _rules(action: str) -> Mapping[str, Sequence[Rule]]:
    """By the key of the value: each implication, and what it says the other way round."""
    found: dict[str, list[Rule]] = {}
    for one in IMPLICATIONS.get(action, ()):
        premise, then = (_plain(Claim(_parsed(text), holds=True)) for text in (one.premise, one.then))
        for first, second in ((premise, then), (_denied(then), _denied(premise))):
            said = step_of(first, NOTHING_ELSE)
            assert isinstance(said, Said)  # noqa: S101 - made so above
            found.setdefault(said.key, []).append(Rule(literal=said.literal, then=second, because=one.because))
    return found


@cache
def _inclusions(action: str) -> Mapping[str, Sequence[Inclusion]]:
    found: dict[str, list[Inclusion]] = {}
    touched = [
        ((record, f"touched_{short}"), (record, f"touched_{long}"))
        for record in HISTORY
        for short, long in pairwise(TOUCHED_WINDOWS)
    ]
    for narrow, wide in (*SUBSETS.get(action, ()), *touched):
        because = f"{wide[-1]} has {narrow[-1]}"
        found.setdefault(key_of(_attribute(narrow)), []).append(Inclusion(wide, holds=True, because=because))
        found.setdefault(key_of(_attribute(wide)), []).append(Inclusion(narrow, holds=False, because=because))
    return found


@cache
def _orders() -> Mapping[str, Sequence[Order]]:
    """What is counted over a window is counted over a longer one."""
    found: dict[str, list[Order]] = {}
    for record, name, (short, long) in product(HISTORY, COUNTED, LONGER):
        less, more = (record, f"{name}_{short}"), (record, f"{name}_{long}")
        because = f"{less[-1]} is no more than {more[-1]}"
        found.setdefault(key_of(_attribute(less)), []).append(Order(more, is_more=True, because=because))
        found.setdefault(key_of(_attribute(more)), []).append(Order(less, is_more=False, because=because))
    return found


def _parsed(text: str) -> JSONObject:
    """An expression in Cedar's JSON form."""
    policy = f"permit (principal, action, resource) when {{ {text} }};"
    (form,) = orjson.loads(cedarpy.policies_to_json_str(policy))["staticPolicies"].values()
    body: JSONObject = form["conditions"][0]["body"]
    return body


def _plain(claim: Claim) -> Claim:
    """The same claim as one that says something of one value, and is made of no others."""
    step = step_of(claim, NOTHING_ELSE)
    while not isinstance(step, Said):
        ((claim,),) = step
        step = step_of(claim, NOTHING_ELSE)
    return claim


def _denied(claim: Claim) -> Claim:
    return Claim(claim.node, not claim.holds)


@lru_cache(maxsize=REMEMBERED_MEMBERS)
def _contains(path: Path, member: str | Entity) -> JSONObject:
    value: object = member if isinstance(member, str) else {"__entity": {"type": member[0], "id": member[1]}}
    return {"contains": {"left": _attribute(path), "right": {"Value": value}}}


def _attribute(path: Path) -> JSONObject:
    node: JSONObject = {"Var": "context"}
    for name in path:
        node = {".": {"left": node, "attr": name}}
    return node
