"""What goes out in front of a statement that is run in one exchange, and what the server has to answer to it. Sans-I/O.

A statement whose result is known from an earlier one of its shape needs no look between its Parse and its Execute. So that
nothing runs that would not have run step by step, all of it is one series of the extended protocol, with one Sync at its
end: BEGIN READ ONLY, the limits, the agent's Parse, the check of what it touches, its Execute. Whatever of it fails, the
server skips the rest, and a check that does not hold is an error.

What precedes the agent's Bind is the preface. Its answers are read here and the driver sees none of them but an error.

Message formats: PostgreSQL documentation, "Frontend/Backend Protocol", sections 55.2.3 and 55.7.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from asyncpg import QueryCanceledError

from mcp_gateway.targets.postgres_catalog import Touched
from mcp_gateway.targets.postgres_queries import VERSIONS

MAX_PREFACE_BYTES = 1024 * 1024
"""Of one message of the answers: a row description of 1,600 columns has a tenth."""

MAX_HOLDING = 256
MAX_FAILURES = 5
MAX_TIMEOUTS = 64
HEADER_BYTES = 5

Step: TypeAlias = Literal["begin", "limits", "parse", "path", "calm", "check", "back"]
"""Of the preface; all but `parse` are statements of the gateway's own, which stay prepared in the session."""
OWN: Mapping[Step, str] = {
    "begin": "BEGIN READ ONLY",
    "limits": """
SELECT pg_catalog.set_config('statement_timeout', $1, true), pg_catalog.set_config('application_name', $2, true),
  pg_catalog.current_setting('transaction_isolation')
""",
    "path": "SELECT pg_catalog.set_config('search_path', $1, true)",
    "back": "SELECT pg_catalog.set_config('search_path', $1, true)",
    "calm": """
SELECT 1 OPERATOR(pg_catalog./) (
  pg_catalog.pg_current_snapshot()::pg_catalog.text OPERATOR(pg_catalog.=) $1 AND NOT pg_catalog.pg_is_in_recovery()
  AND pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.=) 'read committed')::pg_catalog.int4
""",
    "check": f"""
SELECT CASE WHEN pg_is_in_recovery() THEN '' ELSE pg_current_snapshot()::text END,
  1 / (said.versions = $5 AND current_setting('transaction_isolation') = 'read committed')::int
FROM ({VERSIONS}) AS said (versions)
""",  # noqa: S608 - of constants
}
"""Their texts name everything in full but for `check`, in front of which stands a `path` that is empty.

`check`: the versions of what the statement touches are as $5 says; gives what was committed by then, as a snapshot. `calm`: nothing has
been committed since that snapshot, so no version has changed; on a standby a snapshot does not tell that. Both are divisions by zero
where that is not so, and in other isolation levels, where they would see the database as it was before the Parse. `path` and `back` are
two because the server reads a statement again when the path is another one than before.
"""
GIVES: Mapping[Step, int] = {"limits": 3, "path": 1, "calm": 1, "check": 2, "back": 1}
"""Values in the one row of each."""
ISOLATION = "read committed"
"""Of a transaction in which `calm` and `check` can hold."""

PARSE_COMPLETE, BIND_COMPLETE, COMMAND_COMPLETE, DATA_ROW = b"12CD"
PARAMETER_DESCRIPTION, ROW_DESCRIPTION, NO_DATA = b"tTn"

_count = struct.Struct("!h")
_length = struct.Struct("!i")


class OutOfOrder(Exception):
    """The server answered something else than what was asked."""


class Description(Protocol):
    """How the server described an earlier statement of the shape."""

    @property
    def described(self) -> bytes:
        """Its two messages, of the parameters and of the rows."""


@dataclass(slots=True, kw_only=True)
class Preface:
    """The messages, and how far the answers to them have come."""

    expected: Description
    prepared: set[Step]
    """Those of `OWN` that the session has; more of them when the server has parsed them."""
    message: bytes = b""
    differs: bool = False
    """Whether the statement is described in another way than was expected: its rows are not what they are taken for."""
    begun: bool = False
    """Whether the transaction is known to have begun."""
    said: dict[Step, list[str]] = field(default_factory=dict)
    """The values that a step gave."""
    predicted: bytes = b""
    """All of the answers, where they can be known before."""
    answers: Sequence[tuple[int, Step]] = ()
    _next: int = 0
    _described: bytes = b""

    @property
    def step(self) -> Step:
        """The step whose answers come in."""
        return self.answers[min(self._next, len(self.answers) - 1)][1]

    @property
    def over(self) -> bool:
        """Whether all is answered: what follows is the answer to the agent's Bind."""
        return self._next == len(self.answers)

    def skip(self, data: bytes) -> int:
        """How many of the bytes are all answers at once, as predicted; 0 where they are to be read one by one."""
        if self._next or not self.predicted or not data.startswith(self.predicted):
            return 0
        self._next, self.begun = len(self.answers), True
        return len(self.predicted)

    def take(self, message: bytes) -> None:
        """The next message of the answers, whole. Raises `OutOfOrder`."""
        wanted, step = self.answers[self._next]
        kind = message[0]
        if kind != wanted and (kind, wanted) != (NO_DATA, ROW_DESCRIPTION):
            raise OutOfOrder(f"the server answered {chr(kind)!r} where {chr(wanted)!r} was due")
        if kind == DATA_ROW:
            self.said[step] = said = _values(message[HEADER_BYTES:])
            if len(said) != GIVES[step]:
                raise OutOfOrder(
                    f"the server gives {len(said)} values for {step!r}, where it is asked for {GIVES[step]}"
                )
            if step in {"calm", "check"} and said[-1:] != ["1"]:
                raise OutOfOrder(f"the server divides 1 by 1 and gets {said[-1:]}")
        elif kind == PARSE_COMPLETE and step != "parse":
            self.prepared.add(step)
        elif wanted == PARAMETER_DESCRIPTION:
            self._described = message
        elif wanted == ROW_DESCRIPTION:
            self.differs = self._described + message != self.expected.described
        elif kind == COMMAND_COMPLETE:
            if message != (_BEGUN if step == "begin" else _SELECTED):
                raise OutOfOrder(f"the server says {message[HEADER_BYTES:-1]!r} at the end of {step!r}")
            self.begun = True
        self._next += 1


class Asking:
    """Builds a preface, step by step."""

    def __init__(self, prepared: Container[Step]) -> None:
        self._prepared = prepared
        self.message = bytearray()
        self.answers: list[tuple[int, Step]] = []

    def own(self, step: Step, *values: str) -> None:
        """Run a statement of the gateway's own; prepare it before if the session does not have it."""
        if step not in self._prepared and (PARSE_COMPLETE, step) not in self.answers:
            self.message += message(b"P", _text(step), _text(OWN[step].strip()), _count.pack(0))
            self.answers.append((PARSE_COMPLETE, step))
        self.message += _run(step, *values)
        self.answers += _ANSWERED[step]

    def parse(self, sql: str) -> None:
        """Have the agent's statement parsed and described."""
        self.message += _parse(sql)
        self.answers += _PARSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What has to hold for a statement to run: that the versions of what it touches are what they were."""

    touched: Touched
    versions: str
    """In the server's own words."""


class AtOnce:
    """What one session knows that a statement in one exchange needs."""

    def __init__(self, *, search_path: str) -> None:
        self._search_path = search_path
        self._prepared: set[Step] = set()
        self.possible = True
        """False once something failed that should not; never again on this session then."""
        self._snapshot = ""
        """The last that the server spoke of, empty where there is none that tells anything."""
        self._calm = b""
        """The message that asks whether it is the same still, where it was the same twice: on a server where something is
        committed all the time that is not worth while."""
        self._holding: set[Touched] = set()
        """Of these the check held in it."""
        self._failures = 0
        """How often one after the other the check did not hold."""
        self._timeouts: dict[str, str] = {}
        """How the server writes them."""

    def preface(self, sql: str, expected: Description, *, limits: tuple[str, str], check: Check | None) -> Preface:
        """What goes out before a statement's Bind."""
        calm = self._calm if check is not None and check.touched in self._holding else b""
        timeout, name = limits
        if calm and "calm" in self._prepared and timeout in self._timeouts:
            return Preface(
                expected=expected,
                prepared=self._prepared,
                message=b"".join((_BEGIN, _run("limits", timeout, name), _parse(sql), calm, FLUSH)),
                answers=_WHEN_CALM,
                predicted=b"".join(
                    (
                        _BOUND,
                        _BEGUN,
                        _BOUND,
                        _row(self._timeouts[timeout], name, ISOLATION),
                        _LIMITED,
                        expected.described,
                        _CALM,
                    )
                ),
            )
        asking = Asking(self._prepared)
        asking.own("begin")
        asking.own("limits", timeout, name)
        asking.parse(sql)
        if calm:
            asking.own("calm", self._snapshot)
        elif check is not None:
            asking.own("path", "")
            asking.own("check", *check.touched.parameters, check.versions)
            asking.own("back", self._search_path)
        asking.message += FLUSH
        return Preface(
            expected=expected, prepared=self._prepared, message=bytes(asking.message), answers=asking.answers
        )

    def learn(self, preface: Preface, check: Check | None, *, timeout: str, error: Exception | None) -> None:
        """Draw what follows from the answers; `error` is one of them."""
        limits, checked = preface.said.get("limits"), preface.said.get("check")
        if limits is not None:
            self.possible &= limits[-1] == ISOLATION
            if len(self._timeouts) < MAX_TIMEOUTS:
                self._timeouts[timeout] = limits[0]
        if error is not None:
            self._snapshot, self._calm = "", b""
            self._holding.clear()
            if not isinstance(error, QueryCanceledError):  # which says nothing of the session
                self._failures += preface.step == "check"
                self.possible &= preface.step in {"calm", "check", "parse"} and self._failures < MAX_FAILURES
        elif check is not None and checked is not None:
            self._failures = 0
            snapshot = checked[0]
            self._calm = _run("calm", snapshot) if snapshot and snapshot == self._snapshot else b""
            if snapshot != self._snapshot or len(self._holding) >= MAX_HOLDING:
                self._snapshot = snapshot
                self._holding.clear()
            self._holding.add(check.touched)


def message(kind: bytes, *parts: bytes) -> bytes:
    """One message: its kind, its length, its body."""
    body = b"".join(parts)
    return kind + _length.pack(4 + len(body)) + body


def described(parameters: Sequence[int], columns: bytes) -> bytes:
    """The two messages that describe a statement; `columns` is the second one's body, empty where there are none."""
    oids = message(b"t", struct.pack(f"!h{len(parameters)}I", len(parameters), *parameters))
    return oids + (message(b"T", columns) if columns else message(b"n"))


def _text(text: str) -> bytes:
    """A text as the protocol ends it. With a NUL in it, it would be two."""
    encoded = text.encode()
    if b"\0" in encoded:
        raise ValueError("a text with a NUL in it")
    return encoded + b"\0"


def _parse(sql: str) -> bytes:
    return message(b"P", b"\0", _text(sql), b"\0\0") + _DESCRIBE


def _run(name: Step, *values: str) -> bytes:
    """Bind and Execute on the unnamed portal; values and results as text."""
    return message(b"B", b"\0", _text(name), b"\0\0", _counted(values), b"\0\0") + _EXECUTE


def _row(*values: str) -> bytes:
    """A data row."""
    return message(b"D", _counted(values))


def _counted(values: Sequence[str]) -> bytes:
    """How many values there are, and each with its length."""
    parts = [_count.pack(len(values))]
    for value in values:
        encoded = value.encode()
        parts += (_length.pack(len(encoded)), encoded)
    return b"".join(parts)


def _values(row: bytes) -> list[str]:
    """The values of a data row's body, NULL as an empty text. Raises `OutOfOrder`."""
    try:
        (count,) = _count.unpack_from(row)
        position, found = _count.size, []
        for _ in range(count):
            (size,) = _length.unpack_from(row, position)
            position += _length.size
            found.append(row[position : position + max(size, 0)].decode())
            position += max(size, 0)
    except (struct.error, UnicodeDecodeError):
        raise OutOfOrder("the server sent a row that is none") from None
    if position != len(row):
        raise OutOfOrder("the server sent a row that is none")
    return found


FLUSH = message(b"H")
"""Has the server send what it has to say so far: only by that it is known in time whether a statement runs."""
_EXECUTE = message(b"E", b"\0", _length.pack(0))
_DESCRIBE = message(b"D", b"S\0")
_BEGIN = _run("begin")

_PARSED: list[tuple[int, Step]] = [
    (PARSE_COMPLETE, "parse"),
    (PARAMETER_DESCRIPTION, "parse"),
    (ROW_DESCRIPTION, "parse"),
]
_ANSWERED: dict[Step, list[tuple[int, Step]]] = {
    "begin": [(BIND_COMPLETE, "begin"), (COMMAND_COMPLETE, "begin")],
    **{step: [(kind, step) for kind in (BIND_COMPLETE, DATA_ROW, COMMAND_COMPLETE)] for step in GIVES},
}
_WHEN_CALM = (*_ANSWERED["begin"], *_ANSWERED["limits"], *_PARSED, *_ANSWERED["calm"])

_BOUND = message(b"2")
_SELECTED = message(b"C", b"SELECT 1\0")
_BEGUN = message(b"C", b"BEGIN\0")
_LIMITED = _SELECTED + message(b"1")
_CALM = _BOUND + _row("1") + _SELECTED
