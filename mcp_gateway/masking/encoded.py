"""Bytes that leave as text: what encodes them says so, or nobody would look into them."""

from __future__ import annotations

import base64
from typing import Self


class EncodedBytes(str):
    """Bytes in base64. They are masked as the bytes that they are, and then as the text."""

    __slots__ = ()

    @classmethod
    def of(cls, raw: bytes) -> Self:
        """Encode them."""
        return cls(base64.b64encode(raw).decode())

    @property
    def raw(self) -> bytes:
        """The bytes."""
        return base64.b64decode(self)
