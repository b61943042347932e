"""The examiners of `policy test` and `policy explain`: as on the road, SQL is parsed in a process of its own.

A text that breaks the parser ends one case and not the command, and one that the road would refuse for taking too long
is refused here as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mcp_gateway.calls import Facts, JSONObject
from mcp_gateway.cli.loading import load_knowledge
from mcp_gateway.config import Settings
from mcp_gateway.errors import RequestError
from mcp_gateway.facts.requests import Interface
from mcp_gateway.facts.worker import SQLWorker
from mcp_gateway.policy.examiners import EXAMINERS, Examiner, command_examiner, facts_of


@contextmanager
def examiners(settings: Settings | None = None) -> Iterator[Mapping[str, Examiner]]:
    """By tool, until the block ends. The process is started by the first statement.

    Raises:
        ConfigError: what is known of programs cannot be read.
    """
    examine_command = command_examiner(load_knowledge(settings))
    with asyncio.Runner() as runner:
        worker = SQLWorker()

        def examine_query(arguments: JSONObject, interface: Interface) -> Facts:
            del interface
            try:
                examination, _ = runner.run(worker.examine(arguments["sql"]))
            except RequestError as error:
                raise ValueError(error.message) from None
            return facts_of(examination)

        try:
            yield {**EXAMINERS, "query_database": examine_query, "run_ssh_command": examine_command}
        finally:
            runner.run(worker.aclose())
