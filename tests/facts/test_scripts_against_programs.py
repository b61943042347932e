"""Scripts of sed and awk that are called read-only, given to the real ones: they write no file and run no witness."""

from __future__ import annotations

import contextlib
import random
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from mcp_gateway.facts.shell import examine_shell
from tests.peers.parts import missing

PIECES = {
    "sed": ["s", "/", "/", "/", "a", "b", "w x", "e", "id", "[", "]", "\\", "|", ";", ";", "p", "d", "1", ",", "$", "!", "{", "}", "y", "r f", "W x",
            "\n", "g", "I", "M", "#", " ", "&", "s/a/b/", "/a/", "[/]", "[^/]", "\\/", "s|a|b|", "s#", "s,", "n", "\\n", "c\\", "q", "T", "0~3",
            "s/[/a/;", "s/]/w x/", "[[:alpha:]]", "\\(", "[]/]"],
    "awk": ["{", "}", "{", "}", "print", "$1", ">", '"f"', "|", "||", '"sh"', "system(", "getline", "<", ";", "/", '"', "x", "=", "(", ")", "&&", "#",
            "\n", " ", " ", "BEGIN", "END", "printf", "?", ":", "/a/", '"a"', "> 1", "$1 > 1", "print > x", "print $1", '/"/', "/{/", '"}"', '"{"',
            "if(", "while(", "x > y", "?x:y", "print(x)>y", "close(", "in"],
    "sed brackets": ["[", "]", "[.", "[=", "[:", ".]", "=]", ":]", "[:alpha:]", "^", "a", "x", "/", "/", "\\[", "\\]", "]]", "-", "(", "*"],
    "awk calls": ["1", "0xf", "1e", ".5", "x=", "x", "(", ")", ";", " ", '"id"', 'system("id")', 'system("id")', "getline", '"f"', "{", "}", "BEGIN{", "}",
                  "?", ":", "!", "$", "/a/", ",", "[", "]", "+", "print"],
}  # fmt: skip
"""What scripts are made of."""
MEANT = {
    "sed": re.compile(""),
    "sed brackets": re.compile(""),
    "awk": re.compile(">"),
    "awk calls": re.compile("system|getline"),
}
"""What a script has in it that could do something."""
AROUND = {"sed brackets": ("s/[", "/p;s/w ../here/p")}
"""What stands before and after the pieces: if the bracket goes on to the next command's slash, its pattern is a flag."""
LEAST = {"sed": 60, "sed brackets": 60, "awk": 100, "awk calls": 1}
MADE = {"sed": 6_000, "sed brackets": 10_000, "awk": 2_500, "awk calls": 2_500}


def left_behind(program: str, script: str, folder: Path) -> set[str]:
    """The files in a folder of its own after a script has run there; that of a witness is `ran`."""
    witnesses = folder.parent / "bin"
    witnesses.mkdir(exist_ok=True)
    folder.mkdir(exist_ok=True)
    for witness in ("id", "sh", "a", "b", "x", "f"):
        (witnesses / witness).write_text(f"#!/bin/sh\n: > {folder}/ran\n")
        (witnesses / witness).chmod(stat.S_IRWXU)
    (folder / "input").write_text("a b 2\nc d 3\n")
    with contextlib.suppress(subprocess.TimeoutExpired):  # an endless loop reads and prints, too
        subprocess.run(
            [program, script, "input"],
            cwd=folder,
            env={"PATH": str(witnesses)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=5,
            check=False,
        )
    return {path.name for path in folder.iterdir()} - {"input"}


def real(name: str) -> str:
    program = shutil.which(name)
    if program is None:
        missing(f"the real {name} is the witness here", hint=f"apt-get install {name}")
    return program


@pytest.mark.parametrize("kind", list(PIECES))
def test_a_script_that_is_called_read_only_writes_and_runs_nothing(kind: str, tmp_path: Path) -> None:
    name = kind.split(maxsplit=1)[0]
    made, proved = random.Random(7), 0
    for _ in range(MADE[kind]):
        before, after = AROUND.get(kind, ("", ""))
        script = before + "".join(made.choice(PIECES[kind]) for _ in range(made.randint(1, 10))) + after
        if MEANT[kind].search(script) is None or not examine_shell(argv=[name, script, "input"]).read_only:
            continue
        proved += 1
        assert left_behind(real(name), script, tmp_path / "here") == set(), script
    assert proved >= LEAST[kind]


@pytest.mark.parametrize(
    ("name", "script", "left"),
    [
        ("sed", "w x", {"x"}),
        ("awk", '{ print > "f" }', {"f"}),
        ("awk", 'BEGIN { system("id") }', {"ran"}),
        ("awk", 'BEGIN { x = 1system("id") }', {"ran"}),
    ],
)
def test_what_a_script_writes_or_runs_is_seen(name: str, script: str, left: set[str], tmp_path: Path) -> None:
    assert left_behind(real(name), script, tmp_path / "here") == left
    assert not examine_shell(argv=[name, script, "input"]).read_only
