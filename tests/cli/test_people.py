"""Deciding over a gateway's URL: what is there instead of a gateway is said, and no token goes astray."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mcp_gateway.cli import people
from mcp_gateway.doors import approvals_api
from mcp_gateway.doors.tls import server_context
from tests.cli.running import Ran, run_here, write_config
from tests.peers.answering import Peer, peer
from tests.peers.certificates import Authority
from tests.private import write_private

CONFIG = (
    '[identity]\nissuer = "local"\n[identity.local.people]\ndana = { groups = ["dba"] }\n[approvals]\nclients = ["c"]\n'
)


@contextmanager
def secured(folder: Path, authority: Authority, *hosts: str) -> Iterator[Peer]:
    """A peer with a certificate of an authority of its own."""
    served = authority.certify(*hosts)
    certificate, key = (
        write_private(folder / name, content) for name, content in (("c", served.certificate), ("k", served.key))
    )
    with peer(200, b"[]", tls=server_context(certificate, key)) as gateway:
        yield gateway


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path, CONFIG)


def show(config: Path, capsys: pytest.CaptureFixture[str], approval_id: str, url: str) -> Ran:
    return run_here(capsys, "--config", str(config), "approvals", "show", approval_id, "--as", "dana", "--url", url)


@pytest.mark.requirement("R26")
@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("gateway", "expected a URL such as 'https://gateway.example.com', without user, query or fragment"),
        ("http://192.0.2.1:8765", "a gateway's URL is https, or http on loopback"),
        ("http://10.0.0.1:8765", "a gateway's URL is https, or http on loopback"),
        ("http://127.0.0.1.example.com", "a gateway's URL is https, or http on loopback"),
    ],
)
def test_a_token_goes_to_no_url_that_is_open(
    config: Path, capsys: pytest.CaptureFixture[str], url: str, why: str
) -> None:
    ran = show(config, capsys, "a", url)

    assert (ran.status, ran.out, ran.err) == (2, "", f"mcp-gateway: --url: {why}, got {url!r}\n")


def test_a_password_in_the_url_is_not_repeated(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = show(config, capsys, "a", "https://dana:hunter2@gateway.example.com")

    assert (ran.status, ran.out) == (2, "")
    assert ran.err == (
        "mcp-gateway: --url: expected a URL such as 'https://gateway.example.com', without user, query or fragment\n"
    )


def test_a_key_in_the_url_is_not_repeated(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for rest in ("?key=hunter2", "/hunter2"):
        ran = show(config, capsys, "a", f"http://gateway.example.com{rest}")

        assert (ran.status, ran.out) == (2, "")
        assert "hunter2" not in ran.err


def test_a_gateway_that_is_away_is_said(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with peer(200, b"{}") as gone:
        url = gone.url

    ran = show(config, capsys, "a", url)

    assert (ran.status, ran.out) == (3, "")
    assert ran.err == f"mcp-gateway: the gateway at {url} does not answer: no connection; is it running there?\n"
    assert ran.err.endswith("; is it running there?\n")


def test_a_gateway_that_speaks_no_tls_is_not_said_to_be_away(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with peer(200, b"{}") as plain:
        url = plain.url.replace("http://", "https://")
        ran = show(config, capsys, "a", url)

    assert (ran.status, ran.out, ran.err) == (
        3,
        "",
        f"mcp-gateway: what answers at {url} does not speak TLS; expected the URL that `mcp-gateway serve` prints\n",
    )


def test_a_gateway_whose_certificate_nobody_trusts_is_not_said_to_be_away(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with secured(tmp_path, Authority("a test's own"), "localhost") as gateway:
        ran = show(config, capsys, "a", gateway.url)

    assert (ran.status, ran.out, ran.err) == (
        3,
        "",
        f"mcp-gateway: the certificate of what answers at {gateway.url} does not prove who it is: "
        "unable to get local issuer certificate; approvals.tls_ca names an authority that the system does not know\n",
    )


def trusting_config(folder: Path, file: Path) -> Path:
    return write_config(folder, f'{CONFIG}tls_ca = "{file}"\n')


def listed(config: Path, capsys: pytest.CaptureFixture[str], gateway: Peer) -> Ran:
    url = gateway.url.replace("127.0.0.1", "localhost")
    return run_here(capsys, "--config", str(config), "approvals", "list", "--as", "dana", "--url", url)


def test_a_gateway_with_a_certificate_of_the_named_authority_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Authority("a company's own")
    config = trusting_config(tmp_path, own.write(tmp_path / "ca.pem"))

    with secured(tmp_path, own, "localhost") as gateway:
        ran = listed(config, capsys, gateway)

    assert (ran.status, ran.out, ran.err) == (0, "nothing waits that you may decide or have asked for\n", "")
    assert len(gateway.paths) == 1


@pytest.mark.requirement("R26")
@pytest.mark.parametrize("broken", ["authority", "name"])
def test_no_token_goes_to_whom_the_named_authority_does_not_prove(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    own, other = Authority("a company's own"), Authority("a company's own")
    config = trusting_config(tmp_path, own.write(tmp_path / "ca.pem"))
    host = "gateway.example.com" if broken == "name" else "localhost"

    with secured(tmp_path, other if broken == "authority" else own, host) as gateway:
        ran = listed(config, capsys, gateway)

    assert (ran.status, ran.out, gateway.paths) == (3, "", [])
    assert "does not prove who it is: " in ran.err


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (b"no certificate", 0o644, "it holds no certificate that can be read; expected PEM"),
        (None, 0o644, "there is no such file"),
        (b"", 0o666, "it has mode 0666, so that others can write to it"),
    ],
)
def test_a_file_of_authorities_that_cannot_be_used_is_no_reason_to_trust_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, mode: int, why: str
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
        file.chmod(mode)
    config = trusting_config(tmp_path, file)

    with secured(tmp_path, Authority("another"), "localhost") as gateway:
        ran = listed(config, capsys, gateway)

    assert (ran.status, ran.out, gateway.paths) == (2, "", [])
    assert ran.err.startswith(f"mcp-gateway: {file}: approvals.tls_ca: {why}")


@pytest.mark.parametrize("move", ["approve", "deny", "withdraw"])
def test_who_decides_by_the_beginning_of_an_id_is_told_to_give_all_of_it(
    config: Path, capsys: pytest.CaptureFixture[str], move: str
) -> None:
    whole = "01a22bb0-a2bc-72d1-a08e-79d3b035088b"
    not_found = "there is no such approval that you may see"
    with peer(404, json.dumps({"error": not_found}).encode()) as gateway:
        ran = [
            run_here(capsys, "--config", str(config), "approvals", move, given, "--as", "dana", "--url", gateway.url)
            for given in (whole, "01a22bb0")
        ]

    assert [(one.status, one.out, one.err) for one in ran] == [
        (1, "", f"mcp-gateway: {not_found}\n"),
        (
            1,
            "",
            f"mcp-gateway: {not_found}: a decision takes the whole id, 36 characters, as `mcp-gateway approvals list` has "
            "it, got '01a22bb0'\n",
        ),
    ]


@pytest.mark.parametrize("status", [200, 404, 502])
def test_what_is_no_gateway_is_said(config: Path, capsys: pytest.CaptureFixture[str], status: int) -> None:
    with peer(status, b"<html>") as other:
        ran = show(config, capsys, "a", other.url)

    assert (ran.status, ran.out) == (3, "")
    assert ran.err == (
        f"mcp-gateway: what answers at {other.url} is not a gateway: status {status} and no JSON; expected the URL that "
        "`mcp-gateway serve` prints\n"
    )


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (401, {"error": "x"}, "the gateway does not accept this token: it is expired, revoked or for another gateway"),
        (403, {"error": "this program decides nothing"}, "this program decides nothing"),
        (500, {}, "the gateway refused with status 500"),
        (500, [], "the gateway refused with status 500"),
    ],
)
def test_a_refusal_is_told_in_the_gateways_words(
    config: Path, capsys: pytest.CaptureFixture[str], status: int, answer: object, said: str
) -> None:
    with peer(status, json.dumps(answer).encode()) as gateway:
        ran = show(config, capsys, "a", gateway.url)

    assert (ran.status, ran.out, ran.err) == (1, "", f"mcp-gateway: {said}\n")


@pytest.mark.parametrize(
    ("held", "why"),
    [
        ("hello", "token has 1 part, expected 3"),
        ("a.b.c.d.e", "token is encrypted (five parts), expected a signed one (three parts)"),
        ("e30..e30", "token payload is empty"),
        ("he llo.e30.e30", "token header is not base64url without padding"),
        ("hüllo", "token is not ASCII"),
    ],
)
def test_what_is_no_token_is_not_sent(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    held: str,
    why: str,
) -> None:
    config = write_config(tmp_path, '[identity]\nissuer = "https://idp.example.com"\naudience = "x"\n')
    monkeypatch.setenv("MCP_GATEWAY_TOKEN_FILE", str(write_private(tmp_path / "token", f"{held}\n")))

    with peer(401, b"{}") as gateway:
        arguments = ("--config", str(config), "approvals", "list")
        ran = [run_here(capsys, *arguments, *more) for more in ((), ("--url", gateway.url))]

    assert gateway.paths == []
    assert [(one.status, one.out, one.err) for one in ran] == [
        (1, "", f"mcp-gateway: the file of MCP_GATEWAY_TOKEN_FILE holds no access token (JWT): {why}\n")
    ] * 2


def test_an_id_is_one_part_of_the_path_whatever_it_is(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with peer(404, b'{"error": "there is none"}') as gateway:
        for pasted in ("../../mcp", "a b/c?x#y", "..", "."):
            assert show(config, capsys, pasted, f"{gateway.url}/").status == 1

    assert gateway.paths == ["/api/approvals/..%2F..%2Fmcp", "/api/approvals/a%20b%2Fc%3Fx%23y"]


def test_who_may_not_approve_their_own_call_is_told_who_may(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = b'{"error": "nobody approves their own call"}'
    with peer(403, own) as gateway:
        arguments = ("--config", str(config), "approvals", "show", "a", "--url", gateway.url)
        as_user = run_here(capsys, *arguments)
        as_dana = run_here(capsys, *arguments, "--as", "dana")

    assert (as_user.status, as_user.err) == (
        1,
        "mcp-gateway: nobody approves their own call; with --as you are one of dana\n",
    )
    assert as_dana.err == (
        "mcp-gateway: nobody approves their own call; identity.local.people adds people who can, with --as\n"
    )


def test_a_person_that_there_is_not_is_told_who_there_is(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, "--config", str(config), "approvals", "list", "--as", "mallory")

    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("mcp-gateway: there is no local person 'mallory'; there is dana")
    assert ran.err.endswith("; identity.local.people adds others\n")


def test_before_anything_ran_nothing_waits(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, "--config", str(config), "approvals", "list", "--as", "dana")

    assert (ran.status, ran.out, ran.err) == (0, "nothing waits that you may decide or have asked for\n", "")


@pytest.mark.requirement("R15")
def test_every_page_of_the_list_is_asked_for(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = '</api/approvals?after=a1&all=true>; rel="next"'
    with peer(200, b"[]", link=link) as gateway:
        ran = run_here(
            capsys,
            "--config",
            str(config),
            "approvals",
            "list",
            "--all",
            "--as",
            "dana",
            "--url",
            gateway.url,
            "--json",
        )

    assert (ran.status, ran.err, ran.json) == (0, "", [])
    # It says the same again, and a second time nobody is led on.
    assert gateway.paths == ["/api/approvals?all=true", "/api/approvals?all=true&after=a1"]


def test_a_note_is_looked_for_where_the_door_puts_it() -> None:
    assert people.NOTE == approvals_api.NOTE
