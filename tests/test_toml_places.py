"""The scan finds the place of every key that an error may name."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.toml_places import KeyPath, key_places, place_of

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
[[list]]
b.c = """"x"""" # "
  [[list.inner]]
d = [{ e = 1 }, { f = '}' }]
'''


def test_tables_keys_and_entries_have_their_places() -> None:
    assert key_places(TEXT) == {
        ("top",): (2, 1),
        ("server",): (4, 1),
        ("server", "listen"): (5, 1),
        ("server", "origins"): (6, 1),
        ("server", "origins", "0"): (7, 3),
        ("server", "origins", "1"): (8, 3),
        ("server", "indented"): (10, 3),
        ("server", "text"): (11, 1),
        ("server", "raw"): (15, 1),
        ("targets",): (18, 1),
        ("targets", "a.b"): (18, 1),
        ("targets", "a.b", "kind"): (19, 1),
        ("targets", "a.b", "key"): (20, 1),
        ("targets", "a.b", "key", "file"): (20, 9),
        ("targets", "a.b", "key", "other"): (20, 21),
        ("targets", "a.b", "key", "other", "0"): (20, 30),
        ("targets", "a.b", "key", "other", "1"): (21, 2),
        ("targets", "a.b", "labels"): (22, 1),
        ("targets", "a.b", "labels", "env"): (22, 1),
        ("targets", "a.b", "quoted key"): (23, 1),
        ("targets", "a.b", 'escaped " key'): (24, 1),
        ("list",): (25, 1),
        ("list", "0"): (25, 1),
        ("list", "0", "a"): (26, 1),
        ("list", "1"): (27, 1),
        ("list", "1", "b"): (28, 1),
        ("list", "1", "b", "c"): (28, 1),
        ("list", "1", "inner"): (29, 3),
        ("list", "1", "inner", "0"): (29, 3),
        ("list", "1", "inner", "0", "d"): (30, 1),
        ("list", "1", "inner", "0", "d", "0"): (30, 6),
        ("list", "1", "inner", "0", "d", "0", "e"): (30, 8),
        ("list", "1", "inner", "0", "d", "1"): (30, 17),
        ("list", "1", "inner", "0", "d", "1", "f"): (30, 19),
    }


def test_a_missing_key_has_the_place_of_its_table() -> None:
    assert place_of(("server", "absent"), key_places(TEXT)) == (4, 1)
    assert place_of(("list", 1, "absent"), key_places(TEXT)) == (27, 1)


def test_what_is_nowhere_has_no_place() -> None:
    assert place_of(("absent",), key_places(TEXT)) == (0, 0)


@given(st.text(max_size=60) | st.text("[]{}=.,\"'\n# ab", max_size=60))
def test_a_text_that_is_no_toml_ends_the_scan_as_well(text: str) -> None:
    key_places(text)


def key_paths(value: Any, above: KeyPath = ()) -> Iterator[KeyPath]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, below in inner:
        if not isinstance(value, list):
            yield (*above, str(name))
        yield from key_paths(below, (*above, str(name)))


NAMES = st.text(st.characters(codec="utf-8", exclude_characters='"\\', exclude_categories=("Cc", "Cs")), max_size=6)
SCALARS = st.sampled_from(
    ['"x"', '"#[=]\\""', "'[x'", "1", "1979-05-27 07:32:00", '"""\n[t]\nk = 1\n"""', "'''\n#\n'''", '""""}""""', "true"]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda values: "[ # ]\n" + ",\n".join(values) + "]")
        | st.dictionaries(NAMES, inner, max_size=3).map(
            lambda keys: "{" + ", ".join(f'"{name}" = {value}' for name, value in keys.items()) + "}"
        )
    ),
    max_leaves=6,
)
TABLES = st.dictionaries(NAMES, VALUES, max_size=4)


@given(st.dictionaries(NAMES, TABLES | st.lists(TABLES, min_size=1, max_size=3), max_size=4))
def test_every_key_of_a_text_is_found_where_it_stands(
    tables: dict[str, dict[str, str] | list[dict[str, str]]],
) -> None:
    text = "".join(
        (f'[ "{table}" ]\n' if isinstance(content, dict) else f' [["{table}"]] # "\n')
        + "".join(f'\t"{name}" = {value} # "c\n\n' for name, value in keys.items())
        for table, content in tables.items()
        for keys in ([content] if isinstance(content, dict) else content)
    )

    places = key_places(text)

    lines = text.split("\n")
    for path in key_paths(tomllib.loads(text)):
        line, column = places[path]
        assert lines[line - 1][column - 1 :].startswith((f'"{path[-1]}"', f'[ "{path[-1]}"', f'[["{path[-1]}"'))


def test_a_table_that_only_a_header_below_it_makes_is_where_that_header_is() -> None:
    places = key_places("a = 1\n[identity.scopes]\nx = 1\n[targets.b.labels]\n[targets.b]\n")

    assert places["identity",] == places["identity", "scopes"] == (2, 1)
    assert places["targets", "b"] == (5, 1)
