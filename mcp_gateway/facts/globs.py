r"""Words with wildcards, `/var/log/*.log`: which of them are proved to be paths below a folder, and what those may be. Pure.

A glob gives no word, one or many: paths that begin with its literal folder, so that none is an option, or the word as it
is written. bash, dash, ksh, mksh, yash, zsh, fish and csh agree on that for what `GLOB` describes, whatever matches: a
wildcard matches no `/`, nor a dot that begins a name, without which no name is `..` (but where a yash is told `dotglob`).

A name may be any that somebody gave a file. So a command with globs is judged once for each of `readings`, and all that
is found of any of them holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set

from mcp_gateway.facts.devices import FOUND, glob_may_name_device
from mcp_gateway.facts.options import FILLED

GLOB = r"""
    /\.?[A-Za-z0-9_][A-Za-z0-9_.+@,-]*+(?=/)
    (?:/\.(?=[A-Za-z0-9_])|/(?![./])|[A-Za-z0-9_.+@,-]|\*(?!\*)|\?|\[(?:[a-z]-[a-z]|[A-Z]-[A-Z]|[0-9]-[0-9]|[A-Za-z0-9])+\])*+
"""
"""What begins with a folder. No `**`, which goes deeper in some shells; no `.*`, which is `..` as well; no `[^x]`, which some read otherwise."""
WILDCARDS = re.compile(r"(?:[*?]|\[[A-Za-z0-9-]+\])+")
MAX_WILDCARDS = 16
"""In one word, those that stand together counted once."""
MAX_GLOBS = 64
"""In one text, each of whose commands is judged as often as there are `READINGS`. More leave the subset."""

PLAIN = FILLED
HOSTILE = f"{FILLED}{''.join(map(chr, range(1, ord('/'))))}{''.join(map(chr, range(ord('/') + 1, 0x80)))}é..x="
"""All that may be in a name, and before a further folder what begins a path in one for some programs."""
READINGS = ((), (PLAIN,), (HOSTILE,), (PLAIN, HOSTILE, PLAIN))
"""No name, one, and more than any program tells apart by where they stand."""


def is_glob(word: str) -> bool:
    """Whether what matches `GLOB` has wildcards, and not too many."""
    return 0 < len(WILDCARDS.findall(word)) <= MAX_WILDCARDS


def readings(words: Sequence[str], globs: Set[int]) -> Iterator[tuple[list[str], dict[str, str]]]:
    """What a command may be whose words at `globs` are globs, and to each word that stands for a path the glob.

    All globs get as many names at once. That is enough: an operand that is special by its place (the script, the first
    that is written, the command that is run) is a glob itself where there are many before it, and is not proved then.
    """
    if not globs:
        yield list(words), {}
        return
    for names in READINGS:
        found: list[str] = []
        written: dict[str, str] = {}
        for at, word in enumerate(words):
            paths = [_path(word, name) for name in names] if at in globs else [word]
            found += paths
            written |= dict.fromkeys(paths, word) if at in globs else {}
        yield found, written


def _path(glob: str, name: str) -> str:
    path = WILDCARDS.sub(lambda _: name, glob)
    return FOUND + path if glob_may_name_device(glob) else path
