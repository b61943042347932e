"""From the raw arguments of a tool to facts, for cases and explanations: the same functions as on the road, and no target.

Without a target there is no catalog, so what only a catalog could tell is taken as the worst. SQL is parsed in this
process: commands that read files of cases use `cli.examining`, which leaves that to the worker's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from mcp_gateway.calls import Facts, JSONObject
from mcp_gateway.facts.requests import Interface

if TYPE_CHECKING:
    from mcp_gateway.facts.examination import SQLExamination
    from mcp_gateway.facts.programs import Knowledge

Examiner: TypeAlias = Callable[[JSONObject, Interface], Facts]
"""Arguments and what is known of the target's API (nothing unless it is an HTTP target) to facts. `ValueError`: refused before policy."""


def examine_query(arguments: JSONObject, interface: Interface) -> Facts:
    """Facts of a `query_database` call."""
    del interface
    from mcp_gateway.facts.inspect_sql import examine_text

    return facts_of(examine_text(arguments["sql"]))


def facts_of(examination: SQLExamination) -> Facts:
    """The facts of a statement that can be a call. Raises `ValueError` for another."""
    if examination.refusal is not None:
        raise ValueError(examination.refusal)
    return examination.facts


def examine_command(arguments: JSONObject, interface: Interface) -> Facts:
    """Facts of a `run_ssh_command` call."""
    del interface
    from mcp_gateway.facts.shell import examine_shell

    return examine_shell(argv=arguments.get("argv"), command=arguments.get("command"))


def command_examiner(knowledge: Knowledge) -> Examiner:
    """As `examine_command`, by what is known of programs."""

    def examine(arguments: JSONObject, interface: Interface) -> Facts:
        del interface
        from mcp_gateway.facts.shell import examine_shell

        return examine_shell(argv=arguments.get("argv"), command=arguments.get("command"), knowledge=knowledge)

    return examine


def examine_request(arguments: JSONObject, interface: Interface) -> Facts:
    """Facts of a `call_api` call. The headers that a target allows beside the usual ones are taken as allowed."""
    from mcp_gateway.facts import requests
    from mcp_gateway.facts.http import resolve
    from mcp_gateway.facts.http_bodies import check_body, encode_body

    headers, body = encode_body(
        arguments.get("headers") or {}, json_value=arguments.get("json"), text=arguments.get("body")
    )
    request = resolve(
        interface.base_url,
        arguments["path"],
        method=arguments.get("method", "GET"),
        query=arguments.get("query"),
        headers=headers,
        allowed_headers=tuple(headers),
    )
    if body is not None:
        check_body(body, content_type=request.content_type)
    return requests.examine_request(request, body, interface=interface)


EXAMINERS: Mapping[str, Examiner] = MappingProxyType(
    {"query_database": examine_query, "run_ssh_command": examine_command, "call_api": examine_request}
)
