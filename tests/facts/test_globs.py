"""Globs below a literal folder: what is proved of them, against what shells make of them and what programs then do.

The folder has names that somebody chose: options, code, lists, new lines. Where a shell is not installed it is not asked.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp_gateway.facts.globs import MAX_GLOBS
from mcp_gateway.facts.shell import examine_shell
from tests.peers.parts import missing

SHELLS = {
    "bash": ("--norc",), "bash extglob": ("--norc", "-O", "extglob", "-O", "globstar", "-O", "dotglob"), "bash nullglob": ("--norc", "-O", "nullglob", "-O", "nocaseglob"),
    "bash failglob": ("--norc", "-O", "failglob"), "dash": (), "mksh": (), "ksh": (), "yash": (), "zsh": ("-f",), "zsh extendedglob": ("-f", "-o", "extendedglob", "-o", "globdots"),
    "zsh kshglob": ("-f", "-o", "kshglob", "-o", "nullglob", "-o", "nocaseglob"), "zsh sh": ("--emulate", "sh", "-o", "norcs"), "fish": ("--no-config",), "tcsh": ("-f",), "bsd-csh": ("-f",), "busybox sh": ("sh",),
}  # fmt: skip
NAMES = [
    "a.log", "b x.log", ".hid", "-rf", "--output=W", "-o", "+1", "@list", "a=b", "PATH=", "host:x", "x|", "|touch W", "$(touch W)", "`touch W`", "';touch W;'",
    "n\ntouch W\n", "*", "?", "[a-z]", "a,b", "{a,b}", "~", "#", "!#", "\\", "%s%n", "é", "ARGV[1]=x", "rm", "sub/f", "sub/-delete", "sub/.hid", "S/x",
]  # fmt: skip
PIECES = [
    "*", "*", "*", "?", "?", "a", "b", "x", "sub", ".log", ".", "..", "/", "/", "/*", "/sub", "[a-z]", "[0-9A]", "[^a]", "[!a]", "[a", "]", "**", "***", "-", "+", "@", ",",
    "{a,b}", "~", "^x", "#", "=", ":", "%", "(N)", "(e:'touch W':)", "(+touch)", "<1-9>", "$x", "`touch W`", "'x'", '"*"', "\\*", "!#", "s", "S", "/.h",
]  # fmt: skip
TRIALS = 1000


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    folder = tmp_path / "odd"
    for name in NAMES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1 one\n2 two\n")
    return folder


def programs(shell: str) -> str:
    name = shell.split(" ", maxsplit=1)[0]
    found = shutil.which(name)
    if found is None:
        missing(f"the real {name} is the witness here", hint=f"apt-get install {name.removeprefix('bsd-')}")
    return str(found)


def run(shell: str, lines: list[str], *, folder: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [programs(shell), *SHELLS[shell], "-c", "\n".join(lines)],
        env={"PATH": os.defpath, "HOME": str(folder.parent / "home"), "FOLDER": str(folder)},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )


def globs(draw: random.Random, folder: Path) -> Iterator[str]:
    """Words that are nearly globs below the folder, and of those the ones that are proved."""
    for _ in range(TRIALS):
        word = f"{folder}/" + "".join(draw.choices(PIECES, k=draw.randint(1, 5)))
        facts = examine_shell(command=f"ls {word}")
        if ("*" in word or "?" in word or "[" in word) and not facts.opaque:
            assert facts.read_only, word
            yield word


@pytest.mark.parametrize("shell", SHELLS)
def test_a_proved_glob_becomes_paths_below_its_folder_in_every_shell(shell: str, odd: Path, tmp_path: Path) -> None:
    programs(shell)
    witness = tmp_path / "witness"
    witness.write_text(
        '#!/bin/sh\nprintf \'<%s>\\0\' "$#" "$@" >> "$FOLDER/words"\nprintf \'=\\0\' >> "$FOLDER/words"\n'
    )
    witness.chmod(0o755)
    empty = tmp_path / "empty"
    empty.mkdir()
    draw = random.Random(shell)
    proved = [word for word in dict.fromkeys(globs(draw, odd)) if not re.search(r"""['"]""", word)]
    assert len(proved) > TRIALS / 40
    matched = 0
    for word in proved:
        run(shell, [f"{witness} first {word} last"], folder=empty)
        written = empty / "words"
        if not written.exists():
            continue  # It matches nothing, which is an error to this shell.
        words = [part[1:-1].decode(errors="replace") for part in written.read_bytes().split(b"\0") if part != b"="][:-1]
        written.unlink()
        count, first, *paths, last = words
        assert (first, last, int(count)) == ("first", "last", len(paths) + 2), word
        literal = re.split(r"[*?\[]", word)[0].rpartition("/")[0] + "/"
        for path in paths:
            assert path.startswith(literal), (word, path)
            assert not {".", ".."} & set(path.split("/")), (word, path)
        matched += paths not in ([], [word])
    assert matched > 0
    assert list(empty.iterdir()) == []


READING = [
    "cat G", "head -n 1 G", "tail -n 1 G", "wc -l G", "ls -l G", "ls -d G", "grep -c one G", "grep -rn one G", "awk '{print $1}' G", "sed -n 1p G", "sort G", "cut -d: -f1 G",
    "stat G", "file G", "du -sh G", "md5sum G", "od -c G", "tac G", "nl G", "strings G", "diff G", "cmp G", "find G -name x", "find G -exec cat '{}' +", "find G -exec head -n 1 '{}' ';'",
    "nice cat G", "timeout 5 ls G", "env LC_ALL=C wc G", "sh -c 'cat G'", "xargs ls G", "echo G", "cat G | sort | uniq -c", "ls G && cat G", "jq . G", "paste G", "join G", "comm G",
    "gzip -l G", "xxd G", "uniq G", "rm G", "tee G", "cp G /nowhere", "mv G /nowhere", "zgrep one G", "zcat G", "split G", "csplit G", "sed -i p G", "sh G", "env G", "xargs G", "nice G", "sort -o G",
]  # fmt: skip


def state(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("shell", ["bash", "bash extglob", "zsh kshglob", "fish", "tcsh"])
def test_what_is_read_only_changes_nothing_whatever_the_names(shell: str, odd: Path, tmp_path: Path) -> None:
    programs(shell)
    before = state(odd)
    read_only = 0
    for command in READING:
        for glob in ("*", "?*", "*/*", "[a-z]*", "*.log", "nothing*"):
            text = command.replace("G", f"{odd}/{glob}")
            if examine_shell(command=text).read_only:
                read_only += 1
                run(shell, [text], folder=odd)
    assert read_only > len(READING)
    assert state(odd) == before


@pytest.mark.parametrize(
    "word",
    [
        "/*", "/d*/x", "/*/x", "/x/.*", "/x/.?", "/x/.[a-z]*", "/x/..*", "/x/../y*", "/x/./y*", "/x//y*", "/x/*/..", "/x/*/../y", "/x/*/.", "/x/**", "/x/**/y", "/x/[^a]*", "/x/[!a]*",
        "/x/[a*", "/x/a]*", "/x/[/-z]*", "/x/[[:alpha:]]*", "/x/[z--]*", "/x/*(N)", "/x/{a,b}*", "/x/*~y", "/x/*^y", "/x/*#", "/x/<1-9>*", "/x/a=*", "/x/a:*", "/x/%*", "/x/'a'*", '/x/"a"*', "/x/$a*",
        "/x/\\**", "x/*", "./*", "../*", "~/*", "~root/*", "*", "=/x/*", "--x=/x/*", "-/x/*", "/é/*", "/x/é*", "/x" + "/*y" * 17,
    ],
)  # fmt: skip
def test_other_words_with_wildcards_are_opaque(word: str) -> None:
    assert examine_shell(command=f"ls {word}").opaque


@pytest.mark.parametrize(
    "word",
    ["/x/*", "/var/log/*.log", "/x/*/", "/x/a?b", "/x/*/.ssh", "/x/.bash*", "/x/[0-9]", "/x/app-[0-9][0-9].log", "/x/????", "/x/*?", "/x/*/*/y", "/x/a,b@c+d-e*", "/.x/*", "/x" + "/*" * 16],
)  # fmt: skip
@pytest.mark.parametrize(
    "text", ["ls {}", "ls {}; ls", "ls {}&&ls", "ls {}|cat", "ls {} 2>&1", "ls -l {} -d {} x", "cat {}\n"]
)
def test_a_glob_below_a_folder_is_proved_where_it_is_read(text: str, word: str) -> None:
    assert examine_shell(command=text.replace("{}", word)).read_only


@pytest.mark.parametrize("text", ["ls{}", "true; ls{}", "ls /x{}", "ls /x/*;" * 32 + "ls{}"])
def test_more_globs_than_anybody_writes_are_opaque(text: str) -> None:
    room = MAX_GLOBS - text.count("*")
    assert examine_shell(command=text.replace("{}", " /x/*" * room)).read_only
    assert examine_shell(command=text.replace("{}", " /x/*" * (room + 1))).opaque


def test_a_quoted_wildcard_is_none() -> None:
    assert examine_shell(command="rm '/x/*'").removes == {"/x/*"}
    assert examine_shell(command="rm '/x/*'").paths_known
    assert not examine_shell(command="rm '/x/*' /x/*").paths_known
    assert examine_shell(argv=["rm", "/x/*"]).paths_known


@pytest.mark.parametrize(
    ("command", "writes", "removes", "known"),
    [
        ("rm /x/*", set(), {"/x/*"}, False),
        ("rm /x/* /dev/*", set(), {"/x/*", "/dev/*"}, False),
        ("mv /x/*.a /y/", {"/y/"}, {"/x/*.a"}, False),
        ("cp /x/* /y/", {"/y/"}, set(), True),
        ("cp -t /y /x/*", {"/y"}, set(), False),
        ("uniq /x/*", {"/x/*"}, set(), False),
        ("sort /x/* -o /y", {"/y"}, set(), True),
        ("sh -c 'touch /x/*'", {"/x/*"}, set(), False),
    ],
)
def test_paths_are_told_as_the_glob_has_them(command: str, writes: set[str], removes: set[str], known: bool) -> None:
    facts = examine_shell(command=command)

    assert (set(facts.writes), set(facts.removes), facts.paths_known) == (writes, removes, known)
    assert not facts.opaque
    assert not facts.read_only


@pytest.mark.parametrize(
    "command",
    ["nice /x/r*", "env /x/*", "ls -I /x/*", "head -n /x/* y", "git --git-dir=.git /x/*", "docker /x/*", "flock /x/* ls", "flock -n /x/* /y/*", "sh -c ls /x/*", "awk /x/*", "sed -e /x/* y", "jq --arg a /x/* .",
     "openssl x509 -in /x/*", "printf %s /x/*", "test -f /x/*", "find x -exec ls /x/* ';'", "xargs -I% ls /x/*", "watch ls /x/*"],
)  # fmt: skip
def test_a_glob_that_is_more_than_a_file_is_opaque(command: str) -> None:
    facts = examine_shell(command=command)

    assert facts.opaque
    assert not [word for word in facts.programs | facts.subcommands | facts.writes | facts.removes if "{}" in word]


@pytest.mark.parametrize("command", ["smartctl -a /dev/sd*", "cat /x/* /dev/w*", "cat /proc/*/mem /x/*", "find /sys/* -exec cat '{}' ';'", "find /srv /dev/* | xargs cat"])  # fmt: skip
def test_devices_that_a_glob_may_come_across_are_not_only_read(command: str) -> None:
    assert not examine_shell(command=command).read_only


@pytest.mark.parametrize(
    "text",
    ["ls" + " /a/*" * 12_000, "ls /a/*;" * 8_000, "ls " + "/a" * 30_000 + "*!", "ls " + "/a/*b" * 10_000, "cat " + "/[*" * 20_000, "ls " + "/a/[a-z" * 8_000, "sh -c 'ls /a/*" + ";ls /b/*" * 7_000 + "' /x/*",
     "ls " + "/a/" + "?" * 60_000, "ls /a/" + "*a" * 30_000],
)  # fmt: skip
def test_long_globs_are_judged_to_their_end(text: str) -> None:
    """A pattern that goes back and forth would take hours, which the limit for one test does not give it."""
    assert examine_shell(command=text).programs
