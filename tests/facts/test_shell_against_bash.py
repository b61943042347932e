"""What bash runs, as witnesses saw it, against what the gateway says would run.

The programs on PATH are witnesses that write down their name and print words that could be programs and options; only
the wrappers are the real ones, so that what they run is seen. Commands are made to be nearly right: that is where a
reading of options differs from the program's own.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mcp_gateway.facts.shell import examine_shell
from tests.facts.bash_witnesses import LEAVES, WRAPPERS, make_programs, ran

COMMANDS = 1000
ODD = "@odd@"
"""Stands for a folder of witnesses under odd names."""
GLOBS = (f"{ODD}/*", f"{ODD}/[a-z]*", f"{ODD}/?*", f"{ODD}/r*", f"{ODD}/no*")

pytestmark = pytest.mark.skipif(
    any(shutil.which(name) is None for name in WRAPPERS),
    reason="the wrappers are the real ones: coreutils, findutils, util-linux",
)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole of PATH."""
    return make_programs(tmp_path_factory.mktemp("bin"))


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What globs come across: each is a witness, were it run."""
    folder = tmp_path_factory.mktemp("odd")
    for name in ("rm", "ls", "-rf", "-c", "a=b", "x y", "$(id)", "id\nrm", "5", ".hid"):
        witness = folder / name
        witness.write_text("#!/bin/sh\necho found-by-a-glob >> ran\n")
        witness.chmod(0o755)
    return folder


class Maker:
    """Makes commands from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def text(self) -> str:
        parts = [self._command()]
        while self._random.random() < 0.35:
            parts += [self._pick([" | ", "; ", " && ", " || ", "\n", "|", ";", " & ", " |& "]), self._command()]
        return "".join(parts)

    def _command(self, depth: int = 0) -> str:
        if depth < 3 and self._random.random() < 0.6:
            return self._wrapped(depth)
        words = [self._pick(LEAVES) if self._random.random() < 0.95 else self._pick(GLOBS)]
        while self._random.random() < 0.5:
            words.append(
                self._pick(
                    [
                        "-l",
                        "x",
                        "--",
                        "-rf",
                        "a=b",
                        "-c",
                        "-",
                        "2>&1",
                        "2>/dev/null",
                        "$x",
                        "$(id)",
                        "`rm`",
                        "'$(id)'",
                        '"x y"',
                        *GLOBS,
                    ]
                )
            )
        return " ".join(self._spelt(word) for word in words)

    def _wrapped(self, depth: int) -> str:
        inner = self._command(depth + 1)
        name = self._pick(WRAPPERS)
        options = {
            "env": ["-u A", "-u", "A=b", "LC_ALL=C", "--unset=A", "--", "-S", "-0", "--unset A", "-", "--ignore-env", "LANG=C", "-uA"],
            "nice": ["-n 5", "-5", "-n5", "--adjustment=5", "--adj=5", "--", "-n", "--adjustment", "-n -5", "5"],
            "timeout": ["5", "-k 1 5", "-s KILL 5", "--foreground 5", "-k1 5", "--kill-after=1 5", "--", "-v 5", "--signal KILL 5", "--sig=KILL 5", "0"],
            "xargs": ["-n 1", "-r", "-0", "-I x", "-I'{}'", "-i", "--replace", "--replace=x", "-l", "-L 1", "--max-lines", "--max-lines=1", "-e", "-E x",
                      "-P 1", "-d x", "--max-args 1", "--max-args=1", "-t", "-a /dev/null", "--no-run", "-n1", "-0r", "-rn 1", "--eof", "--eof x"],
            "nohup": ["--", ""], "setsid": ["-w", "--wait", "-f", "--", "-c"],
            "stdbuf": ["-o0", "-o 0", "-oL -eL", "--output=0", "--output 0", "-i", "--"],
            "ionice": ["-c 3", "-c3", "-t", "-c 2 -n 7", "-n 7", "--class 3", "--class=3", "-p 1", "--"],
            "taskset": ["1", "-c 0", "0x1", "--cpu-list 0", "--", "-c"],
        }  # fmt: skip
        match name:
            case "find":
                end = self._pick([" ';'", " '{}' ';'", " '{}' +", " '{}'", " +", " x'{}' ';'", " ';' -print"])
                return f"find . -maxdepth 0 {self._pick(['-exec', '-execdir', '-ok', '-name x -exec', '-name . -exec', '-print0 -exec'])} {inner}{end}"
            case "sh" | "bash":
                script = inner.replace("'", "'\"'\"'")
                options_of_shells = [
                    "-c",
                    "-e -c",
                    "-ec",
                    "-c -e",
                    "-ce",
                    "-x -c",
                    "+e -c",
                    "-s",
                    "--",
                    "-c --",
                    "-u -c",
                    "-cu",
                    "",
                ]
                return f"{name} {self._pick(options_of_shells)} '{script}'{self._pick(['', '', ' x', ' -c id', ' rm'])}"
            case _:
                chosen = [self._pick(options[name]) for _ in range(self._random.choice((0, 1, 1, 2)))]
                if name in {"timeout", "taskset"} and not chosen:
                    chosen = [self._pick(["5", "1", "-c 0"])]
                return " ".join([name, *chosen, inner])

    def _spelt(self, word: str) -> str:
        if self._random.random() < 0.85 or not word.isalpha():
            return word
        return self._pick([f"'{word}'", f'"{word}"', f"{word[:1]}'{word[1:]}'", f"{word[:1]}\\{word[1:]}", f'{word}""'])

    def _pick(self, among: list[str] | tuple[str, ...]) -> str:
        return self._random.choice(among)


def test_bash_and_wrappers_run_nothing_that_is_neither_named_nor_opaque(
    programs: Path, odd: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    proved = 0
    for seed in range(COMMANDS):
        text = Maker(seed).text().replace(ODD, str(odd))
        facts = examine_shell(command=text)
        if facts.opaque:
            continue
        proved += 1
        folder = tmp_path / str(seed)
        folder.mkdir()
        assert ran(text, programs=programs, folder=folder) <= facts.programs, text
    record_property("proved", proved)
    assert proved >= COMMANDS * 0.2, "too few commands are proved for this to show anything"


def test_the_witnesses_see_what_wrappers_run(programs: Path, tmp_path: Path) -> None:
    text = "nice -n 5 timeout 5 env LC_ALL=C sh -c 'ls | xargs -n 1 id'; find . -maxdepth 0 -exec grep x '{}' +"

    assert ran(text, programs=programs, folder=tmp_path) == {"ls", "id", "grep"}
    assert not examine_shell(command=text).opaque
