"""Raw arguments become a `Call`: the tool and target exist for this caller, and the arguments are what they must be. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
import rfc8785
from pydantic import ValidationError

from mcp_gateway.calls import Call, Caller, Client, Door, JSONObject, digest_of
from mcp_gateway.errors import RequestError
from mcp_gateway.masking.visible import make_visible
from mcp_gateway.refusals import unknown_target
from mcp_gateway.registry import AnyTool, Registered, Registry
from mcp_gateway.tool import Arguments

MAX_PROBLEMS_SHOWN = 5
MAX_NAME_SHOWN = 200
NOT_ARGUMENTS = {"target", "reason"}
"""Members of a request that are not in `Call.arguments`: the target stands beside them, a reason asks for nothing."""


def establish(
    tool_name: str,
    raw: Mapping[str, Any],
    *,
    registry: Registry,
    visible: frozenset[tuple[str, str]],
    caller: Caller,
    call_id: str,
    door: Door,
    client: Client,
    now: datetime,
) -> tuple[Call, AnyTool, Arguments, Registered]:
    """Check the arguments first, so that a mistake in them is named whoever asks; then the target.

    Raises:
        RequestError: `invalid_arguments` or `unknown_target`.
    """
    tool = registry.tools.get(tool_name)
    if tool is None:
        raise RequestError(
            f"there is no tool {tool_name!r}", next_step=f"use one of {', '.join(sorted(registry.tools))}"
        )
    arguments = _validated(tool, raw)
    registered = registry.targets.get(arguments.target)
    if registered is None or registered.target.kind != tool.kind or (tool_name, arguments.target) not in visible:
        raise unknown_target(arguments.target)
    canonical, digest = _fixed(raw, arguments, caller=caller, tool=tool_name)
    return (
        Call(
            id=call_id,
            caller=caller,
            tool=tool_name,
            target=registered.target,
            arguments=canonical,
            reason=arguments.reason,
            door=door,
            received_at=now,
            digest=digest,
            client=client,
        ),
        tool,
        arguments,
        registered,
    )


def _validated(tool: AnyTool, raw: Mapping[str, Any]) -> Arguments:
    try:
        return tool.Arguments.model_validate(dict(raw))
    except ValidationError as error:
        problems = [
            f"{_named(item['loc'])}: {_in_words(item['msg'])}"
            for item in error.errors(include_input=False, include_url=False, include_context=False)
        ]
        shown = "; ".join(problems[:MAX_PROBLEMS_SHOWN])
        more = f"; and {len(problems) - MAX_PROBLEMS_SHOWN} more" if len(problems) > MAX_PROBLEMS_SHOWN else ""
        raise RequestError(
            f"invalid arguments for {tool.name}: {shown}{more}",
            next_step="mend the arguments; the tool's input schema says what they have to be",
        ) from None


def _named(place: Sequence[str | int]) -> str:
    """Where in the arguments; the agent chose the names, and a person may read its client's terminal."""
    name = make_visible(".".join(map(str, place))) or "arguments"
    return name if len(name) <= MAX_NAME_SHOWN else f"{name[:MAX_NAME_SHOWN]}..."


def _in_words(said: str) -> str:
    """A sentence of pydantic's as ours are: it begins in lower case, and what it quotes stays as it is."""
    said = said.removeprefix("Value error, ")
    return said[:1].lower() + said[1:]


def _fixed(raw: Mapping[str, Any], arguments: Arguments, *, caller: Caller, tool: str) -> tuple[JSONObject, str]:
    """Arguments as they are recorded, and their digest; or a refusal of those without a canonical form (RFC 8785 3.2.2).

    Those that came are written once, too: a lone surrogate is an error there, and pydantic writes one in a name as
    U+FFFD, so that what is approved would not be what is run.
    """
    try:
        orjson.dumps(dict(raw))
        canonical = arguments.model_dump(mode="json", exclude=NOT_ARGUMENTS)
        return canonical, digest_of(caller=caller, tool=tool, target=arguments.target, arguments=canonical)
    except (orjson.JSONEncodeError, rfc8785.CanonicalizationError, UnicodeEncodeError):
        raise RequestError(
            "an argument has no canonical JSON form: an integer beyond ±(2^53 - 1), NaN, infinity or a lone surrogate",
            next_step="send such a number as a string, and text as valid Unicode",
        ) from None
