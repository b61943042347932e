"""What a PostgreSQL server may send: a filter of bytes in front of the driver, so that memory is bounded by limits.

Sans-I/O. The driver buffers whatever length a server claims and keeps every row it is given; this filter looks at
message headers only, drops what nobody reads (notices, notifications), cuts a result at its limits on a message
boundary, and refuses what no honest server sends. `postgres_driver` puts it between socket and driver.

A transaction's BEGIN goes out together with the statement's Parse, and its ROLLBACK together with the Execute, which
spares two of an exchange's round trips; or all that precedes the Execute goes out with it (`postgres_preface`). The driver knows
nothing of that: the answers are read and dropped here.

Message formats: PostgreSQL documentation, "Frontend/Backend Protocol", sections 55.2 and 55.7.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal, TypeAlias

from mcp_gateway.targets.postgres_preface import MAX_PREFACE_BYTES, OutOfOrder, Preface

HEADER_BYTES = 5
MAX_CONTROL_BYTES = 4 * 1024 * 1024
"""Everything but rows, for one operation: row descriptions, errors, parameter reports."""
MAX_PARAMETER_REPORTS = 1000
DATA_ROW, ROW_DESCRIPTION, AUTHENTICATION, READY = ord("D"), ord("T"), ord("R"), ord("Z")
PARAMETER_STATUS, ERROR, COMMAND_COMPLETE = ord("S"), ord("E"), ord("C")
IDLE, IN_TRANSACTION, FAILED_TRANSACTION = ord("I"), ord("T"), ord("E")
"""What the server says with READY."""
OUR_NAME = b"application_name\0"
"""The one setting that changes with every call, twice; nobody reads the report of it, and it is not counted."""
LOOKED_INTO = {AUTHENTICATION: 4, PARAMETER_STATUS: len(OUR_NAME), READY: 1}
"""How many bytes of these messages' bodies have to be here before it is decided what becomes of them."""
NEVER_READ = frozenset(b"NA")
"""Notices can carry raw values (RAISE INFO passes every setting), notifications are never listened for."""
COPY_MESSAGES = frozenset(b"GHWdc")

AUTHENTICATION_OK, CLEARTEXT, MD5 = 0, 3, 5
SASL_STEPS = frozenset({10, 11, 12})

PORTAL_SUSPENDED = b"s\x00\x00\x00\x04"
READY_IN_TRANSACTION = b"Z\x00\x00\x00\x05T"

_length = struct.Struct("!i")
_field = struct.Struct("!ihihih")


Fate: TypeAlias = Literal["keep", "drop", "suspend", "end"]
"""Of a message; the last two are the end of the connection, and the driver is told that its operation was."""


class WireError(Exception):
    """The server sent something that no honest PostgreSQL server sends, or more than may be taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where one result column comes from: both 0 unless it is a stored column passed through unchanged."""

    relation: int
    number: int


class Filter:
    """Bytes from the server in, bytes for the driver out. One for each connection, for its whole life."""

    def __init__(self, *, verified: bool) -> None:
        self._verified = verified
        """Whether TLS has proved who the server is: only then may it see the password in another form than SCRAM."""
        self._held = b""
        self._payload = 0
        """Bytes of the current message that are still to come."""
        self._keep = True
        self._ready = False
        self._control = 0
        self.reports = 0
        """Changes of settings that the server has told of, from the beginning on."""
        self._room = 0
        self._max_bytes = 0
        self._rows_left = 0
        self._max_rows = 0
        self._drain = False
        self._beginning = False
        """The answers to BEGIN are coming in."""
        self._refused = False
        """There was an error among them."""
        self._ending: Literal["no", "after", "now"] = "no"
        """The answers to ROLLBACK come in after those to the statement, or now."""
        self._preface: Preface | None = None
        """The answers to it are coming in."""
        self.preface_over = False
        """All of them have come in."""
        self._failed = False
        """There was an error among them, which the driver has been told."""
        self._misread = False
        """The statement is described in another way than the driver reads it in: its rows are dropped."""
        self._armed = False
        self._collecting = False
        self.description = bytearray()
        """Its body."""
        self.origins: tuple[Origin, ...] = ()
        """Of the row description that came first after `expect`."""
        self.cut = False
        """Whether rows were left out because they did not fit."""
        self.begun = False
        """Whether the server has begun the transaction that `expect` spoke of."""
        self.closed = False
        """Nothing more goes to the driver: the connection can only be thrown away."""

    def expect(
        self,
        *,
        max_rows: int,
        max_bytes: int,
        drain: bool,
        begins: bool = False,
        rolls_back: bool = False,
        preface: Preface | None = None,
    ) -> None:
        """Begin an operation: at most so many rows and bytes of rows.

        What does not fit is left out: by `drain` the rest is read and dropped (a write has to reach its commit),
        otherwise the driver is told that the portal is suspended, and the connection is `closed`.

        `begins`: a simple query that begins a transaction was sent before. Its answers are dropped; an error among
        them is the operation's, and the connection is `closed`. `rolls_back`: ROLLBACK is sent behind it, and the
        operation has ended when that has. `preface`: it was sent before; where an answer to it is an error, that is the
        operation's.
        """
        self._preface, self.preface_over, self._failed, self._misread = preface, False, False, False
        self._beginning, self._refused, self.begun = begins, False, False
        self._ending = "after" if rolls_back else "no"
        self._control, self._drain = 0, drain
        self._room = self._max_bytes = max_bytes
        self._rows_left = self._max_rows = max_rows
        self._armed, self._collecting, self.origins, self.cut = True, False, (), False
        self.description.clear()

    @property
    def size(self) -> int:
        """Bytes of rows that this operation has let through; where rows did not fit, all that may be."""
        return self._max_bytes - self._room

    def feed(self, data: bytes) -> bytes:
        """Take what came from the socket and return what the driver may see. Raises `WireError`."""
        if self.closed:
            return b""
        if self._held:
            data, self._held = self._held + data, b""
        end = len(data)
        position = start = 0
        kept: list[bytes] = []
        if self._preface is not None and not self._payload:
            position = start = self._preface.skip(data)
            if position:
                self._preface, self.preface_over, self.begun = None, True, True
        if self._payload:
            position = min(self._payload, end)
            self._payload -= position
            if not self._keep:
                start = position
            elif self._collecting:
                self._collect(data[:position], complete=not self._payload)
        while True:
            if position < end and data[position] == DATA_ROW and self._preface is None and not self._misread:
                position = self._whole_rows(data, position)
            if end - position < HEADER_BYTES:
                break
            kind = data[position]
            size = _length.unpack_from(data, position + 1)[0] + 1
            if size < HEADER_BYTES:
                raise WireError(f"a message of kind {chr(kind)!r} claims the length {size - 1}")
            if kind in LOOKED_INTO and end - position < min(size, HEADER_BYTES + LOOKED_INTO[kind]):
                break
            if self._preface is not None and end - position < size:
                if size > MAX_PREFACE_BYTES:
                    raise WireError(f"the server answered with {size:,} bytes where it is asked for little")
                break
            fate = self._fate(kind, size, data, position)
            if fate in {"suspend", "end"}:
                kept += [data[start:position], PORTAL_SUSPENDED if fate == "suspend" else b"", READY_IN_TRANSACTION]
                return b"".join(kept)
            here = min(size, end - position)
            if fate == "drop":
                kept.append(data[start:position])
                start = position + here
            elif kind == ROW_DESCRIPTION:
                self._begin_collecting(data[position + HEADER_BYTES : position + here], size - HEADER_BYTES)
            position += here
            self._payload, self._keep = size - here, fate == "keep"
        if position < end:
            self._held = data[position:]
        if start == 0 and position == end:
            return data
        kept.append(data[start:position])
        return b"".join(kept)

    def _whole_rows(self, data: bytes, position: int) -> int:
        """Pass over rows that are here to their end and fit: nearly all that ever comes."""
        end, rows, room = len(data), self._rows_left, self._room
        while rows and position + HEADER_BYTES <= end and data[position] == DATA_ROW:
            size = _length.unpack_from(data, position + 1)[0] + 1
            if not HEADER_BYTES <= size <= room or position + size > end:
                break
            rows -= 1
            room -= size
            position += size
        self._rows_left, self._room = rows, room
        return position

    def _row(self, size: int) -> Fate:
        """Whether a row fits. The server counts rows too: one that sends more than it was asked for lies."""
        if not self._rows_left:
            raise WireError(f"the server sent more than the {self._max_rows:,} rows it was asked for")
        self._rows_left -= 1
        if size <= self._room:
            self._room -= size
            return "keep"
        self.cut, self._room = True, 0
        self.closed = not self._drain
        return "suspend" if self.closed else "drop"

    def _fate(self, kind: int, size: int, data: bytes, position: int) -> Fate:
        if kind == DATA_ROW and not self._beginning and self._preface is None:
            fate = self._row(size)
            return "drop" if fate == "keep" and self._misread else fate
        if kind in NEVER_READ:
            return "drop"
        if kind in COPY_MESSAGES:
            raise WireError("the server began a COPY that nobody asked for")
        self._control += size
        if self._control > MAX_CONTROL_BYTES:
            raise WireError(f"the server sent more than {MAX_CONTROL_BYTES:,} bytes beside rows")
        if kind == PARAMETER_STATUS:
            if data.startswith(OUR_NAME, position + HEADER_BYTES):
                return "drop"
            self.reports += 1
            if self.reports > MAX_PARAMETER_REPORTS:
                raise WireError("the server reports parameters without end")
        elif kind == AUTHENTICATION:
            self._check_authentication(_length.unpack_from(data, position + HEADER_BYTES)[0])
        elif kind == READY:
            self._ready = True
            return self._operation_ended(data[position + HEADER_BYTES])
        elif kind == ERROR:
            return self._error()
        elif self._preface is not None:
            return self._answer(self._preface, data[position : position + size])
        elif (self._beginning and not self._refused) or (self._ending == "now" and kind == COMMAND_COMPLETE):
            return "drop"
        return "keep"

    def _answer(self, preface: Preface, message: bytes) -> Fate:
        try:
            preface.take(message)
        except OutOfOrder as error:
            raise WireError(str(error)) from None
        self.begun = preface.begun
        if preface.over:
            self._preface, self.preface_over, self._misread = None, True, preface.differs
        return "drop"

    def _operation_ended(self, status: int) -> Fate:
        """The server is ready again: after BEGIN, after the statement, after ROLLBACK."""
        if self._refused:
            self.closed = True
            return "end"
        if self._beginning:
            if status != IN_TRANSACTION:
                raise WireError("the server did not begin a transaction")
            self._beginning, self.begun = False, True
            return "drop"
        if self._preface is not None:
            raise WireError("the server left out what it was asked")
        if self._ending == "after":
            if status not in {IN_TRANSACTION, FAILED_TRANSACTION} and not (self._failed and not self.begun):
                raise WireError("the statement ended its transaction")
            self._ending, self._rows_left = "now", 0
            return "drop"
        if self._ending == "now":
            if status != IDLE:
                raise WireError("the server did not roll the transaction back")
            self._ending = "no"
        return "keep"

    def _error(self) -> Fate:
        if self._ending == "now":  # The operation is done; only its session cannot be used again.
            self.closed = True
            return "end"
        self._refused = self._beginning
        if self._preface is not None:
            self._preface, self._failed, self._rows_left = None, True, 0
        return "keep"

    def _check_authentication(self, method: int) -> None:
        if self._ready:
            raise WireError("the server asks for a password in the middle of a session")
        if method == AUTHENTICATION_OK or method in SASL_STEPS:
            return
        if method in {CLEARTEXT, MD5} and self._verified:
            return
        name = {CLEARTEXT: "in the clear", MD5: "as an MD5 hash"}.get(method, f"by method {method}")
        raise WireError(f"the server asks for the password {name}, which only a server proved by TLS may")

    # The row description: the one message that is looked into, and only the first of an operation.

    def _begin_collecting(self, part: bytes, size: int) -> None:
        if self._armed:
            self._armed, self._collecting = False, True
            self.description.clear()
            self._collect(part, complete=len(part) == size)

    def _collect(self, part: bytes, *, complete: bool) -> None:
        self.description += part
        if complete:
            self._collecting = False
            self.origins = origins(bytes(self.description))


def origins(description: bytes) -> tuple[Origin, ...]:
    """The origin of each column of a row description's body. Raises `WireError` if it is not one."""
    try:
        (count,) = struct.unpack_from("!h", description)
        position, found = 2, []
        for _ in range(count):
            position = description.index(b"\0", position) + 1
            relation, number, *_ = _field.unpack_from(description, position)
            position += _field.size
            found.append(Origin(relation=relation & 0xFFFFFFFF, number=number))
    except (struct.error, ValueError):
        raise WireError("the server sent a row description that is none") from None
    if position != len(description):
        raise WireError("the server sent a row description that is none")
    return tuple(found)
