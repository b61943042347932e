"""The answers to what goes out before a statement, from a server that is honest and from others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from asyncpg import DivisionByZeroError, QueryCanceledError
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.targets.postgres_catalog import Touched
from mcp_gateway.targets.postgres_preface import (
    MAX_FAILURES,
    MAX_PREFACE_BYTES,
    AtOnce,
    Check,
    Preface,
    described,
)
from mcp_gateway.targets.postgres_wire import Filter, WireError
from tests.targets.test_postgres_wire import column, description, fed, message

SNAPSHOT = "730:730:"
LIMITS = ("20000", "mcp-gateway/0199c0de")
ROW = message("D", b"\0\1\0\0\0\6secret")
COLUMNS = description(column("ssn", relation=16400, number=3))
BEHIND = message("Z", b"T") + message("C", b"ROLLBACK\0") + message("Z", b"I")
"""What comes after the rows and the statement's own end."""


class Described:
    """An earlier statement of the shape."""

    parameters = (23,)
    described = described(parameters, COLUMNS[5:])


def touched() -> Touched:
    return Touched(
        relation_names=frozenset({"people"}),
        relation_oids=frozenset({16400}),
        function_names=frozenset(),
        function_oids=frozenset(),
        expected={},
    )


CHECK = Check(touched=touched(), versions="[]")


def values(*texts: str) -> bytes:
    encoded = [text.encode() for text in texts]
    return len(encoded).to_bytes(2, "big") + b"".join(len(text).to_bytes(4, "big") + text for text in encoded)


SAID = {
    "limits": values("20s", LIMITS[1], "read committed"),
    "path": values(""),
    "back": values('"public", "pg_temp"'),
    "check": values(SNAPSHOT, "1"),
    "calm": values("1"),
}


def honest(preface: Preface, said: dict[str, bytes] = SAID, row: bytes = COLUMNS) -> list[bytes]:
    """What PostgreSQL answers, message by message."""
    bodies: dict[int, Any] = {
        ord("D"): lambda step: message("D", said[step]),
        ord("C"): lambda step: message("C", b"BEGIN\0" if step == "begin" else b"SELECT 1\0"),
        ord("t"): lambda _: message("t", b"\0\1\0\0\0\x17"),
        ord("T"): lambda _: row,
    }
    return [bodies.get(kind, lambda _, kind=kind: message(chr(kind)))(step) for kind, step in preface.answers]


def asked(session: AtOnce, check: Check | None = CHECK) -> tuple[Preface, Filter]:
    preface = session.preface("SELECT ssn FROM people WHERE id = $1", Described(), limits=LIMITS, check=check)
    guard = Filter(verified=False)
    guard.expect(max_rows=10, max_bytes=1000, drain=False, rolls_back=True, preface=preface)
    return preface, guard


def run(
    session: AtOnce, *, said: dict[str, bytes] = SAID, row: bytes = COLUMNS, check: Check | None = CHECK
) -> Preface:
    """One statement, as an honest server answers it."""
    preface, guard = asked(session, check)
    kept = guard.feed(b"".join([*honest(preface, said, row), message("2"), ROW, message("C", b"SELECT 1\0"), BEHIND]))
    assert (ROW in kept) == (not preface.differs)
    session.learn(preface, check, timeout=LIMITS[0], error=None if preface.over else DivisionByZeroError())
    return preface


def steps(preface: Preface) -> list[str]:
    return list(dict.fromkeys(step for _, step in preface.answers))


def calm() -> AtOnce:
    """A session that has seen the same snapshot twice, and has what it takes to ask for it."""
    session = AtOnce(search_path='"public", "pg_temp"')
    for _ in range(3):
        run(session)
    return session


SESSIONS = {"new": lambda: AtOnce(search_path=""), "calm": calm}


def test_a_session_asks_for_versions_until_the_database_holds_still() -> None:
    session = AtOnce(search_path="")
    asked_for = [steps(run(session)) for _ in range(4)]
    assert asked_for[0] == asked_for[1] == ["begin", "limits", "parse", "path", "check", "back"]
    assert asked_for[2] == asked_for[3] == ["begin", "limits", "parse", "calm"]
    busy = AtOnce(search_path="")
    for number in range(4):
        preface = run(busy, said=SAID | {"check": values(f"{number}:{number}:", "1")})
        assert "calm" not in steps(preface)
    standby = AtOnce(search_path="")
    assert all("calm" not in steps(run(standby, said=SAID | {"check": values("", "1")})) for _ in range(4))


def test_what_was_not_checked_in_the_snapshot_is_checked() -> None:
    session = calm()
    other = Check(touched=touched(), versions="[]")
    assert steps(run(session, check=other)) == ["begin", "limits", "parse", "path", "check", "back"]
    assert steps(run(session, check=other)) == steps(run(session)) == ["begin", "limits", "parse", "calm"]
    assert steps(run(session, check=None)) == ["begin", "limits", "parse"]
    run(session, check=Check(touched=touched(), versions="[]"), said=SAID | {"check": values("731:731:", "1")})
    assert "check" in steps(run(session)), "something was committed since"


@pytest.mark.parametrize("kind", SESSIONS)
@given(cuts=st.lists(st.integers(min_value=0, max_value=10_000), max_size=6))
def test_answers_are_read_alike_in_whatever_pieces_they_come(kind: str, cuts: list[int]) -> None:
    preface, guard = asked(SESSIONS[kind]())
    rest = [message("2"), ROW, message("C", b"SELECT 1\0")]
    kept = fed(guard, b"".join([*honest(preface), *rest, BEHIND]), cuts=cuts)
    assert kept == b"".join([*rest, message("Z", b"I")])
    assert guard.begun and preface.over and not preface.differs and not guard.closed


def test_what_is_predicted_is_what_an_honest_server_answers() -> None:
    preface, _ = asked(calm())
    answers = b"".join(honest(preface))
    assert preface.predicted == answers
    assert preface.skip(answers + b"2") == len(answers)
    assert preface.skip(answers) == 0, "once"
    first, _ = asked(AtOnce(search_path=""))
    assert (first.predicted, first.skip(b"".join(honest(first)))) == (b"", 0)


def lies(messages: Sequence[bytes]) -> dict[str, list[bytes]]:
    """Other series of messages than the honest one."""
    found = {}
    for number, one in enumerate(messages):
        before, after = list(messages[:number]), list(messages[number + 1 :])
        found[f"{number} left out"] = before + after
        found[f"{number} twice"] = [*before, one, one, *after]
        found[f"{number} is a row"] = [*before, ROW, *after]
        found[f"{number} is ready"] = [*before, message("Z", b"T"), *after]
        found[f"{number} ends the statement"] = [*before, message("C", b"SELECT 0\0"), *after]
    found["all twice"] = [*messages, *messages]
    found["begun, and all again"] = [*messages[:2], *messages]
    found["nothing"] = []
    return found


@pytest.mark.requirement("R36")
@pytest.mark.parametrize("kind", SESSIONS)
def test_no_row_comes_through_before_all_is_answered(kind: str) -> None:
    """A server that leaves out the check, or answers it with something else, has not answered."""
    preface, _ = asked(SESSIONS[kind]())
    messages = honest(preface)
    for what, told in lies(messages).items():
        if told == messages:
            continue
        preface, guard = asked(SESSIONS[kind]())
        kept = b""
        with pytest.raises(WireError):
            for one in [*told, message("2"), ROW, message("C", b"SELECT 1\0"), message("Z", b"T"), ROW]:
                kept += guard.feed(one)
        if "a row" not in what and "twice" not in what:
            assert ROW not in kept, what
        assert preface.over or ROW not in kept, what


@pytest.mark.requirement("R36")
def test_an_answer_that_is_too_long_is_refused_before_it_is_here() -> None:
    preface, guard = asked(AtOnce(search_path=""))
    before = honest(preface)
    place = next(number for number, one in enumerate(before) if one[:1] == b"T")
    with pytest.raises(WireError, match=r"answered with .* bytes where it is asked for little"):
        guard.feed(b"".join(before[:place]) + b"T" + (MAX_PREFACE_BYTES + 1).to_bytes(4, "big") + b"\0")


@pytest.mark.parametrize(
    "row", [description(column("ssn", relation=16400, number=4)), description(), message("n")], ids=["other", "no", "n"]
)
@pytest.mark.parametrize("kind", SESSIONS)
def test_rows_that_are_described_in_another_way_are_dropped(kind: str, row: bytes) -> None:
    session = SESSIONS[kind]()
    preface, guard = asked(session)
    kept = guard.feed(
        b"".join([*honest(preface, SAID, row), message("2"), ROW, ROW, message("C", b"SELECT 2\0"), BEHIND])
    )
    assert preface.differs
    assert kept == message("2") + message("C", b"SELECT 2\0") + message("Z", b"I")


def test_rows_that_are_dropped_are_bounded_as_those_that_are_kept() -> None:
    preface, guard = asked(calm())
    big = message("D", b"\0" * 600)
    kept = guard.feed(b"".join([*honest(preface, SAID, message("n")), message("2"), big, big]))
    assert guard.closed and big not in kept
    preface, guard = asked(calm())
    with pytest.raises(WireError, match="more than the 10 rows"):
        guard.feed(b"".join([*honest(preface, SAID, message("n")), message("2"), *[message("D")] * 11]))


ERROR = message("E", b"SERROR\0C22012\0Mdivision by zero\0\0")


@pytest.mark.parametrize("kind", SESSIONS)
def test_an_error_before_the_statement_is_told_and_nothing_after_it_is_believed(kind: str) -> None:
    messages = honest(asked(SESSIONS[kind]())[0])
    for number in range(len(messages)):
        _, guard = asked(SESSIONS[kind]())
        begun = number > [one[:1] for one in messages].index(b"C")
        state = message("Z", b"E" if begun else b"I")
        kept = guard.feed(b"".join([*messages[:number], ERROR, state, message("C", b"ROLLBACK\0"), message("Z", b"I")]))
        assert kept == ERROR + message("Z", b"I")
        assert not guard.preface_over and guard.begun == begun and not guard.closed
        _, guard = asked(SESSIONS[kind]())
        with pytest.raises(WireError):
            guard.feed(b"".join([*messages[:number], ERROR, ROW]))


def test_what_fails_is_not_tried_for_ever() -> None:
    session = calm()
    fail(session, before="calm")
    assert possible(session)
    assert "check" in steps(asked(session)[0]), "it may be that something was committed"
    for _ in range(MAX_FAILURES - 1):
        fail(session, before="check")
    run(session)
    assert possible(session)
    for _ in range(MAX_FAILURES):
        fail(session, before="check")
    assert not possible(session)
    for step in ("begin", "limits", "path"):
        session = AtOnce(search_path="")
        fail(session, before=step)
        assert not possible(session), "somebody has taken the session's statements away, or it is no PostgreSQL"


def possible(session: AtOnce) -> bool:
    return session.possible


def fail(session: AtOnce, *, before: str, error: Exception | None = None) -> None:
    """Answer a statement of the session's with an error at a step."""
    preface, guard = asked(session)
    number = next(number for number, (_, step) in enumerate(preface.answers) if step == before)
    guard.feed(b"".join([*honest(preface)[:number], ERROR]))
    session.learn(preface, CHECK, timeout=LIMITS[0], error=error or DivisionByZeroError())


def test_what_is_cancelled_is_tried_again() -> None:
    for step in ("begin", "limits", "path", "check"):
        session = AtOnce(search_path="")
        for _ in range(MAX_FAILURES):
            fail(session, before=step, error=QueryCanceledError())
        assert possible(session)


def test_in_another_isolation_it_is_not_tried_again() -> None:
    session = AtOnce(search_path="")
    run(session, said=SAID | {"limits": values("20s", LIMITS[1], "serializable")})
    assert not session.possible


@pytest.mark.requirement("R36")
@pytest.mark.parametrize("step", ["limits", "check", "calm"])
def test_a_row_with_another_number_of_values_is_no_answer(step: str) -> None:
    _, guard = asked(calm() if step == "calm" else AtOnce(search_path=""))
    preface, _ = asked(calm() if step == "calm" else AtOnce(search_path=""))
    for told in (values(), values("1", "1", "1", "1")):
        with pytest.raises(WireError, match="values for"):
            guard.feed(b"".join(honest(preface, SAID | {step: told})))
        _, guard = asked(calm() if step == "calm" else AtOnce(search_path=""))


def test_a_text_with_a_nul_in_it_is_no_message() -> None:
    with pytest.raises(ValueError, match="NUL"):
        AtOnce(search_path="").preface("SELECT 1\0", Described(), limits=LIMITS, check=None)
