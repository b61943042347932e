"""What the conditions of a policy ask for that there never is, though the rest of them may hold. Pure.

Beside an `||`, in a list or behind `!` nothing else would tell that a misspelt trait forbids nothing. Names of targets are
left out: sets of policies are shared by configurations that have other ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mcp_gateway.calls import JSONObject
from mcp_gateway.decisions import CALLER_GROUP
from mcp_gateway.policy.expressions import COMPARISONS, CONTAINS, Path, children_of
from mcp_gateway.policy.formulas import Formula
from mcp_gateway.policy.schema import REVEAL
from mcp_gateway.policy.scopes import Entity
from mcp_gateway.policy.split import Place
from mcp_gateway.policy.terms import constant_of, variable_of
from mcp_gateway.policy.vocabulary import ANYTHING, Domain, Vocabulary

BETWEEN = "|"
"""What stands between issuer and subject in a caller's id."""
IS, HAS, MEMBER = "it is", "it has", "a member is"


class Impossible(NamedTuple):
    """One thing that is asked for, and what there is instead."""

    place: Place
    told: str
    asked: str
    domain: Domain
    how: str
    """What there is, in words: `it is`, `it has` or `a member is`."""
    is_harmless: bool
    """Whether it does nothing, unless something else was meant: one of those that a set may have at most."""


class _Asked(NamedTuple):
    """A text that a value is compared with, a set is asked for, or an attribute that something may have."""

    node: JSONObject
    """Where it is written."""
    of: tuple[str, Path]
    """The variable and the attribute."""
    text: str
    never: str
    """In words."""
    how: str
    is_harmless: bool = False


def impossible_parts(formula: Formula, vocabulary: Vocabulary) -> Iterator[Impossible]:
    """Each once; `vocabulary` is one without targets."""
    actions = [name for name in (*vocabulary.actions, REVEAL) if formula.policy.scope.names(name)]
    found: dict[tuple[Place, str], Impossible] = {}
    for condition in formula.conditions:
        for node, entity in _entities_in(condition.body):
            if (told := why_nobody(*entity)) is not None:
                place = formula.place(node)
                found[place, told] = Impossible(place, told, "", ANYTHING, IS, is_harmless=False)
        for asked in _asked_in(condition.body):
            domains = [domain for name in actions for domain in _domains(asked, vocabulary, name)]
            if domains and not any(domain.has(asked.text) for domain in domains):
                place, (of, path) = formula.place(asked.node), asked.of
                told = f"{'.'.join((of, *path))} {asked.never} {asked.text!r}"
                found[place, told] = Impossible(place, told, asked.text, domains[0], asked.how, asked.is_harmless)
    yield from found.values()


def why_nobody(entity_type: str, name: str) -> str | None:
    """Why no caller is this or in it, whoever calls; None where one may be."""
    if (entity_type, name) == ("Group", CALLER_GROUP):
        return f"no caller is in Group::{CALLER_GROUP!r}, which is reserved"
    if entity_type == "Caller" and BETWEEN not in name:
        return f"no caller is Caller::{name!r}; it is named by issuer and subject, as 'https://idp.example.com{BETWEEN}{name}'"
    return None


def _entities_in(node: JSONObject) -> Iterator[tuple[JSONObject, Entity]]:
    constant = constant_of(node)
    if isinstance(constant, tuple):
        yield node, constant
    for child in children_of(node):
        yield from _entities_in(child)


def _domains(asked: _Asked, vocabulary: Vocabulary, action: str) -> Iterator[Domain]:
    """What there is for one action, if that has the value at all; anything where it is not certain."""
    of, path = asked.of
    known = vocabulary.attributes(action)
    if asked.how == HAS:
        if asked.of in known:
            yield Domain(values=known[asked.of])
    elif path and path[-1] in known.get((of, path[:-1]), ()):
        domain = vocabulary.domains(action).get(asked.of, ANYTHING)
        yield domain if _is_of_texts(domain) else ANYTHING


def _is_of_texts(domain: Domain) -> bool:
    return bool(domain.never or domain.values) and all(isinstance(value, str) for value in domain.values or ())


def _asked_in(node: JSONObject) -> Iterator[_Asked]:
    ((operator, inside),) = node.items()
    if operator == "has" and (of := variable_of(inside["left"])) is not None:
        yield _Asked(node, of, inside["attr"], "has no attribute", HAS)
    elif operator in COMPARISONS | CONTAINS:
        left, right = inside["left"], inside["right"]
        is_of_one = operator in COMPARISONS or (operator == "contains" and "Set" in left)
        words = ("is never", IS) if is_of_one else ("never has", MEMBER)
        bounds = operator == "containsAll" and "Set" in left
        for one, other in ((left, right), (right, left)):
            if (of := variable_of(other)) is not None:
                yield from (_Asked(text, of, text["Value"], *words, bounds) for text in _texts(one))
    for child in children_of(node):
        yield from _asked_in(child)


def _texts(node: JSONObject) -> Iterator[JSONObject]:
    """The texts that are written here, in a list or alone."""
    yield from (one for one in node.get("Set", [node]) if isinstance(one.get("Value"), str))
