"""The reference has an entry for everything there is, and for nothing else. Policies: `policy/test_reference.py`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main
from mcp_gateway_tools.call_api import CallAPI
from mcp_gateway_tools.query_database import QueryDatabase
from mcp_gateway_tools.run_ssh_command import RunSSHCommand
from pydantic.fields import FieldInfo

from mcp_gateway.answers import Code
from mcp_gateway.cli.main import COMMANDS, app
from mcp_gateway.config import parse_settings
from mcp_gateway.config_models import Settings
from mcp_gateway.config_sources import HTTPAuth
from mcp_gateway.config_targets import HTTPTarget, PostgresTarget, SSHTarget
from mcp_gateway.events import EVENT_KINDS
from mcp_gateway.policy.schema import ACTIONS
from mcp_gateway.quantities import format_duration, format_size

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"


def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def entries(name: str) -> dict[str, list[str]]:
    """The rows of a page's tables: what stands in backticks first, to the cells after it."""
    rows = [re.split(r"\s*(?<!\\)\|\s*", line)[1:-1] for line in page(name).splitlines() if line.startswith("| `")]
    found = [(row[0].split("`")[1], row) for row in rows]
    assert len(found) == len({name for name, _ in found}), "an entry stands twice"
    return dict(found)


def test_every_error_code_and_every_event_has_its_entry() -> None:
    assert entries("errors-and-events.md").keys() == {*get_args(Code), *EVENT_KINDS}


# Tools.

TOOLS: dict[str, Any] = {"query_database": QueryDatabase, "run_ssh_command": RunSSHCommand, "call_api": CallAPI}
COMMON = {"target", "reason", "repeat_of"}


def tool_sections() -> dict[str, str]:
    sections = re.split(r"^## `(.*)`$", page("tools.md"), flags=re.MULTILINE)
    return dict(zip(sections[1::2], sections[2::2], strict=True))


def test_every_tool_has_its_section() -> None:
    assert tool_sections().keys() == {"list_targets", *ACTIONS} == {"list_targets", *TOOLS}


@pytest.mark.parametrize("tool", TOOLS)
def test_every_argument_and_member_of_a_result_is_in_the_tools_section(tool: str) -> None:
    fields = TOOLS[tool].Arguments.model_fields
    arguments = {field.alias or name for name, field in fields.items()}
    members = set(TOOLS[tool].result_schema["properties"])
    named = set(re.findall(r"`([a-z0-9_]+)", tool_sections()[tool]))

    assert (arguments | members) - COMMON - named == set()
    common = page("tools.md").partition("## ")[0]
    assert all(f"`{name}`" in common for name in COMMON)


# Settings.


def settings() -> Iterator[tuple[str, FieldInfo]]:
    """Every key of every table of the configuration. Of a key that several kinds have, the first kind's."""
    for name, field in Settings.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        yield from ((f"{name}.{key}", found) for key, found in (inner or {}).items())
    seen: set[str] = set()
    for target in (PostgresTarget, SSHTarget, HTTPTarget):
        yield from ((f"targets.<name>.{key}", found) for key, found in target.model_fields.items() if key not in seen)
        seen |= target.model_fields.keys()


FIELDS = dict(settings())
COMPUTED = {
    "gateway.data_dir": "the user's data folder",
    "server.public_url": "`http(s)://<listen>`",
    "server.max_connections_per_address": "half of `max_connections`; all behind a proxy",
    "identity.local": "none",
}


def written(key: str, value: Any) -> str:
    """A default as the reference writes it."""
    match value:
        case None:
            return "none"
        case bool():
            return f"`{str(value).lower()}`"
        case timedelta():
            return f'`"{format_duration(value)}"`'
        case int() if key.endswith("bytes"):
            return f'`"{format_size(value)}"`'
        case tuple():
            return "`[" + ", ".join(f'"{item}"' for item in value) + "]`"
        case str():
            return f'`"{value}"`'
        case _:
            return f"`{value}`"


def test_every_setting_has_its_entry() -> None:
    sources = {"{ env", "{ file", "{ keyring", "{ command"}
    named = {key for key in entries("configuration.md") if key.partition(" =")[0] not in sources}
    assert named - {"MCP_GATEWAY_CONFIG", "MCP_GATEWAY_TOKEN_FILE"} == FIELDS.keys()


@pytest.mark.parametrize("key", FIELDS)
def test_a_setting_says_its_default(key: str) -> None:
    field = FIELDS[key]
    default = entries("configuration.md")[key][2]
    if field.is_required():
        assert default == "required"
    else:
        assert default == (COMPUTED.get(key) or written(key, field.get_default(call_default_factory=True)))


EXAMPLE_OF_A_TARGET: dict[str, dict[str, Any]] = {
    "postgres": {"labels": {"env": "dev"}, "host": "h", "database": "d", "user": "u"},
    "ssh": {"labels": {"env": "dev"}, "host": "h", "user": "u", "known_hosts": "/k", "key": {"env": "K"}},
    "http": {"labels": {"env": "dev"}, "base_url": "https://api.example.com"},
}
NEEDS: dict[str, dict[str, Any]] = {
    "server.tls_cert": {"tls_key": "/k"},
    "server.tls_key": {"tls_cert": "/c"},
    "targets.<name>.base_url": {"networks": ["10.0.0.0/8"]},
}
"""Keys that cannot stand alone."""


@pytest.mark.parametrize("key", FIELDS)
def test_the_example_of_a_setting_loads(key: str) -> None:
    value = tomllib.loads(f"value = {entries('configuration.md')[key][4].strip('`')}")["value"]
    table, _, name = key.rpartition(".")
    given = {name: value} | NEEDS.get(key, {})
    issuer = "local" if key == "identity.local" else "https://idp.example.com"
    raw: dict[str, Any] = {"identity": {"issuer": issuer, "audience": "https://gateway.example.com"}}
    if table == "targets.<name>":
        kinds = (("postgres", PostgresTarget), ("ssh", SSHTarget), ("http", HTTPTarget))
        kind = next(kind for kind, model in kinds if name in model.model_fields)
        raw["targets"] = {"x": {"kind": kind} | EXAMPLE_OF_A_TARGET[kind] | given}
    else:
        raw[table] = raw.get(table, {}) | given
    Settings.model_validate(raw)


def test_credential_sources_and_ways_to_authenticate_have_their_entries() -> None:
    from mcp_gateway.config_sources import _SOURCES

    assert all(f"| `{{ {name} = " in page("configuration.md") for name in _SOURCES)
    assert all(f"`{name} = " in entries("configuration.md")["targets.<name>.auth"][3] for name in HTTPAuth.model_fields)


def test_every_variable_that_is_read_has_its_entry() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (REFERENCE.parents[1] / "mcp_gateway").rglob("*.py"))
    assert set(re.findall(r"MCP_GATEWAY_[A-Z_]+", source)) == set(
        re.findall(r"MCP_GATEWAY_[A-Z_]+", page("configuration.md"))
    )


# The command line.

COMPLETION = {"--install-completion", "--show-completion"}


def commands(command: Any = None, name: str = "mcp-gateway") -> Iterator[tuple[str, Any]]:
    """Every command that does something."""
    if command is None:
        group = typer.main.get_command(app)
        inner: dict[str, Any] = {sub: group.get_command(None, sub) for sub in COMMANDS}  # type: ignore[attr-defined]  # it is a group
    else:
        inner = getattr(command, "commands", {})
    if inner:
        for sub, found in inner.items():
            yield from commands(found, f"{name} {sub}")
    else:
        yield name, command


def test_every_command_has_its_entry_with_its_options() -> None:
    found = dict(commands())
    documented = entries("command-line.md")
    assert documented.keys() == found.keys()
    for name, command in found.items():
        options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
        assert set(re.findall(r"--[a-z-]+", documented[name][1])) == options - COMPLETION, name


def test_options_before_the_command_are_named() -> None:
    for parameter in typer.main.get_command(app).params:
        assert all(option in page("command-line.md").partition("## ")[0] for option in parameter.opts)


# Blocks.


def blocks(kind: str) -> list[tuple[str, str]]:
    """Blocks of a kind in all documentation, with their pages."""
    pages = [REFERENCE.parents[1] / name for name in ("README.md", "SECURITY.md")] + sorted(
        REFERENCE.parent.rglob("*.md")
    )
    return [
        (path.name, text)
        for path in pages
        for text in re.findall(rf"^```{kind}\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    ]


@pytest.mark.parametrize(("name", "text"), blocks("toml"))
def test_every_toml_block_is_one_that_the_gateway_reads(name: str, text: str, tmp_path: Path) -> None:
    if "[[case]]" in text:
        from mcp_gateway.policy.case_files import read_cases

        path = tmp_path / "cases.toml"
        path.write_text(text)
        assert read_cases(path).cases
    elif text.startswith("# /etc/mcp-gateway/programs.toml\n"):
        from mcp_gateway.facts.program_files import read_programs

        assert read_programs([(name, text)]).programs.keys() > read_programs([]).programs.keys()
    else:
        parse_settings(text, file=name)


@pytest.mark.parametrize(("name", "text"), blocks("json"))
def test_every_json_block_is_what_a_host_is_told(name: str, text: str) -> None:
    import json

    from mcp_gateway.cli.client_config import KEYS

    told = json.loads(text)
    assert told.keys() <= set(KEYS.values()), name
    (server,) = next(iter(told.values())).values()
    assert server.get("url", "/mcp").endswith("/mcp") or server["args"][-1] == "stdio"


@pytest.mark.parametrize(("name", "text"), blocks("cedar"))
def test_every_cedar_block_loads(name: str, text: str) -> None:
    from tests.policy.worlds import problems

    assert problems(text) == [], name
