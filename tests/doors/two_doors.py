"""The same requests through two doors, with and without the fast path, each before a road and a store of its own.

What is compared is all that a client can tell apart, and all that is recorded: status, the headers that mean something,
the JSON of the answer, and every event. Ids of calls and approvals are random, so they are numbered as they come.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import anyio
import orjson
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcp_gateway.approval.desk import Desk
from mcp_gateway.calls import Secret
from mcp_gateway.clock import new_id, utc_now
from mcp_gateway.doors.app import HTTPParts, HTTPSettings, http_app
from mcp_gateway.doors.fast_path import FastPath
from mcp_gateway.doors.guard import reachable
from mcp_gateway.identity.approver import ApproverPolicy
from mcp_gateway.identity.local import LocalIssuer, open_local_issuer
from tests.doors.servers import APPROVER, PEOPLE
from tests.invariants.world import World, read_store
from tests.roads import Bench, laid

D = TypeVar("D")

MODERN = "2026-07-28"
IN_SESSION = "2025-11-25"
LISTEN = "127.0.0.1:8765"
URL = f"http://{LISTEN}"
COMPARED = ("content-type", "allow", "www-authenticate", "cache-control", "mcp-protocol-version", "location")
"""Headers that have to be the same; a session's id only has to be there."""
SESSION_HEADER = "mcp-session-id"
OWN_SESSION = "<the door's own>"
"""The value of that header where it is to be that of the session that was opened at each door."""
OF_A_STREAM = {"content-type", "cache-control"}
"""Of a session's result, which may come as a stream or not (MCP 2025-11-25, transports, sending messages)."""
VARYING = frozenset({"at", "duration", "token_id", "token_issued_at", "token_expires_at"})
SECONDS = 30
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_HASH = re.compile(r"[0-9a-f]{64}|(?<=\")v1\.[\w-]{40,}")
"""Digests, and sealed states."""
Headers = tuple[tuple[str, str], ...]


def meta(**more: Any) -> dict[str, Any]:
    """An ordinary client's `_meta`."""
    return {
        PROTOCOL_VERSION_META_KEY: MODERN,
        CLIENT_INFO_META_KEY: {"name": "test", "version": "1"},
        CLIENT_CAPABILITIES_META_KEY: {},
        **more,
    }


def message(arguments: Any = None, *, tool: Any = "call_api", **more: Any) -> dict[str, Any]:
    """A plain `tools/call`; `more` are further members of its parameters, in place of what is there."""
    given = {"target": "api", "path": "x"} if arguments is None else arguments
    params = {"name": tool, "arguments": given, "_meta": meta()} | more
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, as an ASGI server hands it over."""

    body: bytes
    headers: Headers
    method: str = "POST"
    path: str = "/mcp"
    raw_path: bytes = b""
    query: bytes = b""
    http_version: str = "1.1"
    parts: int = 1
    """In how many pieces the body comes."""
    leaves: bool = False
    """Whether the client goes away in the middle of its body."""

    def with_headers(self, **changes: str | None) -> Request:
        """With these in place of its own; None takes one away."""
        named = {name.replace("_", "-"): value for name, value in changes.items()}
        kept = [(name, value) for name, value in self.headers if name not in named]
        return replace(self, headers=(*kept, *((name, value) for name, value in named.items() if value is not None)))

    def with_more(self, *more: tuple[str, str]) -> Request:
        """With these beside its own."""
        return replace(self, headers=(*self.headers, *more))


def request(body: bytes | Mapping[str, Any] | list[Any], *, tool: str = "call_api", **more: Any) -> Request:
    """A request with the head of a plain call."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    headers = {
        "host": LISTEN,
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "content-length": str(len(data)),
        "mcp-protocol-version": MODERN,
        "mcp-method": "tools/call",
        "mcp-name": tool,
        "user-agent": "test/1",
    }
    return Request(body=data, headers=tuple(headers.items()), **more)


def in_session(asked: Request) -> Request:
    """The same request as the client of a session sends it: without what the newer era has in its head and its `_meta`."""
    plain = dict(request(message()).headers)
    newer = orjson.dumps(meta())
    body = asked.body.replace(b',"_meta":' + newer, b"").replace(newer[1:-1], b"").replace(b"{,", b"{")
    headers = []
    for name, value in asked.headers:
        if (name, value) in {("mcp-method", plain["mcp-method"]), ("mcp-name", plain["mcp-name"])}:
            continue
        if name == "content-length":
            value = value.replace(str(len(asked.body)), str(len(body)))  # noqa: PLW2901 - of what is sent instead
        headers.append((name, value.replace(MODERN, IN_SESSION)))
    return replace(asked, body=body, headers=(*headers, (SESSION_HEADER, OWN_SESSION)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What came back, as far as it is compared."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: Any

    @property
    def is_result(self) -> bool:
        """Whether it is a tool's result."""
        return isinstance(self.body, dict) and self.body.get("result", {}).get("isError") is False

    @property
    def as_message(self) -> Answered:
        """The same without what tells how it came."""
        return replace(self, headers=tuple(one for one in self.headers if one[0] not in {*OF_A_STREAM, SESSION_HEADER}))


@dataclass
class SDKWatch:
    """Counts what reaches the SDK's door."""

    app: ASGIApp
    requests: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests += 1
        await self.app(scope, receive, send)


@dataclass(kw_only=True)
class OneDoor:
    """A door and its road."""

    app: ASGIApp
    bench: Bench
    issuer: LocalIssuer
    watch: SDKWatch
    tokens: dict[str, str] = field(default_factory=dict)
    session: str = ""
    """The one that was opened last."""

    async def open_session(self, *, version: str = IN_SESSION, **capabilities: Any) -> None:
        """Shake hands, as a client that can do so much, and call once: then the session is known."""
        hello = {
            "protocolVersion": version, "capabilities": capabilities, "clientInfo": {"name": "test", "version": "1"}
        }  # fmt: skip
        said = await self.exchange(_posted({"id": 0, "method": "initialize", "params": hello}, version=version))
        headers = {name.decode().lower(): value.decode() for name, value in said.start["headers"]}
        self.session = headers[SESSION_HEADER]
        ready = _posted({"method": "notifications/initialized"}, version=version)
        first = in_session(request(message())).with_headers(mcp_protocol_version=version)
        for asked in (ready.with_more((SESSION_HEADER, OWN_SESSION)), first):
            said = await self.exchange(asked)
            assert said.start["status"] in {200, 202}

    async def exchange(self, asked: Request, *, person: str | None = "alex", **more: Any) -> Said:
        """Send one request and take what comes, as it comes."""
        own = tuple((name, self.session if value == OWN_SESSION else value) for name, value in asked.headers)
        token = self.token(person) if person else None
        return await exchange(self.app, replace(asked, headers=own), token=token, **more)

    def token(self, person: str = "alex") -> str:
        """An agent's token, the same in each request."""
        if person not in self.tokens:
            self.tokens[person] = self.issuer.mint(person, client_id="agent", actor="agent").reveal_text()
        return self.tokens[person]

    async def ask(self, asked: Request, *, person: str | None = "alex") -> Answered:
        """Send one request and take its whole answer."""
        try:
            said = await self.exchange(asked, person=person)
        except Exception as error:  # noqa: BLE001 - what an application raises, a server answers; it has to be the same
            return Answered(status=0, headers=(), body=type(error).__name__)
        ids = Numbered()
        headers = {name.decode().lower(): value.decode() for name, value in said.start.get("headers", ())}
        kept = [(name, headers[name]) for name in COMPARED if name in headers]
        if "mcp-session-id" in headers:
            kept.append(("mcp-session-id", "<one>"))
        return Answered(status=said.start.get("status", 0), headers=tuple(kept), body=_body(said.body, ids))


@dataclass(kw_only=True)
class TwoDoors:
    """The two. `plain` has the fast path."""

    plain: OneDoor
    sdk: OneDoor

    async def same(self, asked: Request, *, person: str | None = "alex") -> tuple[Answered, bool]:
        """The answer that both doors give, and whether it came without the SDK. Fails where the two differ."""
        before = self.plain.watch.requests
        one, other = [await door.ask(asked, person=person) for door in (self.plain, self.sdk)]
        fast = self.plain.watch.requests == before
        if fast and (SESSION_HEADER, OWN_SESSION) in asked.headers:
            one, other = one.as_message, other.as_message
        assert one == other, f"{asked}\nwith the fast path: {one}\nwithout: {other}"
        return one, fast

    async def open_sessions(self, **more: Any) -> None:
        """One at each door; `more` as `OneDoor.open_session` takes it."""
        for door in (self.plain, self.sdk):
            await door.open_session(**more)

    def let_answer(self, *answers: bytes) -> None:
        """What the API before each of them says, the next one for each request."""
        for door in (self.plain, self.sdk):
            door.bench.api.answers = [*answers]

    def same_record(self) -> list[str]:
        """The kinds of events that both stores have. Fails where the two differ."""
        return same_events(self.plain.bench, self.sdk.bench)


def same_events(plain: Bench, sdk: Bench) -> list[str]:
    """The kinds of events that two roads have recorded. Fails where what was recorded differs."""
    one, other = _events(plain), _events(sdk)
    for first, second in itertools.zip_longest(one, other):
        assert first == second, f"with the fast path: {first}\nwithout: {second}"
    return [kind for kind, _ in one]


def _events(bench: Bench) -> list[Any]:
    """All that was recorded, in order, without what differs from one store to another."""
    ids = Numbered()
    found = []
    for row in read_store(bench.store.data_dir).rows:
        body = {key: value for key, value in row.body.items() if key not in VARYING}
        found.append((row.kind, ids.numbered(json.dumps([row.call_id, body], sort_keys=True))))
    return found


@asynccontextmanager
async def two_doors(folder: Path, world: World, **more: Any) -> AsyncIterator[TwoDoors]:
    """Two doors; `more` is for their roads."""
    async with with_and_without(_door, folder, world, **more) as (plain, sdk):
        yield TwoDoors(plain=plain, sdk=sdk)


@asynccontextmanager
async def with_and_without(
    door: Callable[..., AbstractAsyncContextManager[D]], folder: Path, world: World, **more: Any
) -> AsyncIterator[tuple[D, D]]:
    """A `door` with the fast path and one without, each before a road and a store of its own, at one time."""
    async with AsyncExitStack() as stack:
        doors: list[D] = []
        now = utc_now()
        for name, fast_path in (("plain", True), ("sdk", False)):
            own = folder / name
            own.mkdir()
            world.data_dirs.append(own / "data")
            bench = await stack.enter_async_context(laid(own, **more))
            bench.clock.now = now
            doors.append(await stack.enter_async_context(door(own, bench, fast_path=fast_path)))
        yield doors[0], doors[1]


@asynccontextmanager
async def _door(folder: Path, bench: Bench, *, fast_path: bool) -> AsyncIterator[OneDoor]:
    issuer = open_local_issuer(folder / "data", audience=URL, clock=utc_now, new_id=new_id, people=PEOPLE)
    settings = HTTPSettings(
        name="test", public_url=URL, audience=URL, issuer="local", scopes={"needs_scope": "more"},
        names=reachable(public_url=URL, listen=LISTEN, allowed_origins=[]), sse=False,
        answer_within=timedelta(seconds=50), fast_path=fast_path,
    )  # fmt: skip
    parts = HTTPParts(
        road=bench.road,
        registry=bench.registry,
        verifier=issuer.verifier(revoked=bench.revocations.refuses),
        desk=Desk(bench.approvals, policy=ApproverPolicy(clients=frozenset({APPROVER})), clock=utc_now),
        state_key=Secret(bytes(32)),
        problem=lambda: None,
        clock=bench.clock,
    )
    async with http_app(settings, parts) as app:
        place: Any = app
        if fast_path:
            place = app._app
            assert isinstance(place, FastPath)
        watch = place._app = SDKWatch(place._app)
        yield OneDoor(app=app, bench=bench, issuer=issuer, watch=watch)


@dataclass(kw_only=True)
class Said:
    """Raw messages of one response."""

    start: dict[str, Any] = field(default_factory=dict)
    body: bytes = b""


async def exchange(
    app: ASGIApp,
    asked: Request,
    *,
    token: str | None,
    told: Callable[[bytes], object] = lambda _: None,
    gone: anyio.Event | None = None,
) -> Said:
    """One request as an ASGI server hands it over, and what comes back, which `told` is told as it comes.

    A client that `leaves` gets nothing; one that is `gone` goes away when it likes.
    """
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in asked.headers]
    if token is not None:
        headers.append((b"authorization", b"Bearer " + token.encode()))
    scope: Scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": asked.http_version,
        "method": asked.method, "scheme": "http", "path": asked.path, "raw_path": asked.raw_path or asked.path.encode(),
        "query_string": asked.query, "root_path": "", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8765),
        "headers": headers, "state": {},
    }  # fmt: skip
    coming = list(_pieces(asked))
    done, said = gone or anyio.Event(), Said()

    async def receive() -> Message:
        if coming:
            return coming.pop(0)
        if not asked.leaves:
            await done.wait()
        return {"type": "http.disconnect"}

    async def send(part: Message) -> None:
        if part["type"] == "http.response.start":
            said.start = dict(part)
        else:
            said.body += part.get("body", b"")
            told(said.body)
            if not part.get("more_body"):
                done.set()

    with anyio.fail_after(SECONDS):
        await app(scope, receive, send)
    return said


def _posted(said: dict[str, Any], *, version: str) -> Request:
    plain = request({"jsonrpc": "2.0"} | said)
    return plain.with_headers(mcp_protocol_version=version, mcp_method=None, mcp_name=None)


def _pieces(asked: Request) -> Iterable[Message]:
    size = max(1, -(-len(asked.body) // asked.parts))
    pieces = [asked.body[at : at + size] for at in range(0, len(asked.body), size)] or [b""]
    for number, piece in enumerate(pieces, 1):
        last = number == len(pieces)
        if last and asked.leaves:
            return
        yield {"type": "http.request", "body": piece, "more_body": not last}


class Numbered:
    """Numbers for ids, in the order of their first appearance."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def numbered(self, text: str) -> str:
        """The text with them."""

        def number(found: re.Match[str]) -> str:
            return self._known.setdefault(found.group(), f"<{len(self._known)}>")

        return _HASH.sub("<hash>", _UUID.sub(number, text))


def _body(raw: bytes, ids: Numbered) -> Any:
    text = ids.numbered(raw.decode())
    events = [line.removeprefix("data: ") for line in text.split("\r\n") if line.startswith("data: ")]
    try:
        return json.loads(events[-1] if events else text)
    except ValueError:
        return text
