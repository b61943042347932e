"""The plain `tools/call`: what is read of a request that needs nothing of the SDK to be understood. No I/O.

Agents send hundreds of the same small request. `Reader` knows that one form, and says of every other request, whatever
is odd about it, that it is not plain: then the SDK reads it, and this reading has never been. So nothing is refused
here, and nothing may be understood here otherwise than by the SDK:

1. The head is a closed set: each header that means something comes once, with a value that is known; none of those that
   only some readers look at is there.
2. The body is decoded by the same decoder as the SDK's, from UTF-8 alone, and has no name twice and no NaN.
3. Envelope, parameters and `_meta` have no members but those known here; names agree with the head.
4. What a client says of itself and of what it can do is read by the SDK's own models (`declared`), and remembered.

Above is `fast_path`, which carries such a call.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import orjson
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY

from mcp_gateway.calls import MAX_EXACT, Client, JSONObject

REVISION = "2026-07-28"
METHOD = "tools/call"
MAX_BODY_BYTES = 64 * 1024
MAX_ID_CHARACTERS = 128
REMEMBERED = 64
REMEMBERED_BYTES = 4096
"""A client that says more of itself is read by the SDK each time."""

VALUES: dict[bytes, frozenset[bytes]] = {
    b"content-type": frozenset({b"application/json"}),
    b"accept": frozenset({b"application/json, text/event-stream", b"application/json,text/event-stream"}),
    b"mcp-protocol-version": frozenset({REVISION.encode()}),
    b"mcp-method": frozenset({METHOD.encode()}),
}
ONCE = frozenset({b"host", b"authorization", b"content-length", b"mcp-name", *VALUES})
"""Each has to be there, one time."""
NEVER = frozenset({b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"trailer", b"last-event-id"})
"""Beside further `mcp-` headers: whoever sends one of these wants what is not plain."""
PARAMETERS = frozenset({"name", "arguments", "_meta"})
DECLARED = (CLIENT_INFO_META_KEY, CLIENT_CAPABILITIES_META_KEY)
TRACE = frozenset({"traceparent", "tracestate", "baggage"})
"""Of W3C Trace Context; texts."""
META = frozenset({PROTOCOL_VERSION_META_KEY, *DECLARED, *TRACE})

Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What a client says of itself and of what it can do."""

    client: Client
    can_fill_in: bool
    """Whether it can show its human a form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainCall:
    """A call that was read."""

    id: int | str
    tool: str
    arguments: JSONObject
    client: Client
    can_fill_in: bool


class _NotPlainError(ValueError):
    """A body that the SDK has to read."""


class Reader:
    """Reads plain calls of some tools. `declared` is the SDK's reading of a `_meta`; None for what it refuses."""

    def __init__(self, tools: Collection[str], *, declared: Callable[[JSONObject], Declared | None]) -> None:
        self._tools = {tool.encode(): tool for tool in tools}
        self._declared = declared
        self._known: OrderedDict[bytes, Declared | None] = OrderedDict()

    def length(self, headers: Headers) -> int | None:
        """The length of the body if the head is that of a plain call of one of the tools, else None."""
        found: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in ONCE:
                if name in found:
                    return None
                found[name] = value
            elif name in NEVER or name.startswith(b"mcp-") or name != name.lower():
                return None
        if found.keys() != ONCE or found[b"mcp-name"] not in self._tools:
            return None
        if any(found[name] not in values for name, values in VALUES.items()):
            return None
        digits = found[b"content-length"]
        if not digits.isdigit() or digits.startswith(b"0") or len(digits) > len(str(MAX_BODY_BYTES)):
            return None
        length = int(digits)
        return length if length <= MAX_BODY_BYTES else None

    def read(self, headers: Headers, body: bytes) -> PlainCall | None:
        """The call, if the whole request is a plain one. `length` was asked of the head before."""
        match _decoded(body):
            case {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": dict(params), **more} if not more:
                name = next(value for key, value in headers if key == b"mcp-name")
                return self._call(number, params, tool=self._tools[name])
            case _:
                return None

    def _call(self, number: Any, params: JSONObject, *, tool: str) -> PlainCall | None:
        arguments, meta = params.get("arguments", {}), params.get("_meta")
        if not _is_plain_id(number) or not params.keys() <= PARAMETERS or params.get("name") != tool:
            return None
        if type(arguments) is not dict or type(meta) is not dict:
            return None
        declared = self._declaration(meta)
        if declared is None:
            return None
        client, trace = declared.client, meta.get("traceparent", "")
        return PlainCall(
            id=number,
            tool=tool,
            arguments=arguments,
            client=replace(client, trace=trace) if trace else client,
            can_fill_in=declared.can_fill_in,
        )

    def _declaration(self, meta: JSONObject) -> Declared | None:
        if meta.get(PROTOCOL_VERSION_META_KEY) != REVISION or CLIENT_CAPABILITIES_META_KEY not in meta:
            return None
        if not meta.keys() <= META or any(type(meta.get(name, "")) is not str for name in TRACE):
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
    """The value that the SDK's decoder finds in a body; None where it has to look for itself."""
    try:
        return _decoder.decode(body.decode())
    except (ValueError, RecursionError):
        return None
