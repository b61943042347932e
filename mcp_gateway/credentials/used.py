"""Which credentials a result may echo: those that its own call used, and the last ones of its target.

A credential may change with each call (a program that gives tokens of minutes), and calls run side by side: what the
target used last is then not what this call used. Above are the connectors; the masker scrubs what is given here.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar

from mcp_gateway.calls import Secret
from mcp_gateway.recent import Recent

REMEMBERED = 16
"""Earlier credentials of a target: an API that shows its own log shows those."""
_of_this_call: ContextVar[tuple[Secret, ...]] = ContextVar("used_credentials", default=())
"""Every call has a task of its own, so this is what the call has used whatever others do meanwhile."""


class UsedCredentials:
    """Of one target."""

    def __init__(self) -> None:
        self._recent: Recent[bytes, Secret] = Recent(REMEMBERED)

    def add(self, *secrets: Secret) -> None:
        """Credentials that the current call is about to use, in each form that they take."""
        mine = _of_this_call.get()
        known = {secret.reveal() for secret in mine}
        _of_this_call.set((*mine, *(secret for secret in secrets if secret.reveal() not in known)))
        for secret in secrets:
            self._recent.put(secret.reveal(), secret)

    def all(self) -> Sequence[Secret]:
        """Those of the current call, and the last ones of the target."""
        found = {secret.reveal(): secret for secret in (*self._recent.values(), *_of_this_call.get())}
        return tuple(found.values())
