from __future__ import annotations

import gc
import io
import pickle
import weakref
from typing import Any

import orjson

from mcp_gateway.facts.catalog import Catalog, Column, Relation
from mcp_gateway.facts.frames import LENGTH, SHAPE, framed
from mcp_gateway.facts.parser import Statements
from mcp_gateway.facts.worker_process import COLLECT_AFTER, Desk, serve

CATALOG = Catalog(
    server_version=150018,
    search_path=("public",),
    relations={
        "public.users": Relation(
            oid=20_000,
            schema="public",
            name="users",
            kind="r",
            columns=(Column(name="id", type="pg_catalog.int4"), Column(name="ssn", type="pg_catalog.text")),
        )
    },
)
CLASSIFY = {"public.users.ssn": "pii.national_id"}


def answers_to(*requests: object) -> list[Any]:
    asked = io.BytesIO(b"".join(framed(pickle.dumps(request)) for request in requests))
    said = io.BytesIO()
    serve(asked, said)
    said.seek(0)
    found = []
    while header := said.read(LENGTH.size):
        found.append(orjson.loads(said.read(*LENGTH.unpack(header))))
    return found


def test_it_says_that_it_is_ready_and_ends_with_its_input() -> None:
    assert answers_to() == [{"ready": SHAPE}]


def test_without_a_catalog_there_is_no_lineage() -> None:
    _, answer = answers_to(("examine", None, "DELETE FROM users"))

    assert answer["examination"]["facts"]["writes"] == ["users"]
    assert answer["lineage"] is None


def test_with_a_catalog_there_are_resolved_names_and_lineage() -> None:
    _, done, answer = answers_to(("load", 1, CATALOG, CLASSIFY), ("examine", 1, "SELECT id, ssn FROM users"))

    assert done == {"done": True}
    assert answer["examination"]["facts"]["reads"] == ["public.users"]
    assert answer["lineage"]["columns"] == {
        "names": ["id", "ssn"],
        "kinds": [[[], True], [["pii.national_id"], True]],
        "of": [0, 1],
    }


def test_a_syntax_error_is_an_answer() -> None:
    _, answer = answers_to(("examine", None, "SELECT )"))

    assert answer["examination"] is None
    assert (answer["syntax"], answer["position"]) == ('syntax error at or near ")"', 8)


def test_a_request_that_fails_does_not_end_it() -> None:
    _, *failed, answer = answers_to(("examine", 7, "SELECT 1"), ("what",), 5, ("examine", None, "SELECT 1"))

    assert [one["failed"] for one in failed] == ["KeyError", "unknown request", "unknown request"]
    assert [one["examination"] for one in failed] == [None] * 3
    assert answer["examination"]["facts"]["read_only"] is True


def test_a_dropped_snapshot_is_gone() -> None:
    _, *_, answer = answers_to(("load", 1, CATALOG, CLASSIFY), ("drop", 1), ("drop", 1), ("examine", 1, "SELECT 1"))

    assert answer["failed"] == "KeyError"


def test_each_snapshot_answers_for_itself() -> None:
    desk = Desk()
    desk.answer(("load", 1, CATALOG, CLASSIFY))
    desk.answer(("load", 2, Catalog(server_version=150018, search_path=()), {}))

    assert desk.answer(("examine", 1, "TABLE users")).examination.facts.reads == {"public.users"}
    assert desk.answer(("examine", 2, "TABLE users")).examination.facts.reads == {"users"}


def test_no_tree_outlives_its_answer() -> None:
    kept = []

    class Requests(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            kept.append(sum(isinstance(one, Statements) for one in gc.get_objects()))
            return super().read(size)

    requests = [("load", 1, CATALOG, CLASSIFY), ("examine", 1, "SELECT 1"), ("examine", None, "TABLE users"), ("what",)]
    serve(Requests(b"".join(framed(pickle.dumps(one)) for one in requests)), io.BytesIO())

    assert len(kept) > len(requests)
    assert len(set(kept)) == 1


def test_garbage_is_looked_for_between_answers() -> None:
    desk = Desk()
    gone: list[bool] = []
    gc.disable()
    try:
        for _ in range(COLLECT_AFTER + 1):
            ring: list[Any] = []
            ring.append(ring)
        weakref.finalize(rings := _Ring(), gone.append, True)
        rings.itself = rings
        del rings
        desk.clear()
    finally:
        gc.enable()

    assert gone == [True]


class _Ring:
    itself: _Ring
