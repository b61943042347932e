"""The plain `tools/call`: what is read of a request that needs nothing of the SDK to be understood. No I/O.

Agents send hundreds of the same small request. `Reader` knows one form of it for each era, and says of every other request,
whatever is odd about it, that it is not plain: then the SDK reads it, and this reading has never been. So nothing is
refused here, and nothing may be understood here otherwise than by the SDK:

1. The head is a closed set: each header that means something comes once, with a value that is known; none of those that
   only some readers look at is there.
2. The body is decoded as by the SDK's decoder, from UTF-8 alone, and has no name twice and no NaN.
3. Envelope, parameters and `_meta` have no members but those known here; names agree with the head.
4. What a client says of itself and of what it can do is read by the SDK's own models (`declared`), and remembered; in the
   era with a handshake it has said so to its session, which `sessions` looks at.

Above is `fast_path`, which carries such a call.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson
import pydantic_core
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY

from mcp_gateway.calls import MAX_EXACT, Client, JSONObject

REVISION = "2026-07-28"
SESSION_REVISIONS = frozenset({"2025-06-18", "2025-11-25"})
"""With a handshake, and with structured results."""
METHOD = "tools/call"
MAX_BODY_BYTES = 64 * 1024
MAX_ID_CHARACTERS = 128
REMEMBERED = 64
REMEMBERED_BYTES = 4096
"""A client that says more of itself is read by the SDK each time."""
SESSION = b"mcp-session-id"
COMMON: dict[bytes, frozenset[bytes]] = {
    b"content-type": frozenset({b"application/json"}),
    b"accept": frozenset({b"application/json, text/event-stream", b"application/json,text/event-stream"}),
}
NEVER = frozenset({b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"trailer", b"last-event-id"})
"""Beside further `mcp-` headers: whoever sends one of these wants what is not plain."""
PARAMETERS = frozenset({"name", "arguments", "_meta"})
DECLARED = (CLIENT_INFO_META_KEY, CLIENT_CAPABILITIES_META_KEY)
TRACE = frozenset({"traceparent", "tracestate", "baggage"})
"""Of W3C Trace Context; texts."""
PROGRESS = "progressToken"
SESSION_META = frozenset({PROGRESS, *TRACE})
META = SESSION_META | {PROTOCOL_VERSION_META_KEY, *DECLARED}

Headers = Iterable[tuple[bytes, bytes]]


class _Form:
    """The head of a plain call of one era."""

    def __init__(self, **named: frozenset[bytes]) -> None:
        """`named` is what stands in the headers that the era has beside the common ones; nothing where it varies."""
        own = {f"mcp-{name.replace('_', '-')}".encode(): values for name, values in named.items()}
        self.values = COMMON | {name: values for name, values in own.items() if values}
        self.once = frozenset({b"host", b"authorization", b"content-length", *COMMON, *own})
        """Each has to be there, one time."""


WITHOUT_HANDSHAKE = _Form(
    protocol_version=frozenset({REVISION.encode()}), method=frozenset({METHOD.encode()}), name=frozenset()
)
IN_SESSION = _Form(
    protocol_version=frozenset(version.encode() for version in SESSION_REVISIONS), session_id=frozenset()
)
KNOWN = WITHOUT_HANDSHAKE.once | IN_SESSION.once


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What a client says of itself and of what it can do."""

    client: Client
    can_fill_in: bool
    """Whether it can show its human a form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The head of what may be a plain call."""

    length: int = 0
    """Of the body, in bytes."""
    tool: str = ""
    """Empty where the body alone names it."""
    session_version: str = ""
    """The revision that a session's request names; empty where there is no session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainCall:
    """A call that was read."""

    id: int | str
    tool: str
    arguments: JSONObject
    trace: str
    """The W3C `traceparent`, if any."""
    declared: Declared | None
    """None in a session, to which its client has said it before."""
    session_version: str = ""
    wants_progress: bool = False


class _NotPlainError(ValueError):
    """A body that the SDK has to read."""


class Reader:
    """Reads plain calls of some tools. `declared` is the SDK's reading of a `_meta`; None for what it refuses."""

    def __init__(self, tools: Collection[str], *, declared: Callable[[JSONObject], Declared | None]) -> None:
        self._tools = {tool.encode(): tool for tool in tools}
        self._declared = declared
        self._known: OrderedDict[bytes, Declared | None] = OrderedDict()

    def head(self, headers: Headers) -> Head | None:
        """What the head of a request says if it is that of a plain call, else None."""
        found: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in KNOWN:
                if name in found:
                    return None
                found[name] = value
            elif name in NEVER or name.startswith(b"mcp-") or name != name.lower():
                return None
        form = IN_SESSION if SESSION in found else WITHOUT_HANDSHAKE
        if found.keys() != form.once:
            return None
        for name, values in form.values.items():
            if found[name] not in values:
                return None
        digits = found[b"content-length"]
        if not digits.isdigit() or digits.startswith(b"0") or len(digits) > len(str(MAX_BODY_BYTES)):
            return None
        length = int(digits)
        if length > MAX_BODY_BYTES:
            return None
        if form is IN_SESSION:
            return Head(length=length, session_version=found[b"mcp-protocol-version"].decode())
        tool = self._tools.get(found[b"mcp-name"])
        return Head(length=length, tool=tool) if tool is not None else None

    def read(self, head: Head, body: bytes) -> PlainCall | None:
        """The call, if the whole request is a plain one."""
        match _decoded_in_session(body) if head.session_version else _decoded(body):
            case {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": dict(params), **more} if not more:
                return self.call(number, params, head=head)
            case _:
                return None

    def call(self, number: Any, params: JSONObject, *, head: Head) -> PlainCall | None:
        """The call that a `tools/call` with these parameters is, if it is a plain one."""
        name, arguments, meta = params.get("name"), params.get("arguments", {}), params.get("_meta")
        if not _is_plain_id(number) or not params.keys() <= PARAMETERS or type(name) is not str:
            return None
        tool = self._tools.get(name.encode()) if name.isascii() else None
        if tool is None or type(arguments) is not dict:
            return None
        declared = None
        if head.session_version:
            meta = meta if "_meta" in params else {}
            if type(meta) is not dict or not meta.keys() <= SESSION_META:
                return None
        elif head.tool not in {"", tool} or type(meta) is not dict or (declared := self._declaration(meta)) is None:
            return None
        for said in TRACE & meta.keys():
            if type(meta[said]) is not str:
                return None
        if PROGRESS in meta and not _is_plain_id(meta[PROGRESS]):
            return None
        return PlainCall(
            id=number,
            tool=tool,
            arguments=arguments,
            trace=meta.get("traceparent", ""),
            declared=declared,
            session_version=head.session_version,
            wants_progress=PROGRESS in meta,
        )

    def _declaration(self, meta: JSONObject) -> Declared | None:
        if meta.get(PROTOCOL_VERSION_META_KEY) != REVISION or CLIENT_CAPABILITIES_META_KEY not in meta:
            return None
        if not meta.keys() <= META:
            return None
        said = {name: meta[name] for name in DECLARED if name in meta}
        try:
            key = orjson.dumps(said)
        except TypeError:
            return None
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        if len(key) > REMEMBERED_BYTES:
            return None
        found = self._known[key] = self._declared({PROTOCOL_VERSION_META_KEY: REVISION, **said})
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found


def _is_plain_id(number: Any) -> bool:
    if type(number) is int:
        return -MAX_EXACT <= number <= MAX_EXACT
    return type(number) is str and len(number) <= MAX_ID_CHARACTERS and number.isascii() and number.isprintable()


def _members(pairs: list[tuple[str, Any]]) -> JSONObject:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _NotPlainError("a name comes twice")
    return members


def _no_constant(name: str) -> NoReturn:
    raise _NotPlainError(f"{name} is no JSON")


_decoder = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_no_constant)


def _decoded(body: bytes) -> Any:
    """The value that the SDK's decoder finds in a body; None where it has to look for itself.

    Where a body is its own value written again, that is what any decoder finds, and a quicker one will do.
    """
    try:
        value = orjson.loads(body)
        if orjson.dumps(value) == body:
            return value
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        pass
    try:
        return _decoder.decode(body.decode())
    except (ValueError, RecursionError):
        return None


def _decoded_in_session(body: bytes) -> Any:
    """The same for the decoder that the SDK has for sessions. Names that come twice are no longer there (`bodies`)."""
    try:
        return pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError:
        return None
