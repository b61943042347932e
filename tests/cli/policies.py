"""A configuration with policies, for tests of the commands that check and explain them."""

from __future__ import annotations

from pathlib import Path

from tests.cli.running import write_config

POLICIES = """\
@id("read") @reason("reading is for everybody")
permit (principal, action == Action::"query_database", resource) when { context.sql.read_only };
@id("write") permit (principal in Group::"dev", action == Action::"query_database", resource);
@id("dba") @approval("dba") @reason("writes wait for a DBA")
forbid (principal, action == Action::"query_database", resource) when { !context.sql.read_only }
unless { context.approval.by.contains("dba") };
@id("run") permit (principal, action == Action::"run_ssh_command", resource);
@id("call") permit (principal, action == Action::"call_api", resource) when { context.http.path like "/v1/a*" };
@id("mail") permit (principal in Group::"hr", action == Action::"reveal", resource == DataClass::"pii.email");
"""
CONFIG = """
[identity]
issuer = "local"
[policy]
paths = ["{policies}"]
[targets.orders]
kind = "postgres"
labels = {{ env = "dev" }}
host = "db"
database = "o"
user = "g"
[targets.web1]
kind = "ssh"
labels = {{ env = "dev" }}
host = "web1"
user = "u"
known_hosts = "/k"
key = {{ file = "/i" }}
[targets.billing]
kind = "http"
labels = {{ env = "dev" }}
base_url = "https://billing.example.com/v1"
"""


def configured(folder: Path) -> Path:
    """The configuration, its policies beside it in `all.cedar`."""
    (folder / "all.cedar").write_text(POLICIES)
    return write_config(folder, CONFIG.format(policies=folder / "all.cedar"))
