"""An audit passes only where every part was looked up; pip-audit itself passes where none was."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from release.audit import LOCK, locked, main

ROOT = Path(__file__).parents[2]
TWO = "anyio==4.16.0 \\\n    --hash=sha256:00\nWin_Thing==1 ; sys_platform == 'win32' \\\n    --hash=sha256:00\nZope.x==2 \\\n    --hash=sha256:00\n"
SKIPPED = {"name": "anyio", "skip_reason": "Dependency not found on PyPI and could not be audited"}


def known(name: str, *advisories: str) -> dict[str, Any]:
    vulns = [{"id": advisory, "fix_versions": ["9"]} for advisory in advisories]
    return {"name": name, "version": "1", "vulns": vulns}


def audited(tmp_path: Path, capsys: pytest.CaptureFixture[str], **answers: Any) -> tuple[int, str, str]:
    """What comes of these answers of sources; text is what a source fails with."""
    tool, lock = tmp_path / "pip-audit", tmp_path / "lock"
    lock.write_text(TWO)
    tool.write_text(
        f"#!{sys.executable}\nimport json, sys\nanswers = json.loads({json.dumps(json.dumps(answers))})\n"
        "answer = answers.get(sys.argv[2], 'ERROR: connection refused')\n"
        "sys.exit(answer) if isinstance(answer, str) else print(json.dumps({'dependencies': answer}))\n"
    )
    tool.chmod(0o755)
    status = main([str(tool), str(lock)])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_parts_that_are_not_installed_here_are_not_asked_about() -> None:
    assert locked(TWO) == {"anyio", "zope-x"}
    assert len(locked(LOCK.read_text())) > 50


def test_all_looked_up_and_nothing_known_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = audited(tmp_path, capsys, pypi=[known("anyio"), known("zope.x")])

    assert found == (0, "nothing is known of any of the 2 parts\n", "")


def test_what_one_source_does_not_know_another_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = audited(tmp_path, capsys, pypi=[SKIPPED, known("zope_x")], osv=[known("anyio"), known("zope-x")])

    assert found[0] == 0


def test_an_advisory_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = audited(tmp_path, capsys, pypi=[known("anyio", "GHSA-1"), known("zope.x")])

    assert found == (1, "anyio 1: GHSA-1, fixed in 9\n", "")


def test_no_source_is_no_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = audited(tmp_path, capsys)

    assert (status, out) == (3, "")
    assert err.splitlines() == [
        "pypi: ERROR: connection refused",
        "osv: ERROR: connection refused",
        "no advisory source answered: nothing was audited",
    ]


def test_a_source_that_knows_nothing_of_anything_is_no_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = audited(tmp_path, capsys, pypi=[SKIPPED, SKIPPED | {"name": "zope-x"}], osv=[])

    assert found == (3, "", "no advisory source answered: nothing was audited\n")


def test_a_part_that_no_source_knows_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = audited(tmp_path, capsys, pypi=[SKIPPED, known("zope-x")], osv=[])

    assert found == (3, "", "not audited, since no source knows them: anyio\n")


def test_the_auditor_itself_is_locked_with_hashes() -> None:
    text = (ROOT / "release" / "audit.lock").read_text()

    assert "://" not in text
    assert "pip-audit" in locked(text)
    for entry in re.split(r"\n(?=[A-Za-z])", text.strip()):
        assert "--hash=sha256:" in entry, entry.splitlines()[0]
    assert "pip install" in (makefile := (ROOT / "Makefile").read_text())
    assert "--require-hashes --no-deps -r $<" in makefile
