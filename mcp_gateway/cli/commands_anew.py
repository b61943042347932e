"""Facts of recorded commands, found anew where a record of an earlier version lacks some of them.

A command's facts depend on nothing but the command and what is known of programs, so they can be found again, if the
record has exactly the command that was asked for. Records are kept with detectors applied; whether these changed anything
is proved by the digest of the exact form, which stands beside the facts.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

from pydantic import ValidationError

from mcp_gateway.audit.decided import DecidedCall
from mcp_gateway.calls import Caller, Facts, JSONObject, digest_of
from mcp_gateway.establishing import NOT_ARGUMENTS
from mcp_gateway.facts.programs import Knowledge
from mcp_gateway.facts.shell import ShellError, examine_shell


class NotExactError(ValueError):
    """The record does not have the command as it was asked for."""


def command_anew(call: DecidedCall, *, caller: Caller, knowledge: Callable[[], Knowledge]) -> Facts:
    """What this version finds in a recorded command.

    Raises:
        NotExactError: a detector changed it, it was too large to keep, or it is no command to this version.
        ConfigError: what is known of programs cannot be read.
    """
    arguments = _exact_arguments(call, caller=caller)
    try:
        return examine_shell(argv=arguments["argv"], command=arguments["command"], knowledge=knowledge())
    except ShellError as error:
        raise NotExactError(f"its command is refused by this version: {error}") from None


def _exact_arguments(call: DecidedCall, *, caller: Caller) -> JSONObject:
    from mcp_gateway_tools.run_ssh_command import RunSSHCommandArguments

    try:
        given = RunSSHCommandArguments.model_validate(call.received["arguments"])
        arguments = given.model_dump(mode="json", exclude=NOT_ARGUMENTS)
        tool = str(call.received["tool"])
        digest = digest_of(caller=caller, tool=tool, target=given.target, arguments=arguments)
        exact = hmac.compare_digest(digest, str(call.examined["digest"]))
    except (ValidationError, KeyError, TypeError, ValueError, AttributeError):
        exact, arguments = False, {}
    if not exact:
        raise NotExactError("its command is not on record as it was asked for")
    return arguments
