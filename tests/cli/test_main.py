"""The console script: what it loads, what it says of itself, and how errors come out."""

from __future__ import annotations

import json
import shutil
import signal
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
from mcp_gateway.cli.failures import GatewayAwayError, OutputError, ReaderGoneError
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
from tests.cli.running import SCRIPT, run_here, run_on_a_terminal, run_script, write_config

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
NO_SPACE = b"mcp-gateway: standard output cannot be written: No space left on device\n"
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


def test_an_unknown_command_is_misuse_and_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, "chek")

    assert (ran.status, ran.out) == (2, "")
    assert ran.err.endswith("Error: No such command 'chek'. Did you mean 'check'?\n")


def test_an_unknown_option_is_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here(capsys, "--nonsense").status == 2


def test_a_relative_configuration_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, "--config", "gateway.toml", "check")

    assert (ran.status, ran.out) == (2, "")
    assert ran.err == "mcp-gateway: --config: expected an absolute path, got 'gateway.toml'\n"


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


# As a program.


def test_the_script_gives_its_status_and_no_traceback(tmp_path: Path) -> None:
    ran = run_script("targets", "list", home=tmp_path)

    assert (ran.status, ran.out) == (2, "")
    assert ran.err.endswith(": there is no configuration; run `mcp-gateway init`, or give --config\n")
    assert ran.err.count("\n") == 1


def test_modules_in_the_current_folder_are_not_imported(tmp_path: Path) -> None:
    for name in ("typer", "pydantic", "tomllib", "mcp_gateway"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken over')")

    assert run_script("init", "--json", home=tmp_path).status == 0


def test_without_isolation_the_module_refuses_to_run(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mcp_gateway", "--version"], capture_output=True, check=False, timeout=60, cwd=tmp_path
    )

    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"mcp-gateway: run the script mcp-gateway, or python -I -m mcp_gateway\n"


def test_isolated_the_module_is_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-m", "mcp_gateway", "--version"], capture_output=True, check=True, timeout=60
    )

    assert done.stdout.decode() == f"mcp-gateway {__version__}\n"


def test_a_terminal_that_knows_no_unicode_gets_escapes(tmp_path: Path) -> None:
    # The command itself heeds no such variable, and few machines have a locale that would do the same.
    code = "from mcp_gateway.cli.main import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", code, "--config", "é", "check"],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={"PYTHONIOENCODING": "ascii"},
    )

    assert ran.stderr == b"mcp-gateway: --config: expected an absolute path, got '\\xe9'\n"


def test_a_reader_that_goes_away_ends_the_command_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "items").write_bytes(b'{"text": "x"}\n' * 20_000)
    with (
        (tmp_path / "items").open("rb") as items,
        subprocess.Popen(
            [SCRIPT, "inspect", "text", "--jsonl"], stdin=items, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as running,
    ):
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        said = running.stderr.read()

    assert (running.wait(60), said) == (UNREAD, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
@pytest.mark.parametrize("arguments", [("--help",), ("init", "--json"), ("inspect", "text")])
def test_a_result_that_cannot_be_written_is_no_success(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert run_to_a_full_disk(*arguments, home=tmp_path) == (UNAVAILABLE, NO_SPACE)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_what_went_wrong_is_told_as_text_where_its_json_cannot_be_written(tmp_path: Path) -> None:
    status, said = run_to_a_full_disk("targets", "list", "--json", home=tmp_path)

    assert (status, said.splitlines(keepends=True)[1:]) == (UNAVAILABLE, [NO_SPACE])
    assert b": there is no configuration; " in said


def run_to_a_full_disk(*arguments: str, home: Path) -> tuple[int, bytes]:
    """Exit status and standard error of the script."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [SCRIPT, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
            env={"HOME": str(home)},
        )
    return done.returncode, done.stderr


def test_a_closed_standard_output_is_said(tmp_path: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" --version >&-', SCRIPT], capture_output=True, check=False, timeout=60, cwd=tmp_path
    )

    assert (done.returncode, done.stderr) == (UNAVAILABLE, b"mcp-gateway: standard output is closed\n")


def test_a_closed_standard_error_harms_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" targets list 2>&-', SCRIPT],
        capture_output=True,
        check=False,
        timeout=60,
        env={"HOME": str(tmp_path)},
    )

    assert (done.returncode, done.stdout) == (MISUSED, b"")


def test_an_interrupt_has_the_usual_status_and_no_traceback(tmp_path: Path) -> None:
    heeding = ["env", "--default-signal=INT"]  # who runs the tests in the background has it ignored
    with subprocess.Popen(
        [*heeding, SCRIPT, "inspect", "text", "--jsonl"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(b'{"text": "x"}\n')
        running.stdin.flush()
        running.stdout.readline()  # it runs
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)

    assert (running.returncode, said) == (130, b"")


@pytest.mark.parametrize("columns", [50, 170])
def test_what_is_folded_is_as_wide_as_the_terminal(tmp_path: Path, columns: int) -> None:
    config = "/" + "is not there/" * 20

    told = run_on_a_terminal(SCRIPT, "--config", config, "check", columns=columns, home=tmp_path).out.splitlines()
    calls = ", ".join(f"f_{number}()" for number in range(40))
    shown = run_on_a_terminal(
        SCRIPT, "inspect", "sql", f"SELECT {calls}", columns=columns, home=tmp_path
    ).out.splitlines()

    assert columns - 15 < max(map(len, told)) <= columns
    filled = next(line for line in shown if '"f_0", ' in line)
    assert columns - 25 < len(filled) <= columns


def test_help_calls_arguments_by_their_names_alone(capsys: pytest.CaptureFixture[str]) -> None:
    tests = run_here(capsys, "policy", "test", "--help").out
    targets = run_here(capsys, "targets", "test", "--help").out

    assert "targets test [OPTIONS] [NAME]...\n" in targets
    assert "  NAME  Default: all of them." in targets
    assert "  PATH  Case files, or folders of them." in tests
    assert "list[str]" not in tests + targets


@pytest.mark.parametrize("limit", ["0", "-1", "10001", "many", "1.5", "", "9" * 5000])
def test_a_limit_out_of_bounds_is_misuse(capsys: pytest.CaptureFixture[str], limit: str) -> None:
    ran = run_here(capsys, "audit", "search", "--limit", limit)

    assert ran.status == 2
    assert ran.err.endswith(f"\nError: Invalid value for --limit: expected a number from 1 to 10,000, got {limit!r}\n")


def test_a_command_line_that_is_none_is_told_within_the_terminal(tmp_path: Path) -> None:
    ran = run_on_a_terminal(SCRIPT, "audit", "search", "--code", "foo", home=tmp_path)

    lines = ran.out.splitlines()
    assert ran.status == 2
    assert lines[:3] == [
        "Usage: mcp-gateway audit search [OPTIONS]",
        "Try 'mcp-gateway audit search --help' for help.",
        "",
    ]
    assert lines[3].startswith("Error: Invalid value for --code: expected ok, ")
    assert all(line.startswith("    ") for line in lines[4:])
    assert max(map(len, lines)) <= 80


COMMANDS_WITH_JSON = [
    ("targets", "list"),
    ("targets", "test"),
    ("policy", "replay"),
    ("policy", "explain", "--target", "x", "--sql", "SELECT 1"),
    ("approvals", "list"),
    ("approvals", "show", "x"),
    ("approvals", "approve", "x"),
    ("revoke", "agent", "x"),
    ("revoke", "list"),
    ("audit", "search"),
    ("audit", "show", "x"),
    ("audit", "verify"),
    ("inspect", "shell", "ls"),
]


@pytest.mark.parametrize("command", COMMANDS_WITH_JSON, ids=" ".join)
def test_scripts_get_mistakes_of_the_configuration_as_json_from_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    config = write_config(tmp_path, '[identity]\nissuer = "local"\nnonsense = 1\nsense = 1\n')

    ran, as_json = (run_here(capsys, "--config", str(config), *command, *more) for more in ((), ("--json",)))

    assert (ran.status, ran.out) == (2, "")
    assert (as_json.status, as_json.err, as_json.out.count("\n")) == (2, "", 1)
    assert as_json.json["error"] == ran.err.replace("mcp-gateway: ", "").rstrip()
    assert [problem["id"] for problem in as_json.json["problems"]] == ["identity.nonsense", "identity.sense"]


def test_whatever_ends_a_command_is_json_where_json_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(write_config(tmp_path, '[identity]\nissuer = "local"\n'))

    ran, as_json = (run_here(capsys, "--config", config, "audit", "search", *more) for more in ((), ("--json",)))

    assert (ran.status, as_json.status, as_json.err) == (3, 3, "")
    assert as_json.json == {"error": ran.err.removeprefix("mcp-gateway: ").rstrip(), "problems": []}


def test_a_value_that_looks_like_the_option_asks_for_no_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(write_config(tmp_path, '[identity]\nissuer = "local"\n'))

    ran = run_here(capsys, "--config", config, "audit", "search", "--text", "--json")

    assert (ran.status, ran.out) == (3, "")
    assert ran.err.startswith("mcp-gateway: there is no audit store")


@pytest.mark.parametrize(
    "command",
    [("audit", "search", "--text"), ("audit", "search", "--caller"), ("audit", "show"), ("approvals", "show")],
    ids=" ".join,
)
def test_bytes_that_are_no_text_are_misuse_where_text_is_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    config = str(write_config(tmp_path, '[identity]\nissuer = "local"\n[approvals]\nclients = ["c"]\n'))
    assert run_here(capsys, "--config", config, "revoke", "agent", "x").status == 0  # which makes the store

    ran = run_here(capsys, "--config", config, *command, "caf\udce9")

    assert (ran.status, ran.out) == (MISUSED, "")
    assert ran.err == "Error: expected text in UTF-8, got 'caf\\udce9'\n"


def test_a_defect_is_not_taken_for_misuse(monkeypatch: pytest.MonkeyPatch) -> None:
    command_that_raises(monkeypatch, UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"))

    with pytest.raises(UnicodeEncodeError):
        main.run(["check"])
