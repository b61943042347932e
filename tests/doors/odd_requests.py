"""Requests that two readers could understand in two ways, each one step away from a plain call."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import orjson
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY

from tests.doors.two_doors import MODERN, Request, message, meta, request

PLAIN = orjson.dumps(message())
VERSION, INFO, CAPABILITIES = PROTOCOL_VERSION_META_KEY, CLIENT_INFO_META_KEY, CLIENT_CAPABILITIES_META_KEY


def text(body: str) -> bytes:
    """JSON as text, so that it can hold what no serializer writes."""
    return body.encode("utf-8", "surrogatepass")


def put(old: str, new: str) -> bytes:
    """The plain body with one piece of it in place of another."""
    plain = PLAIN.decode()
    assert old in plain
    return text(plain.replace(old, new, 1))


def argument(members: str) -> bytes:
    """A plain call with one more argument, as text."""
    return put('"path":"x"', f'"path":"x",{members}')


def whole(**changes: Any) -> bytes:
    """A plain call with other or further members."""
    return orjson.dumps(message() | changes)


def parameters(**changes: Any) -> bytes:
    """A plain call with other or further parameters."""
    body = message()
    return orjson.dumps(body | {"params": body["params"] | changes})


def without(*names: str) -> bytes:
    """The plain body without some member of its envelope, its parameters or its `_meta`."""
    body = message()
    for part in (body, body["params"], body["params"]["_meta"]):
        for name in names:
            part.pop(name, None)
    return orjson.dumps(body)


def said(**more: Any) -> bytes:
    """A plain call whose client says something else of itself."""
    names = {"version": VERSION, "info": INFO, "capabilities": CAPABILITIES}
    return orjson.dumps(message(_meta=meta(**{names.get(name, name): value for name, value in more.items()})))


BODIES: dict[str, bytes] = {
    # Names that come twice, or nearly.
    "two methods": put('"method":"tools/call"', '"method":"tools/list","method":"tools/call"'),
    "two methods, the other last": put('"method":"tools/call"', '"method":"tools/call","method":"tools/list"'),
    "two ids": put('"id":1', '"id":2,"id":1'),
    "two names": put('"name":"call_api"', '"name":"list_targets","name":"call_api"'),
    "two names, the other last": put('"name":"call_api"', '"name":"call_api","name":"list_targets"'),
    "an escaped name beside the same": put('"name":"call_api"', '"n\\u0061me":"list_targets","name":"call_api"'),
    "two paths": put('"path":"x"', '"path":"x","path":"y"'),
    "two arguments": put('"arguments":{', '"arguments":{"target":"api","path":"y"},"arguments":{'),
    "two params": put('"params":{', '"params":{},"params":{'),
    "two metas": put('"_meta":{', '"_meta":{},"_meta":{'),
    "two versions": put(f'"{VERSION}":"{MODERN}"', f'"{VERSION}":"2025-11-25","{VERSION}":"{MODERN}"'),
    "two targets deep inside": argument('"headers":{"a":"1","a":"2"}'),
    "Method": put('"method"', '"Method"'),
    "Method beside method": put('"method":', '"Method":"tools/list","method":'),
    "Name beside name": put('"name":"call_api"', '"name":"call_api","Name":"list_targets"'),
    "an escaped method": put('"method"', '"m\\u0065thod"'),
    "an escaped tool": put('"call_api"', '"call\\u005fapi"'),
    "a homoglyph of a tool": put('"call_api"', '"c\\u0430ll_api"'),
    # Members that nobody knows.
    "a further member": whole(extra=1),
    "a result beside": whole(result={}),
    "a further parameter": parameters(extra=1),
    "input responses": parameters(inputResponses={"confirm": {"action": "accept"}}),
    "null input responses": parameters(inputResponses=None),
    "a request state": parameters(requestState="made up"),
    "a null request state": parameters(requestState=None),
    "a task": parameters(task={"ttl": 1}),
    "a vendor's meta": said(**{"example.com/of-its-own": "x"}),
    "an unknown meta of the protocol's": said(**{"io.modelcontextprotocol/unknown": {}}),
    "a log level": said(**{"io.modelcontextprotocol/logLevel": "debug"}),
    "a progress token": said(progressToken="p"),
    "a null progress token": said(progressToken=None),
    "a progress token that is a number": said(progressToken=7),
    "a trace": said(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", tracestate="a=b"),
    "an empty trace": said(traceparent=""),
    "a long trace": said(traceparent="0" * 1000),
    "a trace that is a number": said(traceparent=1),
    "a null trace": said(traceparent=None),
    "baggage that is a list": said(baggage=["a=b"]),
    # What a client says of itself.
    "no client info": without(INFO),
    "no capabilities": without(CAPABILITIES),
    "no version": without(VERSION),
    "null client info": said(info=None),
    "empty client info": said(info={}),
    "client info that is a text": said(info="x"),
    "a client without a version": said(info={"name": "x"}),
    "a client whose name is a number": said(info={"name": 1, "version": "1"}),
    "a client with a title": said(
        info={"name": "x", "version": "1", "title": "T", "websiteUrl": "https://example.com"}
    ),
    "a client with more": said(info={"name": "x", "version": "1", "more": {"a": [1]}}),
    "a client with another's name": said(info={"name": "[pii.email] a@example.com", "version": "1"}),
    "a client with a huge name": said(info={"name": "x" * 5000, "version": "1"}),
    "a client with a big number": said(info={"name": "x", "version": "1", "n": 2.5}),
    "null capabilities": said(capabilities=None),
    "capabilities that are a list": said(capabilities=[]),
    "elicitation": said(capabilities={"elicitation": {}}),
    "null elicitation": said(capabilities={"elicitation": None}),
    "forms": said(capabilities={"elicitation": {"form": {}}}),
    "URLs alone": said(capabilities={"elicitation": {"url": {}}}),
    "elicitation that is a text": said(capabilities={"elicitation": "form"}),
    "sampling": said(capabilities={"sampling": {}, "roots": {"listChanged": True}}),
    "unknown capabilities": said(capabilities={"x": {"y": 1}}),
    "a version of before": said(version="2025-11-25"),
    "a version to come": said(version="2027-01-01"),
    "a null version": said(version=None),
    "a version that is a number": said(version=20260728),
    "a version with a space": said(version=f"{MODERN} "),
    "null meta": parameters(_meta=None),
    "meta that is a list": parameters(_meta=[]),
    "no meta": without("_meta"),
    # Ids.
    **{
        f"the id {number}": put('"id":1', f'"id":{number}')
        for number in (
            "null",
            "1.5",
            "1.0",
            "1e0",
            "true",
            "false",
            "[]",
            "{}",
            '""',
            '"1"',
            '"ü"',
            "-1",
            "0",
            "-0",
            "9007199254740991",
            "9007199254740992",
            "18446744073709551616",
            "9" * 400,
            '"\\u0000"',
            '"\\ud800"',
            '"' + "x" * 1000 + '"',
            "NaN",
        )
    },
    "no id": without("id"),
    # The envelope.
    "JSON-RPC 1.0": whole(jsonrpc="1.0"),
    "JSON-RPC as a number": whole(jsonrpc=2.0),
    "no JSON-RPC": without("jsonrpc"),
    "another method": whole(method="tools/list"),
    "an unknown method": whole(method="tools/unknown"),
    "a method with a space": whole(method="tools/call "),
    "a method in capitals": whole(method="TOOLS/CALL"),
    "a method that is a list": whole(method=["tools/call"]),
    "no method": without("method"),
    "a response": orjson.dumps({"jsonrpc": "2.0", "id": 1, "result": {}}),
    "a notification": orjson.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}),
    "params that are a list": whole(params=[]),
    "null params": whole(params=None),
    "no params": without("params"),
    "a batch of one": b"[" + PLAIN + b"]",
    "a batch of two": b"[" + PLAIN + b"," + PLAIN + b"]",
    "an empty batch": b"[]",
    "a number": b"1",
    "null": b"null",
    "a text": b'"tools/call"',
    # Names and arguments.
    "no name": without("name"),
    "a null name": parameters(name=None),
    "a name that is a list": parameters(name=["call_api"]),
    "an unknown tool": parameters(name="rm"),
    "another tool than the head says": parameters(name="list_targets"),
    "an empty name": parameters(name=""),
    "no arguments": without("arguments"),
    "null arguments": put('{"target":"api","path":"x"}', "null"),
    "arguments that are a list": put('{"target":"api","path":"x"}', "[]"),
    "arguments that are a text": put('{"target":"api","path":"x"}', '"x"'),
    "empty arguments": put('{"target":"api","path":"x"}', "{}"),
    # Encodings and everything that is nearly JSON.
    "a byte order mark": b"\xef\xbb\xbf" + PLAIN,
    "UTF-16": PLAIN.decode().encode("utf-16"),
    "UTF-16, little": PLAIN.decode().encode("utf-16-le"),
    "UTF-16, big": PLAIN.decode().encode("utf-16-be"),
    "UTF-32": PLAIN.decode().encode("utf-32"),
    "UTF-7": b"+AHsAIg-jsonrpc+ACI-:1}",
    "Latin-1": put('"path":"x"', '"path":"ü"').decode().encode("latin-1"),
    "not UTF-8": PLAIN.replace(b'"x"', b'"\xff"'),
    "overlong UTF-8": PLAIN.replace(b'"x"', b'"\xc0\xaf"'),
    "a lone surrogate": argument('"query":{"q":"\\ud800"}'),
    "a lone surrogate as a name": argument('"\\ud800":1'),
    "a lone surrogate in bytes": argument('"query":{"q":"\ud800"}'),
    "NUL": argument('"query":{"q":"\\u0000"}'),
    "a raw NUL": PLAIN.replace(b'"x"', b'"\x00"'),
    "a raw newline in a text": PLAIN.replace(b'"x"', b'"\n"'),
    "white space around": b" \r\n\t" + PLAIN + b" \r\n\t",
    "a vertical tab before": b"\x0b" + PLAIN,
    "a no-break space after": PLAIN + b"\xc2\xa0",
    "something behind": PLAIN + b"x",
    "the same behind": PLAIN + PLAIN,
    "NUL behind": PLAIN + b"\x00",
    "a comma too much": PLAIN[:-1] + b",}",
    "a comment": b"/* x */" + PLAIN,
    "single quotes": PLAIN.replace(b'"', b"'"),
    "half of it": PLAIN[: len(PLAIN) // 2],
    "nothing": b"",
    "a brace": b"{",
    "empty": b"{}",
    # Numbers.
    "NaN": argument('"json":NaN'),
    "Infinity": argument('"json":Infinity'),
    "-Infinity": argument('"json":-Infinity'),
    "1e999": argument('"json":1e999'),
    "a small number": argument('"json":1e-999'),
    "-0": argument('"json":-0'),
    "-0.0": argument('"json":-0.0'),
    "01": argument('"json":01'),
    "+1": argument('"json":+1'),
    "0x1": argument('"json":0x1'),
    "2**63": argument(f'"json":{2**63}'),
    "2**64": argument(f'"json":{2**64}'),
    "40 digits": argument('"json":' + "9" * 40),
    "5,000 digits": argument('"json":' + "9" * 5_000),
    "a long fraction": argument('"json":0.1000000000000000055511151231257827'),
    # Sizes and depths.
    "100 deep": argument('"json":' + "[" * 100 + "]" * 100),
    "900 deep": argument('"json":' + '{"a":' * 900 + "1" + "}" * 900),
    "20,000 deep": argument('"json":' + "[" * 20_000 + "]" * 20_000),
    "20,000 open": argument('"json":' + "[" * 20_000),
    "5,000 arguments": argument(",".join(f'"k{number}":1' for number in range(5_000))),
    "60,000 bytes": argument('"body":"' + "x" * 60_000 + '"'),
    "70,000 bytes": argument('"body":"' + "x" * 70_000 + '"'),
}

ALLOWED = "application/json, text/event-stream"


def heads() -> Iterator[tuple[str, Request]]:
    """The plain body behind odd heads."""
    plain = request(PLAIN)
    for name, value in plain.headers:
        yield f"no {name}", plain.with_headers(**{name: None})
        yield f"two of {name}", plain.with_more((name, value))
        yield f"{name} twice, and not the same", plain.with_more((name, f"{value}x"))
        yield f"{name} with spaces", plain.with_headers(**{name: f" {value} "})
        yield f"{name} with more", plain.with_headers(**{name: f"{value};q=1"})
        yield f"{name} in capitals", plain.with_headers(**{name: value.upper()})
        yield f"an empty {name}", plain.with_headers(**{name: ""})
        yield f"the name {name} in capitals", plain.with_headers(**{name: None}).with_more((name.upper(), value))
    values = {
        "content-type": (
            "application/json; charset=utf-8", "application/json; charset=utf-16", "application/json;charset=latin-1",
            "application/jsonx", "application/json, text/plain", "text/plain", "application/vnd.api+json",
        ),
        "accept": (
            "*/*", "application/json", "text/event-stream", "text/event-stream, application/json", "application/*, text/*",
            "application/json;q=0, text/event-stream", f"{ALLOWED}, */*", ALLOWED.replace(" ", ""), f"text/html, {ALLOWED}",
        ),
        "content-length": ("0", "1", "abc", "-1", "+5", "0x10", "1e1", "9" * 30, f"0{len(PLAIN)}", f"{len(PLAIN) + 1}"),
        "mcp-protocol-version": (
            "2025-11-25", "2025-06-18", "2024-11-05", "2027-01-01", f"{MODERN}, 2025-11-25", f"{MODERN},{MODERN}", "x",
        ),
        "mcp-method": ("tools/list", "TOOLS/CALL", "tools/call, tools/list", "initialize"),
        "mcp-name": (
            "list_targets", "rm", "call_api, list_targets", "=?base64?Y2FsbF9hcGk=?=", "=?base64?Y2FsbF9hcGk?=",
            "Call_Api", "call%5Fapi",
        ),
    }  # fmt: skip
    for name, several in values.items():
        for value in several:
            yield f"{name}: {value}", plain.with_headers(**{name: value})
    further = {
        "transfer-encoding": ("chunked", "identity", "gzip"),
        "content-encoding": ("gzip", "identity", ""),
        "mcp-session-id": ("x", "0" * 32, ""),
        "last-event-id": ("1",),
        "mcp-param-path": ("x", "y", ""),
        "mcp-unknown": ("x",),
        "expect": ("100-continue",),
        "upgrade": ("h2c", "websocket"),
        "trailer": ("mcp-name",),
        "origin": ("https://evil.example", "http://127.0.0.1:8765", "null"),
        "connection": ("close", "mcp-name"),
        "x-http-method-override": ("GET",),
        "x-original-url": ("/sse",),
        "forwarded": ("host=evil.example",),
        "cookie": ("session=1",),
        "authorization": ("Bearer x",),
    }
    for name, several in further.items():
        for value in several:
            yield f"further, {name}: {value}", plain.with_more((name, value))
    session = plain.with_more(("mcp-session-id", "x"))
    yield "a session with an older version", session.with_headers(**{"mcp-protocol-version": "2025-11-25"})
    yield (
        "no length but chunks",
        plain.with_headers(**{"content-length": None}).with_more(("transfer-encoding", "chunked")),
    )
    packed = gzip.compress(PLAIN, mtime=0)
    yield "a packed body", request(packed).with_more(("content-encoding", "gzip"))
    yield "a packed body that does not say so", request(packed)


def places() -> Iterator[tuple[str, Request]]:
    """The plain call at other places, by other methods, in pieces."""
    for method in ("GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "post", "TRACE"):
        yield f"the method {method}", request(PLAIN, method=method)
    for path in ("/mcp/", "//mcp", "/MCP", "/mcp/x", "/mcp;x", "/", "/sse", "/healthz", "/api", "/.well-known/x"):
        yield f"the path {path}", request(PLAIN, path=path)
    yield "an escaped path", request(PLAIN, raw_path=b"/%6dcp")
    yield "a query", request(PLAIN, query=b"x=1")
    yield "HTTP/1.0", request(PLAIN, http_version="1.0")
    yield "HTTP/2", request(PLAIN, http_version="2")
    yield "a body in two pieces", request(PLAIN, parts=2)
    yield "a body byte by byte", request(PLAIN, parts=len(PLAIN))
    yield "a body that ends early", request(PLAIN, parts=3, leaves=True)
    yield "a body longer than it said", request(PLAIN).with_headers(**{"content-length": f"{len(PLAIN) - 1}"})


def odd_requests() -> dict[str, Request]:
    """All of them."""
    found = {f"the body: {name}": request(body) for name, body in BODIES.items()}
    for of in (heads, places):
        for name, one in of():
            assert name not in found
            found[name] = one
    return found


def changed(path: list[str], value: Any) -> bytes:
    """The plain body with some value somewhere in it, as the standard library writes it."""
    body: Any = message()
    place = body
    for name in path[:-1]:
        place = place.setdefault(name, {}) if isinstance(place, dict) else {}
    if isinstance(place, dict):
        place[path[-1]] = value
    return json.dumps(body).encode()
