"""What is no TOML is said with its place and in the operator's words."""

from __future__ import annotations

import tomllib

import pytest

from mcp_gateway.toml_errors import toml_problem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = 1\na = 2\n", "f:2:6: no valid TOML: this key is in its table already"),
        ("[t.a]\n[t.a]\n", "f:2:5: no valid TOML: the table [t.a] is there already"),
        ("[t]\n[t]\n", "f:2:3: no valid TOML: the table [t] is there already"),
        ("a = maybe\n", "f:1:5: no valid TOML: this is no value; a text needs quotes"),
        ("a =", "f: no valid TOML: this is no value; a text needs quotes, at the end of the file"),
        ('a = "b\nc = 1\n', "f:1:7: no valid TOML: the string is not closed on its line"),
        ("a = 'b\nc = 'd'\n", "f:1:7: no valid TOML: the string is not closed on its line"),
        ('a = "b', "f: no valid TOML: a string is not closed, at the end of the file"),
        ("a = 'b", "f: no valid TOML: a string is not closed, at the end of the file"),
        ('a = """b\n', "f: no valid TOML: a string is not closed, at the end of the file"),
    ],
)
def test_a_text_that_is_no_toml_is_explained(text: str, said: str) -> None:
    with pytest.raises(tomllib.TOMLDecodeError) as caught:
        tomllib.loads(text)

    assert str(toml_problem(caught.value, file="f")) == said


def test_a_text_too_deep_to_parse_is_said_without_a_place() -> None:
    assert str(toml_problem(RecursionError("maximum recursion depth"), file="f")) == "f: the TOML cannot be parsed"
