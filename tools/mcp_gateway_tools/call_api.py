"""`call_api`: one request to a registered HTTP API."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar, Literal
from urllib.parse import unquote_plus

from pydantic import Field, model_validator

from mcp_gateway.answers import Masked
from mcp_gateway.calls import Facts, HTTPFacts, JSONObject, Target, TargetKind
from mcp_gateway.errors import RequestError, TargetError
from mcp_gateway.facts.http import RequestRefusedError, Resolved, resolve
from mcp_gateway.facts.http_bodies import check_body, encode_body
from mcp_gateway.facts.requests import PLAIN, Interface, examine_request
from mcp_gateway.masking.json_values import strings
from mcp_gateway.masking.renamed import mask_renamed, renamed, with_own_names
from mcp_gateway.targets.http import HTTPConnector, Response
from mcp_gateway.tool import Arguments, Examination, Masker, Permit

MAX_INTEGER_DIGITS = 15
"""Up to here every JSON reader keeps an integer exactly (RFC 8259 section 6); a longer one keeps its text."""

ESCAPE = re.compile(rb"(?<!\\)((?:\\\\)*)\\(?:u([0-9a-fA-F]{4})|/)")
"""Of a character in a string of JSON. No detector undoes it: to .NET `+` is one to be escaped."""
LIKE_JSON = re.compile("json|javascript|event-stream|multipart")
"""Types of what is written in JSON, or has it inside."""
BLANKS = b" \t\r\n\xef\xbb\xbf"
"""What may stand before JSON, a byte order mark among it."""
SHORT_ESCAPE = re.compile(r'\\([nrt"])')

PART = re.compile(r"bytes[ \t]+([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)\Z", re.IGNORECASE)
"""`Content-Range` of RFC 9110 section 14.4. Of other units an answer is whole, such as the rows of PostgREST."""


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
        headless, cut = _left_out(raw, asked=dict(sent.request.headers).get("range", ""))
        names = renamed(_texts(sent.request, sent.body)) if raw.body else {}
        result: JSONObject = {"status": raw.status, "headers": masker.json(headers)}
        result |= _body(raw, masker, headless=headless, cut=cut, names=names)
        result |= {"truncated": headless or cut, "call_id": call_id}
        return masker.seal(result, truncated=headless or cut)

    def mask_error(self, error: TargetError, *, examination: Examination[Prepared], masker: Masker) -> str:
        """The connector's own sentence, which holds nothing of the answer."""
        del examination
        return masker.text(error.message)


def _is_mutation(facts: Facts) -> bool:
    """Whether GraphQL would, or may, change something: a query of a URL can carry a mutation."""
    return isinstance(facts, HTTPFacts) and facts.graphql_operation not in {"", "query"}


def _left_out(raw: Response, *, asked: str) -> tuple[bool, bool]:
    """Whether something is missing before and behind a body: by a limit here, or because the agent `asked` for a part."""
    said = next((value.strip() for name, value in raw.headers if name == "content-range"), "")
    if raw.status != HTTPStatus.PARTIAL_CONTENT or not (said or asked).lower().startswith("bytes"):
        return False, raw.truncated
    part = PART.match(said)
    if part is None or not (raw.truncated or int(part[2]) - int(part[1]) + 1 == len(raw.body)):
        return True, True
    return int(part[1]) > 0, raw.truncated or part[3] == "*" or int(part[2]) + 1 < int(part[3])


def _texts(request: Resolved, body: bytes | None) -> Iterator[str]:
    """What a request says: its query, and its body, of JSON each text."""
    yield unquote_plus(request.query)
    if not body:
        return
    try:
        yield from strings(json.loads(body))
    except (ValueError, RecursionError):
        text = ESCAPE.sub(_plain, body).decode()
        yield SHORT_ESCAPE.sub(lambda found: "\n" if found[1] in "nr" else found[1].replace("t", " "), text)
        yield unquote_plus(text)


def _body(
    raw: Response, masker: Masker, *, headless: bool, cut: bool, names: Mapping[str, Sequence[str]]
) -> JSONObject:
    """As JSON where it is and says so; what some reader would change of it is given as text, and masked as JSON all the same."""
    if not raw.body:
        return {}
    kind, body = raw.content_type.split(";", 1)[0].strip().lower(), raw.body
    like_json = bool(LIKE_JSON.search(kind)) or body.lstrip(BLANKS)[:1] in {b"{", b"["}
    if like_json and not (headless or cut):
        documents = _documents(body)
        values = [value for value, _ in documents]
        masked = deepcopy(values) if names else values
        mask_renamed(masked, names, json=masker.json)
        masked = masker.json(masked)
        if len(documents) == 1 and documents[0][1] and _is_json(kind):
            return {"json": masked[0]}
        if masked != values:
            return {"text": "\n".join(json.dumps(value, ensure_ascii=False) for value in masked)}
    data = masker.raw(
        ESCAPE.sub(_plain, with_own_names(body, names)) if like_json else body, cut=cut, headless=headless
    )
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _documents(body: bytes) -> list[tuple[Any, bool]]:
    """The one JSON value of a body, or those of its lines, each with whether every reader keeps it; none where it is no JSON."""
    try:
        return [_read(body)]
    except (ValueError, RecursionError):
        pass
    try:
        return [_read(line) for line in body.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        return []


def _read(body: bytes) -> tuple[Any, bool]:
    inexact: list[str] = []

    def integer(digits: str) -> int:
        if len(digits.lstrip("-")) > MAX_INTEGER_DIGITS:
            inexact.append(digits)
        return int(digits)

    def constant(name: str) -> float:
        inexact.append(name)
        return float(name)

    return json.loads(body, parse_int=integer, parse_constant=constant), not inexact


def _plain(escape: re.Match[bytes]) -> bytes:
    """A character for its escape, where that is the same in JSON and JavaScript."""
    letter = chr(int(escape[2], 16)) if escape[2] else "/"
    return escape[1] + letter.encode() if letter.isprintable() and letter not in {'"', "\\"} else escape[0]


def _is_json(kind: str) -> bool:
    return kind == "application/json" or kind.endswith("+json")
