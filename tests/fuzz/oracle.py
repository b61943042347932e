"""What a message may do at the target, read strictly and apart from the gateway: a call of it, or nothing at all.

Where this finds no valid call, anything that reaches the target is a finding. Where it finds one, only that one may.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection
from typing import Any
from urllib.parse import unquote, unquote_plus, urlencode

from tests.fuzz.messages import MODERN, Era, Message

Effect = tuple[str, str]
"""Method and path with its query, decoded."""
PROTOCOLS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")


def effect_of_request_line(line: str) -> Effect:
    """What a target was asked."""
    method, _, rest = line.partition(" ")
    return method, unquote(rest.rpartition(" ")[0])


def may_do(
    era: Era,
    message: Message,
    *,
    token: str,
    hosts: Collection[str],
    origins: Collection[str],
    sessions: Collection[str],
) -> Effect | None:
    """The one thing that this request may do."""
    if message.breaks_off or message.verb != "POST" or not _head(era, message, token, hosts, origins, sessions):
        return None
    return call_in(message.body, names=[*map(_name, _values(message, b"mcp-name"))] if era == "modern" else None)


def call_in(body: bytes, *, names: list[str] | None = None) -> Effect | None:
    """The call that one JSON-RPC text in UTF-8 is."""
    try:
        decoded = json.loads(body.decode("utf-8"), object_pairs_hook=_members)
    except (ValueError, RecursionError):
        return None
    if not isinstance(decoded, dict) or decoded.get("jsonrpc") != "2.0" or decoded.get("method") != "tools/call":
        return None
    number = decoded.get("id")
    params = decoded.get("params")
    if isinstance(number, bool) or not isinstance(number, (int, str)) or not isinstance(params, dict):
        return None
    if params.get("name") != "call_api" or (names is not None and names != ["call_api"]):
        return None
    return effect_of_arguments(params.get("arguments"))


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a member comes twice")
    return dict(pairs)


def effect_of_arguments(arguments: Any) -> Effect | None:
    if not isinstance(arguments, dict) or arguments.get("target") != "api":
        return None
    known = {"target", "reason", "repeat_of", "method", "path", "query", "headers", "json", "body"}
    method, path, query = arguments.get("method", "GET"), arguments.get("path"), arguments.get("query")
    if arguments.keys() - known or not isinstance(method, str) or not isinstance(path, str):
        return None
    path, _, given = path.partition("#")[0].partition("?")
    if query is not None:
        if not isinstance(query, dict):
            return None
        try:
            given = "&".join(filter(None, (given, urlencode(query, doseq=True))))
        except UnicodeEncodeError:  # a lone surrogate
            return None
    text = _without_dots(f"/{unquote(path).lstrip('/')}")
    return method, text + (f"?{unquote_plus(given)}" if given else "")


def _without_dots(path: str) -> str:
    """A path as RFC 3986 section 5.2.4 has it; one that leads above the root is refused, and is of no matter here."""
    found: list[str] = []
    for segment in path.split("/")[1:]:
        if segment in {".", ".."}:
            found = found[: -1 if segment == ".." else None]
            continue
        found.append(segment)
    ends_in_folder = path.endswith(("/", "/.", "/.."))
    return "/" + "/".join(found) + ("/" if ends_in_folder and found and found[-1] else "")


def _name(value: str) -> str:
    """What a header says that may be written in base64, as the protocol has it for any text (`=?base64?...?=`)."""
    if not (value.startswith("=?base64?") and value.endswith("?=")):
        return value
    try:
        return base64.b64decode(value[9:-2], validate=True).decode()
    except ValueError:
        return value


def _values(message: Message, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip(" \t") for key, value in message.headers if key == name]


def _head(
    era: Era, message: Message, token: str, hosts: Collection[str], origins: Collection[str], sessions: Collection[str]
) -> bool:
    host, origin, proof = (_values(message, name) for name in (b"host", b"origin", b"authorization"))
    if len(host) != 1 or host[0].lower() not in hosts or len(origin) > 1:
        return False
    if any(value.lower() not in origins for value in origin):
        return False
    if len(proof) != 1 or proof[0].partition(" ")[0].lower() != "bearer" or proof[0].partition(" ")[2] != token:
        return False
    if not any(value.lower().startswith("application/json") for value in _values(message, b"content-type")):
        return False
    version = _values(message, b"mcp-protocol-version")
    match era:
        case "modern":
            return (
                message.path == "/mcp" and version[:1] == [MODERN] and _values(message, b"mcp-method") == ["tools/call"]
            )
        case "legacy":
            session = _values(message, b"mcp-session-id")
            known = not version or version[0] in PROTOCOLS
            return message.path == "/mcp" and known and bool(session) and session[0] in sessions
        case _:
            return message.path == "/messages/" and any(
                f"session_id={one}".encode() in message.query for one in sessions
            )
