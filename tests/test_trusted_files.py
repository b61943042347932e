"""Files that others could write, swap or (where they hold a credential) read are not used."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from mcp_gateway.trusted_files import UntrustedFileError, check_folder, read_trusted, read_untrusted

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
not_as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
STRANGER = 54321


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "gateway.toml"
    path.parent.mkdir(mode=0o755)
    path.write_bytes(b"content")
    path.chmod(0o600)
    return path


def refusal(path: Path, *, private: bool = False, max_bytes: int = 100) -> str:
    with pytest.raises(UntrustedFileError) as caught:
        read_trusted(path, max_bytes=max_bytes, private=private)
    return str(caught.value)


def test_a_file_of_ours_is_read(file: Path) -> None:
    assert read_trusted(file, max_bytes=100) == b"content"


def test_a_file_may_be_as_large_as_its_limit(file: Path) -> None:
    assert read_trusted(file, max_bytes=7) == b"content"
    assert refusal(file, max_bytes=6) == "expected at most 6 bytes, got more"


def test_a_missing_file_is_refused(file: Path) -> None:
    assert refusal(file.with_name("absent")) == "there is no such file"


def test_a_path_through_a_file_is_refused(file: Path) -> None:
    assert refusal(file / "below") == "there is no such file"


def test_a_relative_path_is_refused() -> None:
    assert refusal(Path("gateway.toml")) == "expected an absolute path"


def test_a_folder_is_no_file(file: Path) -> None:
    assert refusal(file.parent) == "expected a regular file"


def test_a_device_is_no_file() -> None:
    assert refusal(Path("/dev/zero")) == "expected a regular file"


def test_a_fifo_does_not_hang(file: Path) -> None:
    os.mkfifo(file.with_name("fifo"), 0o600)

    assert refusal(file.with_name("fifo")) == "expected a regular file"


def test_a_socket_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s")

        assert refusal(tmp_path / "s").startswith("it cannot be read: ")


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o660])
def test_a_file_that_others_can_write_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)

    assert refusal(file) == f"it has mode {mode:04o}, so that others can write to it; run chmod go-w on it"


def test_others_may_read_what_is_not_private(file: Path) -> None:
    file.chmod(0o644)

    assert read_trusted(file, max_bytes=100) == b"content"
    assert refusal(file, private=True) == "it has mode 0644, so that others can read it; run chmod go= on it"


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
def test_a_file_in_a_folder_that_others_can_write_is_refused(file: Path, mode: int) -> None:
    file.parent.chmod(mode)

    assert refusal(file) == (
        f"the folder {str(file.parent)!r} has mode {mode:04o}, so that others can swap what is in it; "
        "run chmod go-w on it"
    )


def test_a_folder_further_up_that_others_can_write_is_refused(file: Path) -> None:
    file.parent.parent.chmod(0o777)

    assert str(file.parent.parent) in refusal(file)


def test_a_sticky_folder_is_safe_for_names_that_are_ours(file: Path) -> None:
    file.parent.chmod(0o1777)

    assert read_trusted(file, max_bytes=100) == b"content"


def test_a_link_of_ours_is_followed(file: Path) -> None:
    (file.parent / "link").symlink_to("gateway.toml")
    (file.parent / "way").symlink_to("../folder")

    assert read_trusted(file.parent / "way" / "link", max_bytes=100) == b"content"


def test_a_link_through_a_folder_that_others_can_write_is_refused(file: Path, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "link").symlink_to(file)
    (tmp_path / "open").chmod(0o777)
    (file.parent / "outer").symlink_to("../open/link")

    assert str(tmp_path / "open") in refusal(file.parent / "outer")


def test_links_in_a_circle_are_refused(file: Path) -> None:
    (file.parent / "a").symlink_to("b")
    (file.parent / "b").symlink_to("a")

    assert refusal(file.parent / "a") == "expected fewer symbolic links on the way to it"


@as_root
def test_a_file_of_somebody_else_is_refused(file: Path) -> None:
    os.chown(file, STRANGER, STRANGER)

    assert refusal(file) == "it belongs to user 54321, expected root or the user that runs this (0)"


@as_root
def test_a_file_in_a_folder_of_somebody_else_is_refused(file: Path) -> None:
    os.chown(file.parent, STRANGER, STRANGER)

    assert refusal(file).startswith(f"the folder {str(file.parent)!r} belongs to user 54321")


@as_root
def test_a_link_of_somebody_else_in_a_sticky_folder_is_refused(file: Path) -> None:
    (file.parent / "link").symlink_to("gateway.toml")
    os.chown(file.parent / "link", STRANGER, STRANGER, follow_symlinks=False)
    file.parent.chmod(0o1777)

    assert refusal(file.parent / "link").startswith("the symbolic link ")


@not_as_root
def test_a_file_that_may_not_be_read_is_refused(file: Path) -> None:
    file.chmod(0)

    assert refusal(file) == f"the user that runs this ({os.geteuid()}) may not read it"


def test_a_folder_of_ours_is_fine(file: Path) -> None:
    check_folder(file.parent)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda file: file.parent.chmod(0o777),
            "it has mode 0777, so that others can write to it; run chmod go-w on it",
        ),
        (lambda file: (file.unlink(), file.parent.rmdir()), "there is no such file"),
        (lambda file: (file.unlink(), file.parent.rmdir(), file.parent.write_bytes(b"")), "expected a folder"),
    ],
)
def test_a_folder_that_is_open_to_others_or_none_is_refused(file: Path, change: object, text: str) -> None:
    assert callable(change)
    change(file)

    with pytest.raises(UntrustedFileError, match=f"^{re.escape(text)}$"):
        check_folder(file.parent)


@pytest.mark.parametrize(
    ("name", "max_bytes", "why"),
    [
        ("absent", 7, "there is no such file"),
        ("gateway.toml/below", 7, "there is no such file"),
        (".", 7, "expected a file, got a folder"),
        ("gateway.toml", 6, "expected at most 6 bytes, got more"),
    ],
)
def test_a_file_that_nobody_has_to_trust_is_refused_in_the_same_words(
    file: Path, name: str, max_bytes: int, why: str
) -> None:
    file.chmod(0o666)
    assert read_untrusted(file, max_bytes=7) == b"content"

    with pytest.raises(UntrustedFileError) as caught:
        read_untrusted(file.parent / name, max_bytes=max_bytes)

    assert str(caught.value) == why
