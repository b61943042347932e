"""The console script as a process: its streams, its signals, and what is around it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mcp_gateway import __version__
from mcp_gateway.cli.statuses import MISUSED, UNAVAILABLE, UNREAD
from tests.cli.running import SCRIPT, run_on_a_terminal, run_script, write_config

NO_SPACE = b"mcp-gateway: standard output cannot be written: No space left on device\n"


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


@pytest.mark.parametrize(
    "command",
    [
        ("policy", "test", "cases.toml"),
        ("init", "--dir", "x"),
        ("client-config", "vscode", "--url", "https://a.example"),
    ],
    ids=" ".join,
)
def test_a_folder_that_was_removed_meanwhile_is_said(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "gone").mkdir()
    done = subprocess.run(
        ["/bin/sh", "-c", 'rmdir "$PWD" && exec "$0" "$@"', SCRIPT, *command],
        capture_output=True,
        check=False,
        timeout=60,
        cwd=tmp_path / "gone",
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
    )

    assert (done.returncode, done.stdout) == (MISUSED, b"")
    assert done.stderr.splitlines()[-1] == (
        b"mcp-gateway: the current folder is not there any more; go to another, or give absolute paths"
    )


def test_help_is_no_wider_than_the_terminal(tmp_path: Path) -> None:
    widths = [
        max(map(len, run_on_a_terminal(SCRIPT, "audit", "--help", columns=columns, home=tmp_path).out.splitlines()))
        for columns in (50, 200)
    ]

    assert widths[0] <= 50 < widths[1] <= 80


@pytest.mark.parametrize("terminal", ["xterm", "dumb"])
def test_work_that_comes_nowhere_draws_no_bar(tmp_path: Path, terminal: str) -> None:
    config = write_config(tmp_path, '[identity]\nissuer = "local"\n')

    ran = run_on_a_terminal(
        SCRIPT, "--config", config, "audit", "verify", columns=400, home=tmp_path, environ={"TERM": terminal}
    )

    assert ran.status == UNAVAILABLE
    assert ran.out == (
        f"mcp-gateway: there is no audit store in '{tmp_path / 'data'}'; nothing was recorded yet, or data_dir is wrong\r\n"
    )
