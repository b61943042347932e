"""What does not fit the schema is reported where it stands, whatever stands around it."""

from __future__ import annotations

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.errors import ConfigError
from mcp_gateway.policy import mistakes
from mcp_gateway.policy.compiling import compile_policies
from mcp_gateway.policy.split import Source
from tests.policy.worlds import TARGETS, problems

QUERY = 'forbid (principal, action == Action::"query_database", resource)'
TOOLS_AND_REVEAL = "tools are used by a Caller on a Target, reveal by a Caller on a DataClass"
TYPES = "there are Action, Caller, DataClass, Env, Group, Inference, Label and Target"


def placed(condition: str, *, scope: str = QUERY, classes: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """What is wrong with a condition on a line of its own: the text where each mistake is placed, and its sentence."""
    text = f'@id("a")\n{scope}\nwhen {{\n{condition}\n}};'
    try:
        compile_policies([Source(file="p.cedar", text=text)], targets=TARGETS, classes=classes)
    except ConfigError as error:
        lines = text.split("\n")
        return [(lines[one.line - 1][one.column - 1 :], one.message) for one in error.problems]
    return []


@pytest.mark.parametrize(
    ("condition", "at", "message"),
    [
        # Comparisons.
        ('context.sql.statements == "a"', '"a"', 'Long and String do not fit together in `context.sql.statements == "a"`'),
        ("context.call.door != context.sql.statements", "context.call.door !=", "Long and String do not fit together in `context.call.door != context.sql.statements`"),
        ('context.sql.statements < "a"', '"a"', 'expected Long, got String: `"a"`'),
        ("context.call.door >= context.sql.statements", "context.call.door", "expected Long, got String: `context.call.door`"),
        ('context.call.time > "2020"', '"2020"', 'expected datetime, got String: `"2020"`; a time is written datetime("2026-01-31T12:00:00Z")'),
        ('context.sql.reads == "orders"', '"orders"', 'String and a Set of String do not fit together in `context.sql.reads == "orders"`; ask a Set for a member with .contains(...)'),
        ('principal == "dana"', '"dana"', 'String and Caller do not fit together in `principal == "dana"`; it is written Caller::"..."'),
        ("context.sql == 1", "1", "Long and a record do not fit together in `context.sql == 1`"),
        ('context.sql.statements like "b"', "context", "expected String, got Long: `context.sql.statements`"),
        # Boolean operators.
        ("context.sql.read_only && context.sql.statements", "context.sql.statements", "expected Bool, got Long: `context.sql.statements`"),
        ("context.sql.statements || context.sql.read_only", "context.sql.statements ||", "expected Bool, got Long: `context.sql.statements`"),
        ("!context.sql.statements", "context", "expected Bool, got Long: `context.sql.statements`"),
        ("context.call.door", "context", "expected Bool, got String: `context.call.door`"),
        ("if context.call.door then true else false", "context.call.door then", "expected Bool, got String: `context.call.door`"),
        ('if context.sql.read_only then 1 else "a"', "if", 'Long and String do not fit together in `if context.sql.read_only then 1 else "a"`'),
        # Arithmetic.
        ('context.sql.statements * "a" > 1', '"a" >', 'expected Long, got String: `"a"`'),
        ("-context.sql.read_only > 1", "context", "expected Long, got Bool: `context.sql.read_only`"),
        ("context.call.time - 1 > 1", "context", "expected Long, got datetime: `context.call.time`"),
        # Sets.
        ("context.sql.kinds.contains(1)", "1)", "Long and String do not fit together in `context.sql.kinds.contains(1)`"),
        ('context.sql.infers.contains("pii.email")', '"pii', 'String and DataClass do not fit together in `context.sql.infers.contains("pii.email")`; it is written DataClass::"..."'),
        ('context.sql.reads.containsAll("a")', '"a"', 'expected a Set, got String: `"a"`'),
        ("context.sql.reads.containsAny([1])", "[1]", "a Set of Long and a Set of String do not fit together in `context.sql.reads.containsAny([1])`"),
        ('context.sql.kinds == ["a", 1]', '["a", 1]', 'Long and String do not fit together in `["a", 1]`'),
        ('resource.name.contains("a")', "resource", "expected a Set, got String: `resource.name`"),
        ("context.sql.statements.isEmpty()", "context", "expected a Set, got Long: `context.sql.statements`"),
        ("[].contains(1)", "[].", "empty set literals are forbidden in policies"),
        # Attributes.
        ("context.sql.read_olny", "read_olny", "context.sql has no attribute 'read_olny'; did you mean 'read_only'?"),
        ("context.foo == 1", "foo ==", "context has no attribute 'foo'; there are agent_usage, approval, call, sql and usage"),
        ("context.call.foo == 1", "foo ==", "context.call has no attribute 'foo'; there are assurance, door, scopes, time, token_age and tool"),
        ("context.shell.opaque", "shell", "context has no attribute 'shell' for query_database; name in the scope only run_ssh_command, or write `context has shell && ...`"),
        ('resource["env"] == "prod"', '"env"', "Target has no attribute 'env'; there are kind and name"),
        ('principal.name == "dana"', "name ==", "Caller has no attribute 'name'; there are actor, email, issuer and subject"),
        ("{a: 1}.b == 1", "b ==", "this record has no attribute 'b'"),
        ('"a".foo == 1', '"a".foo', 'expected an entity or a record, got String: `"a"`; one is written with its type, as Group::"..."'),
        ('principal.email == "a"', "email ==", "'email' may be missing: write `principal has email && ...` before it"),
        ('(principal has email || true) && principal.email == "a"', "email ==", "'email' may be missing: write `principal has email && ...` before it"),
        # Entities.
        ('resource == Foo::"a"', "Foo", f"there is no type 'Foo'; {TYPES}"),
        ("principal is Cal", "Cal", f"there is no type 'Cal'; {TYPES}"),
        ("principal is Callers", "Callers", "there is no type 'Callers'; did you mean 'Caller'?"),
        ('resource in [Env::"prod", Env::"pord"]', 'Env::"pord"', 'there is no Env::"pord"; did you mean \'prod\'?'),
        ('resource in Label::"team=x"', "Label", 'there is no Label::"team=x"; there is team=payments'),
        ('context.sql.returns.contains(DataClass::"pii.emial")', "DataClass", 'there is no DataClass::"pii.emial"; did you mean \'pii.email\'?'),
        ('context.sql.inference.contains(Inference::"wehre")', "Inference", 'there is no Inference::"wehre"; did you mean \'where\'?'),
        ('action == Action::"query_databse"', "Action", "there is no action 'query_databse'; did you mean 'query_database'?"),
        ('resource in "prod"', '"prod"', 'expected a Set of entities or an entity, got String: `"prod"`; one is written with its type, as Group::"..."'),
        ('resource in [Env::"prod", Group::"x"]', "[Env", 'Env and Group do not fit together in `[Env::"prod", Group::"x"]`'),
        # Extension functions.
        ('context.call.time > datetime("2020")', "datetime", 'failed to parse as a datetime value: `"2020"`; a time is written datetime("2026-01-31T12:00:00Z")'),
        ('ip("1.2.3") == ip("1.1.1.1")', 'ip("1.2.3")', 'failed to parse as IP address: `"1.2.3"`; an address is written ip("10.0.0.0/8")'),
        ('decimal("1.00000").lessThan(decimal("2.0"))', "decimal", 'failed to parse as a decimal value: `"1.00000"`; a decimal is written decimal("1.25")'),
        ("context.call.time.offset(1) > context.call.time", "1)", "expected duration, got Long: `1`"),
        ("ip(context.call.door).isLoopback()", "ip", "extension constructors may not be called with non-literal expressions"),
        ('ip("1.1.1.1", "2").isLoopback()', "ip", "wrong number of arguments in extension function application. Expected 1, got 2"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "around",
    ["{}", "context.sql.read_only && ({}) == ({})", "if context.sql.unbounded then true else (\t'é😀' {} )"],
    ids=["alone", "twice", "inside"],
)
def test_a_mistake_is_placed_where_it_stands(condition: str, at: str, message: str, around: str) -> None:
    match around[:2]:
        case "{}":
            found = placed(condition)
            assert [(text.startswith(at), said) for text, said in found] == [(True, message)], found
        case "co":  # the same mistake twice in a line
            if "expected Bool" in message:  # which is none as an operand of ==
                return
            found = placed(f"context.sql.read_only && [{condition}, {condition}].isEmpty()")
            assert [(text.startswith(at), said) for text, said in found] == [(True, message)] * 2, found
        case _:
            if condition == "context.call.door":  # which is none of the `if`, but no Bool for its `then`
                return
            prefix = '"é😀\\"" == context.call.door || // it\'s "\n\t(if context.sql.unbounded then true else ('
            found = placed(f"{prefix}{condition}))")
            assert [(text.startswith(at), said) for text, said in found] == [(True, message)], found


@pytest.mark.parametrize(
    ("scope", "at", "message"),
    [
        ('forbid (principal is Foo, action, resource)', "Foo,", f"there is no type 'Foo'; {TYPES}"),
        ('forbid (principal in Foo::"x", action, resource)', "Foo::", f"there is no type 'Foo'; {TYPES}"),
        ('forbid (principal, action == Action::"call_apis", resource)', "Action", "there is no action 'call_apis'; did you mean 'call_api'?"),
        ('forbid (principal, action in [Action::"call_api", Action::"x"], resource)', 'Action::"x"', "there is no action 'x'; there are call_api, query_database, reveal and run_ssh_command"),
        ('forbid (principal, action == Action::"call_api", resource is Caller)', "resource", f"`resource is Caller` goes with no action that the scope names: {TOOLS_AND_REVEAL}"),
        ('forbid (principal, action == Action::"reveal", resource in Env::"prod")', "resource", f'`resource in Env::"prod"` goes with no action that the scope names: {TOOLS_AND_REVEAL}'),
        ('forbid (principal in Env::"prod", action == Action::"reveal", resource)', "principal", f'`principal in Env::"prod"` goes with no action that the scope names: {TOOLS_AND_REVEAL}'),
        ('forbid (principal, action == Action::"reveal", resource == DataClass::"pii.mail")', "DataClass", 'there is no DataClass::"pii.mail"; did you mean \'pii.email\'?'),
    ],
)  # fmt: skip
def test_a_mistake_in_the_scope_is_placed_at_its_part(scope: str, at: str, message: str) -> None:
    found = placed("true", scope=scope)
    assert [(text.startswith(at), said) for text, said in found] == [(True, message)], found


def test_what_several_actions_lack_is_said_once() -> None:
    found = placed("context.sql.read_only", scope="forbid (principal, action, resource)")
    assert found == [
        (
            "sql.read_only",
            "context has no attribute 'sql' for call_api, reveal and run_ssh_command; "
            "name in the scope only query_database, or write `context has sql && ...`",
        )
    ]


def test_all_mistakes_of_all_policies_and_files_are_placed() -> None:
    first = (
        f'@id("a") {QUERY}\r\n// a comment\r\nwhen {{ context.sql.statements > "5" &&\r\n\tcontext.sql.kinds.contains(1) }}\r\n'
        'unless { context.sql.statments == 1 || resource in Env::"pord" };'
    )
    second = f'@id("b") {QUERY} when {{ 1 }};\n@id("c") {QUERY} when {{ "é" == 1 || "é" < 1 }};'
    with pytest.raises(ConfigError) as caught:
        compile_policies(
            [Source(file="2.cedar", text=second), Source(file="1.cedar", text=first)], targets=TARGETS, classes=[]
        )
    assert [f"{one.file}:{one.line}:{one.column} {one.path}" for one in caught.value.problems] == [
        "1.cedar:3:33 a",
        "1.cedar:4:29 a",
        "1.cedar:5:22 a",
        "1.cedar:5:52 a",
        "2.cedar:1:82 b",
        "2.cedar:2:94 c",
    ]


GOOD = (
    "context.sql.read_only",
    'context.sql.kinds.contains("DELETE")',
    "context.sql.statements > 1",
    '(principal has email && principal.email like "*@example.com")',
    'resource in [Env::"dev", Env::"prod"]',
    "!(context.sql.unbounded)",
)
BAD = (
    'context.sql.statements > "1"',
    "context.sql.rows > 1",
    'resource in Env::"x"',
    "(context.sql.statements && true)",
)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_mistake_is_found_wherever_it_stands(data: st.DataObject) -> None:
    """One bad expression, put at any place of any condition that is good otherwise."""
    bad = data.draw(st.sampled_from(BAD))
    text = bad
    for _ in range(data.draw(st.integers(0, 5))):
        good = data.draw(st.sampled_from(GOOD))
        text = data.draw(
            st.sampled_from(
                [
                    f"{good} && ({text})",
                    f"({text}) && {good}",
                    f"({text}) || {good}",
                    f"{good} ||\n ({text})",
                    f"(if {good} then {text} else {good})",
                    f"(if {text} then {good} else {good})",
                    f"!({text})",
                    f"[({text}), {good}].contains(false)",
                ]
            )
        )
    found = problems(f'@id("a") {QUERY} when {{ {GOOD[0]} }} unless {{ {text} }} when {{ {GOOD[2]} }};')
    assert len(found) == 1
    lines = f'@id("a") {QUERY} when {{ {GOOD[0]} }} unless {{ {text} }} when {{ {GOOD[2]} }};'.split("\n")
    line, column = (int(part) for part in found[0].split(":")[1:3])
    start = lines[line - 1].index(bad) + 1
    assert start <= column <= start + len(bad)


def test_a_validator_that_may_not_be_asked_any_more_still_reports_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mistakes, "MAX_QUESTIONS_OF_ONE", 0)
    assert problems(f'@id("a") {QUERY} when {{ context.sql.statements > "5" && context.foo == 1 }};') == [
        "p.cedar:1:1: a: expected Long, got String",
        "p.cedar:1:122: a: context has no attribute 'foo'; there are agent_usage, approval, call, sql and usage",
    ]


def test_mistakes_without_end_are_found_in_bounded_work(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    validate = cedarpy.validate_policies

    def counted(*args: object, **named: object) -> cedarpy.ValidationResult:
        nonlocal asked
        asked += 1
        return validate(*args, **named)

    monkeypatch.setattr(cedarpy, "validate_policies", counted)
    bad = "".join(
        f'@id("a{number}") {QUERY} when {{ [{", ".join(["context.sql.x == 1"] * 400)}].isEmpty() }};\n'
        for number in range(20)
    )
    assert len(problems(bad)) >= 20
    assert asked <= mistakes.MAX_QUESTIONS + 20


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("permit (principal, action, resource) when { context.foo.bar() };", "1:57"),
        ("permit (principal, action, resource) when { context.ip == foo(1) };", "1:59"),
        ("permit (principal, action, resource) when { 'a' == 1 };", "1:45"),
        ("permit (principal, action, resource) when { context.a = 1 };", "1:55"),
        ("permit (principal, action, resource) when { true } when { 1 < 2 < 3 };", "1:59"),
        ("permit (principal, action, resource) when { };", "1:38"),
        ("permit (principal, resource, action);", "1:20"),
        ("permit (principal, action);", "1:1"),
        ('permit (principal == "x", action, resource);', "1:22"),
        ('permit (principal, action == Action::"x" || action == Action::"y", resource);', "1:42"),
        ('permit (principal, action == Action::"a", resource in [Env::"a", Env::"b"]);', "1:43"),
        ("permit (principal, action, resource) where { true };", "1:38"),
        ("allow (principal, action, resource);", "1:1"),
        ("permit (principal, action, resource) when { 1 / 2 == 1 };", "1:47"),
        ("permit (principal, action, resource) when { {a: 1, a: 2}.a == 1 };", "1:46"),
        ('permit (principal, action, resource) when { "a" like b };', "1:49"),
        ("permit (principal, action, resource) when { context.a and true };", "1:55"),
        ("@id(x) permit (principal, action, resource);", "1:5"),
        ('@id("\\q") permit (principal, action, resource);', "1:5"),
        ("permit (principal, action, resource) when { true && !!!!!true };", "1:53"),
        ("permit (principal, action, resource) when { context.x > 9223372036854775808 };", "1:57"),
        ("permit (principal, action, resource) when { principal == ?principal };", "1:58"),
    ],
)  # fmt: skip
def test_what_cannot_be_parsed_is_placed_where_it_stands(text: str, place: str) -> None:
    (found,) = problems(text)
    assert found.startswith(f"p.cedar:{place}: "), found


WORDS = st.sampled_from(
    'permit forbid ( ) { } [ ] , ; @ id "a" principal action resource when unless context . sql == && ! - 1 :: Action '
    "if then else ?x".split()
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_text_ends_a_check(data: st.DataObject) -> None:
    """Words left out, added and exchanged in a policy give problems, and no other exception."""
    words = f'@id ( "a" ) {QUERY} when {{ context.sql.statements == 1 && ! ( context.sql.unbounded ) }} ;'.split()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(words) - 1))
        words[at : at + data.draw(st.integers(0, 2))] = data.draw(st.lists(WORDS, max_size=2))
        words = words or ["x"]
    for problem in problems(" ".join(words)):
        assert problem.startswith("p.cedar:")
