"""The shell of an account need not be a POSIX shell: what fish and csh read otherwise is not proved.

Where they are installed, they are asked.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from mcp_gateway.facts.shell import examine_shell, quote
from tests.peers.parts import missing

SHELLS = {"fish": ("--no-config",), "tcsh": ("-f",), "bsd-csh": ("-f",), "zsh": ("-f",), "bash": ("--norc",), "dash": (), "mksh": (), "yash": ()}  # fmt: skip
TRIALS = 150

INJECTIONS = [
    ["echo", "\\", ";touch W;", "\\"],
    ["echo", "a\\", ";touch W;", "\\"],
    ["echo", "\\\\\\", ";touch W;", "\\\\\\"],
    ["echo", "x;touch W;", "!#"],
    ["echo", "x;touch W;", "!{#}"],
    ["echo", "x\ntouch W\n"],
    ["echo", "\\'", ";touch W;", "\\'"],
]


@pytest.mark.parametrize(
    "command",
    [
        "echo '\\' ';touch W;' '\\'", "echo 'a\\\\\\' ';touch W;' '\\'", "ls 'x;touch W;' '!#'", "ls 'x;touch W;' \"!#\"", "ls 'x;touch W;' '!{#}'",
        "not touch W", "ls && and touch W", "or touch W", "begin; touch W", "hup touch W", "setenv PATH /tmp; ls", "chdir /tmp; cat x", "onintr x; ls",
        "ls 'x\ntouch W\n'", 'ls "x\ntouch W\n"', "ls '!#:1'",
    ],
)  # fmt: skip
def test_what_another_shell_would_end_elsewhere_is_opaque(command: str) -> None:
    assert examine_shell(command=command).opaque


@pytest.mark.parametrize(
    "command",
    ["grep '\\[x\\]' /var/log/syslog", "sed 's/,/\\t/g' x", "awk '!seen[$0]++' x", "sed '$!d' x", "printf '%s\\n' x", "ls 'a\\\\'", "find . '!' -name x", "grep 'x!' y"],
)  # fmt: skip
def test_ordinary_quotes_stay_proved(command: str) -> None:
    assert not examine_shell(command=command).opaque


@pytest.mark.parametrize("argv", [["ls", "a\nb"], ["ls", "!#"], ["echo", "a!{-1}"]])
def test_a_word_that_csh_would_take_apart_is_opaque(argv: list[str]) -> None:
    assert examine_shell(argv=argv).opaque


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("a b", "'a b'"), ("a'b", "'a'\"'\"'b'"), ("a\\[b", "'a\\[b'"), ("a\\", "'a'\\\\''"), ("\\'", "''\\\\''\"'\"''"), ("a\\\\b", "'a'\\\\\\\\'b'"),
    ],
)  # fmt: skip
def test_backslashes_that_fish_would_take_for_escapes_stand_outside_of_quotes(word: str, quoted: str) -> None:
    assert quote([word]) == quoted


def require(shell: str) -> None:
    if shutil.which(shell) is None:
        missing(f"the real {shell} is the witness here", hint=f"apt-get install {shell.removeprefix('bsd-')}")


def run(shell: str, line: str, *, folder: Path) -> list[bytes]:
    """What `echo` in a line was given, each word in brackets."""
    found = subprocess.run(
        [str(shutil.which(shell)), *SHELLS[shell], "-c", line],
        env={"PATH": os.defpath, "HOME": str(folder)},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return found.stdout.split(b"\0")


@pytest.mark.parametrize("shell", SHELLS)
def test_no_vector_that_is_proved_runs_anything_else(shell: str, tmp_path: Path) -> None:
    require(shell)
    for argv in INJECTIONS:
        run(shell, quote(argv), folder=tmp_path)
        if (tmp_path / "W").exists():
            assert examine_shell(argv=argv).opaque, argv
            (tmp_path / "W").unlink()


@pytest.mark.parametrize("shell", SHELLS)
def test_a_vector_arrives_as_it_is_or_not_at_all(shell: str, tmp_path: Path) -> None:
    require(shell)
    draw = random.Random(shell)
    pieces = ["\\", "'", '"', "a", " ", "!", "#", "$x", "`id`", "{", ";", "é", "*", "~", "^", "%"]
    words = ["".join(draw.choices(pieces, k=draw.randint(1, 6))) for _ in range(TRIALS)]
    for one, two in itertools.pairwise(words):
        argv = ["printf", "%s\\0", one, two]
        if examine_shell(argv=["ls", one, two]).opaque:
            continue
        assert run(shell, quote(["/usr/bin/env", *argv]), folder=tmp_path) in ([b""], [one.encode(), two.encode(), b""])


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "first",
    [
        "printf %n PATH", "printf 'abc%n' PATH", "printf '%s%n' x PATH", "printf '\\045n' PATH", "printf %d PATH=0", "printf '%*d' PATH=0 1",
        "test PATH=0 -eq 0", "test 0 -lt PATH=3", "@ path = 0", "printf '%s\\n' PATH=0", "test PATH=0 = 0", "printf '%s %s' PATH++ n",
    ],
)  # fmt: skip
def test_no_proved_command_makes_the_next_one_another_program(shell: str, first: str, tmp_path: Path) -> None:
    require(shell)
    for number in range(5):
        planted = tmp_path / str(number) / "ls"
        planted.parent.mkdir()
        planted.write_text(f"#!/bin/sh\n: > '{tmp_path}/W'\n")
        planted.chmod(0o755)

    run(shell, f"{first}; ls", folder=tmp_path)

    assert examine_shell(command=f"{first}; ls").opaque or not (tmp_path / "W").exists()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("command", ["=touch W", "1=x touch W", "0+=x touch W", "nice +5 touch W", "echo =W"])
def test_what_runs_under_another_name_is_opaque(shell: str, command: str, tmp_path: Path) -> None:
    require(shell)

    run(shell, command, folder=tmp_path)

    assert not (tmp_path / "W").exists() or examine_shell(command=command).opaque
