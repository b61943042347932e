from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.facts.shell_values import MAX_FIELDS, MAX_VALUE, Variables, ansi_c, expand_braces, printed

BASH = shutil.which("bash")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("a\\x20b", "a b"), ("\\101\\x4a", "AJ"), ("\\u00e9\\U0001f600", "é😀"), ("\\'\\\"\\\\\\?", "'\"\\?"), ("\\n\\t\\e\\a", "\n\t\x1b\a"),
        ("\\cA", "\x01"), ("\\q", "\\q"), ("a\\0b", "a"), ("\\xcb", "\ufffd"), ("\\314\\210", "\u0308"), ("\\UFFFFFFFF", "?"), ("é", "é"), ("\\1234", "S4"),
    ],
)  # fmt: skip
def test_escapes_are_what_bash_makes_of_them(body: str, text: str) -> None:
    assert ansi_c(body) == text


@pytest.mark.skipif(BASH is None, reason="it is held against bash")
@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["a", "é", "\\", "x", "u", "4", "1", "0", "7", "9", "n", "e", "'", "?", "\\x4", "\\1", "\\u00e", "f"]
        ),
        max_size=8,
    ).map("".join)
)
def test_any_escapes_are_what_bash_makes_of_them(body: str) -> None:
    quoted = body.replace("\\'", "").replace("'", "")
    if (len(quoted) - len(quoted.rstrip("\\"))) % 2:
        quoted += "\\"
    got = subprocess.run(
        [str(BASH), "--norc", "-c", f"printf %s $'{quoted}'"],
        env={"LC_ALL": "C.UTF-8"},
        capture_output=True,
        check=True,
    ).stdout

    assert ansi_c(quoted) == got.decode(errors="replace")


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("echo a  b", "a b"), ("echo -n a", "a"), ("echo 'a  b' -l", "a  b -l"), ("echo", ""), ("printf a", "a"), ("printf %s a", "a"),
        ("echo -e a", None), ("echo a > x", None), ("echo a >/dev/null", None), ("echo a; echo b", None), ("echo a | cat", None), ("echo 'a\\n'", None),
        ("printf %d a", None), ("printf a b", None), ("id", None), ("echo $x", None), ("", None),
    ],
)  # fmt: skip
def test_only_plain_printing_is_foreseen(text: str, output: str | None) -> None:
    assert printed(text) == output


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("{ls,-l}", ["ls", "-l"]), ("a{b,c}d", ["abd", "acd"]), ("{a,b}{c,d}", ["ac", "ad", "bc", "bd"]), ("l{s,}", ["ls", "l"]),
        ("{a}", ["{a}"]), ("{}", ["{}"]), ("{", ["{"]), ("{a,b", ["{a,b"]), ("{a,{b,c}}", ["{a,{b,c}}"]), ("ls", ["ls"]),
    ],
)  # fmt: skip
def test_braces_with_lists_are_expanded(word: str, words: list[str]) -> None:
    assert expand_braces(word) == words


def test_expansions_that_grow_are_left_alone() -> None:
    word = "{a,b}" * 1000
    variables = Variables("")
    variables.assign("x", "a" * MAX_VALUE)
    variables.assign("x", "a", add=True)

    assert len(expand_braces(word)) <= MAX_FIELDS
    assert variables.value("x", quoted=True) is None


def test_a_variable_is_what_the_text_sets_it_to() -> None:
    variables = Variables("x=ls; $x ${x} x+=b")
    variables.assign("x", "ls  -l")

    assert variables.value("x", quoted=True) == "ls  -l"
    assert variables.value("x", quoted=False) == "ls\0-l"
    assert variables.value("unset", quoted=True) == ""
    assert variables.value("HOME", quoted=True) is None


@pytest.mark.parametrize(
    "text",
    ["read x; $x", "for x in a; do $x; done", "unset x; $x", "printf -v x a; $x", "(( x )); $x", "${#x} $x", "${!x}"],
)
def test_a_variable_that_is_named_otherwise_is_not_known(text: str) -> None:
    variables = Variables(text)
    variables.assign("x", "ls")

    assert variables.value("x", quoted=True) is None
