"""What a request's body could change of what policy looks at: some frameworks take the method from a field of it. Pure.

Rails, Laravel, Symfony, Spring, CakePHP, Yii, WordPress and others read `_method` from a form, some of them from a JSON
object too, and then a POST that policy allowed is a DELETE. A form that cannot be read in one way, because it names
another character set than UTF-8, is refused for the same reason. What an API makes of other fields is its own affair.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import orjson

from mcp_gateway.facts.http import RequestRefusedError, overrides_method

PART_NAMES = (
    re.compile(r"name\*?\s*=\s*[\"']?([^\"'\r\n;]*)", re.IGNORECASE),
    re.compile(r"name\*\s*=[^'\r\n]{0,40}'[^'\r\n]{0,40}'([^\r\n;]*)", re.IGNORECASE),
)
"""The names in the heads of a multipart body, and whatever else looks like one."""
CHARSET = re.compile(r"charset\s*=\s*[\"']?([^\s\"';,]*)", re.IGNORECASE)
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
    """Refuse a body that could change the method.

    Raises:
        RequestRefusedError: it could, or cannot be told.
    """
    kind = content_type.split(";", 1)[0].strip().lower()
    text = body.decode("utf-8", "replace")
    match kind:
        case "" | "application/x-www-form-urlencoded":  # Rack takes a body without a type for a form
            _check_charset(content_type)
            names: Iterable[str] = (part.partition("=")[0] for part in re.split("[&;]", text))
        case _ if kind.startswith("multipart/"):
            _check_charset(content_type)
            names = (name for found in PART_NAMES for name in found.findall(text))
        case _ if "json" in kind:
            _check_charset(content_type)
            names = _members(body)
        case _:
            return
    looked = list(islice(names, MAX_NAMES + 1))
    if len(looked) > MAX_NAMES:
        raise RequestRefusedError(f"a body holds more than {MAX_NAMES:,} fields; give the content type that it has")
    if any(overrides_method(name) for name in looked):
        raise RequestRefusedError("a body changes no method; give the method that is meant")


def _members(body: bytes) -> list[str]:
    """The names of a JSON object's own members; of JSON that cannot be read every text counts."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return re.findall(r'"([^"]*)"', body.decode("utf-8", "replace"))
    return list(found) if isinstance(found, dict) else []


def _check_charset(content_type: str) -> None:
    if any(name.lower() not in PLAIN_CHARSETS for name in CHARSET.findall(content_type)):
        raise RequestRefusedError("a body is sent in UTF-8; name no other charset")
