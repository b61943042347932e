"""`call_api`: one request to a registered HTTP API."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from mcp_gateway.answers import Masked
from mcp_gateway.calls import Facts, HTTPFacts, JSONObject, Target, TargetKind
from mcp_gateway.errors import RequestError, TargetError
from mcp_gateway.facts.http import RequestRefusedError, Resolved, resolve
from mcp_gateway.facts.http_bodies import check_body, encode_body
from mcp_gateway.facts.requests import PLAIN, Interface, examine_request
from mcp_gateway.masking.renamed import renamed
from mcp_gateway.targets.http import HTTPConnector, Response
from mcp_gateway.tool import Arguments, Examination, Masker, Permit
from mcp_gateway_tools.answer_bodies import left_out, masked_body, texts_of


class CallAPIArguments(Arguments):
    """A request below the target's base URL."""

    method: Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    path: str = Field(description="below the target's base URL; may carry a query")
    query: dict[str, str | list[str]] | None = None
    headers: dict[str, str] | None = None
    json_: Any = Field(default=None, alias="json", description="a JSON body")
    body: str | None = Field(default=None, description="a text body")

    @model_validator(mode="after")
    def _one_body(self) -> CallAPIArguments:
        if self.json_ is not None and self.body is not None:
            raise ValueError("give at most one of json and body")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Exactly what is sent."""

    request: Resolved
    body: bytes | None


class CallAPI:
    """Sends one request."""

    name: ClassVar[str] = "call_api"
    kind: ClassVar[TargetKind] = "http"
    description: ClassVar[str] = "Send one request to a registered HTTP API."
    read_only_hint: ClassVar[bool] = False
    Arguments: ClassVar[type[Arguments]] = CallAPIArguments
    result_schema: ClassVar[JSONObject] = {
        "type": "object",
        "properties": {
            "status": {"type": "integer"},
            "headers": {"type": "object"},
            "json": {},
            "text": {"type": "string"},
            "base64": {"type": "string"},
            "truncated": {"type": "boolean"},
            "masked": {"type": "object"},
            "call_id": {"type": "string"},
        },
        "required": ["status", "headers", "call_id"],
    }

    def __init__(self, *, interfaces: Callable[[], Mapping[str, Interface]] = dict) -> None:
        """`interfaces`: what is known now of each target's API, by the target's name."""
        self._interfaces = interfaces

    async def examine(
        self, arguments: CallAPIArguments, *, target: Target, connector: HTTPConnector, fresh: bool = False
    ) -> Examination[Prepared]:
        """Bring the request into its one form. Nothing is resolved or sent."""
        del fresh  # Nothing is remembered of the target.
        settings = connector.settings
        try:
            headers, body = encode_body(arguments.headers or {}, json_value=arguments.json_, text=arguments.body)
            request = resolve(
                settings.base_url,
                arguments.path,
                method=arguments.method,
                query=arguments.query,
                headers=headers,
                allowed_headers=settings.headers,
            )
            if body is not None:
                check_body(body, content_type=request.content_type)
        except RequestRefusedError as error:
            raise RequestError(str(error), next_step="mend the request") from None
        shown = {"request": f"{request.method} {request.url}"}
        shown |= {f"header {name}": value for name, value in request.headers}
        if body is not None:
            shown["body"] = body.decode()
        interface = self._interfaces().get(target.name, PLAIN)
        return Examination(
            facts=examine_request(request, body, interface=interface),
            environment=hashlib.sha256(f"{target.fingerprint}{interface.digest}".encode()).hexdigest(),
            shown=shown,
            sources={"document": interface.digest} if interface.digest else {},
            private=Prepared(request=request, body=body),
        )

    async def preview(self, arguments: Any, *, examination: Examination[Prepared], connector: Any) -> str:
        """A request cannot be tried without sending it."""
        del arguments, examination, connector
        return ""

    async def execute(
        self,
        arguments: CallAPIArguments,
        *,
        examination: Examination[Prepared],
        connector: HTTPConnector,
        permit: Permit,
    ) -> Response:
        """Send it."""
        del arguments
        return await connector.send(
            examination.private.request,
            body=examination.private.body,
            seconds=permit.timeout.total_seconds(),
            max_bytes=permit.max_bytes,
            may_change=_is_mutation(examination.facts),
        )

    def size(self, raw: Response) -> int:
        """Body and headers, and what the request says, which is looked through for names that it gives."""
        return raw.request_bytes + len(raw.body) + sum(len(name) + len(value) for name, value in raw.headers)

    def mask(self, raw: Response, *, examination: Examination[Prepared], masker: Masker, call_id: str) -> Masked:
        """Headers and body through the detectors; the body as JSON where it is JSON, else as text, else as base64."""
        headers: dict[str, str] = {}
        for name, value in raw.headers:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        sent = examination.private
        headless, cut = left_out(raw, asked=dict(sent.request.headers).get("range", ""))
        names = renamed(texts_of(sent.request, sent.body)) if raw.body else {}
        result: JSONObject = {"status": raw.status, "headers": masker.json(headers)}
        result |= masked_body(raw, masker, headless=headless, cut=cut, names=names)
        result |= {"truncated": headless or cut, "call_id": call_id}
        return masker.seal(result, truncated=headless or cut)

    def mask_error(self, error: TargetError, *, examination: Examination[Prepared], masker: Masker) -> str:
        """The connector's own sentence, which holds nothing of the answer."""
        del examination
        return masker.text(error.message)


def _is_mutation(facts: Facts) -> bool:
    """Whether GraphQL would, or may, change something: a query of a URL can carry a mutation."""
    return isinstance(facts, HTTPFacts) and facts.graphql_operation not in {"", "query"}
