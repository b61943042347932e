from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest

from mcp_gateway.cli import examining
from mcp_gateway.cli.examining import examiners
from mcp_gateway.facts.requests import PLAIN
from mcp_gateway.facts.worker import TOO_COMPLEX, SQLWorker
from mcp_gateway.policy.examiners import EXAMINERS
from tests.facts.workers import SLOW


def test_facts_are_those_of_the_parser_in_this_process() -> None:
    for sql in ("SELECT 1", "DELETE FROM orders", "SELECT pg_sleep(1); "):
        with examiners() as examine:
            assert examine["query_database"]({"sql": sql}, PLAIN) == EXAMINERS["query_database"]({"sql": sql}, PLAIN)


@pytest.mark.requirement("I7")
def test_a_statement_that_takes_too_long_ends_its_case_and_not_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of a machine that is quick the second of CPU is enough for it.
    monkeypatch.setattr(examining, "SQLWorker", partial(SQLWorker, limit=timedelta(milliseconds=300)))
    with examiners() as examine:
        with pytest.raises(ValueError, match=f"^{TOO_COMPLEX}$"):
            examine["query_database"]({"sql": SLOW}, PLAIN)
        assert examine["query_database"]({"sql": "SELECT 1"}, PLAIN).to_json()["read_only"]


@pytest.mark.parametrize("sql", ["SELECT )", "SELECT 1; SELECT 2; COMMIT", "SELECT 1\0"])
def test_what_is_refused_in_this_process_is_refused_there(sql: str) -> None:
    with pytest.raises(ValueError, match=r".") as here:
        EXAMINERS["query_database"]({"sql": sql}, PLAIN)
    with examiners() as examine, pytest.raises(ValueError, match=r".") as there:
        examine["query_database"]({"sql": sql}, PLAIN)

    assert str(there.value) == str(here.value)
