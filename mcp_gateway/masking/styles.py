"""What stands in the place of a masked value.

redact   the class in brackets: `[pii.email]`
last4    the class and the last four letters or digits, `[payment.card *1111]`; of `payment.*` only
hash     the class and a keyed fingerprint, `[pii.email#kbdjfoaehc...]`: equal values stay equal, and nothing else shows
null     nothing: a cell becomes null; inside a longer text, which cannot be null, it is the marker of `redact`
token    accepted, acts as `redact` until reversible tokens exist

Every marker is printable ASCII without quotes and backslashes, so it stands in JSON as it is, and no detector finds
anything in one: masking what is masked changes nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Literal, Protocol, TypeAlias, get_args

from mcp_gateway.errors import Problem
from mcp_gateway.masking.judging import ALNUM

Style: TypeAlias = Literal["redact", "last4", "hash", "null", "token"]
STYLES: tuple[Style, ...] = get_args(Style)

UNSURE = "[masked]"
"""For a value that is masked with more classes than a marker can name."""
MAX_NAMED = 3
"""Classes that a marker names."""
MIN_LAST4 = 12
"""A value with fewer letters and digits than this would be given away by its last four."""
HASH_LETTERS = 20
"""80 bits: collisions are out of reach for the values of one target."""
KEY_LABEL = b"mcp-gateway/masking/hash/v1/"
TO_LETTERS = bytes.maketrans(b"0123456789abcdef", b"abcdefghijklmnop")


class Running(Protocol):
    """A fingerprint in the making, for a value that arrives in pieces."""

    def update(self, data: bytes, /) -> None:
        """Take the next piece."""

    def hexdigest(self) -> str:
        """The fingerprint of all pieces."""


def find_problems(styles: Mapping[str, str], *, path: str = "masking.styles") -> list[Problem]:
    """What is wrong with `[masking.styles]`; all of it."""
    problems = []
    for name, style in styles.items():
        if style not in STYLES:
            message = f"unknown style {style!r}, expected one of {', '.join(STYLES)}"
            problems.append(Problem(path=f"{path}.{name}", message=message))
        elif style == "last4" and not name.startswith("payment."):
            message = "the style 'last4' is for payment classes only: the end of anything else can give it away"
            problems.append(Problem(path=f"{path}.{name}", message=message))
    return problems


class Markers:
    """Makes the markers of one configuration. `hash_key` is needed where a style is `hash`."""

    def __init__(self, styles: Mapping[str, str], *, hash_key: bytes) -> None:
        if len(hash_key) < 16 and "hash" in styles.values():
            raise ValueError("the style 'hash' needs a key of at least 16 bytes")
        self._styles = dict(styles)
        self._key = hash_key
        self._keyed: dict[str, hmac.HMAC] = {}
        self.nulls = frozenset(f"[{name}]" for name, style in styles.items() if style == "null")
        """The markers that stand for null where they are all that is left of a value."""

    def style(self, data_class: str) -> str:
        """The style of a class."""
        return self._styles.get(data_class, "redact")

    def marker(self, data_class: str, value: bytes) -> str:
        """What stands in a text for a value (in UTF-8) of this class."""
        match self.style(data_class):
            case "hash":
                running = self.running(data_class)
                running.update(value)
                return self.hashed(data_class, running)
            case "last4" if data_class.startswith("payment."):
                kept = bytes(byte for byte in value if byte in ALNUM)
                return f"[{data_class} *{kept[-4:].decode()}]" if len(kept) >= MIN_LAST4 else f"[{data_class}]"
            case _:
                return f"[{data_class}]"

    def cell(self, classes: frozenset[str], value: bytes | None) -> str | None:
        """What stands for a whole value that has these classes, at least one. Without the value it shows the classes
        alone, whatever their style, or is null.
        """
        if len(classes) == 1:
            (data_class,) = classes
            if self.style(data_class) == "null":
                return None
            return f"[{data_class}]" if value is None else self.marker(data_class, value)
        if all(self.style(data_class) == "null" for data_class in classes):
            return None
        return f"[{'+'.join(sorted(classes))}]" if len(classes) <= MAX_NAMED else UNSURE

    def depends_on_value(self, classes: frozenset[str]) -> bool:
        """Whether `cell` looks at the value at all."""
        return len(classes) == 1 and self.style(next(iter(classes))) in {"hash", "last4"}

    def running(self, data_class: str) -> Running:
        """A fresh HMAC-SHA-256 under the key of this class."""
        keyed = self._keyed.get(data_class)
        if keyed is None:
            key = hmac.digest(self._key, KEY_LABEL + data_class.encode(), hashlib.sha256)
            keyed = self._keyed[data_class] = hmac.new(key, digestmod=hashlib.sha256)
        return keyed.copy()

    def hashed(self, data_class: str, running: Running) -> str:
        """The marker for a finished fingerprint."""
        letters = running.hexdigest()[:HASH_LETTERS].encode().translate(TO_LETTERS).decode()
        return f"[{data_class}#{letters}]"
