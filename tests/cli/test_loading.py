from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from mcp_gateway.cli.loading import load_knowledge
from mcp_gateway.config import parse_settings
from mcp_gateway.config_models import Settings
from mcp_gateway.errors import ConfigError
from mcp_gateway.facts.program_files import built_in


def settings(*paths: Path) -> Settings:
    named = ", ".join(f'"{path}"' for path in paths)
    return parse_settings(f'[identity]\nissuer = "local"\n[commands]\nprograms = [{named}]\n', file="gateway.toml")


def written(path: Path, text: str, *, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_without_files_it_is_what_is_built_in() -> None:
    assert load_knowledge(None) is load_knowledge(settings()) is built_in()


def test_files_add_to_it_one_after_the_other(tmp_path: Path) -> None:
    one = written(tmp_path / "one.toml", '[shopctl]\nsubcommands.reads = "status"')
    two = written(tmp_path / "two.toml", '["shopctl list"]\noptions = "-a"')

    known = load_knowledge(settings(one, two))
    assert known.programs["shopctl"].subcommands.keys() == {"status", "list"}
    assert known.files == {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in (one, two)}


def test_its_version_is_that_of_all_texts(tmp_path: Path) -> None:
    one = written(tmp_path / "one.toml", '[shopctl]\nsubcommands.reads = "status"')
    two = written(tmp_path / "two.toml", "")
    versions = [load_knowledge(settings(*paths)).version for paths in ((), (one,), (one, two), (two,), (one,))]
    written(one, '[shopctl]\nsubcommands.reads = "status list"')

    assert versions[1] == versions[4]
    assert len({*versions, load_knowledge(settings(one)).version}) == 5


def test_a_file_that_others_can_write_is_not_used_and_all_problems_come_together(tmp_path: Path) -> None:
    paths = [
        written(tmp_path / "open.toml", '[shopctl]\noptions = "-a"', mode=0o666),
        tmp_path / "missing.toml",
        written(tmp_path / "latin.toml", ""),
        written(tmp_path / "wrong.toml", "[ls]\n[shopctl]\nmost = 'x'"),
    ]
    paths[2].write_bytes(b"# \xff")

    with pytest.raises(ConfigError) as caught:
        load_knowledge(settings(*paths))

    found = [str(problem).replace(str(tmp_path), "") for problem in caught.value.problems]
    assert found == [
        "/open.toml: it has mode 0666, so that others can write to it; run chmod go-w on it",
        "/missing.toml: there is no such file",
        "/latin.toml: expected UTF-8",
        "/wrong.toml:1: ls: it is known already; say `replaces = true` to put this in its place",
        "/wrong.toml:2: shopctl: expected a number for 'most'",
    ]
