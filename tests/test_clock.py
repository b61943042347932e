"""The clock is in UTC and ids sort by time."""

from __future__ import annotations

import uuid
from datetime import timedelta

from mcp_gateway.clock import new_id, utc_now


def test_the_time_is_aware_and_in_utc() -> None:
    assert utc_now().utcoffset() == timedelta(0)


def test_ids_are_uuid_version_7() -> None:
    assert uuid.UUID(new_id()).version == 7


def test_ids_made_later_sort_later() -> None:
    ids = [new_id() for _ in range(1000)]

    assert sorted(set(ids)) == ids
