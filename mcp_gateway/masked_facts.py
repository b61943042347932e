"""Facts of a call as they are recorded, with every detector applied; the same facts are gone through once.

Agents' statements differ in their values, and facts have none: most calls come to facts that were masked before. The
answer depends on nothing but the facts, because no caller sees more of them and no target's secrets are in them. Only
small ones are remembered, in bounded number.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import orjson

from mcp_gateway.admission import Parts
from mcp_gateway.aside import weight
from mcp_gateway.calls import Facts, JSONObject, depend_on_caller
from mcp_gateway.recent import Recent

REMEMBERED = 512
REMEMBERED_FACTS = 128
"""A statement that comes again, or comes again with other values, has the same facts, unless they depend on its caller."""
REMEMBERED_BYTES = 2048
"""Facts of a longer text than this are masked each time."""


class Recorded(NamedTuple):
    """Facts as they are recorded."""

    masked: Any
    """Nobody may change them."""
    differs: tuple[str, ...]
    """Those in which something was masked."""


class MaskedFacts:
    """Masks facts. One for each road."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._known: Recent[bytes, Any] = Recent(REMEMBERED)
        self._recorded: Recent[int, tuple[Facts, Recorded]] = Recent(REMEMBERED_FACTS)
        """By the identity of facts, which is that of no others as long as they are held."""

    async def of(self, facts: Facts, *, key: str) -> Recorded:
        """The facts of a call of the caller `key`. Raises `MaskingError`."""
        known = self._recorded.get(id(facts))
        if known is not None and known[0] is facts:
            return known[1]
        exact = facts.to_json()
        masked = await self.json(exact, key=key)
        found = Recorded(masked, tuple([name for name, value in exact.items() if masked.get(name) != value]))
        if weight(exact) <= REMEMBERED_BYTES and not depend_on_caller(facts):
            self._recorded.put(id(facts), (facts, found))
        return found

    async def json(self, facts: JSONObject, *, key: str) -> Any:
        """Facts in the form in which they are recorded, masked. Raises `MaskingError`."""
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
