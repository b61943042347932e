"""A part that is missing is never passed over in silence."""

from __future__ import annotations

import pytest

from tests.peers.parts import missing


def test_a_missing_part_skips_and_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"^there is no sshd: apt-get install openssh-server$"):
        missing("there is no sshd", hint="apt-get install openssh-server")


def test_in_ci_a_missing_part_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"^there is no sshd: apt-get install openssh-server$"):
        missing("there is no sshd", hint="apt-get install openssh-server")
