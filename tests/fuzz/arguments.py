"""Arguments of every kind for hypothesis: what a tool takes, what it nearly takes, and whatever else JSON can hold.

Any of it may come by a door: the SDK's reader takes NaN, lone surrogates and integers of thousands of digits, too.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from hypothesis import strategies as st

Anything: TypeAlias = st.SearchStrategy[Any]


def mostly(usual: Anything, otherwise: Anything) -> Anything:
    """One time in six what is not usual: a plain union gives every branch of both the same share."""
    return st.integers(0, 5).flatmap(lambda number: otherwise if number == 5 else usual)


ODD_TEXTS = (
    "", " ", "\x00", "a\x00b", "\ud800", "a\udfffb", "\ud83d\ude00", "\u202ea\u2066b\u2069", "\u200b\ufeff\u00ad", "\x1b[2J\x07",
    "\r\nX: y", "\n", "\x85\u2028\u2029", "e\u0301" * 50, "\U0010ffff", "\ufffe", "%00%2e%2e/", "../..", "//evil", "null", "NaN",
    "api\x00", "api ", "\u0430pi", "shop", "host", "http://169.254.169.254/", "'; DROP TABLE notes; --", "$(id)`id`", "{0.__class__}",
    "x" * 10_000, "\U0001f600" * 5000, "a b\tc", "-n", "--", "=", "*", "~", "\\", '"', "'", "!!", "#", "é" * 9000,
)  # fmt: skip
ODD_NUMBERS = (
    0, -1, 1, 2**31, 2**53 - 1, 2**53, 2**63, 2**64, -(2**63) - 1, 10**22, 2**1023, 2**1025, 10**400, 10**4000, 86_400 * 10**9, -0.0, 0.5,
    1.0, 5e-324, 1.7976931348623157e308, float("nan"), float("inf"), float("-inf"), 1e22,
)  # fmt: skip
TEXTS: Anything = st.text(st.characters(), max_size=12) | st.text(max_size=200) | st.sampled_from(ODD_TEXTS)
"""Lone surrogates among them."""
NUMBERS: Anything = st.integers() | st.floats() | st.sampled_from(ODD_NUMBERS)
SCALARS: Anything = st.none() | st.booleans() | NUMBERS | TEXTS


def nested(depth: int, inside: Any, *, objects: bool) -> Any:
    """One value in so many arrays or objects."""
    for _ in range(depth):
        inside = {"a": inside} if objects else [inside]
    return inside


DEPTHS = st.sampled_from([60, 63, 64, 65, 300, 900])
DEEP: Anything = st.builds(nested, DEPTHS, SCALARS, objects=st.booleans())
MANY = st.sampled_from([1000, 19_990, 20_001, 200_000])
WIDE: Anything = st.builds(lambda count, of: [of] * count, MANY, SCALARS) | st.builds(
    lambda count, of: {f"k{number}": of for number in range(count)}, MANY, SCALARS
)
LONG: Anything = st.builds(
    lambda text, size: text * (size // len(text)),
    st.sampled_from(["x", "\x00", "a@b.example ", "4111 1111 1111 1111 ", "\ud800", "'", "("]),
    st.sampled_from([70_000, 512 * 1024, 512 * 1024 + 1, 2_000_000]),
)
HUGE: Anything = DEEP | WIDE | LONG
ORDINARY: Anything = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)
ANY: Anything = mostly(ORDINARY, HUGE)
"""Whatever JSON can hold; now and then a great deal of it."""

NAMES = (
    "target", "reason", "repeat_of", "sql", "params", "max_rows", "argv", "command", "stdin", "timeout_s", "method", "path",
    "query", "headers", "json", "body", "json_", "Target", "call_id", "caller", "approval", "_meta", "__class__", "model_config",
)  # fmt: skip
SHARED: dict[str, Anything] = {"reason": TEXTS, "repeat_of": st.none() | TEXTS}
"""What every tool takes beside its target."""

LITERALS = TEXTS.map(lambda text: "'" + text.replace("'", "''") + "'")
STATEMENTS = (
    "SELECT 1", "SELECT * FROM notes", "TABLE notes", "VALUES (1), (2)", "SELECT generate_series(1, 2000)", "SHOW server_version",
    "SELECT $1::text", "SELECT $1::jsonb", "SELECT $1::bytea", "SELECT $1::numeric", "SELECT $1::timestamptz", "SELECT $1::text[]",
    "SELECT id FROM notes WHERE text = $1", "SELECT count(*) FROM notes WHERE id = ANY ($1::int[])", "SELECT $1::bool",
    "SELECT $1::int + $2::int", "SELECT $1::jsonb, $2::text[]", "SELECT 1/0", "SELECT $99999", "SELECT $0", "EXPLAIN SELECT 1", "SELECT",
    "INSERT INTO notes VALUES (3, $1)", "DELETE FROM notes", "DROP TABLE notes", "SELECT 1; DELETE FROM notes", "COMMIT",
)  # fmt: skip
WRITTEN: Anything = st.builds("SELECT {}".format, LITERALS | NUMBERS | TEXTS) | st.builds(
    "{} {}".format, TEXTS, LITERALS
)
SQL: Anything = mostly(st.sampled_from(STATEMENTS) | WRITTEN, TEXTS)
VALUES = ("1", 1, 2**31, True, None, 1.5, "NaN", "infinity", "{1,2}", "\\x00", "", {"a": 1}, ["a"], [1, 2], [None])
PARAMETERS: Anything = mostly(st.sampled_from(VALUES), ORDINARY)
PATHS: Anything = mostly(
    st.sampled_from(["x", "/x", "", "/", "x?a=b&a=c", "x/%C3%A9", "%7Euser", "x?q=%00%26"]),
    TEXTS | st.builds("x/{}?{}".format, TEXTS, TEXTS),
)
PAIRS: Anything = st.dictionaries(TEXTS, TEXTS | st.lists(TEXTS, max_size=3), max_size=3)
HEADERS: Anything = st.dictionaries(
    mostly(st.sampled_from(["accept", "Content-Type", "If-Match", "range", "X-Request-ID"]), TEXTS),
    mostly(
        st.sampled_from(["application/json", "text/plain", "multipart/form-data; boundary=x", "bytes=0-1", " x "]),
        TEXTS,
    ),
    max_size=2,
)
METHODS = st.sampled_from(["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"])

TAKEN: dict[str, dict[str, Anything]] = {
    "query_database": {"sql": SQL, "params": st.lists(PARAMETERS, min_size=1, max_size=2), "max_rows": mostly(st.integers(1), NUMBERS)},
    "run_ssh_command": {
        "argv": mostly(TEXTS.map(lambda text: ["echo", text]), st.lists(TEXTS, max_size=4)),
        "command": mostly(TEXTS.map(lambda text: f"echo {text}"), TEXTS),
        "stdin": TEXTS,
        "timeout_s": mostly(st.integers(1, 2**53), NUMBERS),
    },
    "call_api": {
        "method": mostly(METHODS, TEXTS), "path": PATHS, "query": PAIRS, "headers": HEADERS, "json": ORDINARY, "body": TEXTS
    },
}  # fmt: skip
"""By tool and argument, what is of the right kind, or nearly so."""
NEEDED: dict[str, tuple[str, ...]] = {"query_database": ("sql",), "run_ssh_command": (), "call_api": ("path",)}
FURTHER: dict[str, list[tuple[str, ...]]] = {
    "query_database": [("params",), ("max_rows",)],
    "run_ssh_command": [("argv",), ("command",), ("argv", "stdin"), ("command", "timeout_s")],
    "call_api": [("method",), ("query",), ("headers",), ("json",), ("body",)],
}
TARGETS = {"query_database": "shop", "run_ssh_command": "host", "call_api": "api"}


@st.composite
def arguments_of(draw: st.DrawFn, tool: str) -> dict[str, Any]:
    """Arguments of one tool: mostly what it takes, in part anything at all, sometimes less or more than there is."""
    taken = TAKEN[tool]
    found: dict[str, Any] = {"target": TARGETS[tool]}
    found |= draw(st.fixed_dictionaries({name: taken[name] for name in NEEDED[tool]}))
    for names in draw(st.lists(st.sampled_from(FURTHER[tool]), max_size=2, unique=True)):
        found |= draw(st.fixed_dictionaries({name: taken[name] for name in names}))
    further = {
        "shared": st.fixed_dictionaries({}, optional=SHARED),
        "anything": st.dictionaries(st.sampled_from(sorted({*taken, *SHARED, "target"})), ANY, min_size=1, max_size=1),
        "unknown": st.dictionaries(st.sampled_from(NAMES) | TEXTS, ORDINARY, max_size=2),
    }
    for kind in draw(st.sets(st.sampled_from(["", *further]), max_size=2)):
        found |= draw(further[kind]) if kind else {}
    if draw(st.integers(0, 9)) == 9:
        found.pop(draw(st.sampled_from(sorted(found))))
    return found
