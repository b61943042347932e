"""What policy knows of a request: its parts in their normal form, and what the operator says of the API. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mcp_gateway.calls import HTTPFacts
from mcp_gateway.facts.graphql import examine_graphql
from mcp_gateway.facts.http import Resolved
from mcp_gateway.facts.http_fields import body_fields, query_fields

if TYPE_CHECKING:
    from mcp_gateway.facts.openapi import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """What is known of an API."""

    base_url: str = ""
    """Empty where the target's own settings are at hand."""
    graphql: str = ""
    """Where its GraphQL is, below the base URL; empty where it has none."""
    document: Document | None = None
    """What OpenAPI says of it."""

    @property
    def digest(self) -> str:
        """Of the document; empty where there is none."""
        return self.document.digest if self.document is not None else ""


PLAIN = Interface()


def digests(interfaces: Mapping[str, Interface]) -> dict[str, str]:
    """The digest of each target's document, where it has one."""
    return {name: interface.digest for name, interface in interfaces.items() if interface.document is not None}


def examine_request(request: Resolved, body: bytes | None, *, interface: Interface = PLAIN) -> HTTPFacts:
    """The facts of exactly this request."""
    in_query = query_fields(request.query)
    in_body = body_fields(body, content_type=request.content_type)
    graphql = examine_graphql(request, body, path=interface.graphql)
    document = interface.document
    matched = None
    if document is not None:
        from mcp_gateway.facts.openapi_requests import match_request

        matched = match_request(request, body, document)
    return HTTPFacts(
        method=request.method,
        host=request.host,
        path=request.path,
        query_keys=in_query.names,
        body_keys=in_body.names,
        keys_known=in_query.known and in_body.known,
        documented=document is not None,
        operation=matched.operation if matched else "",
        tags=matched.tags if matched else frozenset(),
        matches=matched is not None and matched.matches,
        graphql_operation=graphql.operation,
        graphql_fields=graphql.fields,
        graphql_opaque=graphql.opaque,
    )
