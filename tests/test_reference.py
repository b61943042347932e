from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from mcp_gateway.answers import Code
from mcp_gateway.config_models import Settings
from mcp_gateway.config_targets import HTTPTarget, PostgresTarget, SSHTarget
from mcp_gateway.events import EVENT_KINDS
from mcp_gateway.policy.schema import ACTIONS

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"


def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("code", get_args(Code))
def test_every_error_code_is_in_the_reference(code: str) -> None:
    assert f"| `{code}` |" in page("errors-and-events.md")


@pytest.mark.parametrize("kind", sorted(EVENT_KINDS))
def test_every_event_is_in_the_reference(kind: str) -> None:
    assert f"| `{kind}` |" in page("errors-and-events.md")


@pytest.mark.parametrize("tool", ["list_targets", *ACTIONS])
def test_every_tool_is_in_the_reference(tool: str) -> None:
    assert f"## `{tool}`" in page("tools.md")


def keys() -> list[str]:
    """Every key of every table of the configuration."""
    found = []
    for name, field in Settings.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        found += [f"{name}.{key}" for key in inner] if inner else []
    for target in (PostgresTarget, SSHTarget, HTTPTarget):
        found += [f"targets.<name>.{key}" for key in target.model_fields]
    return sorted(set(found))


@pytest.mark.parametrize("key", keys())
def test_every_setting_is_in_the_reference(key: str) -> None:
    assert f"| `{key}` |" in page("configuration.md")
