from __future__ import annotations

import os
from pathlib import Path

import pytest

from mcp_gateway.errors import ConfigError
from mcp_gateway.policy.engine import PolicyEngine
from mcp_gateway.policy.loader import load_policies
from tests.policy.worlds import READ_ALL, TARGETS, WRITES_ASK

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "policies"
    path.mkdir(mode=0o755)
    return path


def write(path: Path, text: str, *, mode: int = 0o644) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def load(*paths: Path, guarded: bool = True) -> PolicyEngine:
    return load_policies(paths, targets=TARGETS, classes=[], guarded=guarded)


def refused(*paths: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(*paths)
    return str(caught.value).splitlines()


def test_files_and_folders_make_one_set(folder: Path, tmp_path: Path) -> None:
    write(folder / "a.cedar", READ_ALL)
    write(folder / "notes.txt", "no policy")
    write(folder / ".a.cedar", "an editor's copy")
    extra = write(tmp_path / "extra.cedar", WRITES_ASK)
    policies = load(folder, extra)
    assert list(policies.policies) == ["all", "writes"]
    assert str(policies.policies["writes"].place) == f"{extra}:2:1"


def test_no_policies_at_all_load_and_deny(folder: Path) -> None:
    assert load(folder).policies == {}
    assert load().policies == {}


def test_a_file_that_two_paths_lead_to_is_read_once(folder: Path) -> None:
    file = write(folder / "a.cedar", READ_ALL)
    (folder / "link.cedar").symlink_to(file)
    assert list(load(folder, file).policies) == ["all"]


def test_problems_of_paths_and_of_policies_come_together(folder: Path, tmp_path: Path) -> None:
    file = write(folder / "a.cedar", "\npermit (principal, action, resource);")
    gone, gone_too = tmp_path / "gone.cedar", tmp_path / "gone"
    text = write(tmp_path / "a.txt", "")
    assert refused(folder, gone, gone_too, text, Path("policies")) == [
        f"{gone}: there is no such file or folder",
        f"{gone_too}: there is no such file or folder",
        f"{text}: expected a folder or a *.cedar file",
        "policies: expected an absolute path",
        f'{file}:2:1: the policy has no @id; write @id("its-name") before `permit`',
        f"{file}:2:1: a permit has to name its actions; this one would permit all, reveal too",
    ]


def test_one_bad_file_does_not_hide_the_problems_of_the_next(folder: Path) -> None:
    (folder / "a.cedar").write_bytes(b"// \xff")
    write(folder / "b.cedar", READ_ALL, mode=0o666)
    (folder / "c.cedar").symlink_to(folder / "nowhere")
    write(folder / "d.cedar", "permit")
    assert refused(folder) == [
        f"{folder / 'a.cedar'}: it is not UTF-8: byte 3 cannot be read",
        f"{folder / 'b.cedar'}: it has mode 0666, so that others can write to it; run chmod go-w on it",
        f"{folder / 'c.cedar'}: it cannot be read: No such file or directory",
        f"{folder / 'd.cedar'}:1:7: the policy does not end in ';'",
    ]


def test_policies_in_a_folder_of_the_folder_are_not_silently_left_out(folder: Path) -> None:
    (folder / "more").mkdir()
    write(folder / "more" / "b.cedar", READ_ALL)
    assert refused(folder) == [f"{folder}: 'more' in it holds policies too; name that folder in [policy] paths"]


def test_a_file_that_is_too_large_is_refused(folder: Path) -> None:
    with (folder / "a.cedar").open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    assert refused(folder) == [f"{folder / 'a.cedar'}: expected at most 4,194,304 bytes, got more"]


@pytest.mark.parametrize("guarded", [True, False])
def test_what_is_no_file_is_refused_without_waiting_for_it(folder: Path, *, guarded: bool) -> None:
    os.mkfifo(folder / "a.cedar")
    with pytest.raises(ConfigError, match="expected a regular file"):
        load(folder, guarded=guarded)


def test_a_folder_that_others_can_write_is_refused(folder: Path, tmp_path: Path) -> None:
    file = write(folder / "a.cedar", READ_ALL)
    folder.chmod(0o1777)
    assert refused(folder) == [f"{folder}: it has mode 1777, so that others can write to it; run chmod go-w on it"]
    folder.chmod(0o775)
    assert len(refused(folder)) == 1
    assert len(refused(file)) == 1
    folder.chmod(0o755)
    tmp_path.chmod(0o777)
    assert len(refused(file)) == 1


def test_a_link_does_not_lead_around_the_check(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    goal = write(elsewhere / "a.cedar", READ_ALL)
    (folder / "a.cedar").symlink_to(goal)
    assert load(folder).policies
    goal.chmod(0o666)
    assert len(refused(folder)) == 1
    goal.chmod(0o644)
    elsewhere.chmod(0o777)
    assert len(refused(folder)) == 1


@as_root
def test_a_file_of_another_user_is_refused(folder: Path) -> None:
    file = write(folder / "a.cedar", READ_ALL)
    os.chown(file, 12345, 12345)
    assert refused(folder) == [f"{file}: it belongs to user 12345, expected root or the user that runs this (0)"]


def test_a_candidate_set_is_tested_whoever_can_write_it(folder: Path) -> None:
    write(folder / "a.cedar", READ_ALL, mode=0o666)
    assert load(folder, guarded=False).policies
