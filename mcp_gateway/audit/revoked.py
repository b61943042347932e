"""What is revoked, as the events have it: the reader's side, also where no gateway runs or the store takes no records.

`revocations` is the side of a gateway, which refuses by it; both read an event by `decoded`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from mcp_gateway.audit import health
from mcp_gateway.audit.chain import decode_body
from mcp_gateway.audit.search import opened
from mcp_gateway.calls import JSONObject
from mcp_gateway.errors import StoreError

EVENTS = "SELECT sequence, at, body FROM events WHERE kind = 'Revoked' ORDER BY sequence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """One event: something is refused from then on, or with `lifted` no longer."""

    what: str
    value: str
    by: str
    note: str
    lifted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is refused now. Who revoked it first, and why; what was said by those who did so again is in the events."""

    what: str
    value: str
    since: str
    by: str
    note: str

    def to_json(self) -> JSONObject:
        """All of it; `id` is the value, as a revocation takes it."""
        found = asdict(self)
        return {"id": found.pop("value")} | found


def decoded(sequence: int, body: str) -> Revocation:
    """Read one event. Raises `StoreError`."""
    try:
        found = decode_body(body)
        return Revocation(
            what=str(found["what"]),
            value=str(found["value"]),
            by=str(found.get("by", "")),
            note=str(found.get("note", "")),
            lifted=found.get("lifted", False) is True,
        )
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(f"the revocation in event {sequence} cannot be read", next_step=health.EVIDENCE) from error


def standing(data_dir: Path) -> list[Standing]:
    """What is revoked and not lifted, the oldest first. Raises `StoreError`."""
    found: dict[tuple[str, str], Standing] = {}
    with opened(data_dir) as connection:
        for sequence, at, body in connection.execute(EVENTS):
            one = decoded(sequence, body)
            if one.lifted:
                found.pop((one.what, one.value), None)
            else:
                found.setdefault(
                    (one.what, one.value),
                    Standing(what=one.what, value=one.value, since=at, by=one.by, note=one.note),
                )
    return list(found.values())
