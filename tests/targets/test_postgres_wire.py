"""The filter in front of the driver: bytes in, bytes out, cut at every offset."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.targets.postgres_wire import (
    MAX_CONTROL_BYTES,
    MAX_PARAMETER_REPORTS,
    PORTAL_SUSPENDED,
    READY_IN_TRANSACTION,
    Filter,
    Origin,
    WireError,
    origins,
)


def message(kind: str, body: bytes = b"") -> bytes:
    return kind.encode() + struct.pack("!i", len(body) + 4) + body


def column(name: str, *, relation: int = 0, number: int = 0) -> bytes:
    return name.encode() + b"\0" + struct.pack("!ihihih", relation, number, 25, -1, -1, 0)


def description(*columns: bytes) -> bytes:
    return message("T", struct.pack("!h", len(columns)) + b"".join(columns))


def expecting(
    *,
    max_rows: int = 10,
    max_bytes: int = 10_000,
    drain: bool = False,
    verified: bool = False,
    begins: bool = False,
    rolls_back: bool = False,
) -> Filter:
    guard = Filter(verified=verified)
    guard.expect(max_rows=max_rows, max_bytes=max_bytes, drain=drain, begins=begins, rolls_back=rolls_back)
    return guard


def fed(guard: Filter, data: bytes, *, cuts: list[int]) -> bytes:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return b"".join(guard.feed(data[start:end]) for start, end in pairwise(edges))


ANSWER = (
    message("1")
    + message("t", b"\0\0")
    + description(column("ssn", relation=16400, number=3), column("upper"))
    + message("D", b"\0\2" + b"x" * 40)
    + message("N", b"SINFO\0Msecret\0\0")
    + message("D", b"\0\2" + b"y" * 40)
    + message("A", b"\0\0\0\1channel\0payload\0")
    + message("S", b"application_name\0mcp-gateway/1\0")
    + message("S", b"app\0x\0")
    + message("C", b"SELECT 2\0")
    + message("Z", b"T")
)
WITHOUT_NOTICES = (
    ANSWER.replace(message("N", b"SINFO\0Msecret\0\0"), b"")
    .replace(message("A", b"\0\0\0\1channel\0payload\0"), b"")
    .replace(message("S", b"application_name\0mcp-gateway/1\0"), b"")
)


@given(cuts=st.lists(st.integers(0, len(ANSWER)), max_size=8))
def test_notices_and_notifications_are_dropped_however_the_bytes_arrive(cuts: list[int]) -> None:
    guard = expecting()
    assert fed(guard, ANSWER, cuts=cuts) == WITHOUT_NOTICES
    assert guard.origins == (Origin(relation=16400, number=3), Origin(relation=0, number=0))
    assert not guard.cut


def test_every_single_offset_may_be_a_cut() -> None:
    for offset in range(len(ANSWER)):
        assert fed(expecting(), ANSWER, cuts=[offset]) == WITHOUT_NOTICES


@pytest.mark.requirement("R19")
@given(cuts=st.lists(st.integers(0, 2000), max_size=8))
def test_a_row_that_does_not_fit_suspends_the_portal_at_the_row_before(cuts: list[int]) -> None:
    fits, large = message("D", b"\0\1" + b"a" * 100), message("D", b"\0\1" + b"b" * 900)
    guard = expecting(max_bytes=500)
    got = fed(guard, fits + fits + large + fits + message("Z", b"T"), cuts=cuts)
    assert got == fits + fits + PORTAL_SUSPENDED + READY_IN_TRANSACTION
    assert guard.cut
    assert guard.closed


@pytest.mark.requirement("R19")
def test_a_gigabyte_in_one_value_is_cut_by_its_header_alone() -> None:
    guard = expecting(max_bytes=500)
    assert guard.feed(b"D" + struct.pack("!i", 1_000_000_000)) == PORTAL_SUSPENDED + READY_IN_TRANSACTION
    assert guard.feed(b"x" * 100_000) == b""


@given(cuts=st.lists(st.integers(0, 2000), max_size=8))
def test_a_write_is_read_to_its_end_and_its_further_rows_dropped(cuts: list[int]) -> None:
    fits, large = message("D", b"\0\1" + b"a" * 100), message("D", b"\0\1" + b"b" * 900)
    end = message("C", b"UPDATE 3\0") + message("Z", b"T")
    guard = expecting(max_bytes=500, drain=True)
    assert fed(guard, fits + large + fits + end, cuts=cuts) == fits + end
    assert guard.cut
    assert not guard.closed


def test_the_limits_are_those_of_one_operation() -> None:
    guard = expecting(max_bytes=150)
    row = message("D", b"\0\1" + b"a" * 100)
    guard.feed(row)
    guard.expect(max_rows=1, max_bytes=150, drain=False)
    assert guard.feed(row) == row


@pytest.mark.requirement("R36")
def test_more_rows_than_were_asked_for_are_a_lie() -> None:
    guard = expecting(max_rows=1)
    row = message("D", b"\0\0")
    with pytest.raises(WireError, match="sent more than the 1 rows it was asked for"):
        guard.feed(row + row)


@pytest.mark.requirement("R36")
@pytest.mark.parametrize("length", [-2147483648, -1, 0, 3])
def test_an_impossible_length_is_refused(length: int) -> None:
    with pytest.raises(WireError, match="claims the length"):
        expecting().feed(b"E" + struct.pack("!i", length))


@pytest.mark.requirement("R36")
def test_an_error_message_of_a_gigabyte_is_refused_by_its_header() -> None:
    with pytest.raises(WireError, match="bytes beside rows"):
        expecting().feed(b"E" + struct.pack("!i", 1_000_000_000))


@pytest.mark.requirement("R36")
def test_small_messages_without_end_are_refused() -> None:
    guard, report = expecting(), message("S", b"a\0b\0")
    with pytest.raises(WireError, match="reports parameters without end"):
        guard.feed(report * 1001)
    guard, error = expecting(), message("E", b"x" * 10_000)
    with pytest.raises(WireError, match="bytes beside rows"):
        guard.feed(error * (MAX_CONTROL_BYTES // 10_000 + 1))


def test_a_session_outlives_any_number_of_calls_that_put_their_names_on_it() -> None:
    guard, report = Filter(verified=False), message("S", b"application_name\0mcp-gateway/1\0")
    for _ in range(2 * MAX_PARAMETER_REPORTS):
        guard.expect(max_rows=1, max_bytes=1000, drain=False)
        assert guard.feed(report + message("C", b"SET\0")) == message("C", b"SET\0")
    with pytest.raises(WireError, match="bytes beside rows"):
        guard.feed(report * (MAX_CONTROL_BYTES // len(report) + 1))


@pytest.mark.requirement("R36")
def test_a_flood_of_notices_costs_nothing() -> None:
    guard = expecting()
    for _ in range(100):
        assert guard.feed(message("N", b"x" * 100_000)) == b""


@pytest.mark.parametrize("kind", ["G", "H", "W"])
def test_a_copy_is_refused(kind: str) -> None:
    with pytest.raises(WireError, match="COPY"):
        expecting().feed(message(kind, b"\0\0\0"))


@pytest.mark.requirement("R36")
@pytest.mark.parametrize(
    ("method", "verified", "refused"),
    [
        (0, False, False),
        (3, False, True),
        (3, True, False),
        (5, False, True),
        (5, True, False),
        (7, True, True),
        (9, True, True),
        (10, False, False),
        (11, False, False),
        (12, False, False),
        (99, True, True),
    ],
)
def test_a_server_that_is_not_proved_sees_the_password_by_scram_alone(
    method: int, verified: bool, refused: bool
) -> None:
    for cut in range(13):
        guard, asked = Filter(verified=verified), message("R", struct.pack("!i", method) + b"salt")
        if refused:
            with pytest.raises(WireError, match="asks for the password"):
                fed(guard, asked, cuts=[cut])
        else:
            assert fed(guard, asked, cuts=[cut]) == asked


def test_a_password_is_not_asked_for_twice() -> None:
    guard = Filter(verified=True)
    guard.feed(message("R", struct.pack("!i", 0)) + message("Z", b"I"))
    with pytest.raises(WireError, match="in the middle of a session"):
        guard.feed(message("R", struct.pack("!i", 3)))


@given(body=st.binary(max_size=80))
def test_any_bytes_for_a_row_description_are_origins_or_an_error(body: bytes) -> None:
    try:
        found = origins(body)
    except WireError as error:
        assert str(error) == "the server sent a row description that is none"
    else:
        assert len(found) == max(0, struct.unpack_from("!h", body)[0])


@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=4))
def test_arbitrary_bytes_never_grow(data: bytes, cuts: list[int]) -> None:
    guard = expecting()
    try:
        got = fed(guard, data, cuts=cuts)
    except WireError:
        return
    assert len(got) <= len(data) + len(PORTAL_SUSPENDED + READY_IN_TRANSACTION)


READY, READY_FAILED, READY_IDLE = (message("Z", status) for status in (b"T", b"E", b"I"))
BEGUN = (
    message("C", b"BEGIN\0")
    + message("S", b"application_name\0mcp-gateway/1\0")
    + message("C", b"SET\0")
    + description(column("one"))
    + message("D", b"\0\1\0\0\0\x011")
    + message("C", b"SELECT 1\0")
    + READY
)
PARSED = message("1") + message("t", b"\0\0") + description(column("ssn", relation=16400, number=3)) + READY
REFUSED = message("E", b"C25006\0Mno\0\0")
ROWS = message("2") + message("D", b"\0\1" + b"x" * 40) + message("C", b"SELECT 1\0")
ROLLED_BACK = message("C", b"ROLLBACK\0") + READY_IDLE


@given(cuts=st.lists(st.integers(0, len(BEGUN + PARSED)), max_size=8))
def test_the_answers_to_begin_are_not_the_drivers(cuts: list[int]) -> None:
    guard = expecting(max_rows=0, max_bytes=0, begins=True)
    assert fed(guard, BEGUN + PARSED, cuts=cuts) == PARSED
    assert guard.begun
    assert guard.origins == (Origin(relation=16400, number=3),)


@given(cuts=st.lists(st.integers(0, len(BEGUN + PARSED)), max_size=8))
def test_a_refused_begin_is_the_operations_error_and_nothing_behind_it_is_heard(cuts: list[int]) -> None:
    guard = expecting(max_rows=0, max_bytes=0, begins=True)
    answer = message("C", b"BEGIN\0") + REFUSED + READY_FAILED + REFUSED + READY_FAILED
    assert fed(guard, answer, cuts=cuts) == REFUSED + READY_IN_TRANSACTION
    assert guard.closed
    assert not guard.begun


def test_a_statement_that_is_refused_has_its_transaction_begun() -> None:
    guard = expecting(max_rows=0, max_bytes=0, begins=True)
    assert guard.feed(BEGUN + REFUSED + READY_FAILED) == REFUSED + READY_FAILED
    assert guard.begun
    assert not guard.closed


def test_a_server_that_is_ready_without_a_transaction_has_not_begun_one() -> None:
    for status in (READY_IDLE, READY_FAILED):
        with pytest.raises(WireError, match="did not begin"):
            expecting(begins=True).feed(message("C", b"BEGIN\0") + status)


@given(cuts=st.lists(st.integers(0, len(ROWS + READY + ROLLED_BACK)), max_size=8))
def test_a_statement_has_ended_when_its_rollback_has(cuts: list[int]) -> None:
    assert fed(expecting(rolls_back=True), ROWS + READY + ROLLED_BACK, cuts=cuts) == ROWS + READY_IDLE
    failed = message("2") + REFUSED + READY_FAILED + ROLLED_BACK
    assert fed(expecting(rolls_back=True), failed, cuts=cuts) == message("2") + REFUSED + READY_IDLE
    assert expecting(rolls_back=True).feed(ROWS + READY) == ROWS


def test_a_server_that_goes_away_before_the_rollback_does_not_take_the_result_with_it() -> None:
    guard = expecting(rolls_back=True)
    assert guard.feed(ROWS + READY + message("E", b"SFATAL\0C57P01\0\0")) == ROWS + READY_IN_TRANSACTION
    assert guard.closed


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (ROWS + READY_IDLE, "ended its transaction"),
        (ROWS + READY + message("C", b"ROLLBACK\0") + READY, "did not roll"),
        (ROWS + READY + message("D", b"\0\1" + b"y" * 40), "more than the"),
    ],
)
def test_a_server_that_lies_about_the_transactions_end_is_refused(answer: bytes, said: str) -> None:
    with pytest.raises(WireError, match=said):
        expecting(rolls_back=True).feed(answer)


def test_a_row_that_does_not_fit_ends_it_before_the_rollback() -> None:
    guard = expecting(max_bytes=50, rolls_back=True)
    row = message("D", b"\0\1" + b"x" * 40)
    assert guard.feed(message("2") + row + row + READY + ROLLED_BACK) == (
        message("2") + row + PORTAL_SUSPENDED + READY_IN_TRANSACTION
    )
    assert guard.closed
