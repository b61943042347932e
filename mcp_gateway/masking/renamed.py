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
"""Of all texts, or of what is near words in longer ones; where that is more, any name may be a new one. About 1 s at the
worst, of which a part goes to looking for words in 4 MiB."""
NEAR = 256
"""Characters before and behind a word, without padding."""
PADDING = re.compile(r"[\s,\ufeff]{4,}+")
WORDS = "pass|pwd|secret|key|token|auth|cookie|credential|ssn|itin|nino|pesel|aadhaar|bsn|cpf|nummer|nric|security|national|tax|driv"
"""One of these is in every name that has a class."""
OWN = rf"((?=[\w.>-]{{0,{MAX_KEY}}}(?i:{WORDS}))[\w.>-]{{1,{MAX_KEY}}})"
"""A name, or a way to or from one, such as `data->>password` and `password.max`."""
WORD = re.compile(WORDS)
WAY = re.compile(r"->>?|\.")
WITH_COLON = re.compile(rf"(?<!\w)(\w{{1,{MAX_KEY}}})[\s,\ufeff]*+:[\s,\ufeff]*+{OWN}")
IN_A_LIST = re.compile(
    rf"(?:\A|[,(&=;?])[\s\"']*+([^,(){{}}&=;?:\"']{{1,{MAX_KEY}}})[\"']?[ ]{{0,9}}:[ ]{{0,9}}[\"']?{OWN}"
)
"""With blanks in the new name, or around it quotes."""
WITH_AS = re.compile(
    rf"(?<![\w.>-]){OWN}[\"'`\])]{{0,3}}(?:::\w{{1,20}}\)?)?(?:\s{{1,9}}with\s{{1,9}}\w{{1,20}})?\s{{1,9}}as(?:\s{{1,9}}|(?=[\"'`\[]))[\"'`\[]?([^\"'`\],()&;\r\n]{{1,{MAX_KEY}}})",
    re.IGNORECASE,
)
NO_NAMES = re.compile(r'#[^\r\n]*+|""".*?"""|"(?:[^"\\\r\n]|\\.)*+"?', re.DOTALL)
"""Comments and strings of GraphQL."""
SQL_COMMENTS = re.compile(r"/\*(?:[^*]|\*(?!/))*+(?:\*/)?|--[^\r\n]*+")
MEMBER = re.compile(rb'(?<!\\)"([^"\\\r\n]{1,256})"(?=\s{0,9}:)')
WORST = (SECRET_PASSWORD, SECRET_TOKEN, PII_NATIONAL_ID)
"""The classes of names, from the one under which most counts as a value."""
ANY: Mapping[str, tuple[str, ...]] = {"*": ("password",)}
"""For a request that says more than can be looked into: each name may be a new one."""


def renamed(texts: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """New names to the names of members that say what they hold, one for each class, the worst one first; or `ANY`."""
    found: dict[str, dict[str, str]] = {}
    looked_into = list(texts)
    if sum(map(len, looked_into)) > MAX_CHARACTERS:
        looked_into = [_near(part) for text in looked_into for part in _parts(text)]
        if sum(map(len, looked_into)) > MAX_CHARACTERS:
            return ANY
    for text in looked_into:
        for part in _parts(text):
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


def _parts(text: str) -> Iterable[str]:
    """A text as it is, and as GraphQL and SQL read it; without padding, of which there may be any amount."""
    read = dict.fromkeys((text, NO_NAMES.sub(" ", text), SQL_COMMENTS.sub(" ", text)))
    return dict.fromkeys(PADDING.sub(_short, part) for part in read)


def _short(padding: re.Match[str]) -> str:
    return ("," if "," in padding[0] else "") + ("\n" if "\n" in padding[0] or "\r" in padding[0] else " ")


def _near(text: str) -> str:
    """What is near words of a text."""
    parts: list[str] = []
    begin = end = 0
    lower = text.lower()
    if len(lower) != len(text):  # by a letter that is two in lower case
        lower = text.replace("\u0130", "i").lower()
    for word in WORD.finditer(lower):
        if word.start() - NEAR > end:
            parts.append(text[begin:end])
            begin = word.start() - NEAR
        end = word.end() + NEAR
    return "\0".join([*parts, text[begin:end]])


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
                for key in (item.keys() if names is ANY else names.keys() & item.keys())
                if not any(isinstance(leaf, dict) for leaf in leaves(item[key]))
                for name in names.get(key, ANY["*"])
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
    if names is ANY:
        return MEMBER.sub(b'"password"', body)
    own = {new.encode(): worst.encode() for new, (worst, *_) in names.items()}
    return MEMBER.sub(lambda found: b'"%b"' % own.get(found[1], found[1]), body)
