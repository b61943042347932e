"""Base64url and JSON in their one strict form: what two readers could read in two ways is refused. Pure.

Tokens and key sets come through here before anything else looks at them, so that no library's leniency decides
who somebody is. Raises `Malformed`, whose text says what is wrong and never quotes the input.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any, NoReturn

from mcp_gateway.calls import JSONObject

MAX_DEPTH = 16
"""Levels of objects and arrays; the deepest token seen in use has five."""
MAX_INTEGER_DIGITS = 18
"""Fits 64 bits. Python's own reading of long numbers is quadratic (CVE-2020-10735)."""

_BASE64URL = re.compile(rb"[A-Za-z0-9_-]+")


class Malformed(ValueError):
    """The input is not in the one form that is accepted."""


def decode_base64url(text: bytes) -> bytes:
    """Decode unpadded base64url (RFC 7515 section 2) in its canonical form.

    Unused bits of the last character must be zero: otherwise one token would have many spellings, each with a
    fingerprint of its own.
    """
    if not _BASE64URL.fullmatch(text):
        raise Malformed("is not base64url without padding")
    try:
        value = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except binascii.Error:
        raise Malformed("is not base64url without padding") from None
    if encode_base64url(value) != text:
        raise Malformed("is not in canonical base64url")
    return value


def encode_base64url(value: bytes) -> bytes:
    """Encode as unpadded base64url."""
    return base64.urlsafe_b64encode(value).rstrip(b"=")


def parse_object(text: bytes) -> JSONObject:
    """Parse one JSON object in UTF-8, the way every reader must read it.

    1. UTF-8 and nothing else: `json.loads` over bytes would guess UTF-16 and UTF-32.
    2. No member twice, at any level: readers differ in which one they take.
    3. No NaN or Infinity, no integer beyond 18 digits.
    4. An object at the top, nested no deeper than 16 levels.
    """
    # 1.
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("is not UTF-8") from None
    # 2. and 3.
    try:
        value = json.loads(
            decoded, object_pairs_hook=_unique, parse_int=_integer, parse_constant=_no_constant, strict=True
        )
    except RecursionError:
        raise Malformed(f"is nested deeper than {MAX_DEPTH} levels") from None
    except json.JSONDecodeError:
        raise Malformed("is not JSON") from None
    # 4.
    if not isinstance(value, dict):
        raise Malformed("is not a JSON object")
    _check_depth(value)
    return value


def _unique(members: list[tuple[str, Any]]) -> JSONObject:
    found = dict(members)
    if len(found) != len(members):
        raise Malformed("has a member twice")
    return found


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_INTEGER_DIGITS:
        raise Malformed(f"has an integer of more than {MAX_INTEGER_DIGITS} digits")
    return int(digits)


def _no_constant(name: str) -> NoReturn:
    raise Malformed(f"has {name}, which is not JSON")


def _check_depth(value: JSONObject) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for container in level
            for child in (container.values() if isinstance(container, dict) else container)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise Malformed(f"is nested deeper than {MAX_DEPTH} levels")
