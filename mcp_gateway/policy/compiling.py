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
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

import cedarpy
import orjson

from mcp_gateway.calls import JSONObject, Target, TargetKind
from mcp_gateway.errors import ConfigError, Problem
from mcp_gateway.policy.annotations import Annotations, Effect, parse_annotations
from mcp_gateway.policy.cedar_text import Refused, parse
from mcp_gateway.policy.expressions import ApprovalUse, ExpressionError, approval_use, reads_of
from mcp_gateway.policy.mistakes import Validator
from mcp_gateway.policy.parsing import read_expressions
from mcp_gateway.policy.schema import REVEAL, actions_of, classes_of, names_of, quoted, schema_text
from mcp_gateway.policy.scopes import Scope
from mcp_gateway.policy.split import Place, Source, Statement, split
from mcp_gateway.policy.statement import Compiled, Policy
from mcp_gateway.policy.wording import Wording

NO_TOOLS: Mapping[str, TargetKind] = MappingProxyType({})


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
    names = names_of(targets, classes=known)
    compiler = _Compiler(Validator(cedarpy.Schema.from_str(text), Wording(actions=actions, entities=names)))
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
    )


class _Compiler:
    """Collects policies and problems over all files."""

    def __init__(self, validator: Validator) -> None:
        self.validator = validator
        self.problems: list[Problem] = []
        self.policies: dict[str, Policy] = {}
        self.forms: dict[str, JSONObject] = {}

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
            form = parse(statement)
        except Refused as refused:
            self.problems.append(refused.problem)
            return False
        effect: Effect = form["effect"]
        given: dict[str, str | None] = form.get("annotations", {})
        name = given.get("id") or ""
        # 3.
        annotations, wrong = parse_annotations(given, effect=effect)
        self.problems += [statement.find("@", key).problem(message, policy=name) for key, message in wrong]
        if "id" not in given:
            self.problems.append(
                statement.place.problem(f'the policy has no @id; write @id("its-name") before `{effect}`')
            )
        elif (first := self.policies.get(name)) is not None:
            self._report(statement.find("@", "id"), f"the id {name!r} is used twice, first at {first.place}", name)
        # 4.
        scope = Scope(principal=form["principal"], action=form["action"], resource=form["resource"])
        self._check_scope(statement, name, effect, scope, annotations)
        # 5.
        try:
            reads, use = reads_of(form["conditions"]), approval_use(form["conditions"])
        except ExpressionError as error:
            self._report(_odd_place(statement, form, error), str(error), name)
            return True
        self._check_approval(statement, name, effect, annotations, use)
        # 6.
        self._check_schema(statement, form, name)
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
            message = f"@approval has no effect: no `unless` looks at it; write `{_lifting(asked)}`"
            self._report(statement.find("@", "approval"), message, name)
        elif use.groups and use.groups != asked:
            self._report(place, f"@approval asks {_listed(asked)}, but `unless` looks for {_listed(use.groups)}", name)
        for people in sorted(use.people):
            if not 1 <= people <= annotations.approvers:
                self._report(
                    place,
                    f"context.approval.approvers >= {people} does not fit @approvers, which is {annotations.approvers}",
                    name,
                )

    def _check_schema(self, statement: Statement, form: JSONObject, name: str) -> None:
        for mistake in self.validator.mistakes(statement, form):
            self._report(mistake.place, mistake.message, name)

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


def _odd_place(statement: Statement, form: JSONObject, error: ExpressionError) -> Place:
    """Where the expression stands that a condition may not have."""
    if error.node is not None and (expressions := read_expressions(statement, form)) is not None:
        try:
            reads_of([{"body": condition.body} for condition in expressions.conditions])
        except ExpressionError as again:
            if again.node is not None:
                return expressions.place(again.node)
    return statement.find("context", ".", "approval")


def _lifting(groups: Collection[str]) -> str:
    """The condition with which an approval of all these groups lifts a forbid, to be copied into the policy."""
    looks = " && ".join(f"context.approval.by.contains({quoted(group)})" for group in sorted(groups))
    return f"unless {{ {looks} }}"


def _listed(groups: Collection[str]) -> str:
    return ", ".join(repr(group) for group in sorted(groups))
