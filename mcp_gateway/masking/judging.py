"""What makes a pattern's match a hit, and which part of it is the value: checksums, placeholders, neighbours.

A judge sees the text and the span that its pattern matched, and gives the span to mask or None. It looks no further than
`LEFT` bytes before the span's start and `WINDOW` bytes behind it, so that streams can decide in a bounded window.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from typing import TypeAlias

from mcp_gateway.masking.checksums import IBAN_LENGTHS, is_bitcoin_address, is_card_number, is_iban
from mcp_gateway.masking.identities import LABELLED_VALUE

Span: TypeAlias = tuple[int, int]
Judge: TypeAlias = Callable[[bytes, int, int], Span | None]

LEFT = 132
WINDOW = 960
MAX_VALUE = 64
"""How much of an assigned value is looked at to tell whether it is one."""
ALNUM = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
DIGITS = frozenset(b"0123456789")
HEX_DIGITS = frozenset(b"0123456789abcdef")
SEPARATORS = b" .-+/()"
MAX_JOSE_HEADER = 800
SERVICE_ACCOUNTS = frozenset({b"git", b"hg", b"svn"})
"""Local parts of `git@host:path`: a way to write a remote, nobody's mailbox."""
PLACEHOLDERS = frozenset(
    b"null none nil true false string str text bytes undefined required optional password passwd secret token redacted "
    b"hidden masked empty unset default example changeme varchar not the your".split()
)
CALLING_CODES = frozenset(
    "1 7 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 "
    "90 91 92 93 94 95 98".split()
)
"""One- and two-digit country codes of ITU-T E.164; every other code has three digits."""
CALLING_CODES_3 = frozenset({"21", "22", "23", "24", "25", "26", "29", "35", "37", "38", "42", "50", "59", "67", "68", "69", "80", "85", "87", "88", "96", "97", "99"})  # fmt: skip
"""The first two digits of three-digit country codes."""


def _is_at(text: bytes, place: int, members: frozenset[int] | bytes) -> bool:
    return 0 <= place < len(text) and text[place] in members


def _plain(match: bytes) -> str:
    return match.translate(None, SEPARATORS).decode("ascii", "replace").upper()


def _follows_number(text: bytes, start: int) -> bool:
    """Whether this is the fraction of a number, or a later group of an identifier such as a UUID."""
    return _is_at(text, start - 1, b".-") and _is_at(text, start - 2, HEX_DIGITS)


def _one_separator(match: bytes) -> bool:
    return len(set(match) & set(SEPARATORS)) <= 1


IPV4 = re.compile(rb"(?:(?:25[0-5]|2[0-4]\d|[01]?\d{1,2})\.){3}(?:25[0-5]|2[0-4]\d|[01]?\d{1,2})(?:/(\d{1,3}))?\Z")
"""Zeros in front are taken for what they are: some programs write them."""
IBAN_RUN = re.compile(rb"[A-Za-z\d](?:[ \-]?[A-Za-z\d]){1,40}")
LOCAL_REVERSED = re.compile(rb"(?:[\w.%+'\-]|[\x80-\xbf][\xc3-\xd3]){1,64}")
"""A mailbox's name, backwards from its at sign."""


def email(text: bytes, start: int, end: int) -> Span | None:
    """The name before the at sign, without leading punctuation; `git@host` is no mailbox."""
    found = LOCAL_REVERSED.match(text[max(0, start - LEFT) : start][::-1])
    if found is None:
        return None
    local = found.group()[::-1].lstrip(b".-'%+")
    return None if local in SERVICE_ACCOUNTS or not local else (start - len(local), end)


def _inside(text: bytes, start: int) -> int:
    """Past the underscore or letter that a pattern took for an edge."""
    return start + (text[start] not in DIGITS)


def _past_underscore(text: bytes, start: int) -> int:
    return start + (text[start] == 0x5F)


def card(text: bytes, start: int, end: int) -> Span | None:
    """A whole run of digits (not the fraction of a number) that is a card number."""
    start = _inside(text, start)
    if _is_at(text, start - 1, DIGITS) or _follows_number(text, start):
        return None
    # One letter before it is most often another hexadecimal digit; a word ("card4111...") is not.
    if _is_at(text, start - 1, ALNUM) and not (_is_at(text, start - 2, ALNUM) and not _is_at(text, start - 2, DIGITS)):
        return None
    return _longest_part(text, start, end, lambda match: is_card_number(_plain(match)))


def spaced_card(text: bytes, start: int, end: int) -> Span | None:
    """Digits one by one with the same separator between each."""
    if _is_at(text, start - 1, ALNUM) or not _one_separator(text[start:end]):
        return None
    return _longest_part(text, start, end, lambda match: is_card_number(_plain(match)))


def _longest_part(text: bytes, start: int, end: int, check: Callable[[bytes], bool]) -> Span | None:
    """As many groups of digits as pass a check: what follows a number, its date of expiry or another number, can look
    like one more group of it.
    """
    match = text[start:end]
    while match:
        if not _is_at(text, start + len(match), ALNUM) and check(match):
            return start, start + len(match)
        match = match.rstrip(b"0123456789").rstrip(SEPARATORS)
    return None


def iban(text: bytes, start: int, end: int) -> Span | None:  # noqa: ARG001 - the form of a judge
    """As many characters as the country's account numbers have, with one space or hyphen between any two."""
    start = _past_underscore(text, start)
    wanted = IBAN_LENGTHS[text[start : start + 2].decode().upper()]
    found = IBAN_RUN.match(text, start, start + 2 * wanted)
    place, match = start, found.group() if found else b""
    compact = match.translate(None, b" -")[:wanted]
    if len(compact) < wanted or (compact != compact.upper() and compact != compact.lower()):
        return None
    for byte in match:
        place += 1
        wanted -= byte in ALNUM
        if not wanted:
            break
    return None if _is_at(text, place, ALNUM) or not is_iban(compact.decode().upper()) else (start, place)


def bitcoin(text: bytes, start: int, end: int) -> Span | None:
    """A whole word whose checksum holds."""
    start = _past_underscore(text, start)
    if _is_at(text, end, ALNUM) or _is_at(text, start - 1, ALNUM):
        return None
    return (start, end) if is_bitcoin_address(text[start:end].decode()) else None


def identity(check: Callable[[str], bool], *, same_separators: bool) -> Judge:
    """A judge for one kind of identity number, which stands alone between characters that are no letters or digits."""

    def judge(text: bytes, start: int, end: int) -> Span | None:
        start = _past_underscore(text, start)
        if _is_at(text, end, ALNUM) or _is_at(text, start - 1, ALNUM):
            return None
        if _follows_number(text, start) or (text[end : end + 1] == b"-" and _is_at(text, end + 1, DIGITS)):
            return None
        match = text[start:end]
        if same_separators and not _one_separator(match):
            return None
        return (start, end) if check(_plain(match)) else None

    return judge


def labelled_identity(text: bytes, start: int, end: int) -> Span | None:
    """At least five digits behind the label, and no date."""
    found = LABELLED_VALUE.search(text[start:end])
    if found is None or _is_at(text, end, ALNUM):
        return None
    value = found.group()
    if sum(byte in DIGITS for byte in value) < 5 or re.match(rb"(?:19|20)\d\d-\d\d-\d\d", value):
        return None
    return start + found.start(), end


def phone(text: bytes, start: int, end: int) -> Span | None:
    """International form with a known country code, or 10 to 11 digits in a national form."""
    start = _past_underscore(text, start)
    return None if _is_at(text, start - 1, ALNUM) else _longest_part(text, start, end, _is_phone)


def _is_phone(match: bytes) -> bool:
    digits = bytes(byte for byte in match if byte in DIGITS).decode()
    if match[:1] != b"+" and match[:2] != b"00":
        return 10 <= len(digits) <= 11
    digits = digits.removeprefix("00")
    known = digits[:1] in {"1", "7"} or digits[:2] in CALLING_CODES or digits[:2] in CALLING_CODES_3
    return known and 8 <= len(digits) <= 15


def ipv4(text: bytes, start: int, end: int) -> Span | None:
    """Exactly four numbers up to 255, with a prefix length where that is one."""
    start = _past_underscore(text, start)
    if _is_at(text, start - 1, ALNUM) or text[start - 1 : start] == b".":
        return None
    found = IPV4.match(text, start, end)
    if found is None or _is_at(text, end, ALNUM):
        return None
    length = found[1]
    return start, (end if length is None or int(length) <= 32 else found.start(1) - 1)


def ipv6(text: bytes, start: int, end: int) -> Span | None:
    """What parses as an address, has a digit in it (`dead::` and the like are words) and is no part of a chain."""
    start = _past_underscore(text, start)
    if _is_at(text, start - 1, ALNUM) or text[start - 1 : start] == b":":
        return None
    address, slash, length = text[start:end].partition(b"/")
    if _is_at(text, end, ALNUM) or text[end : end + 1] == b":" or not any(byte in DIGITS for byte in address):
        return None
    try:
        ipaddress.IPv6Address(address.decode())
    except ipaddress.AddressValueError:
        return None
    return start, (end if slash and int(length) <= 128 else start + len(address))


def mac_address(text: bytes, start: int, end: int) -> Span | None:
    """Six pairs with one separator, not part of a longer fingerprint."""
    start = _past_underscore(text, start)
    match = text[start:end]
    if _is_at(text, start - 1, ALNUM) or _is_at(text, end, ALNUM) or text[start - 1 : start] in {b":", b"-"}:
        return None
    return (start, end) if len(match) in {14, 17} and _separators_alike(match) else None


def _separators_alike(match: bytes) -> bool:
    return len({byte for byte in match if byte not in ALNUM}) == 1


def whole_word(text: bytes, start: int, end: int) -> Span | None:
    """A token that is not the middle of something longer."""
    return None if _is_at(text, start - 1, ALNUM) else (start, end)


def after_sign(text: bytes, start: int, end: int) -> Span | None:
    """`AccountKey=<key>`: the key."""
    return text.index(b"=", start, end) + 1, end


def json_web_token(text: bytes, start: int, end: int) -> Span | None:
    """The first part is base64url of a JSON object that names an algorithm."""
    header, dot, _ = text[start : start + MAX_JOSE_HEADER].partition(b".")
    if not dot or not header.replace(b"-", b"").replace(b"_", b"").isalnum():
        return None
    end = start + len(header) + 1
    try:
        plain = base64.urlsafe_b64decode(header + b"=" * (-len(header) % 4))
    except (binascii.Error, ValueError):
        return None
    return (start, end) if b'"alg"' in plain or b'"enc"' in plain else None


URL_PASSWORD = re.compile(rb"[^\s\"'<>/\x00-\x1f]{1,256}@")


def url_password(text: bytes, start: int, end: int) -> Span | None:  # noqa: ARG001 - the form of a judge
    """`://user:password@`: the password, to the last at sign before the path."""
    colon = text.index(b":", start + 3)
    found = URL_PASSWORD.match(text, colon + 1, min(len(text), colon + 1 + 257))
    if found is None or is_placeholder(found.group()[:-1]):
        return None
    return colon + 1, found.end() - 1


BASE64_RUN = re.compile(rb"[A-Za-z\d+/]{6,600}={0,2}")


def basic_credentials(text: bytes, start: int, end: int) -> Span | None:  # noqa: ARG001 - the form of a judge
    """`Basic <base64>` where the base64 holds `user:password`."""
    found = BASE64_RUN.match(text, end - 6, end + 600)
    value = found.group().rstrip(b"=") if found else b""
    try:
        plain = base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return (end - 6, end - 6 + len(value)) if b":" in plain else None


BEARER_RUN = re.compile(rb"[\w.~+/\-]{12,64}")


def bearer_credentials(text: bytes, start: int, end: int) -> Span | None:  # noqa: ARG001 - the form of a judge
    """`Bearer <token>`, where the token is not a word."""
    found = BEARER_RUN.match(text, end - 12, end + 52)
    return None if found is None or _is_word(found.group()) else found.span()


AUTH_SCHEME = re.compile(rb"(?i:basic|bearer|digest|negotiate|token|apikey)[ \t]{1,2}")


def header_credentials(text: bytes, start: int, end: int) -> Span | None:
    """`Authorization: <scheme> <credentials>`, `Cookie: ...`: all behind the colon."""
    match = text[start:end]
    place = start + 1 + min(found for found in (match.find(b":"), match.find(b"=")) if found >= 0)
    while place < end and text[place] in b" \t\"'\\":
        place += 1
    scheme = AUTH_SCHEME.match(text, place, end)
    place = scheme.end() if scheme else place
    return None if is_placeholder(text[place:end]) else (place, end)


BARE_VALUE = re.compile(rb"[^\s\"'\x00-\x1f,;&\\]{1,64}")
QUOTED_VALUE = re.compile(rb"[^\"'\x00-\x1f\\]{1,64}")


def _assigned(text: bytes, start: int, end: int) -> tuple[Span, bytes, bool] | None:
    """Span and bytes of an assignment's value, and whether it reads like prose: `password: forgotten`."""
    match = text[start:end]
    sign = min(place for place in (match.find(b":"), match.find(b"=")) if place >= 0)
    value = match[sign + 1 :].lstrip(b"> \t")
    quoted = value[:1] in {b'"', b"'", b"\\"}
    place = end - (len(value.lstrip(b"\\")) - 1 if quoted else len(value))
    found = (QUOTED_VALUE if quoted else BARE_VALUE).match(text, place, place + MAX_VALUE)
    if found is None or is_placeholder(found.group()):
        return None
    prose = not quoted and match[sign : sign + 1] == b":" and found.group().decode("utf-8", "ignore").isalpha()
    return found.span(), found.group(), prose


def assigned_value(text: bytes, start: int, end: int) -> Span | None:
    """`password = value`: the value, unless it is a placeholder or reads like prose or a type."""
    found = _assigned(text, start, end)
    return None if found is None or found[2] else found[0]


def assigned_token(text: bytes, start: int, end: int) -> Span | None:
    """`token = value` and the like: the value, where it is not a word."""
    found = _assigned(text, start, end)
    return None if found is None or _is_word(found[1]) else found[0]


def _is_word(value: bytes) -> bool:
    return not any(byte in DIGITS for byte in value) and (value.islower() or value.isupper() or len(value) < 12)


PLACEHOLDER = re.compile(
    rb"\$[{(]|\$\d{1,3}\Z|\$[A-Z_][A-Z\d_]{0,62}\Z|\$env:|%[sdr(]|<[\w .\-]{1,62}>?\Z|\{\{?[\w .\-$]{0,60}\}?|\[[a-z]|process\.|os\.|env[.(\[]"
)
"""How templates, shells and drivers write "the value goes here", and the markers that stand for a masked value."""


def is_placeholder(value: bytes) -> bool:
    """Whether a value only stands for one: `null`, `${PASSWORD}`, `<password>`, `$1`, `****`, `[masked]`, a call."""
    bare = value.lower().strip(b",;.)]}")
    return (
        bare in PLACEHOLDERS
        or not bare.strip(b"*x.-_")
        or value.endswith(b"(")
        or b"()" in value
        or PLACEHOLDER.match(value) is not None
    )
