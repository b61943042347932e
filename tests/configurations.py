"""Texts of gateway.toml that tests build on, and what becomes of them."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_gateway.config import (
    Settings,
    parse_settings,
)
from mcp_gateway.errors import ConfigError

CANARY = "hunter2-9f27c1d0"
FILE = "/etc/mcp-gateway/gateway.toml"

COMPLETE = """
[gateway]
name = "mcp-gateway"
data_dir = "/var/lib/mcp-gateway"

[server]
listen = "127.0.0.1:8765"
public_url = "https://gateway.example.com"
allowed_origins = ["https://console.example.com"]
sse = true
answer_within = "50s"

[identity]
issuer = "https://idp.example.com/realms/corp"
audience = "https://gateway.example.com"
algorithms = ["RS256", "PS256", "ES256", "EdDSA"]
token_types = ["at+jwt"]
max_token_lifetime = "1h"
leeway = "30s"
groups_claim = "groups"
[identity.scopes]
query_database = "db"

[policy]
paths = ["/etc/mcp-gateway/policies"]

[approvals]
wait = "40s"
ttl = "15m"
claim = "15m"
clients = ["mcp-gateway-approver"]
require_auth_time = false

[masking]
detectors = ["default"]
[masking.styles]
"pii.email" = "hash"
"payment.card" = "last4"
"hr.salary" = "null"

[targets.orders]
kind = "postgres"
description = "orders and customers of the web shop"
labels = { env = "prod", team = "payments" }
host = "db.internal"
port = 5432
database = "orders"
user = "gateway"
password = { env = "ORDERS_PASSWORD" }
tls = "verify-full"
max_rows = 1000
max_bytes = "4MiB"
timeout = "30s"
[targets.orders.classify]
"public.customers.ssn" = "pii.national_id"
"public.staff.salary" = "hr.salary"

[targets.web1]
kind = "ssh"
host = "web1.internal"
port = 22
user = "agent"
known_hosts = "/etc/mcp-gateway/known_hosts"
key = { file = "/etc/mcp-gateway/id_ed25519" }
labels = { env = "prod" }

[targets.billing]
kind = "http"
base_url = "https://billing.internal/v1"
networks = ["10.0.0.0/8"]
auth = { bearer = { env = "BILLING_TOKEN" } }
headers = ["X-Tenant"]
labels = { env = "prod" }
"""

LOCAL = '[identity]\nissuer = "local"\n'
EXTERNAL = '[identity]\nissuer = "https://idp.example.com"\naudience = "https://gateway.example.com"\n'
POSTGRES = """
[targets.orders]
kind = "postgres"
labels = { env = "dev" }
host = "db.internal"
database = "orders"
user = "gateway"
"""
SSH = """
[targets.web1]
kind = "ssh"
labels = { env = "dev" }
host = "web1.internal"
user = "agent"
known_hosts = "/k"
key = { file = "/i" }
"""
HTTP = """
[targets.billing]
kind = "http"
labels = { env = "dev" }
base_url = "https://billing.internal/v1"
"""


def parse(text: str) -> Settings:
    return parse_settings(text, file=FILE)


def problems(text: str) -> list[str]:
    """The problems, without the file and line that stand before each."""
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert all(problem.file == FILE for problem in caught.value.problems)
    return [f"{problem.path}: {problem.message}" for problem in caught.value.problems]


def postgres(text: str) -> Any:
    return parse(LOCAL + text).targets["orders"]


# What a good file becomes.
