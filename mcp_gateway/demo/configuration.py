"""The configuration that the demo's gateway runs with: an ordinary gateway.toml, written to the demo's folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from mcp_gateway_policies import starter_policies

from mcp_gateway.demo.world import World
from mcp_gateway.identity.system_user import operating_system_user

APPROVER = "dana"
HUMAN = "alex"
"""Whom the demo's agent acts for."""


def write_configuration(folder: Path, world: World, *, port: int) -> Path:
    """Write gateway.toml and its policies; returns the file."""
    policies = folder / "policies"
    shutil.copytree(starter_policies(), policies, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for path in (policies, *policies.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    path = folder / "gateway.toml"
    path.touch(mode=0o600)
    path.write_text(_toml(folder, world, policies=policies, port=port), encoding="utf-8")
    return path


def _toml(folder: Path, world: World, *, policies: Path, port: int) -> str:
    def quoted(value: object) -> str:
        return json.dumps(str(value))

    return f"""\
# Written by `mcp-gateway demo`. Everything it names is on this machine and gone when the demo ends.
[gateway]
name = "demo"
data_dir = {quoted(folder / "data")}

[server]
listen = "127.0.0.1:{port}"

[identity]
issuer = "local"
audience = "http://127.0.0.1:{port}"

[identity.local.people]
{HUMAN} = {{ groups = ["developers"], email = "alex@example.com" }}
{APPROVER} = {{ groups = ["dba", "ops"], email = "dana@example.com" }}
{_guest()}

[policy]
paths = [{quoted(policies)}]

[approvals]
clients = ["mcp-gateway-approver"]
wait = "2s"

[masking.styles]
"payment.card" = "last4"

[targets.shop]
kind = "postgres"
description = "customers and orders of a small web shop"
labels = {{ env = "prod", team = "shop" }}
host = {quoted(world.postgres_socket)}
database = "postgres"
user = "gateway"
tls = "disable"
max_rows = 100

[targets.shop.classify]
"public.customers.email" = "pii.email"
"public.customers.national_id" = "pii.national_id"
"public.customers.card" = "payment.card"

[targets.web1]
kind = "ssh"
description = "the shop's web server"
labels = {{ env = "prod", team = "shop" }}
host = "127.0.0.1"
port = {world.ssh_port}
user = {quoted(world.ssh_user)}
known_hosts = {quoted(world.known_hosts)}
key = {{ file = {quoted(world.ssh_key)} }}

[targets.billing]
kind = "http"
description = "the billing API"
labels = {{ env = "prod", team = "shop" }}
base_url = "http://127.0.0.1:{world.api_port}/v1"
networks = ["127.0.0.0/8"]
auth = {{ bearer = {{ file = {quoted(world.api_token)} }} }}
"""


def _guest() -> str:
    """Whoever plays with `--serve` comes in over stdio as the system's user: a developer here, so that calls can wait."""
    user = operating_system_user()
    return "" if user in {HUMAN, APPROVER} else f'{json.dumps(user)} = {{ groups = ["developers"] }}'
