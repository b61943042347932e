"""The MCP door: one low-level SDK server for stdio, streamable HTTP and SSE, in both protocol eras.

The only module that touches the SDK's server types. It turns a `tools/call` into a `Request` for the road and
the road's answer into a result; it decides nothing. Everything is caught here: on the older wire the SDK would
send an exception's text to the client.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import mcp_types as types
import orjson
import structlog
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.streamable_http import REQUEST_CANCELLED
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import X_MCP_HEADER_KEY
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    PROTOCOL_VERSION_META_KEY,
    SERVER_INFO_META_KEY,
    methods,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from mcp_gateway import __version__, refusals
from mcp_gateway.admission import Request
from mcp_gateway.answers import Answer, Masked
from mcp_gateway.approval.describe import describe
from mcp_gateway.approval.holding import Action, Channels, Confirm, Confirmation, InputRequired, Progress
from mcp_gateway.approval.ticket import Ticket
from mcp_gateway.calls import Caller, Client, Door, JSONObject, Secret
from mcp_gateway.doors.departures import ending_with_its_client
from mcp_gateway.doors.plain_calls import METHOD, Declared
from mcp_gateway.doors.splice import structured
from mcp_gateway.doors.under_way import CallUnderWay, GivenUpError, taken_over
from mcp_gateway.errors import IdentityError
from mcp_gateway.pipeline import Road
from mcp_gateway.registry import AnyTool, Registry

log = structlog.get_logger(__name__)

TEXT_LIMIT_BYTES = 8 * 1024
REQUEST_STATE_SECONDS = 24 * 3600.0
"""Longer than any approval: the approval's own deadline decides, and an ended one is a fresh call."""
CONFIRM_KEY = "confirm"
INSTRUCTIONS = (
    "Governed access to databases, hosts and APIs. Call list_targets first. A call may need a person's approval: "
    "it then answers approval_pending; call again with exactly the same arguments once it is approved."
)
LIST_TARGETS = "list_targets"

Context = ServerRequestContext[Any, Any]
Identify = Callable[[], Awaitable[Caller]]


class MCPDoor:
    """Builds the SDK server over a road. One for each transport, because a door is part of a call."""

    def __init__(
        self,
        road: Road,
        *,
        registry: Registry,
        name: str,
        door: Callable[[Context], Door],
        identify: Callable[[Context], Identify],
        state_keys: list[Secret],
        answer_within: timedelta,
        clock: Callable[[], datetime],
        met: Callable[[object, Connection], object] = lambda *_: None,
    ) -> None:
        """`met` is told the SDK's connection of each request that is a call."""
        self._met = met
        self._road = road
        self._registry = registry
        self._door = door
        self._identify = identify
        self._answer_within = answer_within
        self._clock = clock
        self._listed = [_list_targets_tool(), *(_listed(tool) for _, tool in sorted(registry.tools.items()))]
        # Only these say anything of `Mcp-Param-*` headers; the SDK would walk through every other one in each call.
        schemas = {
            tool["name"]: tool["inputSchema"]
            for tool in self._listed
            if X_MCP_HEADER_KEY.encode() in orjson.dumps(tool["inputSchema"])
        }
        self.plain_tools = frozenset(registry.tools) - schemas.keys()
        """The tools whose calls need no header beside that of their name."""
        self.server: Server[Any] = Server(
            name,
            version=__version__,
            instructions=INSTRUCTIONS,
            get_tool_input_schema=schemas.get,
            on_list_tools=self._on_list_tools,
            on_call_tool=self._on_call_tool,
        )
        security = RequestStateSecurity(
            keys=[key.reveal() for key in state_keys], ttl=REQUEST_STATE_SECONDS, audience=name
        )
        self.server.middleware = [RequestStateBoundary(security, default_audience=name)]

    @property
    def result_meta(self) -> JSONObject:
        """The `_meta` that the SDK gives each result in the revisions without a handshake."""
        return {SERVER_INFO_META_KEY: self.server.server_info_stamp}

    # Listing.

    async def _on_list_tools(self, context: Context, params: types.PaginatedRequestParams | None) -> Any:
        """Only what some target lets this caller use; everything where nobody is proved yet, as on stdio."""
        del params
        try:
            usable = self._road.tools_of(await self._identify(context)()) | {LIST_TARGETS}
        except IdentityError:
            usable = frozenset(self._registry.tools) | {LIST_TARGETS}
        except Exception as error:
            log.critical("list_tools_failed", error=type(error).__name__, exc_info=error)
            raise MCPError(code=types.INTERNAL_ERROR, message="the gateway cannot list its tools now") from None
        return {
            "tools": [tool for tool in self._listed if tool["name"] in usable],
            "resultType": "complete",
            "ttlMs": 0,
            "cacheScope": "private",
        }

    # Calling.

    async def _on_call_tool(self, context: Context, params: types.CallToolRequestParams) -> Any:
        if params.name != LIST_TARGETS and params.name not in self._registry.tools:
            raise MCPError(code=types.INVALID_PARAMS, message="unknown tool")
        try:
            request = self._request(context, params)
            self._met(context.request, context.session._connection)  # noqa: SLF001 - it has no other name
            if params.name == LIST_TARGETS:
                return _result(await self._road.list_targets(request), context)
            with ending_with_its_client(context.request):
                begun = taken_over(context.request)
                answer = await (self._road.call(request) if begun is None else _rest_of(begun, request))
                return _input_required(answer) if isinstance(answer, InputRequired) else _result(answer, context)
        except GivenUpError:
            raise MCPError(code=REQUEST_CANCELLED, message="Request cancelled") from None
        except Exception as error:
            log.critical("door_failed", error=type(error).__name__, exc_info=error)
            return _result(Answer(call_id="", outcome=refusals.internal(started=False)), context)
        # Nobody hears this: the client has gone away, and its call was cancelled.
        raise MCPError(code=types.INTERNAL_ERROR, message="the client went away")

    def _request(self, context: Context, params: types.CallToolRequestParams) -> Request:
        now = self._clock()
        return Request(
            door=self._door(context),
            tool=params.name,
            arguments=params.arguments or {},
            identify=self._identify(context),
            client=_client(context),
            channels=_channels(context, params),
            answer_by=now + self._answer_within,
        )


def declared(meta: JSONObject) -> Declared | None:
    """What a `_meta` of a revision without a handshake says of its client; None where the SDK would refuse the call."""
    version = meta[PROTOCOL_VERSION_META_KEY]
    try:
        methods.validate_client_request(METHOD, version, {"name": "", "arguments": {}, "_meta": meta})
    except ValidationError:
        return None
    connection = Connection.from_envelope(
        version, meta.get(CLIENT_INFO_META_KEY), meta.get(CLIENT_CAPABILITIES_META_KEY)
    )
    return Declared(
        client=_client_of(connection.client_params, version=version, trace=""),
        can_fill_in=_can_fill_in(connection.client_capabilities),
    )


def declared_to(connection: Connection) -> Declared:
    """What a session's client has said in the handshake."""
    return Declared(
        client=_client_of(connection.client_params, version=connection.protocol_version, trace=""),
        can_fill_in=_can_fill_in(connection.client_capabilities),
    )


def _rest_of(begun: CallUnderWay, request: Request) -> Awaitable[Answer | InputRequired]:
    return begun.take_over(tool=request.tool, arguments=request.arguments, channels=request.channels)


def _client(context: Context) -> Client:
    meta: Mapping[str, Any] = context.meta or {}
    trace = meta.get("traceparent")
    return _client_of(
        context.session.client_params,
        version=context.protocol_version,
        trace=trace if isinstance(trace, str) else "",
    )


def _client_of(said: types.InitializeRequestParams | None, *, version: str, trace: str) -> Client:
    return Client(
        name=said.client_info.name if said else "",
        version=said.client_info.version if said else "",
        protocol=version,
        trace=trace,
    )


def _can_fill_in(capabilities: types.ClientCapabilities | None) -> bool:
    """Whether the client shows forms. An empty capability means forms only (MCP 2025-11-25, elicitation, capabilities)."""
    elicitation = capabilities.elicitation if capabilities else None
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)


def _channels(context: Context, params: types.CallToolRequestParams) -> Channels:
    """How this request can reach the caller's human: a form now, or an input-required result."""
    modern = context.protocol_version in MODERN_PROTOCOL_VERSIONS
    form = _can_fill_in(context.session.client_capabilities)
    return Channels(
        confirm=_confirm(context) if form and not modern and context.session.can_send_request else None,
        progress=_progress(context),
        confirmation=_confirmation(params) if modern else None,
        can_require_input=form and modern,
    )


def _confirmation(params: types.CallToolRequestParams) -> Confirmation | None:
    """What the human answered, of the approval that our own sealed state names."""
    if params.request_state is None:
        return None
    response = (params.input_responses or {}).get(CONFIRM_KEY)
    action: Action = response.action if isinstance(response, types.ElicitResult) else "cancel"
    return Confirmation(approval_id=params.request_state, action=action)


def _confirm(context: Context) -> Confirm:
    async def confirm(ticket: Ticket, seconds: float) -> Action:
        try:
            result = await context.session.send_request(
                types.ElicitRequest(params=_form(ticket)),
                types.ElicitResult,
                request_read_timeout_seconds=seconds,
                metadata=ServerMessageMetadata(related_request_id=context.request_id),
            )
        except Exception as error:  # noqa: BLE001 - a client that cannot ask has asked nobody
            log.info("elicitation_failed", error=type(error).__name__)
            return "cancel"
        return result.action

    return confirm


def _progress(context: Context) -> Progress:
    async def progress(done: float, total: float, message: str) -> None:
        await context.session.report_progress(done, total, message)

    return progress


def _form(ticket: Ticket) -> types.ElicitRequestFormParams:
    """Nothing to fill in: accepting is the answer. The text is complete and shows what would hide."""
    return types.ElicitRequestFormParams(
        message=describe(ticket), requested_schema={"type": "object", "properties": {}}
    )


def _input_required(answer: InputRequired) -> types.InputRequiredResult:
    return types.InputRequiredResult(
        input_requests={CONFIRM_KEY: types.ElicitRequest(params=_form(answer.ticket))}, request_state=answer.ticket.id
    )


def _result(answer: Answer, context: Context) -> JSONObject:
    match answer.outcome:
        case Masked(structured=found):
            big = len(found) > TEXT_LIMIT_BYTES
            return {
                "content": [{"type": "text", "text": text_of(found)}],
                "structuredContent": structured(found, context.request) if big else orjson.loads(found),
                "isError": False,
                "resultType": "complete",
            }
        case refusal:
            return {
                "content": [{"type": "text", "text": f"{refusal.message}. Next: {refusal.next_step}"}],
                "structuredContent": refusal.to_json(call_id=answer.call_id),
                "isError": True,
                "resultType": "complete",
            }


def text_of(found: bytes) -> str:
    """The text beside a structured result."""
    if len(found) <= TEXT_LIMIT_BYTES:
        return found.decode()
    return f"{len(found):,} bytes of result are in the structured content"


# What is listed.


def _list_targets_tool() -> JSONObject:
    return {
        "name": LIST_TARGETS,
        "description": "List the databases, hosts and APIs you may use, and the tools for each.",
        "inputSchema": {"type": "object", "properties": {}, "additionalProperties": False},
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    }


def _listed(tool: AnyTool) -> JSONObject:
    return {
        "name": tool.name,
        "description": tool.description,
        "inputSchema": _slim(tool.Arguments.model_json_schema()),
        "outputSchema": tool.result_schema,
        "annotations": {"readOnlyHint": tool.read_only_hint, "openWorldHint": tool.kind != "postgres"},
    }


def _slim(schema: Any) -> Any:
    """A schema without what a model does not need: titles, null alternatives and null defaults."""
    match schema:
        case {"anyOf": [inner, {"type": "null"}], **rest}:
            return _slim(inner | {key: value for key, value in rest.items() if key not in {"default", "title"}})
        case dict():
            return {
                key: _slim(value)
                for key, value in schema.items()
                if not (key == "title" and isinstance(value, str)) and not (key == "default" and value in ("", None))
            }
        case list():
            return [_slim(item) for item in schema]
        case _:
            return schema
