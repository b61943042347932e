from __future__ import annotations

import json
import os
import pwd
from pathlib import Path

import pytest

from mcp_gateway.cli.client_config import KEYS, Host, default_path, document, merge, program_entry, url_entry
from mcp_gateway.errors import ConfigError
from tests.cli.running import SCRIPT, Ran, run_at_home, run_on_a_terminal, run_script, write_config
from tests.configurations import LOCAL, POSTGRES

ORDERS = f'{POSTGRES}password = {{ env = "ORDERS_PASSWORD" }}\n'
SECRET = "canary-4be81a60"


@pytest.mark.parametrize("host", list(KEYS))
def test_a_host_gets_absolute_paths_and_no_secret(host: Host, tmp_path: Path) -> None:
    server = program_entry(host, tmp_path / "gateway.toml")

    assert Path(server["command"]).is_absolute()
    assert server["args"] == ["--config", str(tmp_path / "gateway.toml"), "stdio"]
    assert "env" not in server
    assert document(host, "gateway", server) == {KEYS[host]: {"gateway": server}}


def test_a_url_is_for_hosts_that_speak_http() -> None:
    assert url_entry("claude-code", "https://g.example/") == {"type": "http", "url": "https://g.example/mcp"}
    assert url_entry("cursor", "https://g.example") == {"url": "https://g.example/mcp"}
    with pytest.raises(ConfigError, match=r"takes programs only; add https://g\.example/mcp as a connector"):
        url_entry("claude-desktop", "https://g.example")


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/sse"])
def test_the_url_that_serve_prints_can_be_given(path: str) -> None:
    assert url_entry("cursor", f"https://g.example{path}") == {"url": "https://g.example/mcp"}
    assert url_entry("cursor", f"https://g.example/below{path}") == {"url": "https://g.example/below/mcp"}


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://mcp", "https://mcp/mcp"),
        ("https://mcp/", "https://mcp/mcp"),
        ("https://sse", "https://sse/mcp"),
        ("https://mcp/mcp", "https://mcp/mcp"),
        ("https://mcp/sse/", "https://mcp/mcp"),
    ],
)
def test_a_host_that_is_called_as_an_endpoint_is_none(given: str, url: str) -> None:
    assert url_entry("cursor", given) == {"url": url}


def test_writing_merges_and_keeps_a_backup(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "config.json"

    made = merge(path, "claude-desktop", "gateway", {"command": "x"})
    path.write_text(json.dumps({"theme": "dark", "mcpServers": {"other": {"command": "y"}}}))
    path.chmod(0o640)
    first = merge(path, "claude-desktop", "gateway", {"command": "x"})
    second = merge(path, "claude-desktop", "gateway", {"command": "z"})

    assert json.loads(path.read_text()) == {
        "theme": "dark",
        "mcpServers": {"other": {"command": "y"}, "gateway": {"command": "z"}},
    }
    assert (made.changed, made.backup) == (True, None)
    assert first.backup is not None
    assert "gateway" not in json.loads(first.backup.read_text())["mcpServers"]
    assert second.backup not in {None, first.backup}
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("text", ["{", "[]", '{"mcpServers": []}'])
def test_a_file_that_cannot_be_merged_into_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)

    with pytest.raises(ConfigError, match="nothing was changed"):
        merge(path, "cursor", "gateway", {})

    assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("url", ["gateway", "http://gateway.example.com", "ftp://127.0.0.1", "https://u@g.example", ""])
def test_a_url_that_tokens_may_not_go_to_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^--url: (expected a URL|a gateway's URL is https, or http on loopback)"):
        url_entry("cursor", url)


def test_what_is_printed_can_be_copied_into_the_file(tmp_path: Path) -> None:
    config = write_config(tmp_path, LOCAL)

    ran = run_script("--config", str(config), "client-config", "vscode", home=tmp_path)

    assert ran.status == 0
    assert ran.json["servers"]["gateway"]["args"] == ["--config", str(config), "stdio"]
    assert ran.out.splitlines()[1] == '  "servers": {'
    assert ran.err == f"put this into {tmp_path}/.vscode/mcp.json, or call this command with --write\n"


def test_scripts_are_told_what_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (
        "--config",
        str(write_config(tmp_path, LOCAL + ORDERS)),
        "client-config",
        "cursor",
        "--write",
        "--json",
    )

    first = run_at_home(capsys, *arguments, home=tmp_path)
    file = tmp_path / ".cursor/mcp.json"
    file.write_text("{}")
    second = run_at_home(capsys, *arguments, home=tmp_path)

    needs = [{"id": "ORDERS_PASSWORD", "key": "targets.orders.password"}]
    always = {"id": "gateway", "file": str(file), "changed": True, "needs": needs}
    assert first.json == always | {"backup": None}
    assert second.json == always | {"backup": f"{file}.backup-1"}


def test_a_file_that_says_the_same_already_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--config", str(write_config(tmp_path, LOCAL)), "client-config", "cursor", "--write")
    file = tmp_path / ".cursor/mcp.json"

    run_at_home(capsys, *arguments, home=tmp_path)
    file.write_text(json.dumps(json.loads(file.read_text())))  # as another program has laid it out
    before = file.read_bytes()
    again = run_at_home(capsys, *arguments, home=tmp_path)
    scripted = run_at_home(capsys, *arguments, "--json", home=tmp_path)

    assert again.out == f"{file} has 'gateway' already, and was not changed\n"
    assert (scripted.json["changed"], scripted.json["backup"]) == (False, None)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def told(ran: Ran) -> list[str]:
    assert ran.status == 0
    return [line for line in ran.err.splitlines() if ": note: " in line]


@pytest.mark.parametrize("options", [(), ("--write",), ("--json",)])
def test_what_the_gateway_takes_from_its_environment_is_told_and_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    config = write_config(tmp_path, LOCAL + ORDERS)

    ran = run_at_home(
        capsys, "--config", str(config), "client-config", "claude-desktop", *options, home=tmp_path,
        environ={"ORDERS_PASSWORD": SECRET},
    )  # fmt: skip

    assert told(ran) == [
        "mcp-gateway: note: targets.orders.password comes from the environment variable ORDERS_PASSWORD, and hosts hand on "
        'little of their own environment: name { file = "/..." }, a keyring or a command there instead, or put the '
        'variable into the entry\'s "env" yourself, where whoever reads the file has it'
    ]
    written = [path.read_text() for path in tmp_path.rglob("claude_desktop_config.json")]
    assert len(written) == ("--write" in options)
    assert SECRET not in ran.out + ran.err + "".join(written)


def test_a_gateway_with_an_issuer_is_told_to_have_a_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    identity = '[identity]\nissuer = "https://idp.example.com"\naudience = "https://gateway.example.com"\n'

    ran = run_at_home(
        capsys, "--config", str(write_config(tmp_path, identity)), "client-config", "cursor", home=tmp_path
    )

    assert told(ran) == [
        "mcp-gateway: note: tokens of identity.issuer come from a file: put its path into the entry, as "
        '"env": {"MCP_GATEWAY_TOKEN_FILE": "/path/to/token"}, and let something keep the file fresh'
    ]


def test_what_somebody_put_into_the_entrys_environment_stays_and_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, LOCAL + ORDERS)
    file = tmp_path / "host.json"
    file.write_text('{"mcpServers": {"gateway": {"command": "old", "env": {"ORDERS_PASSWORD": "x"}, "args": []}}}')
    arguments = ("--config", str(config), "client-config", "cursor", "--write", "--path", str(file))

    ran = run_at_home(capsys, *arguments, home=tmp_path)

    entry = json.loads(file.read_text())["mcpServers"]["gateway"]
    assert (entry["command"], entry["env"]) == (str(SCRIPT), {"ORDERS_PASSWORD": "x"})
    assert told(ran) == []


def test_a_url_takes_nothing_over_from_a_program(tmp_path: Path) -> None:
    file = tmp_path / "host.json"
    file.write_text('{"mcpServers": {"gateway": {"command": "old", "env": {"ORDERS_PASSWORD": "x"}}}}')

    merge(file, "cursor", "gateway", url_entry("cursor", "https://g.example"))

    assert json.loads(file.read_text()) == {"mcpServers": {"gateway": {"url": "https://g.example/mcp"}}}


def test_connecting_to_a_gateway_elsewhere_needs_no_configuration_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = run_at_home(capsys, "client-config", "claude-code", "--url", "https://gateway.example.com", home=tmp_path)

    assert (ran.status, ran.json["mcpServers"]["gateway"]["url"]) == (0, "https://gateway.example.com/mcp")


def test_a_configuration_that_cannot_be_used_is_told_before_a_host_starts_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, LOCAL + "[serve]\n")

    ran = run_at_home(capsys, "--config", str(config), "client-config", "cursor", "--write", home=tmp_path)

    assert ran.status == 2
    assert "serve: unknown key; did you mean 'server'?" in ran.err
    assert not (tmp_path / ".cursor").exists()


def test_what_is_said_fits_the_terminal(tmp_path: Path) -> None:
    arguments = ("--config", write_config(tmp_path, LOCAL), "client-config", "cursor", "--write")
    run_on_a_terminal(SCRIPT, *arguments, home=tmp_path)

    ran = run_on_a_terminal(SCRIPT, *arguments, "--name", "other", home=tmp_path)

    words = [word for line in ran.out.splitlines() for word in line.split()]
    assert " ".join(words).startswith("wrote 'other' into ")
    assert all(len(line) <= 80 or " " not in line.strip() for line in ran.out.splitlines())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"a": ', "expected JSON without comments (Expecting value, line 1); nothing was changed"),
        (b"// mine\n{}", "expected JSON without comments (Expecting value, line 1); nothing was changed"),
        (b"\xff\xfe{", "expected UTF-8; nothing was changed"),
        (b"[" * 100_000, "expected JSON without comments (nested too deeply); nothing was changed"),
        (b" " * (8 * 1024 * 1024 + 1), "expected at most 8,388,608 bytes, got more; nothing was changed"),
        (b'{"mcpServers": 1}', "expected an object, and one in its 'mcpServers'; nothing was changed"),
    ],
)
def test_a_file_that_is_none_of_ours_is_named_and_left(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        merge(path, "cursor", "gateway", {})

    assert str(caught.value).startswith(f"{path}: {why}")
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_a_folder_and_a_pipe_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path, tmp_path / "pipe"):
        with pytest.raises(ConfigError, match="expected a regular file; nothing was changed"):
            merge(path, "cursor", "gateway", {})


def test_a_place_that_cannot_be_written_is_an_error_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(
        ConfigError, match=r"file/deep/config\.json: cannot be written: Not a directory; nothing was changed$"
    ):
        merge(tmp_path / "file" / "deep" / "config.json", "cursor", "gateway", {})


def test_a_file_kept_elsewhere_stays_there(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.json"
    real.write_bytes(b'\xef\xbb\xbf{"other": 1}')
    link = tmp_path / "config.json"
    link.symlink_to(real)

    merge(link, "cursor", "gateway", {"command": "x"})

    assert link.is_symlink()
    assert json.loads(real.read_text()) == {"other": 1, "mcpServers": {"gateway": {"command": "x"}}}


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    merge(tmp_path / "config.json", "cursor", "gateway", {})

    assert (tmp_path / "config.json").stat().st_mode & 0o777 == 0o600


def test_a_host_that_there_is_not_is_misuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, '[identity]\nissuer = "local"\n')

    ran = run_at_home(capsys, "--config", str(config), "client-config", "emacs", home=tmp_path)

    assert ran.status == 2
    assert ran.err.endswith(
        "Error: Invalid value for HOST: expected one of claude-desktop, claude-code, vscode, cursor, got 'emacs'\n"
    )


def test_a_home_that_is_not_absolute_leads_to_no_file_in_the_current_folder() -> None:
    system = Path(pwd.getpwuid(os.geteuid()).pw_dir)

    for given in ("", "relative", "."):
        assert default_path("cursor", {"HOME": given}) == system / ".cursor/mcp.json"
        assert default_path("claude-desktop", {"HOME": "/h", "XDG_CONFIG_HOME": given}).is_relative_to("/h")


def test_who_has_no_home_is_told_to_name_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)

    with pytest.raises(
        ConfigError, match=r"has no home folder; set HOME to an absolute path, or name the file with --path$"
    ):
        default_path("cursor", {})
