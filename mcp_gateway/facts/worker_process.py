"""The process that parses: reads requests from standard input, answers on standard output, ends with its input.

Started by `facts.worker` with `-I`, an empty environment and no working directory of anybody's, so that nothing is
imported from where an agent can write. It holds no secret and opens nothing: what a hostile text could break here is
one examination.
"""

from __future__ import annotations

import os
import pickle
import resource
import sys
from typing import Any, BinaryIO

from mcp_gateway.facts.catalog import Catalog
from mcp_gateway.facts.frames import LENGTH, encoded, framed
from mcp_gateway.facts.judging import Judge
from mcp_gateway.facts.parser import SQLSyntaxError, parse_tree
from mcp_gateway.facts.sql import examine_statements, judge_of
from mcp_gateway.masking.lineage import ClassifiedCatalog, prepare, resolve

MAX_MEMORY_BYTES = 4 << 30
RECURSION_LIMIT = 8_000
"""Trees have up to 1,000 levels and walking one takes a few calls; Python calls do not use the C stack."""
WARM_UP = "SELECT a.x, count(*) FROM a JOIN b USING (id) WHERE a.y > now() GROUP BY 1"

NO_CATALOG = judge_of(None)

Snapshot = tuple[Judge, dict[str, str], ClassifiedCatalog]


class Desk:
    """Answers requests one after the other; keeps the snapshots that it was given, by number."""

    def __init__(self) -> None:
        self._snapshots: dict[int, Snapshot] = {}

    def answer(self, request: tuple[Any, ...]) -> Any:
        """`("load", number, catalog, classify)`, `("drop", number)` or `("examine", number or None, sql)`."""
        match request:
            case ("load", int(number), Catalog() as catalog, dict(classify)):
                self._snapshots[number] = (judge_of(catalog), classify, prepare(catalog, classify))
                return {"done": True}
            case ("drop", int(number)):
                self._snapshots.pop(number, None)
                return {"done": True}
            case ("examine", number, str(sql)):
                return self._examine(sql, snapshot=None if number is None else self._snapshots[number])
            case _:
                return {"failed": "unknown request"}

    def _examine(self, sql: str, *, snapshot: Snapshot | None) -> Any:
        try:
            statements = parse_tree(sql)
            examination = examine_statements(statements, judge=snapshot[0] if snapshot else NO_CATALOG)
        except SQLSyntaxError as error:
            return {"syntax": error.message, "position": error.position}
        lineage = None
        if snapshot is not None:
            _, classify, prepared = snapshot
            lineage = resolve(statements, catalog=prepared, classify=classify)
        return {"examination": examination, "lineage": lineage}


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the requests end. An answer that cannot be found is an answer too."""
    desk = Desk()
    desk.answer(("examine", None, WARM_UP))
    _send(answers, encoded({"ready": True}))
    while header := requests.read(LENGTH.size):
        request = requests.read(*LENGTH.unpack(header))
        try:
            answer = encoded(desk.answer(pickle.loads(request)))  # noqa: S301 - from the gateway itself, see facts.frames
        except Exception as error:  # noqa: BLE001 - the loop goes on, and this one examination is refused
            answer = encoded({"failed": type(error).__name__})
        _send(answers, answer)


def _send(answers: BinaryIO, answer: bytes) -> None:
    answers.write(framed(answer))
    answers.flush()


def main() -> None:
    """Serve on the standard streams, with nothing else able to write to them."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold statements
    _lower_limit(resource.RLIMIT_AS, MAX_MEMORY_BYTES)
    sys.setrecursionlimit(RECURSION_LIMIT)
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    with answers, os.fdopen(0, "rb") as requests:
        serve(requests, answers)


def _lower_limit(which: int, wanted: int) -> None:
    _, most = resource.getrlimit(which)
    if sys.platform == "linux" and (most == resource.RLIM_INFINITY or most > wanted):
        resource.setrlimit(which, (wanted, most))


if __name__ == "__main__":
    main()
