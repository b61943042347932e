"""`programs*.toml` to `Knowledge`: the built-in files and those of an operator, which have the same form. Pure.

A table is named as one types the command, `[ls]` or `["docker ps"]`. Options stand in one string, as `getopt` has
them: `-abw:C::` are `-a` and `-b`, `-w` with an argument and `-C` with one that may be attached; `--all`, `--width:`
and `--color::` likewise; `-#` is a number. In the grammars `single`, `find` and `pairs` each word is one option.

An operator's file adds programs and subcommands. One that is built in is replaced only by a table that says
`replaces = true`, and only where there is one: neither a claim nor a misspelt name goes unnoticed.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, cast, get_args

from mcp_gateway.errors import ConfigError, Problem
from mcp_gateway.facts.programs import Argument, Effect, Grammar, Knowledge, Operands, Option, Program
from mcp_gateway.toml_errors import toml_problem
from mcp_gateway.toml_places import key_places, place_of

BUILT_IN_FILES = ("programs.toml", "programs_packages.toml", "programs_services.toml", "programs_clusters.toml")
MAX_FILE_BYTES = 1024 * 1024
EFFECTS: tuple[Effect, ...] = get_args(Effect)
KEYS: Mapping[str, type] = {
    **dict.fromkeys(
        (
            "options",
            "command",
            "grammar",
            "matches",
            "skipped",
            "needs",
            "offline",
            "before",
            "prints",
            "lists",
            "abbreviated",
            "alone",
            "also",
            "fills",
        ),
        str,
    ),
    **dict.fromkeys(EFFECTS, str),
    **dict.fromkeys(
        ("appends", "attached", "bundle", "whatever", "opens", "through", "disks", "default", "shared", "replaces"),
        bool,
    ),
    **dict.fromkeys(("subcommands", "values", "script", "together"), dict),
    **dict.fromkeys(("skip", "most"), int),
    "does": list,
    "operands": str,
}
OTHER_NAMES = ("also", "abbreviated")
"""Of the same form, and other spellings, which facts give under the first name."""
READS = "reads"
"""In `subcommands`: those that only read."""
NAME = re.compile(r"[^\s/]+(?: [^\s/]+)*\Z")
SHORT = re.compile(r"-((?:[^\s:-]:{0,2})+)\Z")
LETTER = re.compile(r"([^\s:-])(:{0,2})")
WORD = re.compile(r"(--?[^\s:=-][^\s:=]*|[a-z]+)(:2|:{0,2})\Z")
ARGUMENTS: Mapping[str, Argument] = {"": "none", ":": "required", "::": "optional", ":2": "two"}

Tables = dict[str, dict[str, Any]]


@cache
def built_in() -> Knowledge:
    """What comes with the gateway."""
    return read_programs([])


def read_programs(files: Sequence[tuple[str, str]]) -> Knowledge:
    """The built-in programs and those of these files, each a name and a text.

    Raises:
        ConfigError: all that is wrong in any of them.
    """
    folder = resources.files("mcp_gateway.facts")
    own = [(file, folder.joinpath(file).read_text(encoding="utf-8")) for file in BUILT_IN_FILES]
    tables: Tables = {}
    places: dict[str, Problem] = {}
    known: set[str] = set()
    replaced: list[str] = []
    problems: list[Problem] = []
    for number, (file, content) in enumerate([*own, *files]):
        try:
            raw = tomllib.loads(content)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            problems.append(toml_problem(error, file=file))
            continue
        # Nobody is told of lines of what is built in, and finding them takes a fifth of the time.
        where = key_places(content) if number >= len(own) else {}
        for name, table in raw.items():
            place = Problem(file=file, line=place_of((name,), where).line, path=name, message="")
            wrong = _wrong_table(name, table, known=known)
            problems += [replace(place, message=message) for message in wrong]
            if not wrong:
                if name in known:
                    replaced.append(f"{file}:{place.line}: {name}")
                    _unlist(name, tables)
                tables[name] = table
                known.update(_names(name, table))
                places[name] = place
    builder = _Builder(tables)
    programs = builder.build()
    problems += [replace(places[name], message=message) for name, message in builder.problems]
    if problems:
        raise ConfigError(problems)
    digests = [_digest(content) for _, content in [*own, *files]]
    return Knowledge(
        programs=programs,
        replaced=tuple(replaced),
        files={file: digest for (file, _), digest in zip(files, digests[len(own) :], strict=True)},
        version=_digest("\n".join(digests)),
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _names(name: str, table: dict[str, Any]) -> list[str]:
    """What a table says there is: its own name, others of the same, and listed subcommands."""
    above = name.rpartition(" ")[0]
    also = [f"{above} {word}".strip() for key in OTHER_NAMES for word in table.get(key, "").split()]
    listed = [f"{name} {word}" for words in table.get("subcommands", {}).values() for word in words.split()]
    return [name, *also, *listed]


def _unlist(name: str, tables: Tables) -> None:
    """Take a name that is replaced from where it stands only in a list."""
    above, _, word = name.rpartition(" ")
    for other, table in tables.items():
        if name not in _names(other, table)[1:]:
            continue
        kept = {kind: _without(words, word) for kind, words in table.get("subcommands", {}).items()}
        names = {key: _without(table[key], word) for key in OTHER_NAMES if key in table and other != above}
        tables[other] = table | {"subcommands": kept} | names


def _without(words: str, word: str) -> str:
    return " ".join(kept for kept in words.split() if kept != word)


def _wrong_table(name: str, table: Any, *, known: Collection[str]) -> list[str]:
    if not isinstance(table, dict):
        return ["expected a table named as a command is typed"]
    if NAME.match(name) is None:
        return ["expected a name without a folder, or a name and its subcommands with one blank between"]
    wrong = [f"there is no key {key!r}; there are {', '.join(sorted(KEYS))}" for key in table if key not in KEYS]
    wrong += [
        f"expected {_named(KEYS[key])} for {key!r}"
        for key, value in table.items()
        if key in KEYS and type(value) is not KEYS[key]
    ]
    wrong += [
        f"expected strings in {key!r}"
        for key in ("subcommands", "values", "script", "together")
        if not all(isinstance(inner, str) for inner in _inner(table, key))
    ]
    if wrong:
        return wrong
    taken = [found for found in _names(name, table) if found in known]
    if name not in known and table.get("replaces"):
        wrong.append("it replaces nothing: no such program or subcommand is known")
    if name in known and not table.get("replaces"):
        wrong.append("it is known already; say `replaces = true` to put this in its place")
    others = [
        found for found in taken if found != name and not (table.get("replaces") and found.startswith(f"{name} "))
    ]
    wrong += [f"{found!r} is known already" for found in others]
    return wrong


def _inner(table: dict[str, Any], key: str) -> list[Any]:
    value = table.get(key)
    return list(value.values()) if isinstance(value, dict) else []


def _named(kind: type) -> str:
    return {str: "a string", bool: "true or false", dict: "a table", int: "a number", list: "an array"}[kind]


class _Builder:
    """Programs with their subcommands inside, from tables by name; keeps what is wrong with which."""

    def __init__(self, tables: Tables) -> None:
        self.problems: list[tuple[str, str]] = []
        self._tables = tables
        self._inner: dict[str, list[str]] = {}

    def build(self) -> Mapping[str, Program]:
        for name in self._tables:
            above = name.rpartition(" ")[0]
            if above and above not in self._tables:
                self.problems.append((name, f"there is no table {above!r} that this could be a subcommand of"))
            self._inner.setdefault(above, []).append(name)
        return self._all_of("", above=None)

    def _all_of(self, name: str, *, above: _Shared | None) -> dict[str, Program]:
        found: dict[str, Program] = {}
        for inner in self._inner.get(name, []):
            program = self._one(inner, above=above)
            table = self._tables[inner]
            found.update(dict.fromkeys((program.name, *table.get("abbreviated", "").split()), program))
            found.update((word, replace(program, name=word)) for word in table.get("also", "").split())
        return found

    def _one(self, name: str, *, above: _Shared | None) -> Program:
        table = self._tables[name]
        grammar = table.get("grammar", above.grammar if above else "gnu")
        try:
            shared = above.options if above else {}
            options = {**shared, **_options(table, grammar, shared=shared)}
            before = above.before if above else None
            if "before" in table:
                before = _named_options(table, "before", grammar, options=options)
            below = _Shared(options, grammar, before) if above or table.get("shared") else None
            subcommands = {
                word: Program(name=word, does=effects, **below.fields() if below else {})
                for word, effects in _words(table).items()
            } | self._all_of(name, above=below)
            return _program(name, table, grammar=grammar, options=options, before=before, subcommands=subcommands)
        except ValueError as error:
            self.problems.append((name, str(error)))
            return Program(name=name.rpartition(" ")[2], does=frozenset(EFFECTS))


@dataclass(frozen=True, slots=True)
class _Shared:
    """What a program's subcommands take over from it."""

    options: Mapping[str, Option]
    grammar: Grammar
    before: frozenset[str] | None

    def fields(self) -> dict[str, Any]:
        return {"options": self.options, "grammar": self.grammar}


def _words(table: dict[str, Any]) -> dict[str, frozenset[Effect]]:
    """Subcommands that are named by what they do, with all of their options those of the program."""
    found: dict[str, frozenset[Effect]] = {}
    for kinds, words in table.get("subcommands", {}).items():
        effects = _effects(kinds.replace(" ", "").split(",")) if kinds != READS else frozenset()
        for word in words.split():
            if word in found:
                raise ValueError(f"the subcommand {word!r} stands twice")
            found[word] = effects
    return found


def _effects(names: Sequence[Any]) -> frozenset[Effect]:
    for name in names:
        if name not in EFFECTS:
            raise ValueError(f"there is no effect {name!r}; there are {', '.join(EFFECTS)}")
    return frozenset(names)


def _program(
    name: str,
    table: dict[str, Any],
    *,
    grammar: Grammar,
    options: Mapping[str, Option],
    before: frozenset[str] | None,
    subcommands: Mapping[str, Program],
) -> Program:
    operands = table.get("operands", "any")
    if grammar not in get_args(Grammar):
        raise ValueError(f"there is no grammar {grammar!r}; there are {', '.join(get_args(Grammar))}")
    if operands not in get_args(Operands):
        raise ValueError(f"operands cannot be {operands!r}; they are {', '.join(get_args(Operands))}")
    script = table.get("script", {}).get("pattern")
    return Program(
        name=name.rpartition(" ")[2],
        does=_effects(table.get("does", [])),
        grammar=grammar,
        options=options,
        needs=frozenset(_parse(table.get("needs", ""), grammar)),
        together=_together(table, grammar, options=options),
        offline=frozenset(_parse(table.get("offline", ""), grammar)),
        before=before,
        through=table.get("through", False),
        prints=_named_options(table, "prints", grammar, options=options),
        lists=_named_options(table, "lists", grammar, options=options),
        alone=frozenset(table.get("alone", "").split()),
        operands=cast("Operands", operands),
        most=table.get("most"),
        appends=table.get("appends", False),
        skip=table.get("skip", 0),
        skipped=_pattern(table.get("skipped")),
        matches=_pattern(table.get("matches")),
        script=_pattern(script),
        bundle=table.get("bundle", False),
        attached=table.get("attached", True),
        whatever=table.get("whatever", False),
        opens=table.get("opens", True),
        disks=table.get("disks", False),
        default=table.get("default", False),
        subcommands=subcommands,
    )


def _named_options(
    table: dict[str, Any], key: str, grammar: Grammar, *, options: Mapping[str, Option]
) -> frozenset[str]:
    """The options that a key names. A name that is no option here is an error."""
    found = frozenset(_parse(table.get(key, ""), grammar))
    for name in sorted(found - options.keys()):
        raise ValueError(f"{key!r} names {name!r}, which is no option here")
    return found


def _together(
    table: dict[str, Any], grammar: Grammar, *, options: Mapping[str, Option]
) -> Mapping[str, frozenset[str]]:
    """To options, those one of which has to stand beside them. A name that is no option here is an error."""
    found = {name: frozenset(_parse(text, grammar)) for name, text in table.get("together", {}).items()}
    for name in sorted({*found, *(other for others in found.values() for other in others)}):
        if name not in options:
            raise ValueError(f"'together' names {name!r}, which is no option here")
    return found


def _pattern(text: Any) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        return re.compile(text)
    except (re.error, TypeError):
        raise ValueError(f"{text!r} is no regular expression") from None


def _options(table: dict[str, Any], grammar: Grammar, *, shared: Mapping[str, Option]) -> Mapping[str, Option]:
    """All options of one table, each with its effects. One that stands twice is an error; what is needed may be a shared one."""
    values = {name: _pattern(text) for name, text in table.get("values", {}).items()}
    script = table.get("script", {}).get("options", "")
    groups: list[tuple[str, dict[str, Any]]] = [
        (table.get("options", ""), {}),
        *((table.get(effect, ""), {"effects": frozenset((effect,))}) for effect in EFFECTS),
        (table.get("command", ""), {"command": True}),
        (table.get("fills", ""), {"fills": True}),
        (script, {"script": True}),
    ]
    found: dict[str, Option] = {}
    for text, marks in groups:
        if not text:
            continue
        for name, argument in _parse(text, grammar).items():
            if name in found:
                raise ValueError(f"the option {name!r} stands twice")
            found[name] = Option(argument=argument, value=values.pop(name, None), **marks)
    for key in ("needs", "offline"):
        for name, argument in _parse(table[key], grammar).items() if key in table else ():
            if name not in found:
                found[name] = shared.get(name) or Option(argument=argument, value=values.pop(name, None))
    if values:
        raise ValueError(f"'values' names {min(values)!r}, which is no option here")
    return found


def _parse(text: str, grammar: Grammar) -> dict[str, Argument]:
    """The options in one string and whether each takes an argument."""
    found: dict[str, Argument] = {}
    bundled = grammar in {"gnu", "first"}
    for word in text.split():
        letters = SHORT.match(word) if bundled else None
        if letters is not None:
            for letter, colons in LETTER.findall(letters[1]):
                if f"-{letter}" in found:
                    raise ValueError(f"the option '-{letter}' stands twice")
                found[f"-{letter}"] = ARGUMENTS[colons]
            continue
        match = WORD.match(word)
        if match is None or (bundled and not word.startswith("--")):
            raise ValueError(f"{word!r} is no option as these are written")
        found[match[1]] = ARGUMENTS[match[2]]
    return found
