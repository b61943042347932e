from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mcp_gateway_tools.call_api import CallAPI, CallAPIArguments

from mcp_gateway.calls import HTTPFacts
from mcp_gateway.cli.findings import odd_servers
from mcp_gateway.cli.loading import load_interfaces
from mcp_gateway.config import parse_settings, to_target
from mcp_gateway.config_models import Settings
from mcp_gateway.errors import ConfigError
from mcp_gateway.policy.cases import run_cases
from mcp_gateway.targets.http import HTTPConnector

DOCUMENT = """\
openapi: 3.1.0
servers: [{url: "https://api.example.com/v1"}, {url: /v2}]
paths:
  /invoices/{id}:
    delete: {operationId: deleteInvoice, tags: [risky]}
"""
DELETE = CallAPIArguments(target="billing", method="DELETE", path="/invoices/7")


def settings(**files: Path) -> Settings:
    tables = "".join(
        f'[targets.{name}]\nkind = "http"\nbase_url = "https://api.example.com/v1"\ngraphql = "/graphql"\n'
        f'labels = {{ env = "dev" }}\nopenapi = "{path}"\n'
        for name, path in files.items()
    )
    return parse_settings(f'[identity]\nissuer = "local"\n{tables}', file="gateway.toml")


def written(path: Path, text: str, *, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


async def examined(found: Settings, *, tool: CallAPI | None = None) -> Any:
    """What `call_api` makes of a request to the target `billing`."""
    target = found.targets["billing"]

    async def no_credential(source: Any) -> Any:
        raise AssertionError("this target has no credential")

    connector = HTTPConnector(target, fetch=no_credential)  # type: ignore[arg-type]
    try:
        tool = tool or CallAPI(interfaces=lambda: load_interfaces(found))
        return await tool.examine(DELETE, target=to_target("billing", target), connector=connector)
    finally:
        await connector.aclose()


@pytest.mark.anyio
async def test_a_document_gives_facts_and_an_approval_is_for_what_it_said(tmp_path: Path) -> None:
    found = settings(billing=written(tmp_path / "a.yaml", DOCUMENT))
    before = await examined(found)
    written(tmp_path / "a.yaml", DOCUMENT + "info: {}\n")
    after = await examined(found)

    assert (
        before.facts
        == after.facts
        == HTTPFacts(
            method="DELETE",
            host="api.example.com",
            path="/v1/invoices/7",
            keys_known=True,
            documented=True,
            operation="deleteInvoice",
            tags=frozenset({"risky"}),
            matches=True,
        )
    )
    assert before.environment != after.environment


def test_a_document_that_others_can_write_is_not_used_and_all_problems_come_together(tmp_path: Path) -> None:
    found = settings(
        open=written(tmp_path / "open.yaml", DOCUMENT, mode=0o666),
        missing=tmp_path / "missing.yaml",
        wrong=written(tmp_path / "wrong.yaml", DOCUMENT + "  invoices: {}\n  /a: []\n"),
        latin=written(tmp_path / "latin.yaml", ""),
    )
    (tmp_path / "latin.yaml").write_bytes(b"# \xff")

    with pytest.raises(ConfigError) as caught:
        load_interfaces(found)

    assert [str(problem).replace(str(tmp_path), "") for problem in caught.value.problems] == [
        "/open.yaml: targets.open.openapi: it has mode 0666, so that others can write to it; run chmod go-w on it",
        "/missing.yaml: targets.missing.openapi: there is no such file",
        "/wrong.yaml:6: paths.invoices: expected a path that begins with a slash",
        "/wrong.yaml:7: paths./a: expected an object",
        "/latin.yaml: targets.latin.openapi: expected UTF-8",
    ]


def test_servers_that_mean_other_paths_are_noted(tmp_path: Path) -> None:
    same = written(tmp_path / "a.yaml", DOCUMENT)
    other = written(tmp_path / "b.yaml", DOCUMENT.replace("example.com/v1", "example.com/{version}"))

    assert odd_servers(load_interfaces(settings(same=same, other=other))) == [
        "targets.other: the document's servers have the path '/v2', base_url has '/v1'; "
        "its paths are taken to be below base_url"
    ]


def test_cases_look_at_the_document_beside_them(tmp_path: Path) -> None:
    written(tmp_path / "billing.yaml", DOCUMENT)
    policy = """
        @id("reads") permit (principal, action == Action::"call_api", resource);
        @id("described") forbid (principal, action == Action::"call_api", resource) unless { context.http.matches };
        @id("risky") @approval("ops") forbid (principal, action == Action::"call_api", resource)
        when { context.http.tags.contains("risky") } unless { context.approval.by.contains("ops") };
    """
    cases = written(
        tmp_path / "cases.toml",
        """
        targets.billing = { kind = "http", labels = { env = "prod" }, base_url = "https://a.example/x", openapi = "billing.yaml" }
        [[case]]
        name = "described"
        target = "billing"
        arguments = { method = "DELETE", path = "/invoices/7" }
        expect = { decision = "ask", policies = ["risky"] }
        [[case]]
        name = "not described"
        target = "billing"
        arguments = { method = "GET", path = "/invoices/7" }
        expect = { decision = "deny", policies = ["described"] }
        """,
    )

    assert run_cases([cases], policies=[written(tmp_path / "p.cedar", policy)]).passed
    cases.write_text(cases.read_text().replace("billing.yaml", "none.yaml"))
    with pytest.raises(
        ConfigError, match=r"cases\.toml:2:\d+: targets\.billing\.openapi: there is no text at '.*/none\.yaml'"
    ):
        run_cases([cases], policies=[tmp_path / "p.cedar"])
