"""`targets` lists what is configured, and tests it against the real thing."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
from pathlib import Path

import pytest

from tests.cli.running import run_here, write_config
from tests.peers.postgres import PostgresDatabase
from tests.peers.sshd import SSHServer

LOCAL = '[identity]\nissuer = "local"\n'
CANARY = "canary-9f27c1d0"
THREE = """
[targets.orders]
kind = "postgres"
description = "orders"
labels = { env = "prod", team = "shop" }
host = "db.internal"
database = "o"
user = "g"
password = { env = "ORDERS_PASSWORD" }
[targets.orders.classify]
"public.customers.ssn" = "pii.national_id"
[targets.web1]
kind = "ssh"
labels = { env = "dev" }
host = "web1.internal"
port = 2222
user = "u"
known_hosts = "/k"
key = { file = "/i" }
[targets.billing]
kind = "http"
labels = { env = "dev" }
base_url = "https://billing.internal/v1"
"""


def inspections(data: Path) -> list[tuple[str, str]]:
    """What was recorded of looks at targets: their names and outcomes."""
    query = (
        "SELECT json_extract(body, '$.target'), json_extract(body, '$.outcome') FROM events WHERE kind = 'Inspected'"
    )
    with contextlib.closing(sqlite3.connect(f"file:{data / 'audit.db'}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def ssh_target(server: SSHServer, *, known_hosts: Path | None = None) -> str:
    return f"""
[targets.web1]
kind = "ssh"
labels = {{ env = "dev" }}
host = "{server.host}"
port = {server.port}
user = "{server.user}"
known_hosts = "{known_hosts or server.known_hosts}"
key = {{ file = "{server.key}" }}
"""


def http_target(port: int) -> str:
    return f"""
[targets.billing]
kind = "http"
labels = {{ env = "dev" }}
base_url = "http://127.0.0.1:{port}/v1"
networks = ["127.0.0.0/8"]
"""


def postgres_target(database: PostgresDatabase, *, column: str = "public.customers.email") -> str:
    return f"""
[targets.orders]
kind = "postgres"
labels = {{ env = "dev" }}
host = "{database.host}"
port = {database.port}
database = "{database.name}"
user = "{database.user}"
password = {{ env = "ORDERS_PASSWORD" }}
tls = "disable"
[targets.orders.classify]
"{column}" = "pii.email"
"""


def test_targets_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, LOCAL + THREE)

    ran = run_here(capsys, "--config", str(config), "targets", "list")

    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "target   kind      place                        labels              description",
        "orders   postgres  db.internal:5432             env=prod team=shop  orders",
        "web1     ssh       web1.internal:2222           env=dev",
        "billing  http      https://billing.internal/v1  env=dev",
    ]


def test_targets_are_listed_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, LOCAL + THREE)

    found = run_here(capsys, "--config", str(config), "targets", "list", "--json").json

    assert [(target["id"], target["kind"]) for target in found] == [
        ("orders", "postgres"),
        ("web1", "ssh"),
        ("billing", "http"),
    ]
    assert found[0]["classes"] == ["pii.national_id"]
    assert "ORDERS_PASSWORD" not in str(found)


def test_no_targets_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, LOCAL)

    assert run_here(capsys, "--config", str(config), "targets", "list").out == "there are no targets\n"
    assert run_here(capsys, "--config", str(config), "targets", "list", "--json").json == []


def test_a_target_that_there_is_not_is_misuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, LOCAL + THREE)

    ran = run_here(capsys, "--config", str(config), "targets", "test", "nowhere")

    assert ran.status == 2
    assert ran.err.endswith(
        "Error: Invalid value for NAME: there is no target 'nowhere'; the configuration has billing, orders, web1\n"
    )


@pytest.mark.requirement("I5", "R26")
def test_targets_are_tested_and_each_look_is_recorded(
    tmp_path: Path,
    postgres_database: PostgresDatabase,
    ssh_server: SSHServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    postgres_database.execute("CREATE TABLE public.customers (id int, email text)")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        text = LOCAL + postgres_target(postgres_database) + ssh_target(ssh_server) + http_target(port)
        config = write_config(tmp_path, text)
        monkeypatch.setenv("ORDERS_PASSWORD", postgres_database.password)

        ran = run_here(capsys, "--config", str(config), "targets", "test", "--json")

    assert (ran.status, ran.err) == (0, "")
    found = {target["id"]: target for target in ran.json}
    assert all(target["ok"] for target in found.values())
    assert found["orders"]["answer"].startswith("PostgreSQL ")
    assert any("may change 1 table" in warning for warning in found["orders"]["warnings"])
    assert found["web1"]["answer"].startswith("SSH-2.0-")
    assert found["billing"]["answer"] == f"127.0.0.1:{port} answers, without TLS"
    assert inspections(tmp_path / "data") == [("orders", "ok"), ("web1", "ok"), ("billing", "ok")]
    assert postgres_database.password.encode() not in b"".join(
        path.read_bytes() for path in (tmp_path / "data").iterdir() if path.is_file()
    )


def test_what_a_target_gets_wrong_is_a_no(
    tmp_path: Path,
    postgres_database: PostgresDatabase,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = write_config(tmp_path, LOCAL + postgres_target(postgres_database))
    monkeypatch.setenv("ORDERS_PASSWORD", postgres_database.password)

    ran = run_here(capsys, "--config", str(config), "targets", "test")

    assert ran.status == 1
    assert ran.out.splitlines()[0].split() == ["orders", "failed"]
    assert "problem  the classified column 'public.customers.email' does not exist, so it protects nothing" in ran.out


@pytest.mark.requirement("I5", "R26")
def test_a_wrong_password_is_told_without_it(
    tmp_path: Path,
    postgres_database: PostgresDatabase,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = write_config(tmp_path, LOCAL + postgres_target(postgres_database))
    monkeypatch.setenv("ORDERS_PASSWORD", CANARY)

    ran = run_here(capsys, "--config", str(config), "targets", "test", "orders")

    assert ran.status == 3
    assert "does not let" in ran.out
    assert CANARY not in ran.out + ran.err


@pytest.mark.requirement("R36")
def test_a_host_whose_key_is_not_known_is_not_connected_to(
    tmp_path: Path, ssh_server: SSHServer, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "known_hosts").write_text("")
    config = write_config(tmp_path, LOCAL + ssh_target(ssh_server, known_hosts=tmp_path / "known_hosts"))

    ran = run_here(capsys, "--config", str(config), "targets", "test")

    assert ran.status == 3
    assert "no host key of" in ran.out


def test_one_target_that_is_away_does_not_keep_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_server(("127.0.0.1", 0)) as gone:
        there, away = listening.getsockname()[1], gone.getsockname()[1]
        gone.close()
        text = LOCAL + http_target(away).replace("billing", "away") + http_target(there)
        config = write_config(tmp_path, text)

        ran = run_here(capsys, "--config", str(config), "targets", "test")

    assert ran.status == 1
    assert ran.out.splitlines() == [
        "away     failed",
        f"problem  127.0.0.1:{away} does not answer",
        "billing  ok",
        f"         127.0.0.1:{there} answers, without TLS",
    ]


def test_nothing_is_tested_that_cannot_be_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        config = write_config(tmp_path, LOCAL + http_target(listening.getsockname()[1]))

        ran = run_here(capsys, "--config", str(config), "targets", "test")

        with pytest.raises(BlockingIOError):
            listening.accept()
    assert (ran.status, ran.out) == (3, "")
    assert str(tmp_path / "data") in ran.err
