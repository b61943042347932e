from __future__ import annotations

from pathlib import Path

import pytest

from mcp_gateway.decisions import Allow, Deny
from mcp_gateway.errors import ConfigError
from mcp_gateway.policy.engine import PolicyEngine
from mcp_gateway.policy.holder import Policies
from mcp_gateway.policy.loader import load_policies
from tests.policy.worlds import READ_ALL, TARGETS, question


def test_a_better_set_comes_into_force_at_once(tmp_path: Path) -> None:
    file = tmp_path / "a.cedar"
    file.write_text("")
    policies = Policies(lambda: load_policies([file], targets=TARGETS, classes=[], guarded=False))
    before = policies.current
    assert isinstance(before.decide(question()), Deny)
    file.write_text(READ_ALL)
    loaded = policies.read()
    assert isinstance(loaded, PolicyEngine)
    assert policies.current is before
    policies.replace(loaded)
    assert isinstance(policies.current.decide(question()), Allow)
    assert policies.current.version != before.version


@pytest.mark.requirement("R28")
@pytest.mark.parametrize("broken", ["permit", '@id("a") permit (principal, action, resource);', None])
def test_a_broken_set_keeps_the_old_one_and_says_why(tmp_path: Path, broken: str | None) -> None:
    file = tmp_path / "a.cedar"
    file.write_text(READ_ALL)
    policies = Policies(lambda: load_policies([file], targets=TARGETS, classes=[], guarded=False))
    before = policies.current
    if broken is None:
        file.unlink()
    else:
        file.write_text(broken)
    assert isinstance(policies.read(), ConfigError)
    assert policies.current is before
    assert isinstance(policies.current.decide(question()), Allow)


def test_without_valid_policies_there_is_no_start() -> None:
    def broken() -> PolicyEngine:
        return load_policies([Path("/nowhere")], targets=TARGETS, classes=[])

    with pytest.raises(ConfigError):
        Policies(broken)
