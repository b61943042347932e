"""`/api/approvals`: what the command line uses on a running gateway. The guard has verified the person.

GET  /api/approvals            those that this person may see, 100 a page; `?all=true` ended ones too. Where there are
                               more, `Link: <...>; rel="next"` leads on (RFC 8288); `mcp-gateway-note` says where they
                               are an agent's own alone
GET  /api/approvals/ID         one, complete; the beginning of an id is enough where only one begins so
POST /api/approvals/ID/MOVE    approve, deny or withdraw; body `{"note": "..."}` or empty
"""

from __future__ import annotations

from typing import cast
from urllib.parse import urlencode

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mcp_gateway.approval.desk import NOT_FOUND, Desk, Move, Refused, to_json
from mcp_gateway.calls import Caller
from mcp_gateway.doors.guard import CALLER_KEY
from mcp_gateway.errors import StoreError

MAX_NOTE_BODY_BYTES = 16 * 1024
NOTE = "mcp-gateway-note"
"""The header with what whoever reads a list has to know."""
HEADERS = {
    "cache-control": "no-store",
    # What agents wrote is in these answers: no browser takes them for a page, or shows them inside another one.
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


def approval_routes(desk: Desk) -> list[Route]:
    """The routes over one desk."""

    async def listing(request: Request) -> Response:
        everything = request.query_params.get("all") == "true"
        page = await desk.page(_person(request), live_only=not everything, after=request.query_params.get("after"))
        answer = _json([to_json(item) for item in page.tickets])
        if page.note:
            answer.headers[NOTE] = page.note
        if page.next_after is not None:
            query = urlencode({"after": page.next_after} | ({"all": "true"} if everything else {}))
            answer.headers["link"] = f'</api/approvals?{query}>; rel="next"'
        return answer

    async def show(request: Request) -> Response:
        return _answer(await desk.show(_person(request), request.path_params["id"]))

    async def move(request: Request) -> Response:
        what = request.path_params["move"]
        if what not in {"approve", "deny", "withdraw"}:
            return _json({"error": "a move is approve, deny or withdraw"}, status=404)
        note = await _note(request)
        if note is None:
            return _json({"error": 'the body is empty or {"note": "..."}'}, status=400)
        return _answer(
            await desk.move(
                _person(request), request.path_params["id"], move=cast("Move", what), channel="api", note=note
            )
        )

    async def guarded(request: Request, handler: object) -> Response:
        try:
            return await handler(request)  # type: ignore[operator, no-any-return]  # the three above
        except StoreError:
            return _json({"error": "the audit store refuses, so nothing was decided"}, status=503)

    def route(path: str, handler: object, method: str) -> Route:
        async def endpoint(request: Request) -> Response:
            return await guarded(request, handler)

        return Route(path, endpoint, methods=[method])

    return [
        route("/api/approvals", listing, "GET"),
        route("/api/approvals/{id}", show, "GET"),
        route("/api/approvals/{id}/{move}", move, "POST"),
    ]


def _person(request: Request) -> Caller:
    return cast("Caller", request.scope[CALLER_KEY])


async def _note(request: Request) -> str | None:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_NOTE_BODY_BYTES:
            return None
    if not body:
        return ""
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(given, dict) or given.keys() - {"note"} or not isinstance(given.get("note", ""), str):
        return None
    return cast("str", given.get("note", ""))


def _answer(found: object) -> Response:
    match found:
        case Refused(why=why, state=state):
            return _json({"error": why, "state": state}, status=404 if why == NOT_FOUND else 409)
        case ticket:
            return _json(to_json(ticket))  # type: ignore[arg-type]  # the desk's other answer


def _json(content: object, *, status: int = 200) -> JSONResponse:
    return JSONResponse(content, status_code=status, headers=HEADERS)
