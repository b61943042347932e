"""What is known of programs on a host, as values: which options and operands do what. Pure.

`program_files` makes these from `programs*.toml` and from an operator's files of the same form; `commands` judges one
simple command by them. A program that is not known is not proved to leave anything alone, and neither is one whose
option is not known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Literal, TypeAlias

Effect: TypeAlias = Literal["writes", "removes", "changes", "network", "runs", "privileged"]
"""What a program does beside reading and printing:

- `writes`, `removes`: files, whose paths are the option's argument or the operands where the entry says so;
- `changes`: any other state of the host or beyond: processes, services, the clock, a repository, a cluster;
- `network`: it reaches beyond the host;
- `runs`: other programs or code that it is given, so that what would run is not proved;
- `privileged`: it takes more rights, or rights that amount to those of root.
"""

Argument: TypeAlias = Literal["none", "required", "optional", "two"]
"""`optional` can only be attached, as in `-C2` and `--color=auto`; `two` are the next two words, as after `jq --arg`."""

Grammar: TypeAlias = Literal["gnu", "first", "single", "each", "find", "pairs", "words"]
"""How the words of a command are read:

- `gnu`: short options in bundles, long ones with two dashes, options also after operands;
- `first`: the same, and the first operand ends the options;
- `single`: long options with one dash, never in bundles, options also after operands;
- `each`: the same, and the first operand ends the options, as of `xxd`;
- `find`: paths, then an expression;
- `pairs`: `name=value`, as `dd` has it;
- `words`: no options, as of `echo`.
"""

Operands: TypeAlias = Literal["any", "none", "written", "removed", "last written", "second written", "moved", "command"]
"""What the operands are: `moved` is all but the last removed and the last written, `command` a command that is run."""

SYSTEM_FOLDERS = frozenset(("/bin", "/sbin", "/usr/bin", "/usr/sbin"))
"""Where a program of a known name is the known one: `/tmp/cat` is whatever somebody put there."""

VERSION = "0123456789."
"""What the version at the end of a program's name is made of."""
LOADER = re.compile(r"ld(?:-[a-z0-9_-]+)?\.so(?:\.[0-9]+)?\Z")
NO_EFFECTS: frozenset[Effect] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of a program."""

    argument: Argument = "none"
    effects: frozenset[Effect] = NO_EFFECTS
    value: re.Pattern[str] | None = None
    """What its argument has to be for all this to be known."""
    script: bool = False
    """Whether its argument is a script, as of `sed -e`."""
    command: bool = False
    """Whether a command follows, as after `find -exec`, or stands in its argument, as of `sh -c`."""
    fills: bool = False
    """Whether its argument stands for words that are not known, as of `xargs -I`."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """One program, or one subcommand of one."""

    name: str
    """As one types it: `docker ps`."""
    does: frozenset[Effect] = NO_EFFECTS
    grammar: Grammar = "gnu"
    options: Mapping[str, Option] = field(default_factory=lambda: MappingProxyType({}))
    """`-a` and `--all`; `-#` stands for a number, as in `head -20`. In the grammar `pairs`, names."""
    needs: frozenset[str] = frozenset()
    """Options one of which has to be there for the rest to be known: `dpkg -l`."""
    together: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    """To an option, those one of which has to be there as well: `xz -d` writes files unless there is `-c`."""
    offline: frozenset[str] = frozenset()
    """Options each of which keeps it from the network: `netstat -n`."""
    before: frozenset[str] | None = None
    """The options that may stand before a subcommand, where not all may: to `kubectl -A events delete x` the word after
    `-A`, which only subcommands have, is its value, and `delete` the subcommand."""
    through: bool = False
    """Whether it writes into what is there, so that `/dev/null` stays what it is; `cp -d` and `journalctl --cursor-file`
    put another file in its place."""
    prints: frozenset[str] = frozenset()
    """Options that write, for which `-` is standard output: `curl -D -`."""
    lists: frozenset[str] = frozenset()
    """Options with which it opens what its input names, as `sha256sum -c` does."""
    alone: frozenset[str] = frozenset()
    """Options that make a program which runs code do nothing but print, where they are all there is: `--version`."""
    operands: Operands = "any"
    most: int | None = None
    """How many operands are known about."""
    appends: bool = False
    """Whether words that it reads are added to the command that it runs, as `xargs` does."""
    skip: int = 0
    """How many operands stand before the command that is run: `timeout 5 ls`."""
    skipped: re.Pattern[str] | None = None
    """What each of these has to be: some `timeout` take none, and then `timeout rm ls` runs `rm`."""
    matches: re.Pattern[str] | None = None
    """What each operand has to be; before a command, what may stand there: `env LANG=C ls`."""
    script: re.Pattern[str] | None = None
    """What a script has to be; without an option that gives one, the first operand is the script."""
    bundle: bool = False
    """Whether the first word is a bundle of options also without a dash: `tar tf x`."""
    attached: bool = True
    """Whether a short option may have its argument in the same word: `tree -Io x y` writes `y`, since each option of a
    bundle takes the next word there."""
    whatever: bool = False
    """Whether it only reads and prints whatever its arguments are, on any system."""
    opens: bool = True
    """Whether it reads what its operands name, which for some devices is more than reading."""
    disks: bool = False
    """Whether what it opens is a disk: reading one does nothing to it, as `blkid /dev/sda`, but not `blkid /dev/watchdog`."""
    default: bool = False
    """Whether all this also holds without a subcommand."""
    subcommands: Mapping[str, Program] = field(default_factory=lambda: MappingProxyType({}))

    @cached_property
    def can_run(self) -> bool:
        """Whether anything about it may run other programs or code."""
        return (
            "runs" in self.does
            or self.operands == "command"
            or self.script is not None
            or any("runs" in option.effects or option.command for option in self.options.values())
            or any(inner.can_run for inner in self.subcommands.values())
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """All programs that are known, by name."""

    programs: Mapping[str, Program]
    replaced: tuple[str, ...] = ()
    """Where an operator's file replaces what is built in, and what of it: `/etc/p.toml:3: systemctl`."""
    files: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """An operator's files, each with the SHA-256 of its text."""
    version: str = ""
    """SHA-256 over all texts that this was read from, the built-in one too: the same for what judges alike."""

    def find(self, program: str) -> Program | None:
        """The entry of a program as a command names it, if it is a known one in a folder of the system's."""
        folder, slash, name = program.rpartition("/")
        return None if slash and folder not in SYSTEM_FOLDERS else self.programs.get(name)

    def resembling(self, program: str) -> Program | None:
        """The entry of what this may be, too: `python3.11` is a python, and some file systems take `SH` for `sh`."""
        name = program.rpartition("/")[2].lower()
        return self.programs.get(name) or self.programs.get(name.rstrip(VERSION).removesuffix("-"))
