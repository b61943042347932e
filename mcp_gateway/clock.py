"""The clock and the source of new ids: the one module that reads them.

Everything else takes the time as an argument (`now: datetime` in pure functions, `clock: Callable[[], datetime]`
in objects that live long), so that tests choose it.
"""

from __future__ import annotations

from datetime import UTC, datetime

import uuid_utils


def utc_now() -> datetime:
    """The time, aware, in UTC."""
    return datetime.now(UTC)


def new_id() -> str:
    """A new UUIDv7 as text (RFC 9562 section 5.7): ids sort by the time they were made."""
    return str(uuid_utils.uuid7())
