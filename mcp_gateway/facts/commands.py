"""What one simple command does, by what is known of its program; wrappers are seen through. Pure.

`shell` gives it the commands of a text or an argument vector; `options` reads their words. Everything is taken as
proved to do nothing until something says otherwise, and whatever is not understood says so: an unknown program,
option or subcommand, a word that is only known when it runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mcp_gateway.facts.devices import LISTED, leads_to_devices, names_device
from mcp_gateway.facts.globs import readings
from mcp_gateway.facts.options import ENDED_BY_OPERANDS, FILLED, Read, read_words
from mcp_gateway.facts.programs import LOADER, Effect, Knowledge, Option, Program
from mcp_gateway.facts.shell_builtins import EVALUATING, SHELL_BUILTINS, may_evaluate
from mcp_gateway.facts.shell_seen import seen_commands
from mcp_gateway.facts.shell_text import SimpleCommand, is_read_alike, simple_commands

MAX_DEPTH = 12
"""Wrappers within wrappers; beyond it a command is opaque."""
NO_FILES = frozenset(("/dev/null", "/dev/stdout", "/dev/stderr"))
"""What can be written without a change: a command's output goes to its connection or to another command."""

PLAIN_START = re.compile(r"[A-Za-z0-9_./+,-]+", re.ASCII)
"""Where `find` may start so that what it finds is only a path to whichever program: `host:` is another host to `tar`."""
NAMES_ALONE = frozenset(("-printf", "-ls"))
"""What `find` prints beside the names of what it found: `-printf /dev/watchdog`, and where a symbolic link leads."""
FOLLOWING = frozenset(("-L", "-follow"))


@dataclass(slots=True)
class Judge:
    """Judges commands one by one and keeps what holds for all of them."""

    knowledge: Knowledge
    programs: set[str] = field(default_factory=set)
    subcommands: set[str] = field(default_factory=set)
    opaque: bool = False
    privileged: bool = False
    harmless: bool = True
    """Whether nothing but reading and printing has been found."""
    writing: bool = False
    """Whether it is not proved that nothing is written or changed."""
    network: bool = False
    """Whether it is not proved that nothing beyond the host is reached."""
    writes: set[str] = field(default_factory=set)
    removes: set[str] = field(default_factory=set)
    paths_known: bool = True
    """Whether `writes` and `removes` are all that is written and removed."""
    _feeding: Sequence[str] = ()
    """The command whose output the one that is judged reads, as far as it is known."""
    _globs: Mapping[str, str] = field(default_factory=dict)
    """To the words of the command that is judged which stand for what a glob gives, the glob."""

    def judge_vector(self, words: Sequence[str]) -> None:
        """Judge an argument vector, which a shell is given as `shell.quote` spells it."""
        if not all(map(is_read_alike, words)):
            self._hide()
        self.judge(words)

    def judge_text(self, text: str, *, depth: int = 0) -> None:
        """Judge all commands of a text."""
        around = self._globs
        commands, proved = simple_commands(text)
        if not proved or around:
            self._hide()
            seen = seen_commands(text)
            commands = [SimpleCommand(words=words) for words in seen] if seen else commands
        before: Sequence[str] = ()
        for command in commands:
            feeding = before if command.piped else ()
            for words, self._globs in readings(command.words, command.globs):
                self._feeding = feeding
                self.judge(words, depth=depth)
                before = words
        self._globs = around

    def judge(self, words: Sequence[str], *, depth: int = 0, appended: bool = False) -> None:
        """Judge one command; with `appended`, further words that nobody knows follow it."""
        program, arguments = words[0], words[1:]
        self.programs.add(self._as_written(program))
        name = program.rpartition("/")[2]
        entry = self.knowledge.find(program)
        if depth > MAX_DEPTH or name in SHELL_BUILTINS or name == "" or LOADER.match(name) or FILLED in program:
            self._hide()
        if may_evaluate(name, arguments) or (appended and name in EVALUATING):
            self._hide()
        if depth > MAX_DEPTH:
            return
        if entry is None:
            like = self.knowledge.resembling(program)
            self.privileged |= like is not None and "privileged" in like.does
            self._doubt(hidden=like is not None and like.can_run)
        else:
            self._judge_entry(entry, arguments, called=name, depth=depth, appended=appended)

    def _judge_entry(
        self,
        entry: Program,
        words: Sequence[str],
        *,
        called: str,
        depth: int,
        appended: bool,
        before: frozenset[str] = frozenset(),
    ) -> None:
        """`before`: the options that stand before a subcommand, which has them, too."""
        if len(words) == 1 and words[0] in entry.alone and not appended:
            return
        if entry.subcommands:
            head = read_words(words, entry, leading=True)
            if head.operands:
                self._judge_subcommand(entry, head, called=called, depth=depth, appended=appended, before=before)
                return
            if not entry.default or appended:
                # It may ask for commands, as `openssl` does; and a policy that lists subcommands sees none to refuse.
                self._apply(entry.does)
                self._hide()
                return
        if " " in called:
            self.subcommands.add(called)
        read = read_words(words, entry)
        self._judge_leaf(entry, read, depth=depth, appended=appended, before=before)

    def _judge_subcommand(
        self, entry: Program, head: Read, *, called: str, depth: int, appended: bool, before: frozenset[str]
    ) -> None:
        word = head.operands[0]
        inner = entry.subcommands.get(word)
        self._apply(entry.does)
        self._judge_options(entry, head)
        names = {name for name, _, _ in head.options}
        known = head.known and (entry.before is None or names <= entry.before)
        if not known or inner is None:
            self._hide()
        if not known:
            return
        if inner is None:
            self.subcommands.add(f"{called} {self._as_written(word)}")
        else:
            called = f"{called} {inner.name}"
            # The same option, and not another of its name.
            shared = {name for name, option, _ in head.options if inner.options.get(name) is option}
            self._judge_entry(
                inner, head.operands[1:], called=called, depth=depth, appended=appended, before=before | shared
            )

    def _judge_leaf(self, entry: Program, read: Read, *, depth: int, appended: bool, before: frozenset[str]) -> None:
        self._apply(entry.does - ({"network"} if entry.offline & {name for name, _, _ in read.options} else set()))
        self._judge_options(entry, read, before=before)
        if not read.known:
            # Another version, an abbreviation, a mistake: whatever this option is, it may run something.
            if entry.whatever:
                self.harmless = False
            else:
                self._doubt(hidden=True)
        plain = all(map(PLAIN_START.fullmatch, read.operands))
        for name, inner in read.commands:
            if _leads_to_devices(read) and self._may_open(inner[0]):
                self._doubt(hidden=False)
            self._judge_filled(inner, anywhere=name.endswith("dir") or not plain, depth=depth)
        commanded = any(option.command for _, option, _ in read.options)
        if entry.operands == "command":
            self._judge_wrapped(entry, read, depth=depth, appended=appended)
            return
        if appended and not commanded and not (entry.whatever and (not entry.opens or self._is_fed_names())):
            self._doubt(hidden=entry.can_run)
        for _, option, argument in read.options:
            if option.command and argument is not None:
                self.judge_text(argument, depth=depth + 1)
        self._judge_operands(entry, read)

    def _judge_options(self, entry: Program, read: Read, *, before: frozenset[str] = frozenset()) -> None:
        names = {name for name, _, _ in read.options}
        if entry.needs and entry.needs.isdisjoint(names | before):
            self._hide()
        if read.odd or any(names.isdisjoint(entry.together.get(name, names)) for name in names):
            self._doubt(hidden=entry.can_run)
        for name, option, argument in read.options:
            if argument != "-" or name not in entry.prints:
                self._apply_option(entry, option, argument)
            if option.script and not _is_script(entry, argument):
                self._doubt(hidden=True)
            if argument is not None and _opens_device(entry, argument):
                self._doubt(hidden=False)
            if argument in self._globs:
                self._hide()

    def _judge_operands(self, entry: Program, read: Read) -> None:
        operands = list(read.operands)
        if entry.script is not None and not any(option.script for _, option, _ in read.options):
            script = operands.pop(0) if operands else None
            if not _is_script(entry, script):
                self._doubt(hidden=True)
        if entry.matches is not None and not all(entry.matches.fullmatch(word) for word in operands):
            self._doubt(hidden=entry.can_run)
        if entry.most is not None and (len(operands) > entry.most or self._has_glob(operands)):
            self._doubt(hidden=entry.can_run)
        # Some `getopt` would read it as the option that it looks like.
        if entry.grammar in ENDED_BY_OPERANDS and any(
            word.startswith("-") and word != "-" for word in read.operands[1:]
        ):
            self._doubt(hidden=entry.can_run)
        if any(_opens_device(entry, word) for word in operands):
            self._doubt(hidden=False)
        if any(name in entry.lists for name, _, _ in read.options) and not (
            operands and all(map(LISTED.fullmatch, operands))
        ):
            self._doubt(hidden=False)
        aimed = any("writes" in option.effects and argument is not None for _, option, argument in read.options)
        match entry.operands:
            case "none" if operands:
                self._doubt(hidden=entry.can_run)
            case "written" | "removed" | "last written" | "moved" if not operands:
                self._doubt(hidden=False)
            case "written":
                self._write(entry, operands)
            case "removed":
                self._remove(operands)
            case "last written" if not aimed:
                self._write(entry, operands[-1:])
            case "second written":
                self._write(entry, operands[1:])
            case "moved":
                self._remove(operands if aimed else operands[:-1])
                self._write(entry, [] if aimed else operands[-1:])
            case _:
                pass

    def _judge_wrapped(self, entry: Program, read: Read, *, depth: int, appended: bool) -> None:
        """The command that is run after the operands that are the wrapper's own."""
        words = read.operands[entry.skip :] or (["echo"] if entry.appends and entry.default else [])
        while words and entry.matches is not None and entry.matches.fullmatch(words[0]):
            words = words[1:]
        filled = [argument or FILLED for _, option, argument in read.options if option.fills]
        skipped = read.operands[: entry.skip]
        if not read.known or not _are_skipped(entry, skipped) or self._has_glob(skipped):
            self._hide()
        # csh itself reads `nice +5 rm` as `rm` with another priority.
        if words and ("=" in words[0] or words[0].startswith(("-", "+"))):
            self._hide()
        elif words and filled:
            if self._may_open(words[0]) and not self._is_fed_names():
                self._doubt(hidden=False)
            self._judge_filled(words, anywhere=True, depth=depth)
            # Some `xargs` fills in the program's name, too.
            if any(place in words[0] for place in filled):
                self._hide()
        elif words:
            self.judge(words, depth=depth + 1, appended=appended or entry.appends)
        elif appended or len(read.operands) < entry.skip:
            self._hide()
        elif entry.needs or not entry.default:
            self._doubt(hidden=True)

    def _judge_filled(self, words: Sequence[str], *, anywhere: bool, depth: int) -> None:
        """A command with words that stand for what is only known when it runs; `anywhere`: they may be options."""
        inner = self.knowledge.find(words[0])
        self.judge(words, depth=depth + 1)
        if FILLED in words[0] or any(FILLED in word and word != FILLED for word in words):
            self._hide()
        if anywhere and not (inner is not None and inner.whatever):
            self._hide()

    def _may_open(self, program: str) -> bool:
        """Whether a program may open what its operands name."""
        entry = self.knowledge.find(program)
        return entry is None or entry.opens

    def _is_fed_names(self) -> bool:
        """Whether the words that are read are names of files that `find` came across, and of no device for all that is known."""
        entry = self.knowledge.find(self._feeding[0]) if self._feeding else None
        if entry is None or entry.grammar != "find":
            return False
        read = read_words(self._feeding[1:], entry)
        options = {name for name, _, _ in read.options}
        plain = all(map(PLAIN_START.fullmatch, read.operands))
        return read.known and plain and not read.commands and not options & NAMES_ALONE and not _leads_to_devices(read)

    def _apply(self, effects: frozenset[Effect] | set[Effect]) -> None:
        """Effects of which no path is known."""
        if not effects:
            return
        self.harmless = False
        if effects & {"writes", "removes", "changes"}:
            self.writing = True
            self.paths_known = False
        self.network |= "network" in effects
        self.privileged |= "privileged" in effects
        if "runs" in effects:
            self._hide()

    def _apply_option(self, entry: Program, option: Option, argument: str | None) -> None:
        if argument is not None and "writes" in option.effects:
            self._write(entry, [argument])
        elif argument is not None and "removes" in option.effects:
            self._remove([argument])
        else:
            self._apply(option.effects)
        self._apply(option.effects - {"writes", "removes"})

    def _write(self, entry: Program, paths: Sequence[str]) -> None:
        self._note(self.writes, [path for path in paths if not (entry.through and path in NO_FILES)])

    def _remove(self, paths: Sequence[str]) -> None:
        self._note(self.removes, paths)

    def _note(self, noted: set[str], paths: Sequence[str]) -> None:
        if not paths:
            return
        noted.update(map(self._as_written, paths))
        self.harmless = False
        self.writing = True
        # After a symbolic link `..` is not the folder above, and a name that is filled in is no name.
        if any(".." in path.split("/") or FILLED in path for path in paths):
            self.paths_known = False

    def _has_glob(self, words: Sequence[str]) -> bool:
        return any(word in self._globs for word in words)

    def _as_written(self, word: str) -> str:
        """What is told of a word."""
        return self._globs.get(word, word)

    def _doubt(self, *, hidden: bool) -> None:
        """Not proved to leave anything alone; `hidden`: not even to run nothing else, with whatever rights."""
        self.harmless = False
        self.writing = True
        self.network = True
        self.paths_known = False
        self.opaque |= hidden
        self.privileged |= hidden

    def _hide(self) -> None:
        self._doubt(hidden=True)


def _is_script(entry: Program, word: str | None) -> bool:
    """Whether a word is a script that only reads and prints. A path that is filled in may be any script."""
    if entry.script is None or word is None or FILLED in word:
        return False
    return entry.script.fullmatch(word) is not None


def _are_skipped(entry: Program, words: Sequence[str]) -> bool:
    """Whether these are the operands that stand before the command that a wrapper runs."""
    return entry.skipped is None or all(map(entry.skipped.fullmatch, words))


def _opens_device(entry: Program, word: str) -> bool:
    """Whether reading what a word names may do more than reading."""
    return entry.opens and names_device(word, disks=entry.disks)


def _leads_to_devices(read: Read) -> bool:
    """Whether `find` may come across devices from where it starts, and whatever else is not only read when it is opened."""
    if any(name in FOLLOWING for name, _, _ in read.options):
        return True
    return any(map(leads_to_devices, read.operands))
