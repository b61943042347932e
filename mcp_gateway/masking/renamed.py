"""Names that a request gives to members of its answer, for what they are called there speaks for their values. Pure.

`{ x: password }` asks GraphQL for a password under another name, `?select=x:password` PostgREST, and `password as x` what
takes some SQL. So a new name counts as the member's own one does. It is looked for wherever it may be said, and only in
what was said in this request: a query that the API knows from before can rename as it likes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from mcp_gateway.masking.classes import PII_NATIONAL_ID, SECRET_PASSWORD, SECRET_TOKEN
from mcp_gateway.masking.json_values import leaves
from mcp_gateway.masking.keys import MAX_KEY, class_of

MAX_CHARACTERS = 256 * 1024
"""Of all texts; what is longer is not looked into, as in `facts.http_fields`. About 0.4 s at the worst."""
WORDS = "pass|pwd|secret|key|token|auth|cookie|credential|ssn|itin|nino|pesel|aadhaar|bsn|cpf|nummer|nric|security|national|tax|driv"
"""One of these is in every name that has a class."""
OWN = rf"((?=[\w.>-]{{0,{MAX_KEY}}}(?i:{WORDS}))[\w.>-]{{1,{MAX_KEY}}})"
"""A name, or a way to or from one, such as `data->>password` and `password.max`."""
WAY = re.compile(r"->>?|\.")
WITH_COLON = re.compile(rf"(?<!\w)(\w{{1,{MAX_KEY}}})[\s,\ufeff]*+:[\s,\ufeff]*+{OWN}")
IN_A_LIST = re.compile(
    rf"(?:\A|[,(&=;?])[\s\"']*+([^,(){{}}&=;?:\"']{{1,{MAX_KEY}}})[\"']?[ ]{{0,9}}:[ ]{{0,9}}[\"']?{OWN}"
)
"""With blanks in the new name, or around it quotes."""
WITH_AS = re.compile(
    rf"(?<![\w.>-]){OWN}[\"'`\])]{{0,3}}(?:\s{{1,9}}with\s{{1,9}}\w{{1,20}})?\s{{1,9}}as\s{{1,9}}[\"'`\[]?([^\"'`\],()&;\r\n]{{1,{MAX_KEY}}})",
    re.IGNORECASE,
)
NO_NAMES = re.compile(r'#[^\r\n]*+|""".*?"""|"(?:[^"\\\r\n]|\\.)*+"?', re.DOTALL)
"""Comments and strings of GraphQL."""
MEMBER = re.compile(rb'(?<!\\)"([^"\\\r\n]{1,256})"(?=\s{0,9}:)')
WORST = (SECRET_PASSWORD, SECRET_TOKEN, PII_NATIONAL_ID)
"""The classes of names, from the one under which most counts as a value."""


def renamed(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """New names to the names of members that say what they hold, one for each class, the worst one first."""
    found: dict[str, dict[str, str]] = {}
    left = MAX_CHARACTERS
    for whole in texts:
        text = whole[: max(left, 0)]
        left -= len(text)
        for part in (text, NO_NAMES.sub(" ", text)):
            listed = ((new.strip(), own) for new, own in set(IN_A_LIST.findall(part)))
            swapped = (
                (name, own) for own, new in set(WITH_AS.findall(part)) for name in (new.strip(), *new.split()[:1])
            )
            for new, own in chain(set(WITH_COLON.findall(part)), listed, swapped):
                for name in WAY.split(own):
                    data_class = class_of(name)
                    if new and data_class not in {None, class_of(new)}:
                        found.setdefault(new, {})[data_class] = name
    return {new: tuple(names[item] for item in WORST if item in names) for new, names in found.items()}


def mask_renamed(value: Any, names: Mapping[str, Sequence[str]], *, json: Callable[[Any], Any]) -> None:
    """Mask, in a JSON value itself, what stands under new names, as `json` does what stands under the own ones."""
    places: list[tuple[dict[str, Any], str, str, Any]] = []
    waiting = [value] if names else []
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += item.values()
            places += [
                (item, key, name, item[key])
                for key in names.keys() & item.keys()
                if not any(isinstance(leaf, dict) for leaf in leaves(item[key]))
                for name in names[key]
            ]
        elif isinstance(item, list):
            waiting += item
    for (item, key, _, before), masked in zip(places, json([{name: old} for *_, name, old in places]), strict=True):
        (after,) = masked.values()
        if after != before:
            item[key] = after


def with_own_names(body: bytes, names: Mapping[str, Sequence[str]]) -> bytes:
    """A piece of JSON with own names in place of new ones, for detectors that look at texts."""
    if not names:
        return body
    own = {new.encode(): worst.encode() for new, (worst, *_) in names.items()}
    return MEMBER.sub(lambda found: b'"%b"' % own.get(found[1], found[1]), body)
