"""Every problem in gateway.toml is reported at once, with its place and what to do."""

from __future__ import annotations

import pytest

from mcp_gateway.config import (
    HTTPTarget,
)
from mcp_gateway.errors import ConfigError
from tests.configurations import EXTERNAL, FILE, HTTP, LOCAL, POSTGRES, SSH, parse, postgres, problems


def test_all_problems_are_reported_at_once_with_their_lines() -> None:
    text = """\
[server]
listen = "everywhere"
[identity]
issuer = "http://idp.example.com"
[gatway]
[approvals]
ttl = "soon"
[targets.orders]
kind = "postgres"
prot = 5432
password = "hunter2-9f27c1d0"
[targets.Web]
kind = "telnet"
"""
    with pytest.raises(ConfigError) as caught:
        parse(text)

    assert str(caught.value).splitlines() == [
        f"{FILE}:2:1: server.listen: expected address:port, such as '127.0.0.1:8765', '[::1]:8765' or '0.0.0.0:8765', "
        "got 'everywhere'",
        f"{FILE}:3:1: identity.audience: is required",
        f"{FILE}:4:1: identity.issuer: an issuer's URL is https, or http on loopback, got 'http://idp.example.com'",
        f"{FILE}:5:1: gatway: unknown key; did you mean 'gateway'?",
        f"{FILE}:7:1: approvals.ttl: expected a duration such as '50s', '15m' or '1h', got 'soon'",
        f"{FILE}:8:1: targets.orders.labels: is required",
        f"{FILE}:8:1: targets.orders.host: is required",
        f"{FILE}:8:1: targets.orders.database: is required",
        f"{FILE}:8:1: targets.orders.user: is required",
        f"{FILE}:10:1: targets.orders.prot: unknown key; did you mean 'port'?",
        f"{FILE}:11:1: targets.orders.password: a credential never stands here itself; name its source, such as "
        '{ env = "NAME" }',
        f"{FILE}:12:1: targets.Web: expected 1 to 64 of a-z, 0-9, '_' and '-'",
        f"{FILE}:13:1: targets.Web.kind: expected one of 'postgres', 'ssh', 'http', got 'telnet'",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Keys and types.
        (LOCAL + POSTGRES.replace("labels", "lables"), "targets.orders.lables: unknown key; did you mean 'labels'?"),
        ("", "identity: is required"),
        ('[identity]\naudience = "x"\n', "identity.issuer: is required"),
        (LOCAL + "[masking]\nxyz = 1\n", "masking.xyz: unknown key; known here: detectors, styles"),
        (LOCAL + "server = 1\n", "identity.server: unknown key; known here: algorithms, audience, groups_claim, issuer, "
            "leeway, local, max_token_lifetime, scopes, tls_ca, token_types"),
        ("server = 1\n" + LOCAL, "server: expected a table, got an integer"),
        (LOCAL + '[server]\nsse = "yes"\n', "server.sse: expected true or false, got a string"),
        (LOCAL + '[server]\nallowed_origins = "x"\n', "server.allowed_origins: expected an array, got a string"),
        (LOCAL + "[gateway]\nname = 1\n", "gateway.name: expected a string, got an integer"),
        (LOCAL + POSTGRES + 'port = "5432"\n', "targets.orders.port: expected an integer, got a string"),
        (LOCAL + POSTGRES + "port = true\n", "targets.orders.port: expected an integer, got a boolean"),
        (LOCAL + POSTGRES + "port = 0\n", "targets.orders.port: expected at least 1, got 0"),
        (LOCAL + POSTGRES + "port = 65536\n", "targets.orders.port: expected at most 65535, got 65536"),
        (LOCAL + POSTGRES + "max_rows = 0\n", "targets.orders.max_rows: expected at least 1, got 0"),
        (LOCAL + '[targets]\norders = "x"\n', "targets.orders: expected a table, got a string"),
        (LOCAL + "[targets.orders]\n", "targets.orders.kind: is required"),
        # Durations and sizes.
        (LOCAL + "[approvals]\nttl = 15\n", "approvals.ttl: expected a duration with its unit, such as '15s', got 15"),
        (LOCAL + '[approvals]\nttl = "1s"\n', "approvals.ttl: expected 10s to 7d, got 1s"),
        (LOCAL + 'leeway = "61s"\n', "identity.leeway: expected 0s to 60s, got 61s"),
        (LOCAL + 'max_token_lifetime = "2d"\n', "identity.max_token_lifetime: expected 10s to 1d, got 2d"),
        (LOCAL + POSTGRES + 'max_bytes = "4MB"\n', "targets.orders.max_bytes: expected a size such as '64KiB' or '4MiB', "
            "got '4MB'"),
        (LOCAL + POSTGRES + "max_bytes = 4\n", "targets.orders.max_bytes: expected a string, got an integer"),
        (LOCAL + POSTGRES + 'max_bytes = "1GiB"\n', "targets.orders.max_bytes: expected 1KiB to 64MiB, got 1GiB"),
        (LOCAL + '[approvals]\nwait = "50s"\n', "approvals.wait: expected less than server.answer_within, which is 50s"),
        (LOCAL + '[server]\nanswer_within = "30s"\n', "approvals.wait: expected less than server.answer_within, which is "
            "30s"),
        (LOCAL + POSTGRES + 'timeout = "50s"\n', "targets.orders.timeout: expected less than server.answer_within, which "
            "is 50s: an approved call could never be claimed"),
        # Paths.
        (LOCAL + '[gateway]\ndata_dir = "data"\n', "gateway.data_dir: expected an absolute path without '..'; '~' and "
            "variables are not replaced, got 'data'"),
        (LOCAL + '[gateway]\ndata_dir = "~/data"\n', "gateway.data_dir: expected an absolute path without '..'; '~' and "
            "variables are not replaced, got '~/data'"),
        (LOCAL + '[policy]\npaths = ["/etc/../policies"]\n', "policy.paths[0]: expected an absolute path without '..'; "
            "'~' and variables are not replaced, got '/etc/../policies'"),
        (LOCAL + '[policy]\npaths = ["/a", "/a"]\n', "policy.paths: expected each entry once, got '/a' twice"),
        (LOCAL + '[policy]\npaths = [1]\n', "policy.paths[0]: expected an absolute path, got an integer"),
        (LOCAL + SSH.replace('"/k"', '"known_hosts"'), "targets.web1.known_hosts: expected an absolute path without '..'; "
            "'~' and variables are not replaced, got 'known_hosts'"),
        (LOCAL + SSH.replace('"/i"', '"hunter2-9f27c1d0"'), "targets.web1.key.file: expected an absolute path without '..'; '~' and "
            "variables are not replaced"),
        # Targets.
        (LOCAL + POSTGRES.replace("env", "team"), 'targets.orders.labels: the label \'env\' is required, such as labels = '
            '{ env = "prod" }'),
        (LOCAL + POSTGRES.replace("labels =", "#"), "targets.orders.labels: is required"),
        (LOCAL + POSTGRES.replace('"dev"', '"a\\nb"'), "targets.orders.labels.env: expected 1 to 1,000 printable "
            "characters on one line"),
        (LOCAL + POSTGRES + 'description = "a\\u001b[2J"\n', "targets.orders.description: expected at most 500 printable "
            "characters on one line"),
        (LOCAL + POSTGRES.replace("targets.orders", 'targets."or.ders"'), 'targets."or.ders": expected 1 to 64 of a-z, '
            "0-9, '_' and '-'"),
        (LOCAL + POSTGRES.replace("targets.orders", 'targets."a\\u0000b"'), 'targets."a\\u0000b": expected 1 to 64 of '
            "a-z, 0-9, '_' and '-'"),
        (LOCAL + POSTGRES.replace("db.internal", "postgres://gateway:hunter2-9f27c1d0@db"), "targets.orders.host: expected "
            "a host name or an address, without scheme, port or path"),
        (LOCAL + POSTGRES.replace("db.internal", "2130706433"), "targets.orders.host: expected a host name or an address, "
            "without scheme, port or path, got '2130706433'"),
        (LOCAL + POSTGRES + 'tls = "disable"\n', "targets.orders.tls: 'disable' is for loopback only, where 'db.internal' "
            "is not; expected 'verify-full'"),
        (LOCAL + POSTGRES + 'tls = "prefer"\n', "targets.orders.tls: 'prefer' is for loopback only, where 'db.internal' "
            "is not; expected 'verify-full'"),
        (LOCAL + POSTGRES + 'tls = "verify_full"\n', "targets.orders.tls: expected 'disable', 'allow', 'prefer', "
            "'require', 'verify-ca' or 'verify-full', got 'verify_full'"),
        (LOCAL + POSTGRES + '[targets.orders.classify]\n"customers.ssn" = "pii.national_id"\n',
            'targets.orders.classify."customers.ssn": expected a column as "schema.table.column", such as '
            '"public.customers.ssn"'),
        (LOCAL + POSTGRES + '[targets.orders.classify]\n"public.customers.ssn" = "PII"\n',
            'targets.orders.classify."public.customers.ssn": expected a data class such as \'pii.email\' (a-z, 0-9, \'_\', '
            "parts between dots)"),
        (LOCAL + POSTGRES + 'detectors = ["defualt"]\n', None),
        # HTTP targets.
        (LOCAL + HTTP.replace("https:", "http:"), "targets.billing.base_url: expected an https URL, got "
            "'http://billing.internal'; http is for loopback, or for what 'networks' holds"),
        (LOCAL + HTTP.replace("https:", "HTTP:").replace("/v1", ":8080/hunter2-9f27c1d0"), "targets.billing.base_url: "
            "expected an https URL, got 'http://billing.internal:8080'; http is for loopback, or for what 'networks' holds"),
        (LOCAL + HTTP.replace("billing.internal", "user:hunter2-9f27c1d0@billing.internal"), "targets.billing.base_url: "
            "expected a URL such as 'https://billing.internal/v1', without user, query or fragment"),
        (LOCAL + HTTP.replace("/v1", "/v1?key=hunter2-9f27c1d0"), "targets.billing.base_url: expected a URL such as "
            "'https://billing.internal/v1', without user, query or fragment"),
        (LOCAL + HTTP.replace("/v1", "/v1/%2e%2E/x"), "targets.billing.base_url: expected a path without '.', '..' and "
            "empty segments"),
        (LOCAL + HTTP.replace("/v1", "/v1//x"), "targets.billing.base_url: expected a path without '.', '..' and empty "
            "segments"),
        (LOCAL + HTTP.replace("/v1", "/v1%2Fx"), "targets.billing.base_url: expected a path without encoded slashes, "
            "backslashes, NULs and broken escapes"),
        (LOCAL + HTTP + 'networks = ["10.0.0.1/8"]\n', "targets.billing.networks[0]: expected a range such as '10.0.0.0/8', "
            "without host bits, got '10.0.0.1/8'"),
        (LOCAL + HTTP + 'networks = ["169.254.169.254/32"]\n', "targets.billing.networks[0]: the range "
            "'169.254.169.254/32' holds link-local addresses, which are never allowed"),
        (LOCAL + HTTP + 'networks = ["0.0.0.0/0"]\n', "targets.billing.networks[0]: the range '0.0.0.0/0' holds "
            "link-local addresses, which are never allowed"),
        (LOCAL + HTTP + 'networks = ["fe80::/64"]\n', "targets.billing.networks[0]: the range 'fe80::/64' holds "
            "link-local addresses, which are never allowed"),
        (LOCAL + HTTP + 'networks = ["100.100.100.200/32"]\n', "targets.billing.networks[0]: the range "
            "'100.100.100.200/32' belongs to a cloud's metadata service, which is never allowed"),
        (LOCAL + HTTP + 'networks = ["224.0.0.0/4"]\n', "targets.billing.networks[0]: the range '224.0.0.0/4' is not one "
            "of a private network"),
        (LOCAL + HTTP + 'headers = ["X-Tenant", "x-tenant"]\n', "targets.billing.headers: expected each entry once, got "
            "'x-tenant' twice"),
        (LOCAL + HTTP + 'headers = ["X Tenant"]\n', "targets.billing.headers[0]: expected the name of a request header"),
        # Credentials.
        (LOCAL + POSTGRES + 'password = { env = "hunter2-9f27c1d0" }\n', "targets.orders.password.env: expected the name "
            "of an environment variable (letters, digits and '_')"),
        (LOCAL + POSTGRES + 'password = { value = "hunter2-9f27c1d0" }\n', "targets.orders.password: expected a table with "
            "exactly one of 'env', 'file', 'keyring', 'command', got 'value'"),
        (LOCAL + POSTGRES + 'password = { env = "A", file = "/b" }\n', "targets.orders.password: expected a table with "
            "exactly one of 'env', 'file', 'keyring', 'command', got 'env', 'file'"),
        (LOCAL + POSTGRES + 'password = 12345\n', "targets.orders.password: expected a table with exactly one of 'env', "
            "'file', 'keyring', 'command', got an integer"),
        (LOCAL + POSTGRES + 'password = { keyring = { service = "a" } }\n', "targets.orders.password.keyring.username: is "
            "required"),
        (LOCAL + POSTGRES + 'password = { command = "pass hunter2-9f27c1d0" }\n', "targets.orders.password.command: "
            'expected a program and its arguments, such as ["/usr/bin/pass", "orders"]; there is no shell'),
        (LOCAL + POSTGRES + 'password = { command = ["pass"] }\n', "targets.orders.password.command: expected the absolute "
            "path of a program first; no PATH is searched"),
        (LOCAL + POSTGRES + 'password = { command = [] }\n', "targets.orders.password.command: expected the absolute path "
            "of a program first; no PATH is searched"),
        (LOCAL + HTTP + 'auth = "hunter2-9f27c1d0"\n', "targets.billing.auth: a credential never stands here itself; "
            'expected { bearer = { env = "NAME" } } or the like'),
        (LOCAL + HTTP + 'auth = { bearer = "hunter2-9f27c1d0" }\n', "targets.billing.auth.bearer: a credential never "
            'stands here itself; name its source, such as { env = "NAME" }'),
        (LOCAL + HTTP + 'auth = { bearre = { env = "A" } }\n', "targets.billing.auth.bearre: unknown key; did you mean "
            "'bearer'?"),
        (LOCAL + HTTP + 'auth = {}\n', "targets.billing.auth: expected exactly one of 'bearer', 'basic', 'header', got "
            "none of them"),
        (LOCAL + HTTP + 'auth = { header = { name = "Host", value = { env = "A" } } }\n', "targets.billing.auth.header."
            "name: the header 'Host' cannot carry a credential"),
        (LOCAL + HTTP + 'auth = { header = { name = "X-API-Key", value = { env = "A" } } }\nheaders = ["x-api-key"]\n',
            "targets.billing.headers: the header 'x-api-key' carries the gateway's own credential"),
        (LOCAL + HTTP + 'auth = { header = { name = "X-API-Key", value = { env = "A" } } }\nheaders = ["x_api-key"]\n',
            "targets.billing.headers: the header 'x-api-key' carries the gateway's own credential"),
        # Identity.
        (EXTERNAL.replace("example.com\"\naud", "example.com/a|b\"\naud"), "identity.issuer: expected 'local' or the https "
         "URL of an OpenID provider, without query, got 'https://idp.example.com/a|b'"),
        (EXTERNAL.replace("https://idp", "http://idp"), "identity.issuer: an issuer's URL is https, or http "
            "on loopback, got 'http://idp.example.com'"),
        (EXTERNAL.replace("https://idp.example.com", "http://idp.example.com/hunter2-9f27c1d0"), "identity.issuer: an "
            "issuer's URL is https, or http on loopback, got 'http://idp.example.com'"),
        (EXTERNAL.replace("https://idp", "http://dana:hunter2-9f27c1d0@idp"), "identity.issuer: expected 'local' or the "
            "https URL of an OpenID provider, without query"),
        (EXTERNAL.replace("https://idp.example.com", "idp.example.com"), "identity.issuer: expected 'local' or the https "
            "URL of an OpenID provider, without query, got 'idp.example.com'"),
        (EXTERNAL.replace("https://idp", "http://127.0.0.1.idp"), "identity.issuer: an issuer's URL is https, or http on "
            "loopback, got 'http://127.0.0.1.idp.example.com'"),
        (EXTERNAL + 'algorithms = ["HS256"]\n', "identity.algorithms[0]: expected 'RS256', 'PS256', 'ES256' or 'EdDSA', "
            "got 'HS256'"),
        (EXTERNAL + 'algorithms = ["none"]\n', "identity.algorithms[0]: expected 'RS256', 'PS256', 'ES256' or 'EdDSA', got "
            "'none'"),
        (EXTERNAL + "algorithms = []\n", "identity.algorithms: expected at least one entry"),
        (EXTERNAL + "token_types = []\n", "identity.token_types: expected at least one entry"),
        (EXTERNAL + '[identity.scopes]\nquery_databse = "db"\n', "identity.scopes.query_databse: no such tool; did you mean "
            "'query_database'?"),
        (EXTERNAL + '[identity.scopes]\nquery_database = "a b"\n', "identity.scopes.query_database: expected one OAuth "
            "scope without spaces"),
        (EXTERNAL + '[identity.local]\npeople = { dana = {} }\n', "identity.local: local people exist only with issuer = "
            '"local"'),
        (LOCAL + '[identity.local]\npeople = { dana = { groups = ["caller"] } }\n', "identity.local.people.dana.groups: the "
            "group name 'caller' is reserved"),
        # The server.
        (EXTERNAL + '[server]\nlisten = ":8765"\n', "server.listen: expected address:port, such as '127.0.0.1:8765', "
            "'[::1]:8765' or '0.0.0.0:8765', got ':8765'"),
        (EXTERNAL + '[server]\nlisten = "::1:8765"\n', "server.listen: expected address:port, such as '127.0.0.1:8765', "
            "'[::1]:8765' or '0.0.0.0:8765', got '::1:8765'"),
        (EXTERNAL + '[server]\nlisten = "0.0.0.0:8765"\n', "server.tls_key: listening beyond loopback needs 'tls_cert' and "
            "'tls_key', or 'behind_tls_proxy = true' where a proxy ends TLS"),
        (EXTERNAL + '[server]\nlisten = "[::]:8765"\n', "server.tls_key: listening beyond loopback needs 'tls_cert' and "
            "'tls_key', or 'behind_tls_proxy = true' where a proxy ends TLS"),
        (EXTERNAL + '[server]\ntls_cert = "/c"\n', "server.tls_key: expected both 'tls_cert' and 'tls_key', or neither"),
        (EXTERNAL + '[server]\npublic_url = "http://gateway.example.com"\n', "server.public_url: public_url is https, or "
            "http on loopback, got 'http://gateway.example.com'"),
        (EXTERNAL + '[server]\npublic_url = "https://gateway.example.com/mcp"\n', "server.public_url: expected a URL such "
            "as 'https://gateway.example.com', without path or query, got 'https://gateway.example.com/mcp'"),
        (EXTERNAL + '[server]\nallowed_origins = ["*"]\n', "server.allowed_origins[0]: expected an origin such as "
            "'https://console.example.com', in lower case, without path, got '*'"),
        (EXTERNAL + '[server]\nallowed_origins = ["null"]\n', "server.allowed_origins[0]: expected an origin such as "
            "'https://console.example.com', in lower case, without path, got 'null'"),
        (LOCAL + '[server]\nlisten = "0.0.0.0:8765"\ntls_cert = "/c"\ntls_key = "/k"\npublic_url = "https://localhost"\n',
            "identity.issuer: 'local' is for loopback only, and server.listen is '0.0.0.0:8765'"),
        (LOCAL + '[server]\npublic_url = "https://gateway.example.com"\n', "identity.issuer: 'local' is for loopback only, "
            "and server.public_url is not on loopback"),
        (LOCAL + "[server]\nbehind_tls_proxy = true\n", "identity.issuer: 'local' is for loopback only, and "
            "server.behind_tls_proxy is true"),
        # Masking.
        (LOCAL + '[masking.styles]\n"pii.email" = "last4"\n', 'masking.styles."pii.email": the style \'last4\' is for '
            "classes below 'payment.' only"),
        (LOCAL + '[masking.styles]\n"pii.email" = "bold"\n', "masking.styles.\"pii.email\": expected 'redact', 'last4', "
            "'hash', 'null' or 'token', got 'bold'"),
        (LOCAL + '[masking.styles]\npii.email = "hash"\n', "masking.styles.pii: expected 'redact', 'last4', 'hash', 'null' "
            "or 'token', got a table; a name with dots needs quotes"),
        (LOCAL + '[masking.styles]\n"pii.emial" = "hash"\n', 'masking.styles."pii.emial": no such data class; did you mean '
            "'pii.email'?"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(text: str, expected: str | None) -> None:
    found = problems(text)

    if expected is None:
        assert len(found) == 1
        assert found[0].startswith("targets.orders.detectors: unknown detector 'defualt'")
    else:
        assert found == [expected]


HARMFUL_HEADERS = """
    Authorization Proxy-Authorization Cookie Host Connection Content-Length Transfer-Encoding TE Upgrade Expect Forwarded
    X-Forwarded-For X-HTTP-Method X-HTTP-Method-Override X-Method-Override X-Original-URL X-Rewrite-URL Proxy-Anything
    Sec-Fetch-Site
""".split()


@pytest.mark.parametrize("header", [form(name) for name in HARMFUL_HEADERS for form in (str.lower, str.upper)])
def test_headers_that_make_another_request_can_never_be_allowed(header: str) -> None:
    assert problems(LOCAL + HTTP + f'headers = ["{header}"]\n') == [
        f"targets.billing.headers[0]: the header {header!r} can never be an agent's to set"
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8", "/var/run/postgresql"])
def test_a_database_on_this_machine_may_do_without_tls(host: str) -> None:
    assert postgres(POSTGRES.replace("db.internal", host) + 'tls = "disable"\n').host == host


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/v1", "http://[::1]/v1", "http://localhost"])
def test_an_api_on_this_machine_may_do_without_tls(url: str) -> None:
    target = parse(LOCAL + HTTP.replace("https://billing.internal/v1", url)).targets["billing"]

    assert isinstance(target, HTTPTarget)
    assert target.base_url == url


def test_an_api_in_a_named_network_may_do_without_tls() -> None:
    text = HTTP.replace("https:", "http:") + 'networks = ["10.0.0.0/8", "fd00::/8"]\n'

    assert isinstance(parse(LOCAL + text).targets["billing"], HTTPTarget)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = \n", f"{FILE}:1:5: no valid TOML: this is no value; a text needs quotes"),
        ("[a\n", f"{FILE}:1:3: no valid TOML: expected ']' at the end of a table declaration"),
        ('a = """', f"{FILE}: no valid TOML: a string is not closed, at the end of the file"),
        ("[targets.a]\n[targets.a]\n", f"{FILE}:2:11: no valid TOML: the table [targets.a] is there already"),
        ("a = 1\na = 2\n", f"{FILE}:2:6: no valid TOML: this key is in its table already"),
    ],
)
def test_what_is_no_toml_is_said_with_its_place(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)

    assert str(caught.value) == expected


def test_toml_that_is_nested_without_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="the TOML cannot be parsed"):
        parse("a = " + "[" * 100_000)


# Files.
