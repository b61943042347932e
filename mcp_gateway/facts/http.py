"""What a request would ask of whom: one normal form of its URL, and the headers it may carry. Pure.

The agent gives a path below the target's `base_url`; nothing it writes can name a scheme or an authority, leave the
base, or be read in two ways: what could be is refused, not repaired. The rest has one normal form (RFC 3986 section 6):
`.` and `..` that stay below the base are resolved, what needs no percent-encoding has none, what is encoded is upper
case, and a fragment, which no request carries, is left out. What is decided is what is sent, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from unicodedata import category, normalize
from urllib.parse import quote, unquote_plus, unquote_to_bytes, urlsplit

MAX_PATH_BYTES = 8 * 1024
METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
"""No CONNECT, no TRACE: the first leaves the target, the second echoes the credential."""

PATH = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*")
"""`path` of RFC 3986 section 3.3."""
QUERY = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*")
"""`query` and `fragment` of RFC 3986 sections 3.4 and 3.5."""
AMBIGUOUS = re.compile(r"%(?:2[fFeE]|5[cC]|25|00|0[aAdD]|3[bB]|23|3[fF]|7[fF]|[01][0-9a-fA-F])")
"""Octets in a path that servers disagree about: `/ . \\ %`, controls, `; # ?`."""

LITERAL = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~!$&'()*+,=:@")
"""Octets that stand for themselves in a path; encoded, they would be a second spelling of what policy looks at."""
DELIMITERS = frozenset("/\\.%;?#")
LOOK_ALIKES = frozenset("\u00a5\u20a9\u2044\u2215\u2216\u29f5\u29f8\u29f9")
"""What some of Windows' code pages have a slash or a backslash for, though Unicode does not."""
NOT_IN_A_QUERY = re.compile(r'["<>\[\\\]^`{|}]')
"""Characters that RFC 3986 has in no query and every client writes percent-encoded or leaves: they have one reading."""
METHOD_OVERRIDE = re.compile(
    r"[\s\[\]]*(?:[_.\[ ]_?(?:http_?)?method|\$(?:http)?method|x-http-method(?:-override)?|x-(?:method-override|tunneled-method))"
    r"(?:[\s\[\]\x00].*)?\Z",
    re.IGNORECASE | re.DOTALL,
)
"""A field by which some frameworks let a POST be another method, which policy would not see, in each spelling that PHP,
Rack and their like take for the same: `.method` and ` _method[]` are some."""
MAX_DECODINGS = 3
WIDE_ESCAPE = re.compile("%u([0-9a-f]{4})", re.IGNORECASE)
"""Of ASP.NET and JavaScript's `escape`."""

SCHEME = re.compile(r"/(?:(?P<web>https?)|[A-Za-z][A-Za-z0-9+.\-]*):", re.IGNORECASE)
"""Of a path: what would be a scheme without its slash."""
HOST_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9\-_]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9\-_]*[a-z0-9_])?)*\.?\Z")
NUMERIC = re.compile(r"(?:\A|\.)(?:[0-9]+|0x[0-9a-f]*)\.?\Z")
"""A last label that some resolver reads as a number (WHATWG URL, "ends in a number")."""
MAX_HOST_BYTES = 253

NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
"""`token` of RFC 9110 section 5.6.2."""
FIELD_NAME = re.compile(rf"{NAME}\Z")
FIELD_VALUE = re.compile(r"[\t\x20-\x7e]*\Z")
MEDIA_TYPE = re.compile(
    r"(?!application/x-www-form-urlencoded[^;\s])(?!multipart/[^;\s]*json)"
    rf'(?:{NAME}/{NAME}(?:[ \t]*;(?:[ \t]*{NAME}=(?:{NAME}|"(?:[^"\\]|\\.)*"))?)*)?\Z',
    re.IGNORECASE,
)
"""RFC 9110 section 8.3.1. To some servers (PHP, Rack) a type ends at a comma or a space too, and is then another one; to some
(ASP.NET, Undertow) what only begins like a form's type is a form, and to others what ends in JSON's suffix is JSON."""
ALWAYS_ALLOWED = frozenset(
    {
        "accept", "accept-language", "content-type", "if-match", "if-modified-since", "if-none-match", "if-range",
        "if-unmodified-since", "range", "x-request-id",
    }
)  # fmt: skip
NEVER_ALLOWED = re.compile(
    r"(?:(?:proxy-)?authorization|cookie2?|host|connection|keep-alive|te|trailer|transfer-encoding|upgrade|via|expect"
    r"|content-length|content-encoding|forwarded|x-forwarded-.*|x-real-ip|x-original-.*|x-rewrite-url|.*method-override|x-http-method|x-tunneled-method"
    r"|metadata(?:-flavor)?|x-aws-ec2-.*|x-google-.*|x-amz-security-token|proxy-.*|sec-.*)\Z"
)
"""Headers that no agent may set whatever the configuration says: credentials, routing, framing, method overrides, metadata,
and what would make another body of the one that policy looked at. To servers behind CGI and WSGI `_` is `-`."""


class RequestRefusedError(ValueError):
    """The request has no form that can be sent; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A request in its normal form: exactly what is sent."""

    method: str
    scheme: str
    host: str
    """Lower case, A-labels; IPv6 without brackets."""
    port: int
    path: str
    """Never empty: that is sent as `/`."""
    query: str
    headers: tuple[tuple[str, str], ...]
    base_path: str = ""
    """What of `path` is the target's own, without its last slash."""

    @property
    def content_type(self) -> str:
        """As the agent gave it; empty if it did not."""
        return dict(self.headers).get("content-type", "")

    @property
    def url(self) -> str:
        """The whole URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        standard = self.port == {"http": 80, "https": 443}[self.scheme]
        authority = host if standard else f"{host}:{self.port}"
        return f"{self.scheme}://{authority}{self.path}{'?' + self.query if self.query else ''}"


def resolve(
    base_url: str,
    path: str,
    *,
    method: str = "GET",
    query: Mapping[str, str | Sequence[str]] | None = None,
    headers: Mapping[str, str] | None = None,
    allowed_headers: Sequence[str] = (),
) -> Resolved:
    """Append `path` to `base_url` and check everything about the request.

    Raises:
        RequestRefusedError: the path leaves the base or can be read in two ways, a method or header that is not allowed.
    """
    if method not in METHODS:
        raise RequestRefusedError(f"the method {method!r} is not one of {', '.join(sorted(METHODS))}")
    scheme, host, port, base_path = split_base(base_url)
    own_path, own_query = _path(path)
    whole_query = "&".join(part for part in (own_query, _encoded(query or {})) if part)
    _check_query(whole_query)
    return Resolved(
        method=method,
        scheme=scheme,
        host=host,
        port=port,
        path=f"{base_path}{own_path}" or "/",
        query=whole_query,
        headers=_headers(headers or {}, allowed_headers),
        base_path=base_path,
    )


def split_base(base_url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path (without its last slash) of a target's `base_url`.

    Raises:
        RequestRefusedError: it is not a plain http or https URL.
    """
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        raise RequestRefusedError("the base URL cannot be parsed") from None
    if parts.scheme not in {"http", "https"} or parts.username is not None or parts.query or parts.fragment:
        raise RequestRefusedError("a base URL is http or https, without user, query or fragment")
    if not parts.hostname:
        raise RequestRefusedError("the base URL names no host")
    path = parts.path.rstrip("/")
    _check_base_path(path)
    return parts.scheme, _host(parts.hostname), port or {"http": 80, "https": 443}[parts.scheme], path


def _written(address: IPv4Address | IPv6Address) -> str:
    """An address in RFC 5952's form; an IPv4 one within it in hexadecimal, since Python writes it so before 3.13 only."""
    inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(address) if inner is None else "::ffff:{:x}:{:x}".format(*divmod(int(inner), 1 << 16))


def _host(name: str) -> str:
    """A host in its one spelling; every other spelling of an address (octal, hexadecimal, short) is refused."""
    name = name.lower()
    if ":" in name or NUMERIC.search(name):
        try:
            address = ip_address(name)
            if "%" in name:
                raise ValueError("a zone is no part of a host")
        except ValueError:
            raise RequestRefusedError(f"the host {name!r} is an address in a spelling that is not its own") from None
        return _written(address)
    if not HOST_NAME.match(name) or len(name) > MAX_HOST_BYTES:
        raise RequestRefusedError(
            f"the host {name!r} is not a name; write a name in other letters as its A-label (xn--)"
        )
    return name


def _path(path: str) -> tuple[str, str]:
    """The agent's path, with one leading slash, and its query."""
    if len(path.encode(errors="replace")) > MAX_PATH_BYTES:
        raise RequestRefusedError(f"the path is longer than {MAX_PATH_BYTES:,} bytes")
    path, _, fragment = path.partition("#")
    _check_written(fragment, QUERY, what="fragment")
    own, _, query = path.partition("?")
    own = own if own.startswith("/") or not own else f"/{own}"
    _check_path(own)
    own = normal_path(_without_dots(own))
    scheme = SCHEME.match(own)
    if scheme and (not path.startswith("/") or scheme["web"] or own[scheme.end() :][:1] in {"", "/"}):
        raise RequestRefusedError("a path names no scheme; one with a colon in its first segment begins with a slash")
    query = NOT_IN_A_QUERY.sub(lambda found: quote(found[0]), query)
    _check_written(query, QUERY, what="query")
    return own, query


def _check_path(path: str) -> None:
    check_characters(path)
    if "//" in path:
        raise RequestRefusedError("a path holds no empty segment")
    if ";" in path:
        raise RequestRefusedError("a path holds no parameters after a semicolon: servers disagree about them")


def _check_base_path(path: str) -> None:
    """What an operator writes is for the operator to know; with dots a base would not be one."""
    check_characters(path)
    if any(segment.split(";", 1)[0] in {".", ".."} for segment in path.split("/")):
        raise RequestRefusedError("the path of a base URL holds no . or .. segment")


def check_characters(path: str) -> None:
    """Refuse a path, or a part of one, that can be read in two ways. Raises `RequestRefusedError`."""
    if "\\" in path:
        raise RequestRefusedError("a path holds no backslash")
    _check_written(path, PATH, what="path")
    if AMBIGUOUS.search(path):
        raise RequestRefusedError("the path holds an encoded slash, dot, percent sign, delimiter or control character")


def _check_written(text: str, allowed: re.Pattern[str], *, what: str) -> None:
    """Refuse what has a character that can only stand there percent-encoded, or not at all."""
    found = allowed.match(text)
    wrong = text[found.end() if found else 0 :][:1]
    if wrong == "%":
        raise RequestRefusedError(f"the {what} holds a percent sign that begins no escape")
    if wrong and not wrong.isprintable():
        raise RequestRefusedError(f"the {what} holds U+{ord(wrong):04X}, which no {what} may hold")
    if wrong:
        raise RequestRefusedError(f"the {what} holds {wrong!r}, which has to be percent-encoded: {quote(wrong)}")


def _without_dots(path: str) -> str:
    """The path without `.` and `..` (RFC 3986 section 5.2.4), which may not lead above where it begins."""
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            if len(kept) < 2:
                raise RequestRefusedError("the path leads above the target's base URL")
            kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    return "/".join(kept)


def normal_path(path: str) -> str:
    """The path in its one spelling (RFC 3986 section 6.2.2): `/%61dmin` is `/admin`, and what is left is upper case."""
    octets = unquote_to_bytes(path)
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        raise RequestRefusedError("the path is not UTF-8: servers disagree about what it is") from None
    for character in text:
        if character in LOOK_ALIKES or (
            not character.isascii() and DELIMITERS.intersection(normalize("NFKC", character))
        ):
            raise RequestRefusedError(
                f"the path holds U+{ord(character):04X}, which some servers take for a dot, a slash or another delimiter"
            )
    if any(_is_hidden_dots(segment) for segment in text.split("/")):
        raise RequestRefusedError("the path holds a segment that some servers take for . or ..")
    return re.sub("%(..)", _one_spelling, path)


def _is_hidden_dots(segment: str) -> bool:
    """Whether a decoded segment is dots to who leaves out blanks, as Windows does behind a name, and what is not seen."""
    seen = "".join(character for character in segment if category(character)[0] not in "CZ")
    return seen != segment and seen in {".", ".."}


def _one_spelling(escape: re.Match[str]) -> str:
    octet = int(escape[1], 16)
    return chr(octet) if octet in LITERAL else f"%{octet:02X}"


def _check_query(query: str) -> None:
    if any(overrides_method(part.partition("=")[0]) for part in re.split("[&;]", query)):
        raise RequestRefusedError("a query changes no method; give the method that is meant")


def overrides_method(name: str) -> bool:
    """Whether a field of a query or a form would change the request's method, however often its name is encoded."""
    for _ in range(MAX_DECODINGS):
        if METHOD_OVERRIDE.match(name):
            return True
        name, before = unquote_plus(WIDE_ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), name)), name
        if name == before:
            return False
    return bool(METHOD_OVERRIDE.match(name))


def _encoded(query: Mapping[str, str | Sequence[str]]) -> str:
    pairs = [(name, item) for name, value in query.items() for item in ([value] if isinstance(value, str) else value)]
    try:
        return "&".join(f"{quote(name, safe='')}={quote(item, safe='')}" for name, item in pairs)
    except UnicodeEncodeError:
        raise RequestRefusedError("the query holds a lone surrogate") from None


def _headers(headers: Mapping[str, str], allowed: Sequence[str]) -> tuple[tuple[str, str], ...]:
    may = ALWAYS_ALLOWED | {name.lower() for name in allowed}
    found: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        if not FIELD_NAME.match(name) or not FIELD_VALUE.match(value):
            raise RequestRefusedError(f"the header {name!r} has a name or value that is not one line of plain text")
        if NEVER_ALLOWED.match(lower.replace("_", "-")) or lower not in may:
            raise RequestRefusedError(f"the header {name!r} is not one that an agent may set for this target")
        if lower in found:
            raise RequestRefusedError(f"the header {name!r} is given twice")
        found[lower] = value.strip(" \t")
    if not MEDIA_TYPE.match(found.get("content-type", "")):
        raise RequestRefusedError(
            "the content type is not one type and its parameters, such as 'text/csv; header=present'"
        )
    if "," in found.get("range", "") and found["range"].lower().startswith("bytes"):
        raise RequestRefusedError("a request asks for one range of bytes at a time")
    return tuple(sorted(found.items()))
