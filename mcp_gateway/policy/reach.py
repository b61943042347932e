"""Policies that can never decide anything, or not what they seem to: what `policy check` says beside errors. Pure.

A warning is certain, for these targets: a policy that never matches, since what it asks for contradicts itself or is
nothing that there is; a policy that adds nothing (`covering`); a member that a set never has; a table or column that is asked
for without its schema. A note is right in a policy that is shared by several configurations: an environment that no target is in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

from mcp_gateway.calls import JSONObject, Target
from mcp_gateway.errors import Problem
from mcp_gateway.policy.contradictions import Budget, Reason, contradictions
from mcp_gateway.policy.covering import policies_that_add_nothing
from mcp_gateway.policy.expressions import Path
from mcp_gateway.policy.formulas import Formula, formulas_of
from mcp_gateway.policy.implications import world_of
from mcp_gateway.policy.impossible import impossible_parts, why_nobody
from mcp_gateway.policy.schema import REVEAL
from mcp_gateway.policy.split import Place, Statement
from mcp_gateway.policy.statement import Compiled, why_nothing_is_permitted
from mcp_gateway.policy.vocabulary import Constant, Domain, Vocabulary

TABLES = ("tables that the target's catalog knows are schema.table there", 1)
COLUMNS = ("columns that the target's catalog knows are schema.table.column there", 2)
QUALIFIED: Mapping[Path, tuple[str, int]] = MappingProxyType(
    {
        ("sql", "reads"): TABLES,
        ("sql", "writes"): TABLES,
        ("sql", "columns"): COLUMNS,
        ("sql", "returned_columns"): COLUMNS,
        ("sql", "condition_columns"): COLUMNS,
    }
)
"""Sets of names that have their schema: what is said of one that has not, and the dots that one has at least."""
MAX_STEPS = 1_000_000
"""Of all searches and comparisons together, of a few microseconds each."""
MAX_LISTED = 20
BRACKETS_OPEN, BRACKETS_CLOSED = frozenset("({["), frozenset(")}]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What is no error in a set of policies, but worth a look."""

    warnings: tuple[Problem, ...] = ()
    """What is not as it was meant."""
    notes: tuple[Problem, ...] = ()
    """What may be."""


def findings_on(
    compiled: Compiled, *, targets: Sequence[Target], bases: Mapping[str, str] = MappingProxyType({})
) -> Findings:
    """What is odd about a valid set of policies for these targets; `bases` are the base URLs of APIs among them.

    Where there are none, policies are for targets to come, and nothing is said of the names of targets.
    """
    policies = sorted(compiled.policies.values(), key=lambda one: (one.place.file, one.place.line, one.place.column))
    nothing = why_nothing_is_permitted(compiled)
    if nothing is not None and not policies:
        return Findings(warnings=(Problem(message=nothing),))
    formulas = formulas_of(policies, compiled.forms)
    vocabulary = Vocabulary.of(targets, actions=compiled.actions, classes=compiled.classes, bases=bases)
    lasting = Vocabulary.of((), actions=compiled.actions, classes=compiled.classes)
    budget = Budget(steps=MAX_STEPS)
    warnings: list[Problem] = []
    matching: list[Formula] = []
    for policy in policies:
        formula = formulas[policy.id]
        found = list(_never_matching(formula, vocabulary, budget))
        warnings += [place.problem(message, policy=policy.id) for place, message, _ in found]
        if not any(is_all for _, _, is_all in found):
            matching.append(formula)
        if not found:
            for one in impossible_parts(formula, lasting):
                instead = _possible(one.asked, one.domain, how=one.how)
                if instead or not one.is_harmless:
                    warnings.append(one.place.problem(one.told + instead, policy=policy.id))
        warnings += _unqualified_tables(formula)
    warnings += policies_that_add_nothing(matching, vocabulary=lasting, budget=budget)
    if nothing is not None:
        warnings.append(Problem(message=nothing))
    notes = sorted(_unused_names(formulas.values(), targets), key=_order) if targets else []
    if budget.steps <= 0:
        notes.append(Problem(message="the policies are so many or so large that not all were compared with each other"))
    return Findings(warnings=tuple(sorted(warnings, key=_order)), notes=tuple(notes))


def _order(problem: Problem) -> tuple[str, int, int]:
    return problem.file, problem.line, problem.column


def _never_matching(formula: Formula, vocabulary: Vocabulary, budget: Budget) -> Iterator[tuple[Place, str, bool]]:
    """Where and why a policy never matches, and whether it never does or only not for one of its actions."""
    policy = formula.policy
    if (why := _named_wrongly(formula, vocabulary)) is not None:
        yield *why, True
        return
    actions = [name for name in (*vocabulary.actions, REVEAL) if policy.scope.names(name)]
    found: dict[str, tuple[Reason, ...]] = {}
    for action in actions:
        world = world_of(vocabulary, action, target=formula.target)
        if (reasons := contradictions(formula.claims, world, budget)) is not None:
            found[action] = reasons
    if actions and len(found) == len(actions):
        reasons = next(iter(found.values()))
        yield _place(formula, reasons), f"it never matches: {_told(formula, reasons)}", True
    elif policy.scope.actions is not None:  # who names an action means it
        for action, reasons in found.items():
            yield _place(formula, reasons), f"it never matches {action}: {_told(formula, reasons)}", False


def _named_wrongly(formula: Formula, vocabulary: Vocabulary) -> tuple[Place, str] | None:
    """What is wrong with a name in the scope, or with a condition that is always so."""
    policy = formula.policy
    for condition in formula.conditions:
        if _constant(condition.body) is (condition.kind == "unless"):
            always = "true" if condition.kind == "unless" else "false"
            return formula.place(condition.body), f"it never matches: its `{condition.kind}` is always {always}"
    if (why := why_nobody(*_named(policy.scope.principal))) is not None:
        return formula.place(formula.scope["principal"]), f"it never matches: {why}"
    if not (formula.target and vocabulary.targets) or policy.scope.names(REVEAL):
        return None
    place, target = formula.place(formula.scope["resource"]), vocabulary.targets.get(formula.target)
    if target is None:
        near = get_close_matches(formula.target, sorted(vocabulary.targets), n=1)
        return place, f"it never matches: there is no target {formula.target!r}" + _or_meant(near)
    if target.kind not in {action.kind for tool, action in vocabulary.actions.items() if policy.scope.names(tool)}:
        why = f"{target.name!r} is of kind {target.kind!r}, which its actions are not for"
        return place, f"it never matches: {why}"
    return None


def _place(formula: Formula, reasons: Sequence[Reason]) -> Place:
    """Where the last of what cannot be together stands: there it became impossible."""
    places = [formula.place(node) for reason in reasons[:1] for node, _ in reason.claims]
    return max(places, key=_reading_order)


def _reading_order(place: Place) -> tuple[int, int]:
    return place.line, place.column


def _told(formula: Formula, reasons: Sequence[Reason]) -> str:
    return "; and ".join(dict.fromkeys(_told_of(formula, reason) for reason in reasons))


def _told_of(formula: Formula, reason: Reason) -> str:
    """Why a way is closed, in the words of the policy."""
    claims = sorted(reason.claims, key=lambda claim: _reading_order(formula.place(claim[0])))
    texts = [formula.text(node) for node, _ in claims]
    if not all(texts):
        return "its conditions contradict each other"
    said = zip(texts, claims, strict=True)
    shown = list(dict.fromkeys(f"`{text}`" if holds else f"not `{text}`" for text, (_, holds) in said))
    if len(shown) > 1:
        why = f": {', and '.join(reason.because)}" if reason.because else ""
        return f"{', '.join(shown[:-1])} and {shown[-1]} cannot {'both' if len(shown) == 2 else 'all'} be true{why}"
    node, holds = claims[0]
    known = {_name_of(value) for value in reason.domain.values or ()}
    asked = next((name for name in _names_in(node) if name not in known), "")
    operator = next(iter(node))
    how = "it has" if operator == "has" else "a member is" if operator.startswith("contains") else "it is"
    return f"`{texts[0]}` is {'never' if holds else 'always'} true" + _possible(asked, reason.domain, how=how)


def _possible(asked: str, domain: Domain, *, how: str) -> str:
    """What could be instead; of attributes only one that may be meant."""
    if domain.said and not (domain.prefixes and not asked.startswith(domain.prefixes)):
        lower = asked.lower()
        return _or_meant([lower]) if asked and asked != lower and domain.has(lower) else f"; {domain.said}"
    if domain.least is not None:
        return f"; it is {domain.least} or more"
    if domain.values is None:
        return ""
    names = sorted({_name_of(value) for value in domain.values})
    folded = {name.casefold(): name for name in names}
    near = [folded[asked.casefold()]] if asked.casefold() in folded else get_close_matches(asked, names, n=1)
    if near and asked:
        return _or_meant(near)
    if domain.prefixes and not names:
        return f"; it begins with {' or '.join(map(repr, domain.prefixes))}"
    if not names or len(names) > MAX_LISTED or how == "it has":
        return ""
    *others, last = map(repr, names)
    listed = f"{', '.join(others)} or {last}" if others else last
    return f"; {how} {listed}"


def _or_meant(near: Sequence[str]) -> str:
    return f"; did you mean {near[0]!r}?" if near else ""


def _name_of(value: Constant) -> str:
    return value[1] if isinstance(value, tuple) else str(value)


def _names_in(node: object) -> Iterator[str]:
    """The texts and the ids of entities that an expression has."""
    match node:
        case {"Value": str(text)}:
            yield text
        case {"Value": {"__entity": {"id": str(name)}}}:
            yield name
        case {"has": {"attr": str(name)}}:
            yield name
        case dict():
            for value in node.values():
                yield from _names_in(value)
        case list():
            for value in node:
                yield from _names_in(value)
        case _:
            pass


def _unqualified_tables(formula: Formula) -> Iterator[Problem]:
    """Tables and columns that are asked for without their schema."""
    policy = formula.policy
    for path, member in sorted(policy.reads.members):
        if path in QUALIFIED and member.count(".") < QUALIFIED[path][1]:
            yield _place_of(formula, member).problem(
                f"context.{'.'.join(path)} is asked for {member!r}, which names no schema: {QUALIFIED[path][0]}",
                policy=policy.id,
            )


def _place_of(formula: Formula, text: str) -> Place:
    """Where a text stands first; where the policy does, if it is written otherwise there."""
    token = next((one for one in formula.statement.tokens if one.text == f'"{text}"'), None)
    return formula.policy.place if token is None else formula.statement.at(token)


def _named(constraint: JSONObject) -> tuple[str, str]:
    """Type and id of the entity that a part of a scope names; empty where it names none, or says more than that."""
    match constraint:
        case {"op": "==" | "in", "entity": entity}:
            return entity["type"], entity["id"]
        case _:
            return "", ""


def _constant(body: JSONObject) -> bool | None:
    """What an expression is whatever is asked; None where that depends."""
    match body:
        case {"Value": bool(value)}:
            return value
        case {"!": {"arg": inner}}:
            found = _constant(inner)
            return None if found is None else not found
        case {"&&": {"left": left, "right": right}}:
            both = _constant(left), _constant(right)
            return False if False in both else True if both == (True, True) else None
        case {"||": {"left": left, "right": right}}:
            both = _constant(left), _constant(right)
            return True if True in both else False if both == (False, False) else None
        case _:
            return None


def _unused_names(formulas: Iterable[Formula], targets: Sequence[Target]) -> Iterator[Problem]:
    """Environments that policies ask for and no target has: right in a shared set, else a misspelling.

    One note for each, at the first policy that asks for it. An `unless` asks for nothing: that it makes an exception of
    what there is not changes nothing, and the starter policies do so on every target.
    """
    known = {f'"{target.labels.get("env")}"' for target in targets}
    found: dict[str, list[tuple[Formula, Place]]] = {}
    for formula in formulas:
        here: dict[str, Place] = {}
        for env, place in _asked_for(formula.statement):
            here.setdefault(env, place)
        for env in here.keys() - known:
            found.setdefault(env, []).append((formula, here[env]))
    for env, ((first, place), *others) in found.items():
        also = f"; also named by {', '.join(other.policy.id for other, _ in others)}" if others else ""
        yield place.problem(f"no target is in Env::{env}{also}", policy=first.policy.id)


def _asked_for(statement: Statement) -> Iterator[tuple[str, Place]]:
    """The environments in a policy's scope and in each `when`, and where they stand."""
    depth, is_exception = 0, False
    texts = [token.text for token in statement.tokens]
    for index, text in enumerate(texts):
        depth += (text in BRACKETS_OPEN) - (text in BRACKETS_CLOSED)
        if depth == 0 and text in {"when", "unless"}:
            is_exception = text == "unless"
        elif not is_exception and texts[index : index + 2] == ["Env", "::"]:
            yield texts[index + 2], statement.at(statement.tokens[index])
