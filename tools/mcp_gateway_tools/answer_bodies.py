"""The body of an API's answer, as it leaves `call_api`: as JSON, text or base64, masked as what it is and not as what it says.

JSON is masked by the names of its members wherever it is JSON, whatever its type, its lines or its numbers; a part of a
file, and what a limit cut, as a text whose edges are missing; names that the request gave, as the members' own.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_plus

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.http import Resolved
from mcp_gateway.masking.json_values import strings
from mcp_gateway.masking.renamed import mask_renamed, with_own_names
from mcp_gateway.targets.http import Response
from mcp_gateway.tool import Masker

MAX_INTEGER_DIGITS = 15
"""Up to here every JSON reader keeps an integer exactly (RFC 8259 section 6); a longer one keeps its text."""

ESCAPE = re.compile(rb"(?<!\\)((?:\\\\)*)\\(?:u([0-9a-fA-F]{4})|/)")
"""Of a character in a string of JSON. No detector undoes it: to .NET `+` is one to be escaped."""
CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w-]{1,20})", re.IGNORECASE)
WIDE_CHARSETS = frozenset({"utf-16", "utf-16le", "utf-16be", "utf-32", "utf-32le", "utf-32be"})
NARROW_CHARSETS = frozenset({"iso-8859-1", "latin1", "iso-8859-15", "windows-1252", "cp1252"})
"""Also said of what is UTF-8: then it is."""
LIKE_JSON = re.compile("json|javascript|event-stream|multipart")
"""Types of what is written in JSON, or has it inside."""
BLANKS = b" \t\r\n\xef\xbb\xbf"
"""What may stand before JSON, a byte order mark among it."""
SHORT_ESCAPE = re.compile(r'\\([nrt"])')

PART = re.compile(r"bytes[ \t]+([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)\Z", re.IGNORECASE)
"""`Content-Range` of RFC 9110 section 14.4. Of other units an answer is whole, such as the rows of PostgREST."""


def left_out(raw: Response, *, asked: str) -> tuple[bool, bool]:
    """Whether something is missing before and behind a body: by a limit here, or because the agent `asked` for a part."""
    said = next((value.strip() for name, value in raw.headers if name == "content-range"), "")
    if raw.status != HTTPStatus.PARTIAL_CONTENT or not (said or asked).lower().startswith("bytes"):
        return False, raw.truncated
    part = PART.match(said)
    if part is None or not (raw.truncated or int(part[2]) - int(part[1]) + 1 == len(raw.body)):
        return True, True
    return int(part[1]) > 0, raw.truncated or part[3] == "*" or int(part[2]) + 1 < int(part[3])


def texts_of(request: Resolved, body: bytes | None) -> Iterator[str]:
    """What a request says: its query, and its body, of JSON each text."""
    yield unquote_plus(request.query)
    if not body:
        return
    try:
        yield from strings(json.loads(body))
    except (ValueError, RecursionError):
        text = ESCAPE.sub(_plain, body).decode()
        yield SHORT_ESCAPE.sub(lambda found: "\n" if found[1] in "nr" else found[1].replace("t", " "), text)
        yield unquote_plus(text)


def masked_body(
    raw: Response, masker: Masker, *, headless: bool, cut: bool, names: Mapping[str, Sequence[str]]
) -> JSONObject:
    """As JSON where it is and says so; what some reader would change of it is given as text, and masked as JSON all the same."""
    if not raw.body:
        return {}
    kind, body = raw.content_type.split(";", 1)[0].strip().lower(), _in_utf8(raw)
    like_json = bool(LIKE_JSON.search(kind)) or body.lstrip(BLANKS)[:1] in {b"{", b"["}
    if like_json and not (headless or cut):
        documents = _documents(body)
        values = [value for value, _ in documents]
        masked = deepcopy(values) if names else values
        mask_renamed(masked, names, json=masker.json)
        masked = masker.json(masked)
        if len(documents) == 1 and documents[0][1] and _is_json(kind):
            return {"json": masked[0]}
        if masked != values:
            return {"text": "\n".join(json.dumps(value, ensure_ascii=False) for value in masked)}
    data = masker.raw(
        ESCAPE.sub(_plain, with_own_names(body, names)) if like_json else body, cut=cut, headless=headless
    )
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _in_utf8(raw: Response) -> bytes:
    """The body in the character set that detectors look at, where it is said to be in another one and can be read so."""
    said = CHARSET.search(raw.content_type)
    name = said[1].lower() if said else ""
    try:
        if name in WIDE_CHARSETS:
            return raw.body.decode(name).encode()
        raw.body.decode()
    except UnicodeDecodeError:
        pass
    else:
        return raw.body
    try:
        return raw.body.decode(name).encode() if name in NARROW_CHARSETS else raw.body
    except UnicodeDecodeError:
        return raw.body


def _documents(body: bytes) -> list[tuple[Any, bool]]:
    """The one JSON value of a body, or those of its lines, each with whether every reader keeps it; none where it is no JSON."""
    try:
        return [_read(body)]
    except (ValueError, RecursionError):
        pass
    try:
        return [_read(line) for line in body.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        return []


def _read(body: bytes) -> tuple[Any, bool]:
    """A JSON value, and whether every reader keeps it. Raises `ValueError` and `RecursionError`."""
    inexact: list[str] = []

    def integer(digits: str) -> int:
        if len(digits.lstrip("-")) > MAX_INTEGER_DIGITS:
            inexact.append(digits)
        return int(digits)

    def constant(name: str) -> float:
        inexact.append(name)
        return float(name)

    return json.loads(body, parse_int=integer, parse_constant=constant), not inexact


def _plain(escape: re.Match[bytes]) -> bytes:
    """A character for its escape, where that is the same in JSON and JavaScript."""
    letter = chr(int(escape[2], 16)) if escape[2] else "/"
    return escape[1] + letter.encode() if letter.isprintable() and letter not in {'"', "\\"} else escape[0]


def _is_json(kind: str) -> bool:
    return kind == "application/json" or kind.endswith("+json")
