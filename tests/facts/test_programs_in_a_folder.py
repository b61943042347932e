"""Installed programs, run with whatever is called read-only: the folder they run in stays as it is.

Options come from the tables and are then bent: bundled with another letter, attached, after operands, without their
argument. That is where a table's reading of words differs from the program's own.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mcp_gateway.facts.program_files import built_in
from mcp_gateway.facts.programs import Option
from mcp_gateway.facts.shell import examine_shell

PROGRAMS = (
    "awk", "b2sum", "base64", "basename", "cat", "cksum", "cmp", "column", "comm", "cut", "date", "dd", "df", "diff", "dirname", "du", "expand",
    "file", "find", "fmt", "fold", "getfacl", "grep", "gzip", "head", "hexdump", "join", "jq", "ls", "lsattr", "md5sum", "namei", "nl", "od", "openssl",
    "paste", "pr", "printf", "readlink", "realpath", "rev", "sed", "seq", "shuf", "sort", "stat", "strings", "tac", "tar", "tr", "tree", "tsort",
    "uniq", "unzip", "wc", "bzip2", "xargs", "xxd", "xz", "zcat", "zgrep", "zipinfo", "zstd",
)  # fmt: skip
"""They work on files that they are given, and wait for nothing."""
WRITERS = ("awk", "bzip2", "find", "gzip", "sed", "shuf", "sort", "tar", "tree", "uniq", "unzip", "xxd", "xz", "zstd")
"""Those that could write, which have most of the turns."""
COMMANDS = 3000
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
OPERANDS = (
    "a",
    "b",
    "o",
    "o2",
    "d",
    "t.tar",
    "z.gz",
    "z.bz2",
    "z.xz",
    "-",
    "1",
    "3",
    "p",
    "s/a/b/",
    "{print}",
    "x:y",
    "./program",
    "n",
    "w",
    "=",
    "--",
    "+1",
)


def installed() -> list[str]:
    found = [name for name in PROGRAMS if shutil.which(name, path=os.defpath) is not None]
    return found + 10 * [name for name in found if name in WRITERS]


def furnish(folder: Path) -> None:
    """Files to work on, and a program that says that it ran."""
    for name in "ab":
        (folder / name).write_text("1 b\n2 c\n")
    (folder / "d").mkdir()
    (folder / "d" / "f").write_text("x")
    (folder / "program").write_text("#!/bin/sh\ntouch ran\n")
    (folder / "program").chmod(0o755)
    shutil.make_archive(str(folder / "t"), "tar", folder / "d")
    text = b"1 b\n2 c\n"
    for ending, content in {"gz": gzip.compress(text), "bz2": bz2.compress(text), "xz": lzma.compress(text)}.items():
        (folder / f"z.{ending}").write_bytes(content)


def looks(folder: Path) -> dict[str, tuple[int, int, str]]:
    return {
        str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "")
        for path in folder.rglob("*")
    }  # fmt: skip


class Bender:
    """Makes argument vectors from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def vector(self, name: str) -> list[str]:
        """One command."""
        entry = built_in().programs[name]
        words, options = [name], list(entry.options.items())
        if entry.subcommands:
            word, inner = self._random.choice(sorted(entry.subcommands.items(), key=lambda item: item[0]))
            words.append(word)
            options += inner.options.items()
        for _ in range(self._random.randint(0, 5)):
            draw = self._random.random()
            if options and draw < 0.55:
                words += self._option(*self._random.choice(options))
            elif draw < 0.6:
                words.append("-" + "".join(self._random.choices(LETTERS, k=2)))
            else:
                words.append(self._random.choice(OPERANDS))
        return words

    def _option(self, name: str, option: Option) -> list[str]:
        if name == "-#":
            return ["-3"]
        letter, argument = self._random.choice(LETTERS), self._random.choice(OPERANDS)
        match option.argument:
            case "none":
                return [self._random.choice([name, name, name + letter if len(name) == 2 else name])]
            case _ if name.startswith("--"):
                return self._random.choice([[f"{name}={argument}"], [name, argument]])
            case _:
                return self._random.choice(
                    [[name + argument], [name, argument], [name, argument], [name + letter, argument]]
                )


def run_quietly(argv: list[str], *, folder: Path) -> None:
    """Run it for at most ten seconds; how it ends is no matter."""
    with suppress(subprocess.TimeoutExpired, OSError):
        subprocess.run(
            argv,
            cwd=folder,
            env={"PATH": os.defpath, "HOME": str(folder), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=10,
            check=False,
        )


def test_whatever_is_called_read_only_leaves_its_folder_as_it_is(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    furnish(tmp_path)
    before, run, names = looks(tmp_path), 0, installed()
    for seed in range(COMMANDS):
        argv = Bender(seed).vector(names[seed % len(names)])
        if not examine_shell(argv=argv).read_only:
            continue
        run += 1
        run_quietly(argv, folder=tmp_path)
        assert looks(tmp_path) == before, argv
    record_property("run", run)
    assert run >= COMMANDS * 0.15, "too few are read-only for this to show anything"
