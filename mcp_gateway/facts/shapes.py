"""The shape of a statement: what is left of it without its values. Pure.

Two statements that differ in constants, parameters, spaces, comments and the case of keywords have one shape; so have two
whose lists of nothing but values differ in length. Everything else tells them apart. The fingerprint is for grouping and
for grants: SHA-256, so nobody can find a statement of another shape for it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from mcp_gateway.calls import JSONObject

_VALUE = re.compile(
    rb'\{"A_Const":\{(?:"[a-z]+val":\{(?:"[a-z]+val":(?:"(?:[^"\\]|\\.)*"|[^"{}]*))?\}|"isnull":true)?(?:,?"location":-?[0-9]+)?\}\}'
    rb'|\{"ParamRef":\{(?:"number":[0-9]+)?(?:,?"location":-?[0-9]+)?\}\}'
)
_ROW = b'{"List":{"items":[\0]}}'
_STEPS = (
    (b"", _VALUE, b"\0"),
    # Where in the text something stands. Each begins with what all matches have, which is what makes it quick.
    (b"location", re.compile(rb'location":-?[0-9]+'), b""),
    (b"stmt_len", re.compile(rb'stmt_len":[0-9]+'), b""),
    (b"list_", re.compile(rb'list_(?:start|end)":-?[0-9]+'), b""),
    # Lists of nothing but values.
    (b"\0,\0", re.compile(rb"\0(?:,\0)+"), b"\0"),
    (_ROW, re.compile(re.escape(_ROW) + b"(?:," + re.escape(_ROW) + b")+"), _ROW),
)
"""What all matches have in them, what is taken away, and what is left in its place."""


def fingerprint_of(tree: bytes) -> str:
    """The fingerprint of parsed statements, 32 hexadecimal characters, from their tree as JSON.

    There a quotation mark inside of a text has a backslash before it, and no text holds a NUL: so nothing that a statement
    says can look like a member of the tree, or like what stands for a value.
    """
    shape = tree
    for mark, pattern, rest in _STEPS:
        if mark in shape:
            shape = pattern.sub(rest, shape)
    return hashlib.sha256(shape).hexdigest()[:32]


def row_limit_of(statements: Sequence[JSONObject]) -> int:
    """Most rows that a single SELECT gives by its own LIMIT or FETCH FIRST; -1 where nothing bounds them for certain."""
    if len(statements) != 1:
        return -1
    body = statements[0].get("SelectStmt")
    if body is None or body.get("limitOption") != "LIMIT_OPTION_COUNT":
        return -1
    match body.get("limitCount"):
        case {"A_Const": {"ival": {"ival": int(count)}}} if count >= 0:
            return count
        case {"A_Const": {"ival": {}}}:  # protobuf leaves a zero out
            return 0
        case _:
            return -1
