"""A disk without room is noticed before a call is refused for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcp_gateway.cli.room import check_room
from mcp_gateway.errors import StoreError

EXBIBYTE = 1 << 60


def test_a_disk_with_room_is_no_trouble(tmp_path: Path) -> None:
    check_room(tmp_path, least_bytes=1)


def test_a_disk_with_less_than_is_needed_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        check_room(tmp_path, least_bytes=EXBIBYTE)

    assert str(caught.value).startswith(f"the disk of {str(tmp_path)!r} has ")
    assert str(caught.value).endswith(
        " free, expected at least 1073741824GiB; free some; the gateway refuses every call that it cannot record"
    )


def test_a_directory_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        check_room(tmp_path / "gone", least_bytes=1)

    assert str(caught.value) == (
        f"'{tmp_path}/gone' cannot be used: No such file or directory; check the disk and data_dir"
    )
