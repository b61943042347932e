"""The console script: what it loads, what it says of itself, and how errors come out."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main

import mcp_gateway
from mcp_gateway import __version__
from mcp_gateway.cli import main
from mcp_gateway.cli.failures import GatewayAwayError, MisuseError, NoSuchError, OutputError, ReaderGoneError
from mcp_gateway.cli.main import COMMANDS, app, status_of
from mcp_gateway.cli.statuses import MISUSED, NEGATIVE, UNAVAILABLE, UNREAD
from mcp_gateway.errors import (
    ConfigError,
    CredentialError,
    GatewayError,
    IdentityError,
    IssuerAway,
    LimitError,
    OutcomeLost,
    Problem,
    RequestError,
    StoreError,
    TargetFailed,
    TargetTimeout,
    TargetUnavailable,
)
from tests.cli.running import run_here

HEAVY = [
    "anyio",
    "asyncpg",
    "asyncssh",
    "cedarpy",
    "httpx2",
    "mcp",
    "orjson",
    "pydantic",
    "rich",
    "sqlite3",
    "structlog",
]
MAX_MODULES = 200
"""It imports some 150; one heavy library brings hundreds."""


def modules_after(*command_lines: Sequence[str]) -> list[str]:
    """What a fresh interpreter has imported after these command lines."""
    program = (
        "import sys, io, json; from mcp_gateway.cli.main import run; shown = sys.stdout; sys.stdout = io.StringIO();"
        f" print(*map(run, {command_lines!r})); json.dump(sorted(sys.modules), shown)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, check=True, timeout=60)
    modules: list[str] = json.loads(done.stdout)
    return modules


def test_help_imports_nothing_heavy() -> None:
    modules = modules_after(["--help"], ["--version"])

    assert [name for name in HEAVY if name in modules] == []
    assert len(modules) < MAX_MODULES


def test_the_help_of_commands_imports_little() -> None:
    modules = modules_after(*([name, "--help"] for name in COMMANDS))

    assert [name for name in ("asyncpg", "asyncssh", "cedarpy", "mcp", "rich", "structlog") if name in modules] == []


def test_help_lists_every_command_and_the_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, "--help")

    assert ran.status == 0
    for name in COMMANDS:
        assert f"\n  {name} " in ran.out
    for status in ("0 done", "1 done, and the answer is no", "2 wrong command line", "3 not there now", "130 Ctrl-C"):
        assert status in " ".join(ran.out.split())


def helps_of(command: Any) -> Iterator[tuple[str, ...]]:
    """What `--help` says of each option, of a command and of all below it."""
    for below in getattr(command, "commands", {}).values():
        yield from helps_of(below)
    context = typer.Context(command)
    yield from (record for parameter in command.params if (record := parameter.get_help_record(context)))


def test_every_value_of_an_option_is_called_by_what_it_means() -> None:
    group: Any = typer.main.get_command(app)
    context = typer.Context(group)
    found = [option for name in COMMANDS for option, _ in helps_of(group.get_command(context, name))]

    assert {"--limit NUMBER", "--sql STATEMENT"} <= set(found)
    assert [option for option in found if "<" in option] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_in_the_table_exists_and_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, name, "--help")

    assert ran.status == 0
    assert ran.out.startswith(f"Usage: mcp-gateway {name}")
    assert "completion" not in ran.out
    assert "..." not in ran.out.partition("Options:")[2]
    assert max(map(len, ran.out.splitlines())) <= 80


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here(capsys, "--version").out == f"mcp-gateway {__version__}\n"


@pytest.mark.parametrize(("library", "more"), [(True, ", examination of SQL compiled"), (False, "")])
def test_the_version_tells_whether_the_examination_of_sql_is_compiled(tmp_path: Path, library: bool, more: str) -> None:
    copy = shutil.copytree(Path(mcp_gateway.__file__).parent, tmp_path / "mcp_gateway")
    if library:
        (copy / "facts" / f"sql{EXTENSION_SUFFIXES[0]}").touch()  # it would be taken before `sql.py`, and is not loaded
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from mcp_gateway.cli.main import run; run(['--version'])"
    )

    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, check=True, timeout=60)

    assert done.stdout.decode() == f"mcp-gateway {__version__}{more}\n"


def test_help_calls_arguments_by_their_names_alone(capsys: pytest.CaptureFixture[str]) -> None:
    tests = run_here(capsys, "policy", "test", "--help").out
    targets = run_here(capsys, "targets", "test", "--help").out

    assert "targets test [OPTIONS] [NAME]...\n" in targets
    assert "  NAME  Default: all of them." in targets
    assert "  PATH  Case files, or folders of them." in tests
    assert "list[str]" not in tests + targets


def test_every_problem_of_a_configuration_gets_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text('[identity]\nissuer = "x"\n[targets.a]\nkind = "b"\n')
    path.chmod(0o600)

    ran = run_here(capsys, "--config", str(path), "check")

    assert (ran.status, ran.out) == (2, "")
    assert ran.err.splitlines() == [
        f"mcp-gateway: {path}:1:1: identity.audience: is required",
        f"mcp-gateway: {path}:2:1: identity.issuer: expected 'local' or the https URL of an OpenID provider, without query, "
        "got 'x'",
        f"mcp-gateway: {path}:4:1: targets.a.kind: expected one of 'postgres', 'ssh', 'http', got 'b'",
    ]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError([Problem(message="x")]), MISUSED),
        (RequestError("x", next_step=""), MISUSED),
        (LimitError("x", next_step=""), MISUSED),
        (IdentityError("x"), NEGATIVE),
        (IssuerAway("x"), UNAVAILABLE),
        (TargetFailed("x"), NEGATIVE),
        (OutcomeLost("x"), NEGATIVE),
        (GatewayError("x"), NEGATIVE),
        (TargetUnavailable("x"), UNAVAILABLE),
        (TargetTimeout("x"), UNAVAILABLE),
        (CredentialError("x"), UNAVAILABLE),
        (StoreError("x"), UNAVAILABLE),
        (GatewayAwayError("x"), UNAVAILABLE),
        (OutputError("x"), UNAVAILABLE),
        (MisuseError("x"), MISUSED),
        (NoSuchError("x"), NEGATIVE),
        (ReaderGoneError("x"), UNREAD),
    ],
)
def test_each_error_has_its_status(error: GatewayError, status: int) -> None:
    assert status_of(error) == status


def command_that_raises(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Put a command that raises in place of `check`."""
    from mcp_gateway.cli.commands import check

    app = typer.Typer()

    @app.command()
    def raising() -> None:
        raise error

    monkeypatch.setattr(check, "app", app)


def test_errors_of_tasks_come_out_one_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inner = ExceptionGroup("", [StoreError("the store is away", next_step="look")])
    command_that_raises(monkeypatch, ExceptionGroup("", [IdentityError("nobody"), inner]))

    ran = run_here(capsys, "check")

    assert ran.status == 3
    assert ran.err == "mcp-gateway: nobody\nmcp-gateway: the store is away; look\n"


def test_a_defect_is_not_hidden_among_errors_of_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    command_that_raises(monkeypatch, ExceptionGroup("", [IdentityError("nobody"), KeyError("defect")]))

    with pytest.raises(ExceptionGroup):
        main.run(["check"])


@pytest.mark.requirement("R37")
def test_an_error_cannot_act_on_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command_that_raises(monkeypatch, IdentityError("\x1b[2J\nmcp-gateway: all is well\u202e"))

    assert run_here(capsys, "check").err == ("mcp-gateway: <U+001B>[2J<U+000A>mcp-gateway: all is well<U+202E>\n")


def test_a_defect_is_not_taken_for_misuse(monkeypatch: pytest.MonkeyPatch) -> None:
    command_that_raises(monkeypatch, UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"))

    with pytest.raises(UnicodeEncodeError):
        main.run(["check"])
