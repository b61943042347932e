from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.policy.split import MAX_CHAIN, MAX_FILE_CHARACTERS, MAX_IFS, MAX_NESTING, Source, split


def cut(text: str) -> list[str]:
    statements, problems = split(Source(file="p.cedar", text=text))
    assert problems == []
    return [statement.text for statement in statements]


def refused(text: str) -> list[str]:
    return [str(problem) for problem in split(Source(file="p.cedar", text=text))[1]]


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("", []),
        (" \n // only a comment; with a semicolon", []),
        ("a;b;", ["a;", "b;"]),
        ('a "x;y" b;', ['a "x;y" b;']),
        (r'a "x\";y";', [r'a "x\";y";']),
        ('a "//";b;', ['a "//";', "b;"]),
        ("a // ;\nb;", ["a // ;\nb;"]),
        ("// c \r a;", ["a;"]),
        ('// "\na;', ["a;"]),
        ("a;// x", ["a;"]),
    ],
)
def test_a_file_is_cut_at_semicolons_outside_strings_and_comments(text: str, statements: list[str]) -> None:
    assert cut(text) == statements


def test_statements_know_their_line_and_column() -> None:
    statements, _ = split(Source(file="p.cedar", text="// first\n\n  a;\r\n\tb;"))
    assert [str(statement.place) for statement in statements] == ["p.cedar:3:3", "p.cedar:4:2"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('@id("a")\npermit "x', "p.cedar:2:8: a: the string that begins here is not closed"),
        ('@id("a") permit', "p.cedar:1:16: a: the policy does not end in ';'"),
        ("a;\n\nforbid (principal)\n\n", "p.cedar:3:19: the policy does not end in ';'"),
        ("hello", "p.cedar:1:1: expected a policy, which begins with permit, forbid or @, got 'hello'"),
        ("a" * 17_000 + ";", "p.cedar:1:1: the policy has 17,001 characters, more than 16,384"),
        ("(" * 41 + ";", "p.cedar:1:41: brackets nest more than 40 deep"),
        ("a" + ".a" * 30 + ";", "p.cedar:1:60: a chain of names has more than 30 parts"),
        ("if " * 41 + ";", "p.cedar:1:121: the policy has more than 40 `if`"),
        ("a;\n// \u202e;\n", "p.cedar:2:4: the text contains U+202E, which changes the order it shows in"),
        ("a" * (MAX_FILE_CHARACTERS + 1), "p.cedar: the file has 1,048,577 characters, more than 1,048,576"),
    ],
)
def test_what_cedar_must_not_be_given_is_refused_with_its_place(text: str, problem: str) -> None:
    assert refused(text) == [problem]


def test_what_is_within_the_limits_passes() -> None:
    assert cut("(" * MAX_NESTING + ")" * MAX_NESTING + ";")
    assert cut("a" + ".a" * (MAX_CHAIN - 1) + ";")
    assert cut("if " * MAX_IFS + ";")


@given(st.text(alphabet='ab;"\\/\n\r (.', max_size=40))
def test_nothing_but_space_and_comments_is_left_out(text: str) -> None:
    statements, problems = split(Source(file="p.cedar", text=text))
    if problems:
        return
    kept = sum(text.count(statement.text) > 0 for statement in statements)
    assert kept == len(statements)
    assert all(statement.text.endswith(";") for statement in statements)
