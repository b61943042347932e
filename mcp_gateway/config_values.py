"""How single values of the configuration are read: the grammar of names, paths and quantities. Pure.

Where something is (hosts, networks, URLs), `config_places` reads. Each reader takes what TOML gave and returns the value or raises `ValueError`, whose text says what was expected.
It says what was got only where that cannot be a secret: people paste credentials into the wrong key.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from mcp_gateway.quantities import format_duration, format_size, parse_duration, parse_size
from mcp_gateway.rates import Rate

MAX_RATE_DIGITS = 7

T = TypeVar("T")

_TOOL_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TARGET_NAME = re.compile(r"[a-z0-9_-]{1,64}", re.ASCII)
_CLASS_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,200}", re.ASCII)  # RFC 6749 section 3.3
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)  # RFC 9110 section 5.6.2
_NO_PATH = "expected an absolute path without '..'; '~' and variables are not replaced"

FORBIDDEN_HEADERS = frozenset(
    """
    authorization proxy-authorization cookie cookie2 host content-length transfer-encoding connection keep-alive
    proxy-connection proxy-authenticate te trailer upgrade expect http2-settings forwarded via origin referer
    x-http-method x-http-method-override x-method-override x-original-url x-original-method x-rewrite-url
    x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-port x-forwarded-prefix x-forwarded-server
    x-forwarded-user x-real-ip x-original-host x-host x-original-forwarded-for x-client-ip true-client-ip
    """.split()
)
"""Headers that say who asks, where the message ends, how it travels, or that it is another one than it looks."""


def parse_text(value: Any) -> str:
    """One line of printable characters, not empty."""
    line = string_of(value)
    if not line or not line.isprintable() or len(line) > 1000:
        raise ValueError("expected 1 to 1,000 printable characters on one line")
    return line


def parse_description(value: Any) -> str:
    """At most 500 printable characters on one line; it is shown to agents."""
    line = string_of(value)
    if len(line) > 500 or not (line == "" or line.isprintable()):
        raise ValueError("expected at most 500 printable characters on one line")
    return line


def parse_target_name(value: Any) -> str:
    """The name of a target: what policies, agents and people call it."""
    return _matching(_TARGET_NAME, value, "1 to 64 of a-z, 0-9, '_' and '-'")


def parse_tool_name(value: Any) -> str:
    """The name of a tool, as agents and policies call it."""
    return _matching(_TOOL_NAME, value, "a tool's name: 1 to 64 of a-z, 0-9 and '_', beginning with a letter")


def parse_class_name(value: Any) -> str:
    """The name of a data class."""
    return _matching(_CLASS_NAME, value, "a data class such as 'pii.email' (a-z, 0-9, '_', parts between dots)")


def parse_column_path(value: Any) -> str:
    """`schema.table.column`, as the catalog has the names."""
    name = string_of(value)
    if len(name.split(".")) != 3 or not all(name.split(".")) or not name.isprintable() or '"' in name:
        raise ValueError('expected a column as "schema.table.column", such as "public.customers.ssn"')
    return name


def parse_variable_name(value: Any) -> str:
    """The name of an environment variable."""
    return _matching(_VARIABLE, value, "the name of an environment variable (letters, digits and '_')")


def parse_scope(value: Any) -> str:
    """One OAuth scope."""
    return _matching(_SCOPE, value, "one OAuth scope without spaces")


def parse_header_name(value: Any) -> str:
    """A request header that an agent may be allowed to set."""
    name = _matching(_HEADER_NAME, value, "the name of a request header")
    if name.lower() in FORBIDDEN_HEADERS or name.lower().startswith(("proxy-", "sec-")):
        raise ValueError(f"the header {name!r} can never be an agent's to set")
    return name


def parse_credential_header(value: Any) -> str:
    """The header that carries a target's credential, such as `X-API-Key`."""
    name = _matching(_HEADER_NAME, value, "the name of a request header")
    if name.lower() in FORBIDDEN_HEADERS - {"authorization", "cookie"}:
        raise ValueError(f"the header {name!r} cannot carry a credential")
    return name


def parse_absolute_path(value: Any) -> Path:
    """An absolute path without `..`."""
    if not isinstance(value, str | Path):
        raise ValueError(f"expected an absolute path, got {toml_type(value)}")  # noqa: TRY004 - pydantic takes ValueError
    path = Path(value)
    if not path.is_absolute() or ".." in path.parts or not str(path).isprintable():
        raise ValueError(f"{_NO_PATH}, got {shortened(str(value))}")
    return path


def parse_credential_path(value: Any) -> Path:
    """The absolute path of a file with a credential. What else stands here is not repeated: it may be the credential."""
    try:
        return parse_absolute_path(value)
    except ValueError:
        raise ValueError(_NO_PATH) from None


def duration_within(*, least: str, most: str) -> Callable[[Any], timedelta]:
    """A reader of durations within bounds."""
    lowest, highest = parse_duration(least), parse_duration(most)

    def read(value: Any) -> timedelta:
        if isinstance(value, timedelta):
            found = value
        elif isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            raise ValueError(f"expected a duration with its unit, such as '{value}s', got {value}")
        else:
            written = string_of(value)
            try:
                found = parse_duration(written)
            except ValueError as error:
                raise ValueError(f"{error}, got {shortened(value)}") from None
        if not lowest <= found <= highest:
            raise ValueError(f"expected {least} to {most}, got {format_duration(found)}")
        return found

    return read


def parse_rate(value: Any) -> Rate:
    """Read a rate such as `600/1m`: so many in a time of 1s to 1d."""
    if isinstance(value, Rate):
        return value
    number, slash, time = string_of(value).partition("/")
    try:
        per = parse_duration(time)
    except ValueError:
        per = timedelta(0)
    if not (slash and number.isascii() and number.isdigit() and len(number) <= MAX_RATE_DIGITS and int(number)):
        per = timedelta(0)
    if not timedelta(seconds=1) <= per <= timedelta(days=1):
        raise ValueError(f"expected a rate such as '600/1m', in a time of 1s to 1d, got {shortened(value)}")
    return Rate(count=int(number), per=per)


def size_within(*, least: str, most: str) -> Callable[[Any], int]:
    """A reader of sizes within bounds, in bytes."""
    lowest, highest = parse_size(least), parse_size(most)

    def read(value: Any) -> int:
        written = string_of(value)
        try:
            found = parse_size(written)
        except ValueError as error:
            raise ValueError(f"{error}, got {shortened(value)}") from None
        if not lowest <= found <= highest:
            raise ValueError(f"expected {least} to {most}, got {format_size(found)}")
        return found

    return read


def parse_array(value: Any) -> Any:
    """An array without duplicates, as a tuple; what is no array is left to the field to refuse."""
    if not isinstance(value, list | tuple):
        return value
    seen: list[object] = []
    for item in value:
        known = item.lower() if isinstance(item, str) else item
        if known in seen:
            raise ValueError(f"expected each entry once, got {shortened(item)} twice")
        seen.append(known)
    return tuple(value)


def toml_type(value: object) -> str:
    """What TOML calls a value's type, with its article."""
    match value:
        case bool():
            return "a boolean"
        case str():
            return "a string"
        case int():
            return "an integer"
        case float():
            return "a float"
        case list() | tuple():
            return "an array"
        case dict():
            return "a table"
        case _:
            return "a date or time"


def string_of(value: Any) -> str:
    """The value, which has to be a string."""
    if not isinstance(value, str):
        raise ValueError(f"expected a string, got {toml_type(value)}")  # noqa: TRY004 - pydantic takes ValueError
    return value


def _matching(pattern: re.Pattern[str], value: Any, expected: str) -> str:
    name = string_of(value)
    if not pattern.fullmatch(name):
        raise ValueError(f"expected {expected}")
    return name


def shortened(value: object) -> str:
    """How a value is named in a message."""
    shown = repr(value) if isinstance(value, str) else toml_type(value)
    return shown if len(shown) <= 42 else f"{shown[:40]}…"
