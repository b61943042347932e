"""Parts of a road of which one operation goes wrong: the n-th, in every way that an operation can.

`Faults` counts what a call asks of its parts, and at the n-th does something else in its place: it raises, gives nothing
or garbage, never returns, or its call is cancelled. `faulty_road` lays a road of which every part is counted.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import anyio

from mcp_gateway.errors import (
    CredentialError,
    IdentityError,
    MaskingError,
    OutcomeLost,
    RequestError,
    RevokedError,
    StoreError,
    TargetFailed,
    TargetTimeout,
    TargetUnavailable,
)
from mcp_gateway.pipeline import Road
from mcp_gateway.registry import Registry

Way: TypeAlias = Literal["raise", "none", "garbage", "hang", "cancel"]
ERRORS: tuple[Callable[[], Exception], ...] = (
    lambda: ValueError("broken"),
    lambda: TypeError("broken"),
    lambda: KeyError("broken"),
    lambda: AttributeError("broken"),
    lambda: RuntimeError("broken"),
    lambda: OSError(28, "No space left on device"),
    MemoryError,
    lambda: RecursionError("broken"),
    TimeoutError,
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "broken"),
    StopAsyncIteration,
    lambda: ExceptionGroup("broken", [ValueError("broken")]),
    lambda: StoreError("broken", next_step="mend it"),
    lambda: IdentityError("broken"),
    lambda: RequestError("broken", next_step="mend it"),
    lambda: TargetFailed("broken"),
    lambda: TargetTimeout("broken"),
    lambda: TargetUnavailable("broken"),
    lambda: OutcomeLost("broken"),
    lambda: CredentialError("broken"),
    lambda: MaskingError("broken"),
    lambda: RevokedError("subject"),
)
"""One of each class that Python, its libraries and the gateway itself raise."""


class Garbage:
    """What nobody asked for: no text, no number, nothing to call, and true."""

    def __repr__(self) -> str:
        return "<garbage>"


@dataclass(slots=True, kw_only=True)
class Faults:
    """What goes wrong, and when."""

    at: int = 0
    """The operation that goes wrong, counted from 1; 0 for none."""
    way: Way = "raise"
    error: Callable[[], Exception] = ERRORS[0]
    done: list[str] = field(default_factory=list)
    """Names of the operations so far; those that can wait end in `()`."""
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """The call's own, for `cancel`."""
    hanging: anyio.Event = field(default_factory=anyio.Event)

    def counted(self, operation: Callable[..., Any], *, name: str) -> Callable[..., Any]:
        """An operation that may go wrong."""
        if inspect.iscoroutinefunction(operation):

            async def later(*arguments: Any, **more: Any) -> Any:
                if self._is_due(f"{name}()"):
                    if self.way == "hang":
                        self.hanging.set()
                        await anyio.sleep_forever()
                    if self.way != "cancel":
                        return self._go_wrong()
                    self.scope.cancel()
                return await operation(*arguments, **more)

            return later

        def now(*arguments: Any, **more: Any) -> Any:
            if self._is_due(name):
                if self.way != "cancel":
                    return self._go_wrong()
                self.scope.cancel()  # which counts at the next thing that is waited for
            return operation(*arguments, **more)

        return now

    def part(self, part: Any, *, name: str, spared: frozenset[str] = frozenset()) -> Any:
        """A part of which every operation may go wrong, but for those spared."""
        return _Part(part, self, name=name, spared=spared)

    def _is_due(self, name: str) -> bool:
        self.done.append(name)
        return len(self.done) == self.at

    def _go_wrong(self) -> Any:
        match self.way:
            case "raise":
                raise self.error()
            case "none":
                return None
            case "garbage" | "hang" | "cancel":
                return Garbage()


class _Part:
    """A part whose operations are counted; what it holds is its own."""

    def __init__(self, part: Any, faults: Faults, *, name: str, spared: frozenset[str]) -> None:
        self.__dict__.update(_part=part, _faults=faults, _name=name, _spared=spared)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if name.startswith("_") or name in self._spared or not callable(found) or inspect.isclass(found):
            return found
        return self._faults.counted(found, name=f"{self._name}.{name}")


def faulty_road(road: Road, faults: Faults) -> Road:
    """A road on the parts of another, each of which may go wrong. The store bounds its own waiting, so it never hangs."""
    parts = road._parts
    (registered,), (tool,) = parts.registry.targets.values(), parts.registry.tools.values()
    registry = Registry(
        targets=[replace(registered, connector=faults.part(registered.connector, name="connector"))], tools=[]
    )
    registry.tools = {tool.name: faults.part(tool, name="tool")}
    return Road(
        replace(
            parts,
            registry=registry,
            policies=lambda: faults.part(parts.policies(), name="policies"),
            masker=faults.counted(
                lambda **more: faults.part(parts.masker(**more), name="masker", spared=frozenset({"stop"})),
                name="new_masker",
            ),
            scope_of=faults.counted(parts.scope_of, name="scope_of"),
            clock=faults.counted(parts.clock, name="clock"),
            token_clock=faults.counted(parts.token_clock, name="token_clock"),
            revocations=faults.part(parts.revocations, name="revocations"),
            holder=faults.part(parts.holder, name="holder"),
            store=faults.part(
                parts.store,
                name="store",
                spared=frozenset({"forsake", "call_under_way", "call_held_up"}),
            ),
            shares=faults.part(parts.shares, name="shares"),
        )
    )
