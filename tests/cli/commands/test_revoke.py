"""`revoke` writes down what is refused from now on, and takes nothing for something."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.audit.records import kinds
from tests.cli.running import run_here, write_config


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path, '[identity]\nissuer = "local"\n')


@pytest.mark.parametrize("what", ["token", "subject", "agent"])
def test_what_is_revoked_is_recorded_and_said(config: Path, capsys: pytest.CaptureFixture[str], what: str) -> None:
    ran = run_here(capsys, "--config", str(config), "revoke", what, "x-1", "--note", "lost")

    assert (ran.status, ran.err) == (0, "")
    assert ran.out == f"{what} x-1 is refused from now on, in every gateway on this store\n"
    assert kinds(config.parent / "data") == ["Revoked"]


@pytest.mark.parametrize(
    ("value", "said"), [("dana@example.com", True), ("https://a.example|d@e", False), ("d", False)]
)
def test_who_revokes_an_address_is_told_what_it_covers(
    config: Path, capsys: pytest.CaptureFixture[str], value: str, said: bool
) -> None:
    ran = run_here(capsys, "--config", str(config), "revoke", "subject", value)
    advice = "as an address it counts for tokens that carry it, verified or not; revoke the 'sub' as well to be sure\n"
    assert ran.out.endswith(advice) is said


def test_scripts_are_told_what_was_revoked(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, "--config", str(config), "revoke", "agent", "x-1", "--note", "lost", "--json")

    assert ran.json == {"id": "x-1", "what": "agent", "note": "lost"}


@pytest.mark.parametrize(("what", "name"), [("token", "TOKEN_ID"), ("subject", "SUBJECT"), ("agent", "AGENT")])
@pytest.mark.parametrize("value", ["", "  "])
def test_nothing_cannot_be_revoked(
    config: Path, capsys: pytest.CaptureFixture[str], what: str, name: str, value: str
) -> None:
    ran = run_here(capsys, "--config", str(config), "revoke", what, value)

    assert ran.status == 2
    assert ran.err.endswith(f"Error: Invalid value for {name}: expected something to revoke, got nothing\n")
    assert not (config.parent / "data").exists()
