"""How single values of the configuration are read: the grammar of names, paths, addresses and URLs. Pure.

Each reader takes what TOML gave and returns the value or raises `ValueError`, whose text says what was expected.
It says what was got only where that cannot be a secret: people paste credentials into the wrong key.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from mcp_gateway.quantities import format_duration, format_size, parse_duration, parse_size
from mcp_gateway.rates import Rate

MAX_RATE_DIGITS = 7

T = TypeVar("T")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_TOOL_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TARGET_NAME = re.compile(r"[a-z0-9_-]{1,64}", re.ASCII)
_CLASS_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252})", re.ASCII)
_NUMERIC_HOST = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?", re.ASCII)
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,200}", re.ASCII)  # RFC 6749 section 3.3
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)  # RFC 9110 section 5.6.2
_DOT_SEGMENT = re.compile(r"(?:\.|%2e){1,2}", re.IGNORECASE)
_NO_PATH = "expected an absolute path without '..'; '~' and variables are not replaced"
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HIDDEN_SEPARATOR = re.compile(r"%2f|%5c|%00", re.IGNORECASE)

LINK_LOCAL = tuple(ipaddress.ip_network(text) for text in ("169.254.0.0/16", "fe80::/10"))
METADATA = tuple(
    ipaddress.ip_network(text)
    for text in ("169.254.169.254/32", "100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32", "fd00:ec2::/32")
)
"""Where clouds serve credentials to whoever asks from inside; the last is Amazon's, inside a private range."""

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
    line = _string(value)
    if not line or not line.isprintable() or len(line) > 1000:
        raise ValueError("expected 1 to 1,000 printable characters on one line")
    return line


def parse_description(value: Any) -> str:
    """At most 500 printable characters on one line; it is shown to agents."""
    line = _string(value)
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
    name = _string(value)
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
        raise ValueError(f"{_NO_PATH}, got {_short(str(value))}")
    return path


def parse_credential_path(value: Any) -> Path:
    """The absolute path of a file with a credential. What else stands here is not repeated: it may be the credential."""
    try:
        return parse_absolute_path(value)
    except ValueError:
        raise ValueError(_NO_PATH) from None


def parse_host(value: Any) -> str:
    """A host name or an address."""
    name = _string(value)
    if not _is_host(name):
        raise ValueError(f"expected a host name or an address, without scheme, port or path{_got(name)}")
    return name


def parse_host_or_socket(value: Any) -> str:
    """A host name, an address, or the absolute path of the folder with a server's socket."""
    if isinstance(value, str) and value.startswith("/"):
        return str(parse_absolute_path(value))
    return parse_host(value)


def parse_listen(value: Any) -> str:
    """`address:port`, where the address is an IP address or `localhost`; port 0 lets the system choose."""
    given = _string(value)
    name, colon, port = given.rpartition(":")
    bare = name.removeprefix("[").removesuffix("]") if name.startswith("[") else name
    known = bare == "localhost" or (_address(bare) is not None and (":" in bare) == name.startswith("["))
    if not colon or not known or not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or int(port) > 65535:
        example = "'127.0.0.1:8765', '[::1]:8765' or '0.0.0.0:8765'"
        raise ValueError(f"expected address:port, such as {example}{_got(given)}")
    return f"{name}:{int(port)}"


def split_listen(value: str) -> tuple[str, int]:
    """The address, without brackets, and the port of what `parse_listen` has read."""
    name, _, port = value.rpartition(":")
    return name.removeprefix("[").removesuffix("]"), int(port)


def parse_gateway_url(value: Any) -> str:
    """The URL of a running gateway, without its last slash: tokens go there, so it is https or on this machine."""
    parts = _split_url(_string(value))
    if parts is None or parts.query:
        example = "'https://gateway.example.com'"
        raise ValueError(f"expected a URL such as {example}, without user, query or fragment{_got(value)}")
    _check_secure(parts, "a gateway's URL")
    return parts.geturl().rstrip("/")


def is_loopback(name: str) -> bool:
    """Whether a host is this machine for certain: `localhost` or a loopback address."""
    address = _address(name)
    return name.lower() == "localhost" if address is None else address.is_loopback


def parse_issuer(value: Any) -> str:
    """`local`, or an issuer's URL exactly as its tokens have it."""
    name = _string(value)
    if name != "local":
        parts = _split_url(name)
        if parts is None or parts.query:
            raise ValueError(f"expected 'local' or the https URL of an OpenID provider, without query{_got(name)}")
        _check_secure(parts, "an issuer's URL")
    return name


def parse_decision_url(value: Any) -> str:
    """The URL of a decision in an external decision point."""
    name = _string(value)
    parts = _split_url(name)
    if parts is None or parts.path in {"", "/"}:
        raise ValueError("expected the URL of a decision, such as 'https://opa.internal/v1/data/gateway/decision'")
    _check_secure(parts, "a decision point's URL")
    return name


def parse_origin(value: Any) -> str:
    """An origin as browsers send it (RFC 6454 section 7): scheme, host, port."""
    name = _string(value)
    parts = _split_url(name)
    if parts is None or parts.path or parts.query or name != name.lower():
        example = "'https://console.example.com'"
        raise ValueError(f"expected an origin such as {example}, in lower case, without path{_got(name)}")
    _check_secure(parts, "an origin")
    return name


def parse_public_url(value: Any) -> str:
    """The URL under which clients reach the gateway, without a path."""
    name = _string(value)
    parts = _split_url(name)
    if parts is None or parts.path not in {"", "/"} or parts.query:
        raise ValueError(f"expected a URL such as 'https://gateway.example.com', without path or query{_got(name)}")
    _check_secure(parts, "public_url")
    return name.removesuffix("/")


def parse_base_url(value: Any) -> str:
    """The URL below which all requests to a target stay. Whether `http` is allowed depends on `networks`."""
    name = _string(value)
    parts = _split_url(name)
    if parts is None or parts.query or "?" in name:
        raise ValueError("expected a URL such as 'https://billing.internal/v1', without user, query or fragment")
    segments = parts.path.split("/")
    if any(_DOT_SEGMENT.fullmatch(segment) for segment in segments) or "" in segments[1:-1]:
        raise ValueError("expected a path without '.', '..' and empty segments")
    if _BROKEN_ESCAPE.search(parts.path) or _HIDDEN_SEPARATOR.search(parts.path):
        raise ValueError("expected a path without encoded slashes, backslashes, NULs and broken escapes")
    return name.rstrip("/")


def parse_path_below(value: Any) -> str:
    """A path below a base URL, in the one form in which it is sent."""
    from mcp_gateway.facts.http import RequestRefusedError, resolve

    path = _string(value)
    try:
        normal = resolve("https://host", path).path
    except RequestRefusedError as error:
        raise ValueError(f"expected a path such as '/graphql': {error}") from None
    if not path.startswith("/") or path != normal or path == "/":
        raise ValueError(f"expected a path such as '/graphql', in its normal form and not '/', got {_short(path)}")
    return path


def url_host(url: str) -> str:
    """The host of a URL that one of these readers has read, without brackets."""
    return urlsplit(url).hostname or ""


def parse_network(value: Any) -> Network:
    """A range of addresses that a target's name may resolve to, beside public ones."""
    if isinstance(value, Network):
        found = value
    else:
        try:
            found = ipaddress.ip_network(_string(value))
        except ValueError:
            raise ValueError(f"expected a range such as '10.0.0.0/8', without host bits, got {_short(value)}") from None
    if any(found.version == taboo.version and found.overlaps(taboo) for taboo in LINK_LOCAL):
        raise ValueError(f"the range {str(found)!r} holds link-local addresses, which are never allowed")
    if any(found.version == taboo.version and found.subnet_of(taboo) for taboo in METADATA):  # type: ignore[arg-type]
        raise ValueError(f"the range {str(found)!r} belongs to a cloud's metadata service, which is never allowed")
    if found.is_multicast or found.prefixlen == 0:
        raise ValueError(f"the range {str(found)!r} is not one of a private network")
    return found


def duration_within(*, least: str, most: str) -> Callable[[Any], timedelta]:
    """A reader of durations within bounds."""
    lowest, highest = parse_duration(least), parse_duration(most)

    def read(value: Any) -> timedelta:
        if isinstance(value, timedelta):
            found = value
        elif isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            raise ValueError(f"expected a duration with its unit, such as '{value}s', got {value}")
        else:
            written = _string(value)
            try:
                found = parse_duration(written)
            except ValueError as error:
                raise ValueError(f"{error}, got {_short(value)}") from None
        if not lowest <= found <= highest:
            raise ValueError(f"expected {least} to {most}, got {format_duration(found)}")
        return found

    return read


def parse_rate(value: Any) -> Rate:
    """Read a rate such as `600/1m`: so many in a time of 1s to 1d."""
    if isinstance(value, Rate):
        return value
    number, slash, time = _string(value).partition("/")
    try:
        per = parse_duration(time)
    except ValueError:
        per = timedelta(0)
    if not (slash and number.isascii() and number.isdigit() and len(number) <= MAX_RATE_DIGITS and int(number)):
        per = timedelta(0)
    if not timedelta(seconds=1) <= per <= timedelta(days=1):
        raise ValueError(f"expected a rate such as '600/1m', in a time of 1s to 1d, got {_short(value)}")
    return Rate(count=int(number), per=per)


def size_within(*, least: str, most: str) -> Callable[[Any], int]:
    """A reader of sizes within bounds, in bytes."""
    lowest, highest = parse_size(least), parse_size(most)

    def read(value: Any) -> int:
        written = _string(value)
        try:
            found = parse_size(written)
        except ValueError as error:
            raise ValueError(f"{error}, got {_short(value)}") from None
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
            raise ValueError(f"expected each entry once, got {_short(item)} twice")
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


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a string, got {toml_type(value)}")  # noqa: TRY004 - pydantic takes ValueError
    return value


def _matching(pattern: re.Pattern[str], value: Any, expected: str) -> str:
    name = _string(value)
    if not pattern.fullmatch(name):
        raise ValueError(f"expected {expected}")
    return name


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name) if "%" not in name else None
    except ValueError:
        return None


def _split_url(url: str) -> SplitResult | None:
    """The parts of an http(s) URL of plain ASCII with a host, without user and fragment; None for all else."""
    if not re.fullmatch(r"[!-~]{1,2000}", url, re.ASCII) or set('\\"<>^`{|}#@') & set(url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    name = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or port == 0 or parts.netloc.endswith(":"):
        return None
    return parts if _is_host(name) else None


def _is_host(name: str) -> bool:
    """Resolvers read `127.1` and `0x7f000001` as addresses, so only whole addresses may look like one."""
    return _address(name) is not None or bool(_HOST.fullmatch(name) and not _NUMERIC_HOST.fullmatch(name))


def _check_secure(parts: SplitResult, what: str) -> None:
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ValueError(f"{what} is https, or http on loopback{got_origin(parts)}")


def got_origin(parts: SplitResult) -> str:
    """Scheme, host and port of a URL that was given; never a user, and never a path, which may hold a key."""
    place = parts.netloc.rpartition("@")[2]
    return f", got {_short(f'{parts.scheme}://{place}')}"


def _got(text: str) -> str:
    """What stands where a place should; nothing of what may hold a password or a key."""
    return "" if set("@?") & set(text) or not text.isprintable() else f", got {_short(text)}"


def _short(value: object) -> str:
    shown = repr(value) if isinstance(value, str) else toml_type(value)
    return shown if len(shown) <= 42 else f"{shown[:40]}…"
