"""gateway.toml becomes settings."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from mcp_gateway.calls import Target
from mcp_gateway.config import (
    EnvSource,
    FileSource,
    HTTPTarget,
    PostgresTarget,
    SSHTarget,
    to_target,
)
from tests.configurations import CANARY, COMPLETE, EXTERNAL, LOCAL, POSTGRES, parse, postgres


def test_a_complete_file_becomes_settings() -> None:
    settings = parse(COMPLETE)

    assert settings.gateway.data_dir == Path("/var/lib/mcp-gateway")
    assert settings.server.public_url == "https://gateway.example.com"
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 8765)
    assert settings.server.answer_within == timedelta(seconds=50)
    assert settings.identity.max_token_lifetime == timedelta(hours=1)
    assert settings.identity.scopes == {"query_database": "db"}
    assert settings.policy.paths == (Path("/etc/mcp-gateway/policies"),)
    assert settings.approvals.clients == ("mcp-gateway-approver",)
    assert settings.masking.styles == {"pii.email": "hash", "payment.card": "last4", "hr.salary": "null"}
    assert "hr.salary" in settings.classes
    assert "pii.email" in settings.classes


def test_each_kind_of_target_has_its_own_settings() -> None:
    targets = parse(COMPLETE).targets

    orders, web1, billing = targets["orders"], targets["web1"], targets["billing"]
    assert isinstance(orders, PostgresTarget)
    assert (orders.host, orders.port, orders.max_bytes) == ("db.internal", 5432, 4 * 1024 * 1024)
    assert orders.password == EnvSource(env="ORDERS_PASSWORD")
    assert orders.classify == {"public.customers.ssn": "pii.national_id", "public.staff.salary": "hr.salary"}
    assert isinstance(web1, SSHTarget)
    assert web1.key == FileSource(file=Path("/etc/mcp-gateway/id_ed25519"))
    assert isinstance(billing, HTTPTarget)
    assert billing.networks == (ip_network("10.0.0.0/8"),)
    assert billing.auth is not None
    assert billing.auth.bearer == EnvSource(env="BILLING_TOKEN")


def test_the_smallest_file_names_an_issuer() -> None:
    settings = parse(LOCAL)

    assert settings.server.listen == "127.0.0.1:8765"
    assert settings.server.public_url == "http://127.0.0.1:8765"
    assert settings.identity.audience == "http://127.0.0.1:8765"
    assert settings.gateway.data_dir.is_absolute()
    assert settings.approvals.wait == timedelta(seconds=40)
    assert settings.targets == {}


def test_the_local_audience_follows_the_address() -> None:
    assert parse(LOCAL + '[server]\nlisten = "[::1]:9000"\n').identity.audience == "http://[::1]:9000"


def test_a_certificate_makes_the_default_url_https() -> None:
    settings = parse(EXTERNAL + '[server]\nlisten = "0.0.0.0:443"\ntls_cert = "/c"\ntls_key = "/k"\n')

    assert settings.server.public_url == "https://0.0.0.0:443"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse(LOCAL).gateway.name = "other"


# Fingerprints.


def test_a_target_keeps_its_fingerprint_as_long_as_nothing_changes() -> None:
    assert postgres(POSTGRES).fingerprint() == postgres(POSTGRES + 'tls = "verify-full"\n').fingerprint()


@pytest.mark.parametrize(
    "change",
    ["port = 5433", 'password = { env = "OTHER" }', "max_rows = 1", 'classify = { "public.a.b" = "pii.email" }'],
)
def test_any_change_of_a_target_changes_its_fingerprint(change: str) -> None:
    changed = postgres(POSTGRES + change + "\n")

    assert changed.fingerprint() != postgres(POSTGRES).fingerprint()


def test_a_credential_is_not_part_of_a_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    text = POSTGRES + 'password = { env = "ORDERS_PASSWORD" }\n'
    before = postgres(text).fingerprint()

    monkeypatch.setenv("ORDERS_PASSWORD", CANARY)

    assert postgres(text).fingerprint() == before


def test_any_change_changes_the_fingerprint_of_all_settings() -> None:
    assert parse(LOCAL).fingerprint == parse(LOCAL + "[gateway]\n").fingerprint
    assert parse(LOCAL).fingerprint != parse(LOCAL + '[gateway]\nname = "x"\n').fingerprint


def test_a_target_becomes_the_value_that_policy_sees() -> None:
    settings = parse(COMPLETE).targets["orders"]

    assert to_target("orders", settings) == Target(
        name="orders",
        kind="postgres",
        description="orders and customers of the web shop",
        labels={"env": "prod", "team": "payments"},
        classes=frozenset({"pii.national_id", "hr.salary"}),
        fingerprint=settings.fingerprint(),
    )


# Problems.
