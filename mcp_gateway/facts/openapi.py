"""An OpenAPI document (3.0 or 3.1) as what it says of requests: which operations there are, and what each takes. Pure.

Paths of the document are those below the target's `base_url`; `servers` does not count, since the operator says where
requests go. References are followed inside the document alone. `openapi_requests` looks at requests.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from mcp_gateway.errors import ConfigError, Problem
from mcp_gateway.facts.http import METHODS
from mcp_gateway.facts.http_fields import media_type
from mcp_gateway.facts.openapi_paths import Template, TemplateError, Templates, read_template
from mcp_gateway.facts.openapi_schemas import Schemas
from mcp_gateway.facts.openapi_text import Place, line_at, read_tree

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
MAX_HOPS = 20
VERSION = re.compile(r"3\.[01]\.[0-9]+\Z")
DATA = frozenset({"example", "examples", "default", "enum", "const"})
"""Keys below which there are values and no description."""
NOT_FOLLOWED = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef")
"""Of JSON Schema: other ways to name what a reference means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One field of a query or a part of a path."""

    name: str
    required: bool
    schema: str | None
    """A JSON pointer; None where there is none that a text could be compared with."""
    is_array: bool
    explode: bool
    readable: bool
    """False for styles that this version does not read."""
    is_deep: bool
    """Whether it is an object whose members are fields of the query, as `filter[year]` (style `deepObject`)."""
    allows_empty: bool
    """Whether it may be there without a value."""

    @property
    def is_list(self) -> bool:
        """Whether items stand in one value, with commas between."""
        return self.is_array and not self.explode


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What one method on one path takes."""

    name: str
    """`operationId`, else method and path."""
    tags: frozenset[str]
    query: Mapping[str, Parameter]
    path: Mapping[str, Parameter]
    body_required: bool
    bodies: Mapping[str, Sequence[str | None]] | None
    """Media type to the JSON pointer of its schema, None where it has none; None for no body at all. There is more than one
    where types differ in their parameters alone; servers look at these in their own ways, so all of them count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What requests there are."""

    templates: Templates
    operations: Mapping[tuple[str, str], Operation]
    """By path as written and method."""
    schemas: Schemas
    servers: tuple[str, ...]
    """The paths of its servers, for whoever compares them with a base URL."""
    digest: str
    """SHA-256 of the text, in hexadecimal."""
    tree: Any = field(repr=False)

    def resolved(self, pointer: str) -> tuple[Any, str]:
        """The value at a JSON pointer and its own pointer, references followed; nothing where there is none."""
        try:
            return _follow(self.tree, _at(self.tree, pointer), pointer)
        except LookupError:
            return None, pointer


def read_openapi(text: str, *, file: str) -> Document:
    """Read a document.

    Raises:
        ConfigError: with everything that is wrong in it, each with its line where that can be told.
    """
    tree = read_tree(text, file=file)
    reader = _Reader(tree)
    document = reader.read(hashlib.sha256(text.encode(errors="replace")).hexdigest())
    if reader.problems:
        raise ConfigError(
            [
                Problem(file=file, line=line_at(text, place), path=_shown(place), message=message)
                for place, message in reader.problems
            ]
        )
    return document


def _shown(place: Place) -> str:
    return ".".join(map(str, place))


def _pointer(place: Place) -> str:
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in place)


def _at(tree: Any, pointer: str) -> Any:
    """The value at a JSON pointer (RFC 6901). Raises `LookupError`."""
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(tree, list) and name.isascii() and name.isdigit():
            tree = tree[int(name)]
        elif isinstance(tree, dict):
            tree = tree[name]
        else:
            raise LookupError(pointer)
    return tree


def _follow(tree: Any, found: Any, pointer: str) -> tuple[Any, str]:
    """Through references, to what is none. Raises `LookupError`."""
    for _ in range(MAX_HOPS):
        reference = found.get("$ref") if isinstance(found, dict) else None
        if not isinstance(reference, str):
            return found, pointer
        pointer = unquote(reference.removeprefix("#"))
        found = _at(tree, pointer)
    raise LookupError(pointer)


class _Reader:
    """Keeps what is wrong where."""

    def __init__(self, tree: Any) -> None:
        self.problems: list[tuple[Place, str]] = []
        self._tree = tree
        self._names: dict[str, Place] = {}

    def read(self, digest: str) -> Document:
        tree = self._object(self._tree, ())
        version = tree.get("openapi")
        if isinstance(self._tree, dict) and (not isinstance(version, str) or not VERSION.match(version)):
            got = f"got {version!r}" if "openapi" in tree else "and there is none"
            self._wrong(("openapi",), f"expected OpenAPI 3.0 or 3.1, such as '3.1.0', {got}")
        self._check_references()
        templates: dict[tuple[str, ...], Template] = {}
        operations: dict[tuple[str, str], Operation] = {}
        if not self.problems:
            for path, item in self._object(tree.get("paths", {}), ("paths",)).items():
                if not path.startswith("x-"):
                    self._path(path, item, templates, operations)
        return Document(
            templates=Templates(templates.values()),
            operations=operations,
            schemas=Schemas(self._tree, version=str(version)),
            servers=tuple(_server_paths(tree.get("servers"))),
            digest=digest,
            tree=self._tree,
        )

    def _path(
        self,
        path: str,
        item: Any,
        templates: dict[tuple[str, ...], Template],
        operations: dict[tuple[str, str], Operation],
    ) -> None:
        place: Place = ("paths", path)
        try:
            template = read_template(path)
        except TemplateError as error:
            self._wrong(place, str(error))
            return
        twin = templates.setdefault(template.shape, template)
        if twin is not template:
            self._wrong(place, f"it is the same as {twin.text!r}")
            return
        item, pointer = self._followed(item, place)
        shared = self._parameters(item, pointer, place)
        for method, described in item.items():
            if method.upper() not in METHODS or method != method.lower():
                continue
            if "servers" in item or (isinstance(described, dict) and "servers" in described):
                continue  # it is asked for elsewhere
            operation = self._operation(
                described, (*place, method), f"{pointer}/{method}", usual_name=f"{method.upper()} {path}", shared=shared
            )
            operations[path, method.upper()] = operation

    def _operation(
        self,
        described: Any,
        place: Place,
        pointer: str,
        *,
        usual_name: str,
        shared: Mapping[tuple[str, str], Parameter],
    ) -> Operation:
        described = self._object(described, place)
        name = described.get("operationId", usual_name)
        tags = described.get("tags", [])
        if not isinstance(name, str) or not name:
            self._wrong((*place, "operationId"), "expected a text")
            name = usual_name
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            self._wrong((*place, "tags"), "expected an array of texts")
            tags = []
        if name in self._names:
            self._wrong(place, f"the operation {name!r} is there already, at {_shown(self._names[name])}")
        self._names[name] = place
        parameters = {**shared, **self._parameters(described, pointer, place)}
        required, bodies = self._body(described, pointer, place)
        return Operation(
            name=name,
            tags=frozenset(tags),
            query={name: found for (where, name), found in parameters.items() if where == "query"},
            path={name: found for (where, name), found in parameters.items() if where == "path"},
            body_required=required,
            bodies=bodies,
        )

    def _parameters(self, owner: Mapping[str, Any], pointer: str, place: Place) -> dict[tuple[str, str], Parameter]:
        found: dict[tuple[str, str], Parameter] = {}
        listed = owner.get("parameters", [])
        if not isinstance(listed, list):
            self._wrong((*place, "parameters"), "expected an array")
            return found
        for number, item in enumerate(listed):
            here: Place = (*place, "parameters", number)
            given, own = self._followed(item, here, pointer=f"{pointer}/parameters/{number}")
            name, where = given.get("name"), given.get("in")
            if not isinstance(name, str) or where not in {"query", "path", "header", "cookie"}:
                self._wrong(here, "expected a name, and 'in' as query, path, header or cookie")
            elif (where, name) in found:
                self._wrong(here, f"the parameter {name!r} stands twice")
            else:
                found[where, name] = self._parameter(name, where, given, own)
        return found

    def _parameter(self, name: str, where: str, given: Mapping[str, Any], pointer: str) -> Parameter:
        style = given.get("style", "form" if where == "query" else "simple")
        has_schema = isinstance(given.get("schema"), dict | bool)
        try:
            schema = _follow(self._tree, given.get("schema"), "")[0]
        except LookupError:
            schema = None
        types = schema.get("type") if isinstance(schema, dict) else None
        is_array = types == "array" or (isinstance(types, list) and "array" in types)
        style_is_read = style == ("form" if where == "query" else "simple")
        return Parameter(
            name=name,
            required=given.get("required") is True or where == "path",
            schema=f"{pointer}/schema" if has_schema else None,
            is_array=is_array,
            explode=style == "form" and given.get("explode", True) is True,  # a simple array has commas either way
            readable=style_is_read and "content" not in given,
            is_deep=where == "query"
            and style == "deepObject"
            and has_schema
            and not is_array
            and "content" not in given,
            allows_empty=where == "query" and given.get("allowEmptyValue") is True,
        )

    def _body(
        self, described: Mapping[str, Any], pointer: str, place: Place
    ) -> tuple[bool, Mapping[str, Sequence[str | None]] | None]:
        if "requestBody" not in described:
            return False, None
        here: Place = (*place, "requestBody")
        given, own = self._followed(described["requestBody"], here, pointer=f"{pointer}/requestBody")
        bodies: dict[str, list[str | None]] = {}
        for kind, content in self._object(given.get("content", {}), (*here, "content")).items():
            has_schema = isinstance(content, dict) and "schema" in content
            schema = f"{own}/content{_pointer((kind,))}/schema" if has_schema else None
            bodies.setdefault(media_type(kind), []).append(schema)
        return given.get("required") is True, bodies

    def _check_references(self) -> None:
        for place, reference in _references(self._tree):
            if place[-1] != "$ref":
                self._wrong(place, f"{place[-1]!r} is not followed; name schemas by '#/...'")
                continue
            try:
                if not reference.startswith("#/") and reference != "#":
                    raise LookupError
                _at(self._tree, unquote(reference.removeprefix("#")))
            except LookupError:
                message = f"expected a place in this document such as '#/components/schemas/Name', got {reference!r}"
                self._wrong(place, message)

    def _followed(self, given: Any, place: Place, *, pointer: str | None = None) -> tuple[Mapping[str, Any], str]:
        try:
            found, own = _follow(self._tree, given, _pointer(place) if pointer is None else pointer)
        except LookupError:
            self._wrong(place, "its references lead nowhere")
            return {}, ""
        return self._object(found, place), own

    def _object(self, given: Any, place: Place) -> dict[str, Any]:
        if isinstance(given, dict):
            return given
        self._wrong(place, "expected an object")
        return {}

    def _wrong(self, place: Place, message: str) -> None:
        self.problems.append((place, message))


def _references(tree: Any) -> Iterator[tuple[Place, str]]:
    """Every reference, and what else would name a schema."""
    waiting: list[tuple[Place, Any]] = [((), tree)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, list):
            waiting += [((*place, number), item) for number, item in enumerate(value)]
        if not isinstance(value, dict):
            continue
        for name, item in value.items():
            if isinstance(item, str) and (name == "$ref" or name in NOT_FOLLOWED):
                yield (*place, name), item
            elif isinstance(item, dict | list) and not _is_data(place, name):
                waiting.append(((*place, name), item))


def _is_data(place: Place, name: str) -> bool:
    """Whether a key holds values; among properties it is the name of one."""
    return (name in DATA or name.startswith("x-")) and not (
        place and place[-1] in {"properties", "schemas", "parameters"}
    )


def _server_paths(servers: Any) -> Iterator[str]:
    for server in servers if isinstance(servers, list) else []:
        url = server.get("url") if isinstance(server, dict) else None
        if isinstance(url, str) and "{" not in url:
            try:
                yield urlsplit(url).path.rstrip("/")
            except ValueError:
                continue
