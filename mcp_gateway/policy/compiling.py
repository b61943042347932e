"""Policy text to a valid set, or to every problem in it at once. Pure; `loader` reads the files.

For each statement of each file:

1. Cedar parses it, alone, so that an error has a line and ids do not depend on positions;
2. it is one policy, not a template;
3. its annotations are known, parse and stand on the right kind of policy, and its `@id` is unique;
4. a permit names its actions, so that nobody permits `reveal` without writing it;
5. `context.approval` stands only where an approval can lift a forbid, and `@approval` asks the same groups;
6. it fits the schema, so that a misspelt name or attribute is an error and not a hole.

Then Cedar has to find as many policies in each whole file as were found one by one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

import cedarpy
import orjson

from mcp_gateway.calls import JSONObject, Target, TargetKind
from mcp_gateway.errors import ConfigError, Problem
from mcp_gateway.policy.annotations import Annotations, Effect, parse_annotations
from mcp_gateway.policy.expressions import ApprovalUse, ExpressionError, approval_use, reads_of
from mcp_gateway.policy.reach import notes_on
from mcp_gateway.policy.schema import REVEAL, actions_of, classes_of, schema_text
from mcp_gateway.policy.scopes import Scope
from mcp_gateway.policy.split import Place, Source, Statement, split
from mcp_gateway.policy.statement import Compiled, Policy, handle_of

POSITIONAL = re.compile(r"^for policy `policy0`[,:] ")
ENDED_EARLY = "unexpected end of input"
NO_TOOLS: Mapping[str, TargetKind] = MappingProxyType({})
TOO_DEEP = "the conditions nest or chain too deeply; use a set, or several policies"


def compile_policies(
    sources: Sequence[Source],
    *,
    targets: Sequence[Target],
    classes: Collection[str],
    tools: Mapping[str, TargetKind] = NO_TOOLS,
) -> Compiled:
    """Compile policy files against the schema of these targets, classes and further tools; raises `ConfigError`."""
    actions = actions_of(tools)
    known = classes_of(targets, configured=classes)
    text = schema_text(targets=targets, classes=known, actions=actions)
    compiler = _Compiler(text)
    for source in sources:
        compiler.add(source)
    if compiler.problems:
        raise ConfigError(sorted(compiler.problems, key=lambda problem: (problem.file, problem.line, problem.column)))
    form = {name: compiler.forms[name] for name in sorted(compiler.forms)}
    return Compiled(
        policies={name: compiler.policies[name] for name in form},
        forms=form,
        actions=actions,
        classes=known,
        version=hashlib.sha256(text.encode() + orjson.dumps(form, option=orjson.OPT_SORT_KEYS)).hexdigest(),
        notes=(
            *_unused_names(compiler.statements, targets),
            *notes_on(compiler.policies, forms=form, targets=targets, actions=actions),
        ),
    )


class _Compiler:
    """Collects policies and problems over all files."""

    def __init__(self, schema: str) -> None:
        self.schema = cedarpy.Schema.from_str(schema)
        self.problems: list[Problem] = []
        self.policies: dict[str, Policy] = {}
        self.forms: dict[str, JSONObject] = {}
        self.statements: list[tuple[str, Statement]] = []

    def add(self, source: Source) -> None:
        statements, problems = split(source)
        self.problems += problems
        sound = [self._add(statement) for statement in statements]
        if not problems and all(sound):
            self._check_nothing_is_lost(source, len(statements))

    def _add(self, statement: Statement) -> bool:
        """Take one policy; False when Cedar cannot even parse it."""
        # 1. and 2.
        try:
            form = _parse(statement)
        except _Refused as refused:
            self.problems.append(refused.problem)
            return False
        effect: Effect = form["effect"]
        given: dict[str, str | None] = form.get("annotations", {})
        name = given.get("id") or ""
        # 3.
        annotations, wrong = parse_annotations(given, effect=effect)
        self.problems += [statement.find("@", key).problem(message, policy=name) for key, message in wrong]
        if "id" not in given:
            self.problems.append(statement.place.problem("the policy has no @id"))
        elif (first := self.policies.get(name)) is not None:
            self._report(statement.find("@", "id"), f"the id {name!r} is used twice, first at {first.place}", name)
        # 4.
        scope = Scope(principal=form["principal"], action=form["action"], resource=form["resource"])
        self._check_scope(statement, name, effect, scope, annotations)
        # 5.
        try:
            reads, use = reads_of(form["conditions"]), approval_use(form["conditions"])
        except ExpressionError as error:
            self._report(statement.find("context", ".", "approval"), str(error), name)
            return True
        self._check_approval(statement, name, effect, annotations, use)
        # 6.
        self._check_schema(statement, name)
        self.statements.append((name, statement))
        self.forms.setdefault(name, form)
        self.policies.setdefault(
            name,
            Policy(
                id=name,
                effect=effect,
                place=statement.place,
                text=statement.text,
                scope=scope,
                annotations=annotations,
                reads=reads,
                lifted_by=use.groups,
            ),
        )
        return True

    def _check_scope(
        self, statement: Statement, name: str, effect: Effect, scope: Scope, annotations: Annotations
    ) -> None:
        if effect == "permit" and scope.actions is None:
            self._report(
                statement.place, "a permit has to name its actions; this one would permit all, reveal too", name
            )
        if scope.actions == frozenset({REVEAL}) and (
            annotations.max_rows is not None or annotations.timeout is not None
        ):
            self._report(statement.place, "@max_rows and @timeout have no effect on a permit to reveal", name)
        if scope.actions == frozenset({REVEAL}) and annotations.mode == "shadow":
            self._report(statement.find("@", "mode"), "@mode has no effect on a policy for reveal alone", name)

    def _check_approval(
        self, statement: Statement, name: str, effect: Effect, annotations: Annotations, use: ApprovalUse
    ) -> None:
        place, asked = statement.find("context", ".", "approval"), annotations.approval
        used = bool(use.groups or use.people)
        if used and effect == "permit":
            self._report(place, "an approval lifts a forbid and never grants; write a forbid with @approval", name)
        elif used and not asked:
            self._report(place, "context.approval is used, but no @approval says who is asked", name)
        elif asked and not used and effect == "forbid":
            self._report(statement.find("@", "approval"), "@approval has no effect: no `unless` looks at it", name)
        elif use.groups and use.groups != asked:
            self._report(place, f"@approval asks {_listed(asked)}, but `unless` looks for {_listed(use.groups)}", name)
        for people in sorted(use.people):
            if not 1 <= people <= annotations.approvers:
                self._report(
                    place,
                    f"context.approval.approvers >= {people} does not fit @approvers, which is {annotations.approvers}",
                    name,
                )

    def _check_schema(self, statement: Statement, name: str) -> None:
        result = cedarpy.validate_policies(statement.text, self.schema)
        for message in sorted({POSITIONAL.sub("", error.error) for error in result.errors}):
            self._report(statement.find_named(message), message, name)
        if not result.validation_passed and not result.errors:
            self._report(statement.place, "the policy does not fit the schema", name)

    def _check_nothing_is_lost(self, source: Source, expected: int) -> None:
        try:
            found = len(orjson.loads(cedarpy.policies_to_json_str(source.text))["staticPolicies"])
        except ValueError as error:
            self.problems.append(Problem(file=source.file, message=f"the file cannot be parsed: {error}"))
            return
        if found != expected:
            message = f"the file holds {found} policies, but {expected} were found one by one; check its comments"
            self.problems.append(Problem(file=source.file, message=message))

    def _report(self, place: Place, message: str, name: str) -> None:
        self.problems.append(place.problem(message, policy=name))


class _Refused(Exception):
    """A statement that gives no policy."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


def _parse(statement: Statement) -> JSONObject:
    """Cedar's JSON form of the one policy that a statement is."""
    try:
        whole = orjson.loads(cedarpy.policies_to_json_str(statement.text))
    except orjson.JSONDecodeError:
        raise _Refused(statement.place.problem(TOO_DEEP, policy=statement.id)) from None
    except ValueError as error:
        message = f"the policy cannot be parsed: {error}"
        raise _Refused(_broken_at(statement).problem(message, policy=statement.id)) from None
    if whole["templates"]:
        message = "the policy is a template (?principal, ?resource); nothing links it"
        raise _Refused(statement.place.problem(message, policy=statement.id))
    if len(whole["staticPolicies"]) != 1:
        raise _Refused(statement.place.problem("one policy was expected up to the next ';'"))
    form: JSONObject = whole["staticPolicies"]["policy0"]
    try:
        handle_of({"policy0": form})
    except (ValueError, TypeError):  # Cedar's limit, and orjson's
        raise _Refused(statement.place.problem(TOO_DEEP, policy=statement.id)) from None
    return form


def _broken_at(statement: Statement) -> Place:
    """Where the text stops being the beginning of a policy: the shortest text that is refused for another reason
    than ending too early ends there. Cedar itself does not say.
    """
    low, high = 0, len(statement.tokens) - 1
    while low < high:
        middle = (low + high) // 2
        if _parse_error(statement.upto(statement.tokens[middle])) == ENDED_EARLY:
            low = middle + 1
        else:
            high = middle
    found = statement.tokens[low]
    at_token = _parse_error(statement.upto(found)).startswith("unexpected token")
    return statement.at(found) if at_token else statement.place


def _parse_error(text: str) -> str:
    try:
        cedarpy.policies_to_json_str(text)
    except ValueError as error:
        return str(error)
    return ""


def _unused_names(statements: Sequence[tuple[str, Statement]], targets: Sequence[Target]) -> list[Problem]:
    """Environments that a policy may name but no target has: right in a shared set, else a misspelling.

    One note for each, at the first policy that names it: the starter policies name three, seven times.
    """
    known = {f'"{target.labels.get("env")}"' for target in targets}
    found: dict[str, list[tuple[str, Statement]]] = {}
    for name, statement in statements:
        texts = [token.text for token in statement.tokens]
        named = {texts[i + 2] for i in range(len(texts) - 2) if texts[i : i + 2] == ["Env", "::"]}
        for env in sorted(named - known):
            found.setdefault(env, []).append((name, statement))
    notes = []
    for env, ((first, statement), *others) in found.items():
        also = f"; also named by {', '.join(name for name, _ in others)}" if others else ""
        notes.append(statement.find("Env", "::", env).problem(f"no target is in Env::{env}{also}", policy=first))
    return notes


def _listed(groups: Collection[str]) -> str:
    return ", ".join(repr(group) for group in sorted(groups))
