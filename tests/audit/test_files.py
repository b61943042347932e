from __future__ import annotations

import os
from pathlib import Path

import pytest

from mcp_gateway.audit.files import Paths, check_directory, check_file, make_directory, make_file, refuse_network
from mcp_gateway.errors import StoreError
from tests.audit.records import opened_store

pytestmark = pytest.mark.anyio
SOMEBODY = 65_533
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
async def test_a_new_store_is_its_owner_s_alone(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        async with opened_store(tmp_path / "data"):
            modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "data").iterdir()}
    finally:
        os.umask(before)

    assert modes == {"audit.db": 0o600, "audit.db-wal": 0o600, "audit.db-shm": 0o600, "audit.lock": 0o600}
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o777, 0o500])
async def test_a_directory_that_others_may_enter_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(mode)

    with pytest.raises(StoreError) as raised:
        async with opened_store(tmp_path / "data"):
            pass

    name = str(tmp_path / "data")
    assert str(raised.value) == f"{name!r} has the mode {mode:04o}, expected 0700; chmod 0700 {name!r}"


@pytest.mark.parametrize("name", ["audit.db", "audit.db-wal", "audit.lock"])
async def test_a_file_that_others_may_read_is_refused(tmp_path: Path, name: str) -> None:
    async with opened_store(tmp_path / "data"):
        pass
    path = tmp_path / "data" / name
    path.touch()
    path.chmod(0o640)

    with pytest.raises(StoreError, match="has the mode 0640, expected 0600; chmod 0600"):
        async with opened_store(tmp_path / "data"):
            pass


async def test_a_directory_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "data").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StoreError, match="is not a directory; it may not be a link either"):
        async with opened_store(tmp_path / "data"):
            pass
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["audit.db", "audit.db-wal", "audit.lock"])
@pytest.mark.parametrize("dangling", [True, False])
async def test_a_file_that_is_a_link_is_never_followed(tmp_path: Path, name: str, dangling: bool) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    victim = tmp_path / "victim"
    if not dangling:
        victim.write_bytes(b"precious")
        victim.chmod(0o600)
    (tmp_path / "data" / name).symlink_to(victim)

    with pytest.raises(StoreError, match="link"):
        async with opened_store(tmp_path / "data"):
            pass
    assert victim.exists() is not dangling
    assert dangling or victim.read_bytes() == b"precious"


@as_root
async def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    os.chown(tmp_path / "data", SOMEBODY, -1)

    with pytest.raises(StoreError, match=f"belongs to user {SOMEBODY}, not to 0; run the gateway as the owner"):
        async with opened_store(tmp_path / "data"):
            pass


@as_root
async def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data"):
        pass
    os.chown(tmp_path / "data" / "audit.db", SOMEBODY, -1)

    with pytest.raises(StoreError, match=f"belongs to user {SOMEBODY}, not to 0"):
        async with opened_store(tmp_path / "data"):
            pass


def test_a_directory_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a regular file"):
        check_file(tmp_path)


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").touch()

    with pytest.raises(StoreError, match=r"^'.*/data' is not a directory; it may not be a link either"):
        make_directory(tmp_path / "data")
    with pytest.raises(
        StoreError, match=r"^the directory '.*/a' cannot be made: '.*/data' is not a directory; set data_dir"
    ):
        make_directory(tmp_path / "data" / "a")
    with pytest.raises(StoreError, match="is not a directory"):
        check_directory(tmp_path / "data")


def test_a_file_that_is_there_already_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")

    make_file(tmp_path / "file")

    assert (tmp_path / "file").read_bytes() == b"x"


def test_a_local_disk_is_accepted(tmp_path: Path) -> None:
    refuse_network(tmp_path)


def test_every_file_of_a_store_lies_in_its_directory(tmp_path: Path) -> None:
    paths = Paths(tmp_path)

    assert {path.parent for path in (*paths.watched, paths.leases)} == {tmp_path}
