"""Which detectors there are, by name, and what `[masking] detectors` may say.

A list is read from left to right: a set (`default`, `ssh`, `all`), a data class, or a single detector adds, and the same
with a minus sign in front takes away. A list that begins with a minus starts from `default`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from types import MappingProxyType

from mcp_gateway.errors import ConfigError, Problem
from mcp_gateway.masking.rules import RULES

ALL = frozenset(rule.detector for rule in RULES)
DEFAULT = frozenset(rule.detector for rule in RULES if rule.default)
SSH = DEFAULT - {"ip_address", "mac_address", "phone"}
"""On a host, addresses are the work itself, and phone numbers mostly something else."""

SETS: Mapping[str, frozenset[str]] = MappingProxyType({"default": DEFAULT, "ssh": SSH, "all": ALL})
CLASS_OF: Mapping[str, str] = MappingProxyType({rule.detector: rule.data_class for rule in RULES})
"""The class of each detector. `assigned_secret` has two: this says the one it was named for."""


def _names() -> Mapping[str, frozenset[str]]:
    names: dict[str, frozenset[str]] = {name: frozenset({name}) for name in ALL}
    for rule in RULES:
        if rule.default:
            names[rule.data_class] = names.get(rule.data_class, frozenset()) | {rule.detector}
    for name, members in SETS.items():
        if name in names:
            raise ValueError(f"the set of detectors {name!r} is named like a detector")
        names[name] = members
    return MappingProxyType(names)


NAMES: Mapping[str, frozenset[str]] = _names()
"""Everything that a list may name, and the detectors it stands for."""


def find_problems(names: Iterable[str], *, path: str = "masking.detectors") -> list[Problem]:
    """What is wrong with a list of detectors; all of it."""
    return [
        Problem(path=path, message=f"unknown detector {name!r}; {_meant(name)}")
        for name in names
        if name.removeprefix("-") not in NAMES
    ]


def _meant(name: str) -> str:
    """What is close to a name, else what there is without the single detectors, which are many."""
    bare = name.removeprefix("-")
    close = get_close_matches(bare.lower(), sorted(NAMES), n=1)
    if close:
        return f"did you mean {name[: len(name) - len(bare)] + close[0]!r}?"
    classes = sorted(NAMES.keys() - ALL - SETS.keys())
    return f"expected a set ({', '.join(SETS)}), a data class ({', '.join(classes)}) or a detector of one"


def resolve(names: Iterable[str], *, path: str = "masking.detectors") -> frozenset[str]:
    """The detectors that a list of names stands for; no names stand for `default`.

    Raises:
        ConfigError: names that are not known, which stand at `path`.
    """
    return _resolve(tuple(names), path)


@lru_cache(maxsize=256)
def _resolve(names: tuple[str, ...], path: str) -> frozenset[str]:
    problems = find_problems(names, path=path)
    if problems:
        raise ConfigError(problems)
    found = DEFAULT if not names or names[0].startswith("-") else frozenset[str]()
    for name in names:
        found = found - NAMES[name[1:]] if name.startswith("-") else found | NAMES[name]
    return found
