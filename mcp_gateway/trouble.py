"""Trouble in what a gateway does again and again beside its calls: it is said once, and the next round tries again.

    trouble = Trouble("approvals_not_expired")
    while True:
        with trouble.outlived():
            await approvals.expire_due()
        await anyio.sleep(1)

Whatever goes wrong in a round is outlived: a machine that has no thread or no memory left for it at that moment would
else end the gateway, and every call with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from mcp_gateway.errors import StoreError

log = structlog.get_logger(__name__)


class Trouble:
    """What is wrong with one kind of work at present."""

    def __init__(self, event: str) -> None:
        """`event` is what the log calls it."""
        self._event = event
        self._said = ""

    @contextmanager
    def outlived(self) -> Iterator[None]:
        """Go on after the block whatever it raises. The same trouble is logged once, until a round has ended well."""
        try:
            yield
        except (StoreError, OSError) as error:
            if self._is_news(str(error)):
                log.warning(self._event, cause=str(error))
        except Exception as error:  # its text may quote what is nobody's business
            if self._is_news(cause := type(error).__name__):
                log.exception(self._event, cause=cause)
        else:
            self._said = ""

    def _is_news(self, cause: str) -> bool:
        before, self._said = self._said, cause
        return cause != before
