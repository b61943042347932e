"""What `check` finds beyond the text: files that are open to others, and set-ups that are weaker than they look."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import asyncssh
import pytest

from mcp_gateway.cli import findings
from mcp_gateway.cli.findings import (
    absent_approvers,
    find_file_problems,
    find_missing_credentials,
    find_store_problems,
    find_warnings,
)
from mcp_gateway.config import Settings, parse_settings
from tests.audit.records import opened_store
from tests.policy.worlds import compiled
from tests.private import write_private

BASE = '[identity]\nissuer = "local"\n[approvals]\nclients = ["approver"]\n'
EXTERNAL = """
[identity]
issuer = "https://idp.example.com"
audience = "https://gateway.example.com"
[approvals]
clients = ["approver"]
"""


def settings(text: str, *, data: Path) -> Settings:
    return parse_settings(f'[gateway]\ndata_dir = "{data}"\n{text}', file="gateway.toml")


def warnings(text: str, *, environ: Mapping[str, str] | None = None) -> list[str]:
    return find_warnings(settings(text, data=Path("/nowhere")), environ=environ or {})


def postgres(more: str = "", *, classify: str = '"public.a.b" = "pii.email"') -> str:
    return (
        '[targets.orders]\nkind = "postgres"\nlabels = { env = "dev" }\nhost = "db.internal"\ndatabase = "o"\n'
        f'user = "g"\n{more}\n[targets.orders.classify]\n{classify}\n'
    )


def test_a_variable_that_named_authorities_is_warned_of_since_it_is_not_used() -> None:
    found = settings(BASE + postgres(), data=Path("/nowhere"))
    forgotten = frozenset({"SSL_CERT_FILE", "SSH_AUTH_SOCK", "HTTPS_PROXY"})

    assert find_warnings(found, environ={}, forgotten=forgotten) == [
        "the environment variable SSL_CERT_FILE is not used; name certificate authorities with 'tls_ca'"
    ]


def test_a_set_up_in_order_has_no_warnings() -> None:
    assert warnings(BASE + postgres()) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BASE, "there is no target, so there is nothing that a call could reach"),
        (
            '[identity]\nissuer = "local"\n' + postgres(),
            "approvals.clients is empty, so nobody can approve anything",
        ),
        (
            BASE + postgres() + '[masking.styles]\n"pii.email" = "token"\n"pii.name" = "hash"\n',
            "the style 'token' acts as 'redact' until there are tokens: pii.email",
        ),
        (
            EXTERNAL.replace("gateway.example.com", "gateway.example.com/mcp") + postgres(),
            "identity.audience has a path: clients that check RFC 9728 metadata may refuse it",
        ),
        (
            BASE + postgres(classify=""),
            "targets.orders: no column is classified, so only detectors mask what comes back",
        ),
        (
            BASE + postgres(classify='"public.c.email" = "pii.emial"\n"public.c.other" = "crm.contact"'),
            "targets.orders.classify: 'pii.emial' (public.c.email) is no built-in data class, so policies, styles and "
            "detectors for 'pii.email' are not for it; did you mean 'pii.email'?",
        ),
        (
            BASE + postgres('tls = "require"'),
            "targets.orders: tls = 'require' does not check who the server is: anybody between can read along; "
            "use 'verify-full'",
        ),
        (
            BASE + postgres('tls = "verify-ca"'),
            "targets.orders: tls = 'verify-ca' takes any host's certificate of that authority; use 'verify-full'",
        ),
        (
            BASE + postgres('password = { env = "ORDERS" }'),
            "targets.orders.password: the environment variable ORDERS is not set here; it has to be where the gateway "
            "runs",
        ),
        (
            BASE + '[policy.opa]\nurl = "https://opa.internal/v1/data/a"\ntoken = { env = "OPA" }\n' + postgres(),
            "policy.opa.token: the environment variable OPA is not set here; it has to be where the gateway runs",
        ),
    ],
)
def test_what_is_weaker_than_it_may_be_meant_is_said(text: str, expected: str) -> None:
    assert warnings(text) == [expected]


def test_a_variable_that_is_set_is_no_warning() -> None:
    assert warnings(BASE + postgres('password = { env = "ORDERS" }'), environ={"ORDERS": "x"}) == []


def test_a_keyring_that_is_not_there_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)

    assert warnings(BASE + postgres('password = { keyring = { service = "db", username = "g" } }')) == [
        "targets.orders.password: the keyring entry of 'g' for 'db' cannot be used here: the extra is not installed; "
        "run pip install 'mcp-infra-gateway[keyring]'"
    ]


def test_credentials_that_a_gateway_here_cannot_have_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    secret = write_private(tmp_path / "password", "x")
    open_to_all = tmp_path / "open"
    open_to_all.write_text("x")
    open_to_all.chmod(0o644)
    sources = {
        "set": '{ env = "SET" }',
        "unset": '{ env = "UNSET" }',
        "empty": '{ env = "EMPTY" }',
        "private": f'{{ file = "{secret}" }}',
        "public": f'{{ file = "{open_to_all}" }}',
        "gone": '{ file = "/nowhere/password" }',
        "program": f'{{ command = ["{sys.executable}"] }}',
        "no_program": '{ command = ["/nowhere/pass", "orders"] }',
        "ring": '{ keyring = { service = "db", username = "g" } }',
    }
    targets = (
        postgres(f"password = {source}").replace("targets.orders", f"targets.{name}")
        for name, source in sources.items()
    )
    found = find_missing_credentials(
        settings(BASE + "".join(targets), data=tmp_path), environ={"SET": "x", "EMPTY": ""}
    )

    assert found == [
        "targets.unset.password: the environment variable UNSET is not set; what needs it is refused",
        "targets.empty.password: the environment variable EMPTY is not set; what needs it is refused",
        f"targets.public.password: the file '{open_to_all}' cannot be used: it has mode 0644, so that others can read it; "
        "run chmod go= on it; what needs it is refused",
        "targets.gone.password: the file '/nowhere/password' cannot be used: there is no such file; what needs it is refused",
        "targets.no_program.password: the command '/nowhere/pass' cannot be used: there is no such file; "
        "what needs it is refused",
        "targets.ring.password: the keyring entry of 'g' for 'db' cannot be used: the extra is not installed; "
        "run pip install 'mcp-infra-gateway[keyring]'; what needs it is refused",
    ]


def test_files_that_the_configuration_names_are_looked_at(tmp_path: Path) -> None:
    for name, mode in [("cert", 0o644), ("key", 0o644), ("known_hosts", 0o666), ("id", 0o600), ("token", 0o640)]:
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(mode)
    found = settings(
        f"""
[server]
tls_cert = "{tmp_path}/cert"
tls_key = "{tmp_path}/key"
{EXTERNAL}
[policy.opa]
url = "https://opa.internal/v1/data/gateway"
tls_ca = "{tmp_path}/absent"
token = {{ file = "{tmp_path}/key" }}
[targets.web1]
kind = "ssh"
labels = {{ env = "dev" }}
host = "web1"
user = "u"
known_hosts = "{tmp_path}/known_hosts"
key = {{ file = "{tmp_path}/id" }}
[targets.billing]
kind = "http"
labels = {{ env = "dev" }}
base_url = "https://billing.example.com"
auth = {{ header = {{ name = "X-API-Key", value = {{ file = "{tmp_path}/token" }} }} }}
[targets.orders]
kind = "postgres"
labels = {{ env = "dev" }}
host = "db"
database = "o"
user = "g"
tls_ca = "{tmp_path}/absent"
password = {{ command = ["{tmp_path}/absent", "x"] }}
""",
        data=tmp_path / "data",
    )

    assert [str(problem) for problem in find_file_problems(found)] == [
        f"{tmp_path}/key: server.tls_key: it has mode 0644, so that others can read it; run chmod go= on it",
        f"{tmp_path}/absent: policy.opa.tls_ca: there is no such file",
        f"{tmp_path}/known_hosts: targets.web1.known_hosts: it has mode 0666, so that others can write to it; "
        "run chmod go-w on it",
        f"{tmp_path}/absent: targets.orders.tls_ca: there is no such file",
        f"{tmp_path}/key: policy.opa.token: it has mode 0644, so that others can read it; run chmod go= on it",
        f"{tmp_path}/id: targets.web1.key: it holds no private key that can be read; expected one in OpenSSH's format, "
        "without a passphrase",
        f"{tmp_path}/token: targets.billing.auth.header.value: it has mode 0640, so that others can read it; "
        "run chmod go= on it",
        f"{tmp_path}/absent: targets.orders.password: there is no such file",
    ]


def test_certificates_that_cannot_be_read_are_found_before_a_gateway_starts(tmp_path: Path) -> None:
    junk = write_private(tmp_path / "junk.pem", "junk")
    identity = EXTERNAL.replace("[approvals]", f'tls_ca = "{junk}"\n[approvals]\ntls_ca = "{junk}"')
    api = '[targets.api]\nkind = "http"\nbase_url = "https://api.example.com"\nlabels = { env = "dev" }\n'
    found = settings(
        f'{identity}[policy.opa]\nurl = "https://opa.internal/v1"\ntls_ca = "{junk}"\n'
        f'{api}tls_ca = "{junk}"\n{postgres(f"tls_ca = {str(junk)!r}")}',
        data=tmp_path / "data",
    )

    assert [str(problem) for problem in find_file_problems(found)] == [
        f"{junk}: {key}: it holds no certificate that can be read; expected PEM"
        for key in (
            "identity.tls_ca",
            "approvals.tls_ca",
            "policy.opa.tls_ca",
            "targets.api.tls_ca",
            "targets.orders.tls_ca",
        )
    ]


HOST = """
[targets.{name}]
kind = "ssh"
labels = {{ env = "dev" }}
host = "{host}"
user = "u"
known_hosts = "{known_hosts}"
key = {{ file = "{key}" }}
"""


def test_keys_that_no_host_would_be_reached_by_are_found_before_a_gateway_starts(tmp_path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    good = write_private(tmp_path / "good", key.export_private_key())
    known = write_private(tmp_path / "known_hosts", b"[web1]:22 " + key.export_public_key())
    junk = write_private(tmp_path / "junk", "junk")
    readable = write_private(tmp_path / "readable", key.export_private_key())
    readable.chmod(0o640)
    locked = write_private(tmp_path / "locked", key.export_private_key("pkcs8-pem", passphrase="a passphrase"))
    targets = [
        ("fine", "web1", known, good),
        ("junk", "web1", junk, junk),
        ("unknown", "web2", known, good),
        ("open", "web1", known, readable),
        ("locked", "web1", known, locked),
    ]
    text = "".join(HOST.format(name=name, host=host, known_hosts=hosts, key=key) for name, host, hosts, key in targets)

    assert [str(problem) for problem in find_file_problems(settings(BASE + text, data=tmp_path / "data"))] == [
        f"{junk}: targets.junk.known_hosts: line 1 is none of a known_hosts file: expected HOST TYPE KEY, as ssh-keyscan "
        "prints it",
        f"{known}: targets.unknown.known_hosts: no host key of web2:22 is in it; add it after checking it, for example with "
        "ssh-keyscan -p 22 web2",
        f"{junk}: targets.junk.key: it holds no private key that can be read; expected one in OpenSSH's format, without a "
        "passphrase",
        f"{readable}: targets.open.key: it has mode 0640, so that others can read it; run chmod go= on it",
        f"{locked}: targets.locked.key: the private key in it has a passphrase, which nobody is there to type; "
        "ssh-keygen -p takes it off a copy",
    ]


def test_keys_that_a_gateway_would_not_take_are_found_and_none_is_made(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    found = settings(BASE, data=data)
    assert find_file_problems(found) == []
    assert not list(data.iterdir())
    no_folder = find_file_problems(settings(BASE, data=write_private(tmp_path / "file", "")))
    assert [problem.path for problem in no_folder] == ["gateway.data_dir"]

    write_private(data / "approval.key", "junk")
    write_private(data / "masking.key", bytes(32))
    write_private(data / "state.key", bytes(32)).chmod(0o644)
    write_private(data / "local-issuer.pem", "junk")

    assert [str(problem) for problem in find_file_problems(found)] == [
        f"{data}/approval.key: holds 4 bytes where a key has 32",
        f"{data}/state.key: is not a file of this user that nobody else can read; chmod 600 it",
        f"{data}/local-issuer.pem: the local issuer's key: it holds no private key",
    ]


def test_a_data_folder_that_others_may_enter_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)

    problems = find_file_problems(settings(BASE, data=tmp_path / "data"))

    assert [problem.path for problem in problems] == ["gateway.data_dir"]


def test_a_data_folder_that_is_not_there_yet_is_none(tmp_path: Path) -> None:
    assert find_file_problems(settings(BASE, data=tmp_path / "data")) == []


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """The directory of a store that was closed in good order."""
    async with opened_store(tmp_path / "data"):
        pass
    return tmp_path / "data"


@pytest.mark.anyio
async def test_a_store_in_order_and_a_store_to_be_made_are_no_problem(data: Path) -> None:
    assert find_store_problems(data) == []
    assert find_store_problems(data / "later" / "still") == []
    assert not (data / "later").exists()


def unmade(path: Path, why: str) -> str:
    return (
        f"gateway.data_dir: the directory '{path}' cannot be made: {why}; "
        "set data_dir elsewhere, or make it for this user with the mode 0700"
    )


@pytest.mark.parametrize("below", [(), ("a",), ("a", "b")])
def test_a_file_in_the_place_of_the_data_folder_is_found(tmp_path: Path, below: tuple[str, ...]) -> None:
    file = write_private(tmp_path / "file", "")
    (tmp_path / "link").symlink_to("nowhere")

    if below:
        for name in ("file", "link"):
            data = (tmp_path / name).joinpath(*below)
            assert [str(one) for one in find_store_problems(data)] == [
                unmade(data, f"'{tmp_path / name}' is not a directory")
            ]
    else:
        assert [str(one) for one in find_store_problems(file)] == [
            f"gateway.data_dir: '{file}' is not a directory; it may not be a link either; check data_dir"
        ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("mode", [0o500, 0o600])
def test_a_data_folder_below_one_that_is_not_ours_to_write_is_found(tmp_path: Path, mode: int) -> None:
    above = tmp_path / "above"
    above.mkdir(mode=mode)
    data = above / "a" / "data"

    assert [str(one) for one in find_store_problems(data)] == [
        unmade(data, f"the user that runs this ({os.geteuid()}) cannot write to '{above}'")
    ]


def test_a_data_folder_whose_name_is_too_long_is_found(tmp_path: Path) -> None:
    data = tmp_path / ("a" * 300)

    assert [str(one) for one in find_store_problems(data)] == [unmade(data, "File name too long")]


def test_a_data_folder_to_be_made_on_a_full_disk_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "LEAST_FREE_BYTES", 1 << 60)

    (found,) = find_store_problems(tmp_path / "data")

    assert found.path == "gateway.data_dir"
    assert found.message.startswith(f"the disk of '{tmp_path}' has ")


@pytest.mark.anyio
async def test_a_store_that_others_can_read_is_found(data: Path) -> None:
    (data / "audit.db").chmod(0o644)

    (found,) = find_store_problems(data)

    assert str(found) == (
        f"gateway.data_dir: '{data}/audit.db' has the mode 0644, expected 0600; chmod 0600 '{data}/audit.db'"
    )


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda file: file.write_bytes(b"no database" * 100), "it is not a database"),
        (lambda file: file.write_bytes(b""), "is empty"),
    ],
)
async def test_a_store_that_cannot_be_opened_is_found(data: Path, damage: Callable[[Path], object], why: str) -> None:
    damage(data / "audit.db")

    (found,) = find_store_problems(data)

    assert found.path == "gateway.data_dir"
    assert why in found.message
    assert "restore the store from a copy" in found.message


ASKING = """
@id("w") @approval("dba, caller") @approvers("2")
forbid (principal, action == Action::"query_database", resource) when { !context.sql.read_only }
unless { context.approval.by.contains("dba") && context.approval.by.contains("caller") };
@id("u") @approval("ops") forbid (principal, action == Action::"query_database", resource)
when { context.sql.unbounded } unless { context.approval.by.contains("ops") };
@id("s") @mode("shadow") @approval("nobody") forbid (principal, action == Action::"query_database", resource)
when { context.sql.unbounded } unless { context.approval.by.contains("nobody") };
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[identity]\nissuer = "local"\n[approvals]\nclients = ["approver"]\n'
            '[identity.local.people]\ndana = { groups = ["dba"] }\nolga = { groups = ["ops"] }\n',
            ["w: needs 2 of the group 'dba', and identity.local.people has 1"],
        ),
        (
            '[identity]\nissuer = "local"\n[approvals]\nclients = ["approver"]\n',
            [
                "w: needs 2 of the group 'dba', and identity.local.people has 0",
                "u: needs 1 of the group 'ops', and identity.local.people has 0",
            ],
        ),
        ('[identity]\nissuer = "local"\n', []),  # nobody can approve anything, which is said
        (EXTERNAL, []),
    ],
)
def test_groups_that_policies_ask_and_too_few_are_in_are_told(text: str, said: list[str]) -> None:
    found = settings(text, data=Path("/nowhere"))

    assert absent_approvers(found, compiled(ASKING).policies.values()) == said
