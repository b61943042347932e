"""What `inspect` does with its items. Reads items, asks the gateway's own pure parts, writes one object for each.

Where an item cannot be understood, its object says the worst that there is to say, and why in `error`.
"""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Literal

from mcp_gateway.calls import JSONObject
from mcp_gateway.cli.output import print_json
from mcp_gateway.errors import GatewayError
from mcp_gateway.facts.inspect_url import NO_FACTS
from mcp_gateway.facts.programs import Knowledge
from mcp_gateway.facts.requests import PLAIN, Interface
from mcp_gateway.inference import KINDS

if TYPE_CHECKING:
    from mcp_gateway.cli.catalogs import TargetCatalog
    from mcp_gateway.facts.examination import SQLExamination

MAX_ITEM_BYTES = 16 * 1024 * 1024
"""Far beyond what a call may hold; a device or a wrong file must not fill the memory."""

ONLY_BY_CATALOG = ("returns", "infers", "inference")
"""Facts about classified columns: without a catalog nobody knows them, and an empty set would say that there is nothing."""

Kind = Literal["sql", "shell", "url", "text"]


class ItemError(ValueError):
    """An item that is not one."""


class Inspector(ABC):
    """One kind of item."""

    bare: ClassVar[str | None]
    """The key of an item that may stand alone as plain text."""
    keys: ClassVar[frozenset[str]]
    """Keys of which an item has at least one."""
    worst: ClassVar[JSONObject]
    """The worst that there is to say."""
    example: ClassVar[str] = ""
    """An item, of a kind that is never plain text."""

    @abstractmethod
    async def inspect(self, item: JSONObject) -> JSONObject:
        """All that is said of an item but its `id` and `error`. Raises `ValueError` or `GatewayError`."""

    def of_the_unread(self) -> JSONObject:
        """What is said of an item that cannot be understood."""
        return self.worst

    async def aclose(self) -> None:  # noqa: B027 - most have nothing to end
        """End what was started for it."""


class SQLInspector(Inspector):
    """Statements, examined where they can break nothing; by the catalog of a target, if there is one."""

    bare = "sql"
    keys = frozenset({"sql"})
    worst: ClassVar[JSONObject] = {
        "read_only": False,
        "kinds": [],
        "merge_actions": [],
        "reads": [],
        "writes": [],
        "columns": [],
        "returned_columns": [],
        "condition_columns": [],
        "functions": [],
        "function_traits": [],
        "unbounded": False,
        "statements": 0,
        "row_limit": -1,
        "fingerprint": "",
        "returns": [],
        "planned_rows": -1,
        "planned_cost": -1,
        "infers": [],
        "inference": {kind: [] for kind in KINDS},
        "refusal": None,
    }

    def __init__(self, catalog: TargetCatalog | None = None) -> None:
        from mcp_gateway.facts.worker import SQLWorker

        self._worker = SQLWorker()
        self._catalog = catalog

    async def inspect(self, item: JSONObject) -> JSONObject:
        """Facts, and in `refusal` why this could never be a call, where it could not; in `catalog` what they rest on."""
        from mcp_gateway.facts.inspect_sql import inspection_of

        sql = _text(item, "sql")
        if self._catalog is None:
            examination, _ = await self._worker.examine(sql)
        else:
            examination = await self._catalog.examine(sql, worker=self._worker)
        return inspection_of(examination) | self._told(examination) | {"refusal": examination.refusal}

    def of_the_unread(self) -> JSONObject:
        """With the catalog that nothing was found by."""
        return self.worst | self._told(None)

    def _told(self, examination: SQLExamination | None) -> JSONObject:
        if self._catalog is None:
            return dict.fromkeys(ONLY_BY_CATALOG)
        return {"catalog": self._catalog.to_json(of=examination)}

    async def aclose(self) -> None:
        """End the worker."""
        await self._worker.aclose()


class ShellInspector(Inspector):
    """Commands."""

    bare = "command"
    keys = frozenset({"command", "argv"})
    worst: ClassVar[JSONObject] = {
        "programs": [],
        "subcommands": [],
        "opaque": True,
        "read_only": False,
        "writes_files": True,
        "privileged": True,
        "network": True,
        "writes": [],
        "removes": [],
        "paths_known": False,
    }

    def __init__(self, knowledge: Knowledge | None) -> None:
        self._knowledge = knowledge

    async def inspect(self, item: JSONObject) -> JSONObject:
        """Facts."""
        from mcp_gateway.facts.inspect_shell import inspect_shell

        command = _text(item, "command") if item.get("command") is not None else None
        argv = _texts(item, "argv") if item.get("argv") is not None else None
        return inspect_shell(command=command, argv=argv, knowledge=self._knowledge)


class URLInspector(Inspector):
    """Requests, to an API of which `interface` is known."""

    bare = None
    keys = frozenset({"base_url", "path"})
    example = '{"base_url": "https://billing.internal/v1", "path": "invoices"}'
    worst: ClassVar[JSONObject] = {"allowed": False, "url": None, "reason": ""} | NO_FACTS

    def __init__(self, interface: Interface) -> None:
        self._interface = interface

    async def inspect(self, item: JSONObject) -> JSONObject:
        """Whether it may be sent, as what, and if not why."""
        from mcp_gateway.facts.inspect_url import inspect_url

        return inspect_url(
            base_url=_text(item, "base_url"),
            path=_text(item, "path"),
            method=_text(item, "method") if item.get("method") is not None else "GET",
            headers=_headers(item) if item.get("headers") is not None else None,
            addresses=_texts(item, "addresses") if item.get("addresses") is not None else None,
            json_value=item.get("json"),
            body=_text(item, "body") if item.get("body") is not None else None,
            interface=self._interface,
        )


class TextInspector(Inspector):
    """Texts, under a choice of detectors."""

    bare = "text"
    keys = frozenset({"text"})
    worst: ClassVar[JSONObject] = {"found": [], "masked": None}

    def __init__(self, detectors: Sequence[str]) -> None:
        """Raises `ConfigError` for a detector that there is not."""
        from mcp_gateway.masking.detectors import resolve

        self._detectors = resolve(detectors, path="--detector")

    async def inspect(self, item: JSONObject) -> JSONObject:
        """What the detectors find, and the text without it."""
        from mcp_gateway.masking.inspect_text import inspect_text

        return inspect_text(_text(item, "text"), self._detectors)


def inspector_for(
    kind: Kind,
    *,
    detectors: Sequence[str],
    catalog: TargetCatalog | None = None,
    knowledge: Knowledge | None = None,
    interface: Interface = PLAIN,
) -> Inspector:
    """What inspects items of a kind.

    `catalog`: of a target, for statements. `knowledge`: of programs, for commands; what is built in if none is given.
    `interface`: of the API, for requests.
    """
    match kind:
        case "sql":
            return SQLInspector(catalog)
        case "shell":
            return ShellInspector(knowledge)
        case "url":
            return URLInspector(interface)
        case "text":
            return TextInspector(detectors)


async def inspect_stream(inspector: Inspector, stream: BinaryIO) -> None:
    """Read one item a line and print an object for each, in order; a bad one has its `error` and stops nothing."""
    try:
        for read in _lines(stream):
            print_json(await _inspect_one(inspector, read, jsonl=True))
            sys.stdout.flush()  # whoever sends items one by one waits for each answer
    finally:
        await inspector.aclose()


async def inspect_single(inspector: Inspector, read: bytes) -> JSONObject:
    """The object for one item; what is longer than `MAX_ITEM_BYTES` is refused."""
    try:
        return await _inspect_one(inspector, read, jsonl=False)
    finally:
        await inspector.aclose()


async def _inspect_one(inspector: Inspector, read: bytes, *, jsonl: bool) -> JSONObject:
    given: Any = None
    try:
        if len(read) > MAX_ITEM_BYTES:
            raise ItemError(f"expected at most {MAX_ITEM_BYTES:,} bytes, got more")
        item = _object(read) if jsonl else _single(read, inspector)
        given = _writable(item.get("id"))
        if not inspector.keys & item.keys():
            raise ItemError(f"expected an object with {' and '.join(map(repr, sorted(inspector.keys)))}")
        found = await inspector.inspect(item)
    except (ValueError, RecursionError, GatewayError) as error:
        return {"id": given} | inspector.of_the_unread() | {"error": str(error) or type(error).__name__}
    return {"id": given} | found | {"error": None}


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Lines that are not blank. Of a line that is too long nothing but its first part is kept."""
    while line := stream.readline(MAX_ITEM_BYTES + 1):
        rest = line
        while len(rest) > MAX_ITEM_BYTES and not rest.endswith(b"\n"):
            rest = stream.readline(MAX_ITEM_BYTES + 1)
        if line.strip():
            yield line


def _single(read: bytes, inspector: Inspector) -> JSONObject:
    """An item as JSON, or where its kind allows it as plain text. One final line end is not part of a text."""
    try:
        item = _object(read)
    except (ValueError, RecursionError):
        item = {}
    if inspector.keys & item.keys():
        return item
    if inspector.bare is None:
        try:
            return item or _object(read)
        except ItemError as error:
            raise ItemError(f"an item of this kind is an object such as {inspector.example}; {error}") from None
    try:
        return {inspector.bare: read.decode().removesuffix("\n").removesuffix("\r")}
    except UnicodeDecodeError as error:
        raise ItemError(f"expected UTF-8, byte {error.start} is none") from None


def _object(read: bytes) -> JSONObject:
    try:
        item = json.loads(read.decode())
    except UnicodeDecodeError as error:
        raise ItemError(f"expected UTF-8, byte {error.start} is none") from None
    except json.JSONDecodeError as error:
        raise ItemError(f"expected JSON: {error}") from None
    if not isinstance(item, dict):
        raise ItemError("expected a JSON object")
    return item


def _writable(value: Any) -> Any:
    """An id as it came. Raises `ValueError` for one that is no JSON, a `NaN` in it, say, which Python reads all the same."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise ItemError(f"its id cannot be given back: {error}") from None
    return value


def _text(item: JSONObject, key: str) -> str:
    value = item.get(key)
    if not isinstance(value, str):
        raise ItemError(f"expected a string for {key!r}")
    return value


def _texts(item: JSONObject, key: str) -> list[str]:
    value: Any = item.get(key)
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise ItemError(f"expected an array of strings for {key!r}")
    return value


def _headers(item: JSONObject) -> dict[str, str]:
    value: Any = item["headers"]
    if not isinstance(value, dict) or not all(isinstance(entry, str) for entry in value.values()):
        raise ItemError("expected an object of strings for 'headers'")
    return value
