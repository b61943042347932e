"""What Cedar's validator says, as a sentence that says what was got, what was expected and what to write. Pure.

A sentence of the validator's that is not known here stands as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from mcp_gateway.policy.schema import APPROVAL, CALL, REVEAL, USAGE, Action
from mcp_gateway.policy.split import Place
from mcp_gateway.usage import HISTORY

MAX_SHOWN = 80
"""Characters of an expression."""
MAX_LISTED = 20
"""Names of which all are listed."""
ATTRIBUTES = {
    "Caller": ("subject", "issuer", "actor", "email"),
    "Target": ("name", "kind"),
    "DataClass": (),
}
NO_ACTION = "unable to find an applicable action given the policy scope constraints"

NO_ATTRIBUTE = re.compile(
    r"^attribute `(?P<path>[^`]*)`(?: in context for Action::\"(?P<action>.*)\"| on entity type `(?P<of>.*)`)? not found$"
)
OPTIONAL = re.compile(r"^unable to guarantee safety of access to optional attribute `(?P<path>[^`]*)`")
UNLIKE = re.compile(r"^the types (?P<one>.*) and (?P<other>.*) are not compatible$")
UNEXPECTED = re.compile(r"^unexpected type: expected (?P<expected>.*) but saw (?P<got>.*)$")
NO_TYPE = re.compile(r"^unrecognized entity type `(?P<name>.*)`$")
NO_SUCH_ACTION = re.compile(r'^unrecognized action `Action::"(?P<name>.*)"`$')
NO_MEMBER = re.compile(r'^entity `(?P<type>\w+)::"(?P<id>.*)"` is of an enumerated entity type')
EXTENSION = re.compile(r"^error during extension function argument validation: (?P<why>.*)$")
FORMS = {
    "datetime": 'a time is written datetime("2026-01-31T12:00:00Z")',
    "duration": 'a duration is written duration("1h30m")',
    "decimal": 'a decimal is written decimal("1.25")',
    "IP address": 'an address is written ip("10.0.0.0/8")',
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A sentence of the validator's, and where it belongs."""

    place: Place
    message: str
    text: str = ""
    """What is written there."""
    whole: str = ""
    """What that is a part of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One thing that does not fit the schema, and where."""

    place: Place
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """Knows what the schema has, to say what could have been meant."""

    actions: Mapping[str, Action]
    entities: Mapping[str, Sequence[str]]
    """The names of each type of which not every name is one."""

    def worded(self, found: Iterable[Located]) -> list[Mistake]:
        """Sentences in the order of their places; what several actions lack is said once."""
        located = list(dict.fromkeys(found))
        others = any(one.message != NO_ACTION for one in located)
        mistakes: dict[Mistake, None] = {}
        lacking: dict[tuple[Place, str], list[str]] = {}
        for one in located:
            match = NO_ATTRIBUTE.match(one.message)
            if match is not None and match["action"]:
                lacking.setdefault((one.place, match["path"]), []).append(match["action"])
            elif one.message != NO_ACTION or not others:  # which only follows from what is wrong beside it
                mistakes[Mistake(place=one.place, message=self._sentence(one))] = None
        for (place, path), names in lacking.items():
            mistakes[Mistake(place=place, message=self._lacked(path, sorted(names)))] = None
        return sorted(mistakes, key=lambda mistake: (mistake.place.line, mistake.place.column, mistake.message))

    def _sentence(self, one: Located) -> str:
        message, shown = one.message, _shown(one.text)
        if match := OPTIONAL.match(message):
            return _optional(match["path"], shown)
        if match := NO_ATTRIBUTE.match(message):
            path, of = match["path"], match["of"] or ""
            return f"{of or 'this record'} has no attribute {path!r}{_meant(path, ATTRIBUTES.get(of, ()))}"
        if match := UNLIKE.match(message):
            types = _typed(match["one"]), _typed(match["other"])
            whole = _shown(one.whole)
            return f"{types[0]} and {types[1]} do not fit together{_in(whole)}{_advice(types)}"
        if match := UNEXPECTED.match(message):
            expected = " or ".join(_typed(of) for of in match["expected"].split(", or "))
            got = _typed(match["got"])
            said = f"expected {expected}, got {got}" + (f": `{shown}`" if shown else "")
            if "a record" in expected and got in ASKED:
                return f"{said}; it is asked with parentheses, as in .{ASKED[got]}()"
            return said + _form_of(expected, got)
        if match := NO_TYPE.match(message):
            return f"there is no type {match['name']!r}{_meant(match['name'], self._types)}"
        if match := NO_SUCH_ACTION.match(message):
            return f"there is no action {match['name']!r}{_meant(match['name'], [*self.actions, REVEAL])}"
        if match := NO_MEMBER.match(message):
            names = self.entities.get(match["type"], ())
            return f'there is no {match["type"]}::"{match["id"]}"{_meant(match["id"], names)}'
        if match := EXTENSION.match(message):
            form = next((form for of, form in FORMS.items() if of in match["why"]), "")
            return match["why"] + (f"; {form}" if form else "")
        if message == NO_ACTION:
            return (
                f"`{shown or 'this'}` goes with no action that the scope names: tools are used by a Caller on a Target, "
                "reveal by a Caller on a DataClass"
            )
        return message.replace("__cedar::internal::", "")

    @property
    def _types(self) -> list[str]:
        return sorted({"Action", "Caller", "Group", "Target", *self.entities})

    def _lacked(self, path: str, names: Sequence[str]) -> str:
        """What is to be said of an attribute that the context of these actions has not got."""
        record, _, attribute = path.rpartition(".")
        of = f"context.{record}" if record else "context"
        having = [name for name in (*self.actions, REVEAL) if attribute in self._attributes(record, name)]
        said = f"{of} has no attribute {attribute!r}"
        if having:
            guard = f"; name in the scope only {_listed(having)}, or write `{of} has {attribute} && ...`"
            return f"{said} for {_listed(names)}{guard}"
        known = sorted({known for name in names for known in self._attributes(record, name)})
        return said + _meant(attribute, known)

    def _attributes(self, record: str, action: str) -> Iterable[str]:
        """What there is in a record of an action's context, or in the context itself."""
        of = self.actions.get(action)
        records: dict[str, Iterable[str]] = {"call": CALL, "approval": APPROVAL}
        records.update(dict.fromkeys(HISTORY, USAGE))
        records.update({of.record: of.shape} if of is not None else {"target": ATTRIBUTES["Target"]})
        return records.get(record, ()) if record else records


def _optional(path: str, shown: str) -> str:
    of = shown.removesuffix(f".{path}") if shown.endswith(f".{path}") else "it"
    return f"{path!r} may be missing: write `{of} has {path} && ...` before it"


def _meant(name: str, known: Iterable[str]) -> str:
    """What to add to a name that there is not."""
    names = sorted(known)
    if near := get_close_matches(name, names, n=1, cutoff=0.7):
        return f"; did you mean {near[0]!r}?"
    if not names or len(names) > MAX_LISTED:
        return ""
    return f"; there {'is' if len(names) == 1 else 'are'} {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _typed(of: str) -> str:
    """A type in words: Cedar has internal ones, and writes a record with all that is in it."""
    if of.startswith("{") or "OpenRecord" in of:
        return "a record"
    if of == "__cedar::internal::AnyEntity":
        return "an entity"
    if match := re.fullmatch(r"Set<(.*)>", of):
        inner = _typed(match[1])
        return "a Set" if inner == "Any" else f"a Set of {'entities' if inner == 'an entity' else inner}"
    return of.removeprefix("__cedar::internal::")


def _advice(types: tuple[str, str]) -> str:
    """What was probably meant where two types do not fit."""
    one, other = sorted(types, key=lambda of: of.startswith("a Set"))
    if other == f"a Set of {one}":
        return "; ask a Set for a member with .contains(...)"
    if "String" in types and (entity := next((of for of in types if of in _ENTITIES), "")):
        return f'; it is written {entity}::"..."'
    return _form_of(*types) or _form_of(*reversed(types))


def _form_of(expected: str, got: str) -> str:
    if got != "String":
        return ""
    if expected.startswith(("an entity", "a Set of entities")):
        return '; one is written with its type, as Group::"..."'
    return f"; {FORMS[expected]}" if expected in FORMS else ""


ASKED = {"datetime": "toTime", "duration": "toHours", "a Set of String": "isEmpty", "a Set of DataClass": "isEmpty"}
"""Types that have methods and no attributes, each with one of them."""
_ENTITIES = ("Caller", "Group", "Target", "Env", "Label", "DataClass", "Inference", "Action")


def _in(text: str) -> str:
    return f" in `{text}`" if text else ""


def _shown(text: str) -> str:
    """An expression on one line, cut."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_SHOWN else line[: MAX_SHOWN - 3] + "..."
