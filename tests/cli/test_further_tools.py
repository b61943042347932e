"""Tools of other distributions: named ones are loaded and can be decided on, everything else stops the start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mcp_gateway.cli.assemble import build_registry
from mcp_gateway.cli.further_tools import load_further_tools
from mcp_gateway.cli.loading import load_engine
from mcp_gateway.config import load_settings, parse_settings
from mcp_gateway.errors import ConfigError
from mcp_gateway.facts.worker import SQLWorker
from tests.cli.running import write_config
from tests.private import write_private

Install = Callable[..., None]
TOOL = """
from mcp_gateway.tool import Arguments

class Acme:
    name, kind, description, read_only_hint, result_schema = "acme_lookup", "http", "Look up.", True, {"type": "object"}
    Arguments = Arguments
    async def examine(self, arguments, *, target, connector, fresh=False): raise AssertionError
    async def preview(self, arguments, *, examination, connector): return ""
    async def execute(self, arguments, *, examination, connector, permit): raise AssertionError
    def size(self, raw): return 0
    def mask(self, raw, *, examination, masker, call_id): raise AssertionError
    def mask_error(self, error, *, examination, masker): return ""
"""
CONFIG = """
tools = ["acme_lookup"]
[identity]
issuer = "local"
[policy]
paths = ["{policies}"]
[targets.api]
kind = "http"
base_url = "http://127.0.0.1:1/"
networks = ["127.0.0.0/8"]
labels = {{ env = "dev" }}
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a distribution with one tool on the path of imports."""

    def put(code: str = TOOL, *, name: str = "acme_lookup", module: str = "acme", distribution: str = "acme") -> None:
        folder = tmp_path / distribution
        info = folder / f"{distribution}-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{distribution}_{module}.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        points = f"[mcp_gateway.tools]\n{name} = {distribution}_{module}:Acme\n"
        (info / "entry_points.txt").write_text(points)
        monkeypatch.syspath_prepend(folder)

    return put


def test_a_tool_that_the_configuration_names_is_registered_and_policies_know_it(
    install: Install, tmp_path: Path
) -> None:
    install()
    permit = '@id("acme") permit (principal, action == Action::"acme_lookup", resource);'
    policies = write_private(tmp_path / "acme.cedar", permit)
    settings = load_settings(write_config(tmp_path, CONFIG.format(policies=policies)))

    assert build_registry(settings, SQLWorker()).tools.keys() >= {"acme_lookup", "call_api"}
    assert load_engine(settings).policies.keys() == {"acme"}


def test_a_tool_that_nobody_names_is_not_even_imported(install: Install) -> None:
    install("raise SystemExit('imported')")

    assert load_further_tools([]) == []


def said(names: list[str]) -> str:
    with pytest.raises(ConfigError) as raised:
        load_further_tools(names)
    (problem,) = raised.value.problems
    return f"{problem.path}: {problem.message}"


def test_a_tool_that_is_not_installed_stops_the_start_and_the_message_names_those_that_are(install: Install) -> None:
    install()

    assert said(["acme_lokup"]) == (
        "gateway.tools: 'acme_lokup' is no tool of an installed distribution (entry points of mcp_gateway.tools); "
        "installed are acme_lookup"
    )


def test_a_name_that_two_distributions_claim_stops_the_start(install: Install) -> None:
    install()
    install(distribution="other")

    assert said(["acme_lookup"]) == (
        "gateway.tools: 'acme_lookup' is claimed by more than one distribution: acme and other; uninstall all but one"
    )


@pytest.mark.parametrize(
    ("module", "code", "message"),
    [
        ("a", "x = 1", "'acme_lookup' cannot be made from 'acme_a:Acme': AttributeError"),
        ("b", "raise RuntimeError", "'acme_lookup' cannot be made from 'acme_b:Acme': RuntimeError"),
        ("c", "class Acme:\n  name = 'acme_lookup'", "'acme_lookup' is no tool: it has no examine, preview, execute, size, mask, "
            "mask_error, description, read_only_hint, result_schema, Arguments"),
        ("d", TOOL.replace("acme_lookup", "call_api"), "'acme_lookup' calls itself 'call_api'; the entry point and the tool "
            "share one name"),
        ("e", TOOL.replace('"http"', '"ldap"'), "'acme_lookup' is for targets of kind 'ldap', which there is not"),
        ("f", TOOL.replace("Arguments = Arguments", "Arguments = dict"), "'acme_lookup' has no Arguments that derive from "
            "mcp_gateway.tool.Arguments"),
    ],
)  # fmt: skip
def test_something_that_is_no_tool_stops_the_start(install: Install, module: str, code: str, message: str) -> None:
    install(code, module=module)  # a name of its own: Python imports a module once

    assert said(["acme_lookup"]) == f"gateway.tools: {message}"


@pytest.mark.parametrize("name", ["call_api", "list_targets", "reveal"])
def test_a_further_tool_cannot_take_a_name_that_is_taken(name: str) -> None:
    with pytest.raises(ConfigError, match=f"the name '{name}' is taken"):
        parse_settings(f'[gateway]\ntools = ["{name}"]\n[identity]\nissuer = "local"', file="gateway.toml")


def test_a_further_tool_can_demand_a_scope() -> None:
    text = '[gateway]\ntools = ["acme_lookup"]\n[identity]\nissuer = "local"\n[identity.scopes]\nacme_lookup = "acme"'

    assert parse_settings(text, file="gateway.toml").identity.scopes == {"acme_lookup": "acme"}
