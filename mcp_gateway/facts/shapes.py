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

_VALUE = (
    rb'\{"(?:A_Const":\{(?:"[a-z]+val":\{(?:"[a-z]+val":(?:"[^"\\]*(?:\\.[^"\\]*)*"|[^"{}]*))?\}|"isnull":true)?'
    rb'|ParamRef":\{(?:"number":[0-9]+)?)(?:,?"location":-?[0-9]+)?\}\}'
)
_VALUES = re.compile(_VALUE + rb"(?:," + _VALUE + rb")*+")  # none is given back: a list may have thousands
_PLACES = tuple(
    re.compile(pattern) for pattern in (rb'location":-?[0-9]+', rb'stmt_len":[0-9]+', rb'list_(?:start|end)":-?[0-9]+')
)
"""Where in the text something stands. Each begins with what all matches have, which is what makes it quick."""
_ROW = b'{"List":{"items":[\0]}}'
_ROWS = re.compile(re.escape(_ROW) + b"(?:," + re.escape(_ROW) + b")+")


def fingerprint_of(tree: bytes) -> str:
    """The fingerprint of parsed statements, 32 hexadecimal characters, from their tree as JSON.

    There a quotation mark inside of a text has a backslash before it, and no text holds a NUL: so nothing that a statement
    says can look like a member of the tree, or like what stands for a value.
    """
    shape = _VALUES.sub(b"\0", tree)
    for place in _PLACES:
        shape = place.sub(b"", shape)
    return hashlib.sha256(_ROWS.sub(_ROW, shape)).hexdigest()[:32]


def row_limit_of(statements: Sequence[JSONObject]) -> int:
    """Most rows that a single SELECT gives by its own LIMIT or FETCH FIRST; -1 where nothing bounds them for certain."""
    if len(statements) != 1:
        return -1
    body = statements[0].get("SelectStmt")
    if body is None or body.get("limitOption") != "LIMIT_OPTION_COUNT":
        return -1
    number = body.get("limitCount", {}).get("A_Const", {}).get("ival")
    return -1 if number is None else max(number.get("ival", 0), 0)  # protobuf leaves a zero out
