from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.errors import ConfigError
from mcp_gateway.policy.compiling import compile_policies
from mcp_gateway.policy.split import Source
from tests.policy.worlds import READ_ALL, TARGETS, WRITES_ASK, compiled, problems

FORM = (
    'an approval may be used only as context.approval.by.contains("group") or context.approval.approvers >= n, '
    "joined by && and ||"
)


def forbid(conditions: str, *, annotations: str = '@approval("dba")') -> str:
    return f'@id("a") {annotations}\nforbid (principal, action, resource)\n{conditions};'


def test_a_valid_set_keeps_what_cedar_forgets() -> None:
    found = compiled(READ_ALL + WRITES_ASK)
    assert list(found.policies) == ["all", "writes"]
    writes = found.policies["writes"]
    assert (writes.effect, str(writes.place)) == ("forbid", "p.cedar:3:1")
    assert writes.annotations.approval == {"dba"}
    assert writes.lifted_by == {"dba"}
    assert writes.text.endswith('contains("dba") };')


def test_no_policies_are_a_valid_set() -> None:
    assert compiled("// nothing yet\n").policies == {}


def test_all_problems_of_all_files_are_reported_together_in_order() -> None:
    sources = [
        Source(file="b.cedar", text='@id("b")\npermit (principal, action, resource);'),
        Source(file="a.cedar", text='\npermit (principal action, resource);\n  @id("x") forbid (principal);'),
    ]
    with pytest.raises(ConfigError) as caught:
        compile_policies(sources, targets=TARGETS, classes=[])
    assert str(caught.value).splitlines() == [
        "a.cedar:2:19: the policy cannot be parsed: unexpected token `action`",
        "a.cedar:3:12: x: the policy cannot be parsed: this policy is missing the `action` variable in the scope",
        "b.cedar:1:1: b: a permit has to name its actions; this one would permit all, reveal too",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('permit (principal, action == Action::"call_api", resource);', ['p.cedar:1:1: the policy has no @id; write @id("its-name") before `permit`']),
        (
            '@id("a")\npermit (principal, action, resource);',
            ["p.cedar:1:1: a: a permit has to name its actions; this one would permit all, reveal too"],
        ),
        (
            '@id("a") forbid (principal, action, resource == ?resource);',
            ["p.cedar:1:49: a: the policy is a template (?principal, ?resource); nothing links it"],
        ),
        (
            '@id("a") @id("b") forbid (principal, action, resource);',
            ["p.cedar:1:10: a: the policy cannot be parsed: duplicate annotation: @id"],
        ),
        (
            '@id("a")\n@max_rows("5") permit (principal, action == Action::"reveal", resource);',
            ["p.cedar:1:1: a: @max_rows and @timeout have no effect on a permit to reveal"],
        ),
        (
            '@id("a") forbid (principal, action, resource)\nwhen { context.sql.read_only };',
            [
                "p.cedar:2:16: a: context has no attribute 'sql' for call_api, reveal and run_ssh_command; "
                "name in the scope only query_database, or write `context has sql && ...`",
            ],
        ),
        (
            '@id("a") forbid (principal, action, resource) when { principal.email == "" };',
            ["p.cedar:1:64: a: 'email' may be missing: write `principal has email && ...` before it"],
        ),
        (
            '@id("a") permit (principal, action == Action::"revael", resource);',
            ["p.cedar:1:39: a: there is no action 'revael'; did you mean 'reveal'?"],
        ),
        (
            '@id("a") forbid (principal, action, resource) when { foo(1) };',
            ["p.cedar:1:54: a: the policy cannot be parsed: `foo` is not a valid function"],
        ),
        (
            '@id("a") forbid (principal, action, resource) when { context == {} };',
            ["p.cedar:1:54: a: context is used as a whole; name the attribute that is meant"],
        ),
    ],
)  # fmt: skip
def test_each_mistake_has_its_place_and_sentence(text: str, found: list[str]) -> None:
    assert problems(text) == found


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ('context.call.door = "http"', "72: a: the policy cannot be parsed: '=' is not a valid operator in Cedar; write == to compare"),
        ('context.call.door === "http"', "74: a: the policy cannot be parsed: unexpected token `=`; write =="),
        ("true and true", "59: a: the policy cannot be parsed: unexpected token `and`; write &&"),
        ("not true", "58: a: the policy cannot be parsed: unexpected token `true`; write !(...)"),
        ("context.call.door == 'http'", "75: a: the policy cannot be parsed: invalid token; texts stand in double quotes"),
        ('context.call.door matches "h.*"', "72: a: the policy cannot be parsed: unexpected token `matches`; write `like \"pattern*\"`"),
        ("context.call.time > now()", "74: a: the policy cannot be parsed: `now` is not a valid function; the time is context.call.time"),
        ("context.call.door == True", "75: a: the policy cannot be parsed: invalid variable: True; write true"),
        ("context.call.scopes.isEmpty", "54: a: expected an entity or a record, got a Set of String: `context.call.scopes`; it is asked with parentheses, as in .isEmpty()"),
    ],
)  # fmt: skip
def test_what_other_languages_write_is_told_with_what_cedar_does(condition: str, said: str) -> None:
    assert problems(f'@id("a") forbid (principal, action, resource) when {{ {condition} }};') == [f"p.cedar:1:{said}"]


def test_an_id_that_is_used_twice_is_refused_wherever_it_stands() -> None:
    text = '@id("a") forbid (principal, action, resource);'
    with pytest.raises(ConfigError) as caught:
        compile_policies(
            [Source(file="1.cedar", text=text), Source(file="2.cedar", text="\n" + text)], targets=TARGETS, classes=[]
        )
    assert str(caught.value) == "2.cedar:2:1: a: the id 'a' is used twice, first at 1.cedar:1:1"


@pytest.mark.parametrize(
    "conditions",
    [
        'unless { context.approval.by.contains("dba") }',
        'unless { context["approval"]["by"].contains("dba") }',
        'when { context.call.door == "http" } unless { context.approval.by.contains("dba") }',
        'unless { context.call.door == "http" || context.approval.by.contains("dba") && context.approval.approvers >= 1 }',
        "unless { context.approval.approvers >= 1 }",
        'unless { context.call.door == "http" } unless { context.approval.by.contains("dba") }',
    ],
)
def test_an_approval_may_lift_a_forbid(conditions: str) -> None:
    assert problems(forbid(conditions)) == []


@pytest.mark.parametrize(
    "condition",
    [
        '!context.approval.by.contains("dba")',
        '!(context.approval.by.contains("dba") && true)',
        'if context.approval.by.contains("dba") then false else true',
        'context.approval.by.contains("dba") == false',
        'context.approval.by.containsAll(["dba"])',
        "context.approval.by.containsAny(context.call.scopes)",
        "context.approval.by.isEmpty()",
        "context.approval.by.contains(context.call.tool)",
        "context.approval.approvers < 1",
        "1 <= context.approval.approvers",
        "context.approval.approvers + 1 >= 1",
        "context.approval.approvers >= context.call.token_age",
        'context.approval == {by: ["dba"], approvers: 1}',
        "context has approval",
        "context.approval has by",
        '[context.approval.by].contains(["dba"])',
        '{a: context.approval.by}.a.contains("dba")',
        '(if true then context.approval else context.approval).by.contains("dba")',
    ],
)
def test_an_approval_may_be_used_in_no_other_way(condition: str) -> None:
    found = problems(forbid(f"unless {{ {condition} }}"))
    assert any(FORM in problem for problem in found), found


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        ("context == context", "context is used as a whole; name the attribute that is meant"),
        ('(if true then context else context).approval.by.contains("dba")', "context is used as a whole; name the attribute that is meant"),
    ],
)  # fmt: skip
def test_an_approval_cannot_be_reached_by_another_way(condition: str, problem: str) -> None:
    assert any(problem in found for found in problems(forbid(f"unless {{ {condition} }}")))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            forbid('when { context.approval.by.contains("dba") }'),
            "p.cedar:3:8: a: an approval may be used only in `unless`",
        ),
        (
            forbid('unless { context.approval.by.contains("dba") }', annotations=""),
            "p.cedar:3:10: a: context.approval is used, but no @approval says who is asked",
        ),
        (
            forbid(""),
            "p.cedar:1:10: a: @approval has no effect: no `unless` looks at it; "
            'write `unless { context.approval.by.contains("dba") }`',
        ),
        (
            forbid('unless { context.approval.by.contains("ops") }'),
            "p.cedar:3:10: a: @approval asks 'dba', but `unless` looks for 'ops'",
        ),
        (
            forbid('unless { context.approval.by.contains("dba") }', annotations='@approval("dba, ops")'),
            "p.cedar:3:10: a: @approval asks 'dba', 'ops', but `unless` looks for 'dba'",
        ),
        (
            forbid('unless { context.approval.by.contains("dba") }', annotations='@approval("dba ops")'),
            "p.cedar:3:10: a: @approval asks 'dba ops', but `unless` looks for 'dba'",
        ),
        (
            forbid("unless { context.approval.approvers >= 2 }"),
            "p.cedar:3:10: a: context.approval.approvers >= 2 does not fit @approvers, which is 1",
        ),
        (
            forbid("unless { context.approval.approvers >= 0 }"),
            "p.cedar:3:10: a: context.approval.approvers >= 0 does not fit @approvers, which is 1",
        ),
        (
            '@id("a") permit (principal, action == Action::"call_api", resource)\n'
            'unless { context.approval.by.contains("dba") };',
            "p.cedar:2:10: a: an approval lifts a forbid and never grants; write a forbid with @approval",
        ),
    ],
)
def test_an_approval_that_could_not_simply_lift_a_forbid_is_an_error(text: str, found: str) -> None:
    assert problems(text) == [found]


@pytest.mark.parametrize("groups", ["dba", "ops, dba", "Domain Admins", r"Büro, a\"b"])
def test_the_condition_that_an_unused_approval_is_told_to_have_is_one(groups: str) -> None:
    asked = f'@approval("{groups}")'

    (problem,) = problems(forbid("", annotations=asked))
    advice = problem.split("; write `")[1].removesuffix("`")

    assert problems(forbid(advice, annotations=asked)) == []


def test_a_permit_gated_on_an_approval_is_an_error_since_nobody_would_be_asked() -> None:
    found = problems(
        '@id("a") permit (principal, action == Action::"call_api", resource)\n'
        'when { context.approval.by.contains("dba") };'
    )
    assert found == ["p.cedar:2:8: a: an approval may be used only in `unless`"]


@pytest.mark.parametrize(
    "condition",
    [
        "(" * 2000 + "true" + ")" * 2000,
        "[" * 2000 + "]" * 2000,
        "{a:" * 2000 + "1" + "}" * 2000,
        "if true then true else " * 10_000 + "true",
        "context has " + ".".join(["a"] * 10_000),
        "!" * 5000 + "true",
        "true" + " && true" * 10_000,
        "true" + " && true" * 1500,
        "true" + " && true" * 100,
        "1" + "+1" * 5000 + " > 0",
        "context" + '["a"]' * 2000,
    ],
    ids=lambda text: f"{text[:6]}...{len(text)}",
)
def test_text_that_would_end_the_process_is_refused(condition: str) -> None:
    assert problems(f'@id("a") forbid (principal, action, resource) when {{ {condition} }};')


def test_a_carriage_return_ends_a_comment_here_as_in_cedar() -> None:
    assert list(compiled('// note\r@id("a") forbid (principal, action, resource);').policies) == ["a"]


def test_ids_are_not_positional() -> None:
    one, two = '@id("x") forbid (principal, action, resource);', WRITES_ASK
    assert compiled(one + two).version == compiled(two + one).version
    assert list(compiled(two + one).policies) == ["writes", "x"]


def test_the_version_changes_with_every_policy_and_with_the_schema() -> None:
    versions = {
        compiled("").version,
        compiled(READ_ALL).version,
        compiled(READ_ALL + WRITES_ASK).version,
        compiled(READ_ALL.replace("all", "every")).version,
        compiled("", targets=()).version,
        compiled("", classes=["shop.price"]).version,
    }
    assert len(versions) == 6


PIECES = st.sampled_from(
    "permit forbid ( ) , ; principal action resource == in is [ ] { } when unless && || ! - + * . context call sql "
    'approval by contains has like if then else true 1 "a" "\\" Action::"reveal" Env::"prod" @id("a") @approval("b") '
    "// \n \r ?resource datetime :: <= é \0".split(" ")
)


@settings(max_examples=150)
@given(st.lists(PIECES, max_size=40))
def test_any_text_compiles_or_is_refused_with_problems(pieces: list[str]) -> None:
    try:
        compiled(" ".join(pieces))
    except ConfigError as error:
        assert error.problems
        assert all(problem.file == "p.cedar" for problem in error.problems)
