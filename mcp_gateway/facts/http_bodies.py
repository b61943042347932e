"""What a request's body could change of what policy looks at: some frameworks take the method from a field of it. Pure.

Rails, Laravel, Symfony, Spring, CakePHP, Yii, WordPress and others read `_method` from a form, some of them from a JSON
object too, and then a POST that policy allowed is a DELETE. A body that cannot be read in one way, because it names
another character set than UTF-8, is refused for the same reason: policy and people would look at something else than
the API. What an API makes of other fields is its own affair.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import chain, islice
from typing import Any

import orjson

from mcp_gateway.facts.http import RequestRefusedError, overrides_method

PART_NAMES = (
    re.compile(r"name\*?\s*=\s*[\"']?([^\"'\r\n;]*)", re.IGNORECASE),
    re.compile(r"name\*\s*=[^'\r\n]{0,40}'[^'\r\n]{0,40}'([^\r\n;]*)", re.IGNORECASE),
    re.compile(r"content-id\s*:\s*<?([^\r\n>]*)", re.IGNORECASE),
)
"""The names in the heads of a multipart body, and whatever else looks like one. Rack takes a part's id where it has none."""
NAME_IN_PIECES = re.compile(r"(?<!file)name\*\d+\*?\s*=", re.IGNORECASE)
"""RFC 2231 section 3."""
ENCODED_WORD = "=?"
"""How one begins (RFC 2047). Commons FileUpload, so Tomcat, decodes them in names."""
JSON_ESCAPE = re.compile(r"\\(?:u([0-9a-f]{4})|x([0-9a-f]{2}))", re.IGNORECASE)
LIKE_AN_OBJECT = re.compile(r"[\s\ufeff]*\{")
BETWEEN_WORDS = re.compile(r"[\s\"'{}:,/*]+")
FORM = "application/x-www-form-urlencoded"
CHARSET = re.compile(r"charset([^=;]*)=\s*[\"']?([^\s\"';,]*)", re.IGNORECASE)
MAX_NAMES = 20_000
"""As many values as a call's arguments may hold."""
PLAIN_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


def encode_body(
    headers: Mapping[str, str], *, json_value: Any, text: str | None
) -> tuple[dict[str, str], bytes | None]:
    """The headers and the body that the arguments of a call stand for.

    Raises:
        RequestRefusedError: it cannot be written as UTF-8.
    """
    try:
        if json_value is None:
            return dict(headers), None if text is None else text.encode()
        body = json.dumps(json_value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise RequestRefusedError("the body holds a lone surrogate") from None
    if any(name.lower() == "content-type" for name in headers):
        return dict(headers), body
    return {**headers, "content-type": "application/json"}, body


def check_body(body: bytes, *, content_type: str) -> None:
    """Refuse a body that could change the method, or be read in another character set.

    Raises:
        RequestRefusedError: it could, or cannot be told.
    """
    _check_charset(content_type)
    kind = content_type.split(";", 1)[0].strip().lower()
    text = body.decode("utf-8", "replace")
    names: Iterable[str] = ()
    if kind in {"", FORM}:  # Rack takes a body without a type for a form; some read one behind a byte order mark
        names = (part.partition("=")[0] for part in re.split("[&;]", text.lstrip("\ufeff")))
    elif kind.startswith("multipart/"):
        names = _part_names(text)
    if "json" in kind or LIKE_AN_OBJECT.match(text):  # Parse Server reads JSON whatever it is called
        names = chain(names, _members(body))
    looked = list(islice(names, MAX_NAMES + 1))
    if len(looked) > MAX_NAMES:
        raise RequestRefusedError(f"a body holds more than {MAX_NAMES:,} fields; give the content type that it has")
    if any(overrides_method(name) for name in looked):
        raise RequestRefusedError("a body changes no method; give the method that is meant")


def _part_names(text: str) -> Iterable[str]:
    """The names of parts, without the backslashes that some take for escapes."""
    if NAME_IN_PIECES.search(text):
        raise RequestRefusedError("the name of a part in pieces is read in more than one way; write it as one")
    for pattern in PART_NAMES:
        for found in pattern.finditer(text):
            name = found[1]
            if ENCODED_WORD in name and not text.endswith("file", 0, found.start()):
                raise RequestRefusedError("the encoded name of a part is read in more than one way; write it as it is")
            yield name.replace("\\", "")


def _members(body: bytes) -> Iterable[str]:
    """The names of a JSON object's own members; of JSON that not every reader takes for the same every word counts."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        text = JSON_ESCAPE.sub(lambda escape: chr(int(escape[1] or escape[2], 16)), body.decode("utf-8", "replace"))
        return {word for word in BETWEEN_WORDS.split(text) if "method" in word.lower()}
    return found if isinstance(found, dict) else ()


def _check_charset(content_type: str) -> None:
    if any(more.strip() or name.lower() not in PLAIN_CHARSETS for more, name in CHARSET.findall(content_type)):
        raise RequestRefusedError("a body is sent in UTF-8; name no other charset")
