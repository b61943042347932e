"""The scan finds the line of every key that an error may name."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.toml_lines import KeyPath, key_lines, line_of

TEXT = '''\
# [not.a.table]
top = 1

[server]  # comment with [brackets] and "quotes"
listen = "127.0.0.1:8765" # = x
origins = [
  "a]", # ]
  "b = 2",
]
  indented = true
text = """
[identity]
fake = 1
"""
raw = \'\'\'
[identity]
\'\'\'
[targets . "a.b" ]
kind = "ssh"
key = { file = "x", other = [1,
 2] }
labels.env = "prod"
'quoted key' = 1
"escaped \\" key" = 1
[[list]]
a = 1
'''


def test_tables_and_keys_have_their_lines() -> None:
    assert key_lines(TEXT) == {
        ("top",): 2,
        ("server",): 4,
        ("server", "listen"): 5,
        ("server", "origins"): 6,
        ("server", "indented"): 10,
        ("server", "text"): 11,
        ("server", "raw"): 15,
        ("targets", "a.b"): 18,
        ("targets", "a.b", "kind"): 19,
        ("targets", "a.b", "key"): 20,
        ("targets", "a.b", "labels", "env"): 22,
        ("targets", "a.b", "quoted key"): 23,
        ("targets", "a.b", 'escaped " key'): 24,
        ("list",): 25,
        ("list", "a"): 26,
    }


def test_a_key_inside_an_inline_table_has_the_line_of_the_key_around_it() -> None:
    assert line_of(("targets", "a.b", "key", "file"), key_lines(TEXT)) == 20


def test_an_entry_of_an_array_has_the_line_of_its_key() -> None:
    assert line_of(("server", "origins", 1), key_lines(TEXT)) == 6


def test_a_missing_key_has_the_line_of_its_table() -> None:
    assert line_of(("server", "absent"), key_lines(TEXT)) == 4


def test_what_is_nowhere_has_no_line() -> None:
    assert line_of(("absent",), key_lines(TEXT)) == 0


def key_paths(table: Mapping[str, Any], above: KeyPath = ()) -> Iterator[KeyPath]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from key_paths(value, (*above, name))
        else:
            yield (*above, name)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters='"\\', exclude_categories=("Cc", "Cs")), max_size=6)
VALUES = st.sampled_from(
    ['"x"', '"#[=]\\""', "'[x'", "1", "[1, 2]", "[\"a]\", 'b']", '"""\n[t]\nk = 1\n"""', "'''\n#\n'''", "true"]
)


@given(st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=4), max_size=4))
def test_every_key_of_a_text_is_found_on_a_line_that_holds_it(tables: dict[str, dict[str, str]]) -> None:
    text = "".join(
        f'[ "{table}" ]\n' + "".join(f'\t"{name}" = {value} # "c\n\n' for name, value in keys.items())
        for table, keys in tables.items()
    )

    lines = key_lines(text)

    for path in key_paths(tomllib.loads(text)):
        assert f'"{path[-1]}"' in text.split("\n")[lines[path] - 1]
