"""Facts of a call as they are recorded, with every detector applied; the same facts are gone through once.

Agents' statements differ in their values, and facts have none: most calls come to facts that were masked before. The
answer depends on nothing but the facts, because no caller sees more of them and no target's secrets are in them. Only
small ones are remembered, in bounded number.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from mcp_gateway.admission import Parts
from mcp_gateway.aside import weight
from mcp_gateway.calls import JSONObject
from mcp_gateway.recent import Recent

REMEMBERED = 512
REMEMBERED_BYTES = 2048
"""Facts of a longer text than this are masked each time."""


class MaskedFacts:
    """Masks facts. One for each road."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._known: Recent[bytes, Any] = Recent(REMEMBERED)

    async def of(self, facts: JSONObject, *, key: str) -> Any:
        """The facts of a call of the caller `key`, masked. Nobody may change them. Raises `MaskingError`."""
        text = _text(facts)
        size = weight(facts) if text is None else len(text)
        # Not the text itself: what `orjson` gives has room for 8 KB, however short it is.
        asked = None if text is None or size > REMEMBERED_BYTES else hashlib.sha256(text).digest()
        known = None if asked is None else self._known.get(asked)
        if known is not None:
            return known
        masker = self._parts.masker_of(None, revealed=frozenset())
        masked = await self._parts.aside.run(lambda: masker.json(facts), size=size, key=key, stop=masker.stop)
        if asked is not None:
            self._known.put(asked, masked)
        return masked


def _text(facts: JSONObject) -> bytes | None:
    """All of the facts, as one text; None for what JSON cannot carry."""
    try:
        return orjson.dumps(facts)
    except TypeError:
        return None
