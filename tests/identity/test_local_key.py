"""The local issuer's key is made once and used only while it is ours alone."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mcp_gateway.errors import ConfigError
from mcp_gateway.identity.local_key import KEY_FILE, open_local_key
from tests.peers.issuer import rsa_signer


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    return folder


def refusal(data_dir: Path) -> str:
    with pytest.raises(ConfigError) as refused:
        open_local_key(data_dir, unique="1")
    text = str(refused.value)
    prefix = f"{data_dir / KEY_FILE}: the local issuer's key: "
    assert text.startswith(prefix)
    return text.removeprefix(prefix)


def test_a_missing_key_is_made_for_its_owner_alone(data_dir: Path) -> None:
    open_local_key(data_dir, unique="1")

    assert stat.S_IMODE((data_dir / KEY_FILE).stat().st_mode) == 0o600
    assert [path.name for path in data_dir.iterdir()] == [KEY_FILE]


def test_a_key_stays_the_same(data_dir: Path) -> None:
    assert open_local_key(data_dir, unique="1").thumbprint() == open_local_key(data_dir, unique="2").thumbprint()


def test_the_umask_does_not_matter(data_dir: Path) -> None:
    before = os.umask(0)
    try:
        open_local_key(data_dir, unique="1")
    finally:
        os.umask(before)

    assert stat.S_IMODE((data_dir / KEY_FILE).stat().st_mode) == 0o600


def test_all_who_start_at_once_have_the_same_key(data_dir: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        keys = list(pool.map(lambda number: open_local_key(data_dir, unique=str(number)).thumbprint(), range(64)))

    assert len(set(keys)) == 1
    assert [path.name for path in data_dir.iterdir()] == [KEY_FILE]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o602, 0o666])
def test_a_key_that_others_can_use_is_refused(data_dir: Path, mode: int) -> None:
    open_local_key(data_dir, unique="1")
    (data_dir / KEY_FILE).chmod(mode)

    assert f"it has mode 0{mode:o}, so that others can" in refusal(data_dir)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_key_of_somebody_else_is_refused(data_dir: Path) -> None:
    open_local_key(data_dir, unique="1")
    os.chown(data_dir / KEY_FILE, 65_534, -1)

    assert "belongs to user 65534" in refusal(data_dir)


def test_a_directory_that_others_can_write_to_is_refused(data_dir: Path) -> None:
    data_dir.chmod(0o770)

    assert "others can" in refusal(data_dir)
    assert list(data_dir.iterdir()) == []


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent") == "there is no such file"


def test_a_pipe_in_place_of_the_key_does_not_hold_anybody_up(data_dir: Path) -> None:
    os.mkfifo(data_dir / KEY_FILE, 0o600)

    assert refusal(data_dir) == "expected a regular file"


def test_a_link_to_nowhere_is_refused(data_dir: Path) -> None:
    (data_dir / KEY_FILE).symlink_to(data_dir / "elsewhere")

    assert refusal(data_dir) == "there is no such file"
    assert not (data_dir / "elsewhere").exists()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it holds no private key"),
        (b"not a key", "it holds no private key"),
        (b"x" * 5000, "expected at most 4,096 bytes, got more"),
    ],
)
def test_a_file_that_is_no_key_is_refused(data_dir: Path, content: bytes, problem: str) -> None:
    path = data_dir / KEY_FILE
    path.write_bytes(content)
    path.chmod(0o600)

    assert refusal(data_dir) == problem


def test_a_public_key_is_refused(data_dir: Path) -> None:
    pem = open_local_key(data_dir, unique="1").as_pem(private=False)
    (data_dir / KEY_FILE).write_bytes(pem)

    assert refusal(data_dir) == "it holds no P-256 private key"


def test_a_key_of_another_type_is_refused(data_dir: Path) -> None:
    from cryptography.hazmat.primitives import serialization as form

    pem = rsa_signer().private.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    path = data_dir / KEY_FILE
    path.write_bytes(pem)
    path.chmod(0o600)

    assert refusal(data_dir) == "it holds no private key"
