"""The tool contract: what the gateway asks of a governed operation, and all that a tool may import.

A tool knows one kind of target. It says what its arguments are, examines a call without doing it, executes it,
and turns what came back into a result through the `Masker` it is given. It never decides, approves, records or
sees a caller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, ConfigDict

from mcp_gateway.answers import Masked
from mcp_gateway.calls import Facts, JSONObject, Secret, Target, TargetKind
from mcp_gateway.errors import TargetError


class Arguments(BaseModel):
    """Base of every tool's arguments: nothing unknown, nothing coerced, nothing echoed in errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    target: str
    reason: str = ""
    repeat_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """The bounds within which a call runs: the smallest of the permits' and the target's own."""

    call_id: str
    timeout: timedelta
    max_rows: int
    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """One look of the gateway's own at a target while examining; becomes an `Inspected` event."""

    what: str
    outcome: str = "ok"


E = TypeVar("E")
"""What a tool keeps of its examination for its execution and its masking (lineage, a resolved URL, ...)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination(Generic[E]):
    """What a call would do, and on what this knowledge rests."""

    facts: Facts
    environment: str
    """SHA-256 over what the facts depend on outside the call; at a claim a difference means `approval_stale`."""
    shown: Mapping[str, str] = field(default_factory=dict)
    """What an approver reads, label to complete text: the statement, the command, the request."""
    looked: Sequence[Looked] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    """What of an operator's files the facts rest on, name to hash; a part of the `environment`, too."""
    private: E


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a result as it came, and what is proved of it."""

    name: str
    values: Sequence[Any]
    """JSON values."""
    classes: frozenset[str]
    """That its values may derive from."""
    computed: bool
    """Whether it is not proved to be a stored column passed through unchanged."""


class Masker(Protocol):
    """What stands between a raw result and everybody else. Built by `mcp_gateway.masking` for one call."""

    @property
    def touched(self) -> frozenset[str]:
        """Data classes of which there was something so far, masked or raw."""

    def hides(self, classes: frozenset[str]) -> frozenset[str]:
        """Those of `classes` that this caller may not see raw."""

    def column(
        self, values: Sequence[Any], *, classes: frozenset[str], keep_nulls: bool = False, computed: bool = False
    ) -> list[Any]:
        """Mask one column of JSON values: the whole value where a class is hidden, else by detectors.

        NULLs of a hidden column are masked too, unless `keep_nulls`: only where it is proved to be a stored column
        passed through unchanged, because `nullif(ssn, 'guess')` answers by being NULL. `computed` where that is not
        proved of it: then no marker depends on a value, whatever the style.
        """

    def table(self, columns: Sequence[Column]) -> tuple[list[str], list[list[Any]]]:
        """The names of columns, masked as `texts` are, and their values, each column's as `column` masks it."""

    def text(self, value: str, *, cut: bool = False, headless: bool = False) -> str:
        """Mask a text by detectors and credential scrubbing; `cut` and `headless` as for `raw`."""

    def texts(self, values: Sequence[str]) -> list[str]:
        """Mask many texts in one go, each as `text` would: its own, whatever stands in the others."""

    def raw(self, value: bytes, *, cut: bool = False, headless: bool = False) -> bytes:
        """Mask bytes in the same way.

        A limit cut off their end (`cut`) or their beginning (`headless`), maybe inside a value: then what cannot be told
        is left out. Nothing else has to be cut, and what is masked may be cut anywhere.
        """

    def json(self, value: Any) -> Any:
        """Mask every string in a JSON value, keys included."""

    def stop(self) -> None:
        """From another thread: have what is going on end soon, with a `MaskingError`."""

    def seal(self, result: JSONObject, *, rows: int | None = None, truncated: bool = False) -> Masked:
        """Close a result: adds `masked`, scrubs credentials once more over the bytes, counts."""

    def made(self, result: object) -> bool:
        """Whether a result is the one that was closed here."""


class Connector(Protocol):
    """What holds the way to one target: connections, credentials, their limits."""

    def secrets(self) -> Sequence[Secret]:
        """Every credential in use for this target, for the masker to scrub."""

    async def aclose(self) -> None:
        """Close what is open."""


@runtime_checkable
class Plans(Protocol):
    """What a tool has beside, whose target can say what it expects of a call before it runs."""

    async def plan(self, arguments: Any, *, examination: Examination[Any], connector: Any) -> Examination[Any]:
        """The examination with estimates among its facts, where it is safe to ask for them; else as it was.

        Asked only where a policy looks at estimates, in the time of `examine`.
        """


class Tool(Protocol[E]):
    """One governed operation on a kind of target.

    `examine` has no effect on the target; `execute` is called at most once, after `Started` is durable. Each has its time,
    `examine` and `preview` half a minute, and is cancelled when that is over. `mask` gives what `Masker.seal` gave it.
    """

    name: ClassVar[str]
    kind: ClassVar[TargetKind]
    description: ClassVar[str]
    read_only_hint: ClassVar[bool]
    Arguments: ClassVar[type[Arguments]]
    result_schema: ClassVar[JSONObject]

    async def examine(self, arguments: Any, *, target: Target, connector: Any, fresh: bool = False) -> Examination[E]:
        """Find out what the call would do. Raises `RequestError` or `TargetError`.

        `fresh` is said before an approval is used: nothing that is remembered of the target may then be relied on
        without asking the target whether it still holds.
        """

    async def preview(self, arguments: Any, *, examination: Examination[E], connector: Any) -> str:
        """What an approver may be told beyond the facts, such as planned rows; empty where it is not safe to ask.

        Raises `TargetError`, which is taken as empty, and `RequestError` where the target is sure to refuse the call:
        then that is the answer, and nobody is asked.
        """

    async def execute(self, arguments: Any, *, examination: Examination[E], connector: Any, permit: Permit) -> Any:
        """Do it. Cancellation is passed on to the target. Raises `TargetError`."""

    def size(self, raw: Any) -> int:
        """About how many bytes of what came back `mask` has to go through."""

    def mask(self, raw: Any, *, examination: Examination[E], masker: Masker, call_id: str) -> Masked:
        """Turn what came back into the result. May run in a thread of its own: no I/O, nothing shared is changed."""

    def mask_error(self, error: TargetError, *, examination: Examination[E], masker: Masker) -> str:
        """The one sentence that may leave about an error of the target."""
