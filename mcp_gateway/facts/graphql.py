"""What a GraphQL request would run: the kind of its operation and the fields of the root that it asks for. Pure.

The document is read by graphql-core's parser, bounded in size, tokens and depth. Whatever is not proved, by the
GraphQL specification and that of GraphQL over HTTP, to run exactly one operation of this document is opaque, and
counts as a mutation: batches, persisted queries, several operations without a name, one name twice, members beyond
the four that are specified, a second source of the document, content types that servers read in their own ways, texts
whose comments and strings end in other places for some servers than for others.

Where GraphQL is says the operator. An agent that only calls its request GraphQL, or sends it to somewhere near, proves
nothing: the server there may read something else in it.

`graphql` takes a third of a second to load, so `load` is for the start of a gateway that has a target with GraphQL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from mcp_gateway.facts.http import Resolved
from mcp_gateway.facts.http_fields import UnreadableError, is_json, media_type, read_json

if TYPE_CHECKING:
    from graphql.language import FragmentDefinitionNode, OperationDefinitionNode, SelectionSetNode

MAX_DOCUMENT_CHARACTERS = 32 * 1024
MAX_TOKENS = 3_000
"""About 30 ms of parsing; the introspection query of most clients has 500."""
KINDS = ("query", "subscription", "mutation")
"""From the least to the worst."""
MEMBERS = frozenset({"query", "operationName", "variables", "extensions"})
"""Of a request (GraphQL over HTTP, section 5.1)."""
DOCUMENT_TYPES = frozenset({"application/graphql"})
UNSURE = re.compile('[^\t\n\r -~\u00a0-\u2027\u202a-\U0010ffff]|\r(?!\n)|"{4}')
"""What begins or ends a comment or a string to some servers alone: controls, U+2028 and U+2029 (graphql-java ends a comment
there), a carriage return by itself, more quotes than three (graphql-ruby has them inside of a block string)."""
STRINGS = re.compile(r'#[^\n]*|"""(?P<block>.*?)"""|"(?:[^"\\\n]|\\.)*"', re.DOTALL)
"""Comments and strings."""


@dataclass(frozen=True, slots=True)
class GraphQLFacts:
    """What would run."""

    operation: str = ""
    fields: frozenset[str] = frozenset()
    opaque: bool = False


class OpaqueError(ValueError):
    """What would run is not proved; `facts` is what could be seen."""

    def __init__(self, facts: GraphQLFacts | None = None) -> None:
        super().__init__("what a GraphQL request would run is not proved")
        self.facts = facts or GraphQLFacts("mutation", opaque=True)


NO_GRAPHQL = GraphQLFacts()


def load() -> None:
    """Load the parser."""
    import graphql.language  # noqa: F401 - to be at hand


def examine_graphql(request: Resolved, body: bytes | None, *, path: str) -> GraphQLFacts:
    """Facts of a request; those of none where it is not GraphQL. `path` is where the target's GraphQL is, below its base."""
    kind = media_type(request.content_type)
    exact = bool(path) and request.path == f"{request.base_path}{path}"
    if not exact and kind not in DOCUMENT_TYPES and not (path and _is_near(request, path)):
        return NO_GRAPHQL
    if not path:
        return OpaqueError().facts
    try:
        text, name = _document_of(request, body, kind)
        found = _facts_of(text, name)
    except OpaqueError as opaque:
        return opaque.facts
    except RecursionError:
        return OpaqueError().facts
    return found if exact else GraphQLFacts("mutation", found.fields, opaque=True)


def _is_near(request: Resolved, path: str) -> bool:
    """Whether a server may take the request's path for that of GraphQL: in other letters, with more behind it."""
    below = unquote(request.path.removeprefix(request.base_path)).casefold().rstrip("/ ")
    where = unquote(path).casefold().rstrip("/ ")
    return below == where or below.startswith((f"{where}/", f"{where}."))


def _document_of(request: Resolved, body: bytes | None, kind: str) -> tuple[str, str]:
    """The one document of a request and the operation's name, empty for none."""
    match request.method:
        case "GET" | "HEAD" if not body:
            return _members_of(_query_of(request.query))
        case "POST" if body and not request.query:
            if kind in DOCUMENT_TYPES:
                return _text(body), ""
            if is_json(kind):
                try:
                    return _members_of(read_json(body))
                except UnreadableError:
                    raise OpaqueError from None
    raise OpaqueError


def _query_of(query: str) -> dict[str, Any]:
    if ";" in query:
        raise OpaqueError
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict")
    except ValueError:
        raise OpaqueError from None
    found: dict[str, Any] = dict(pairs)
    if len(found) != len(pairs):
        raise OpaqueError
    for name in ("variables", "extensions"):
        if name in found:
            try:
                found[name] = read_json(found[name])
            except UnreadableError:
                raise OpaqueError from None
    return found


def _members_of(found: Any) -> tuple[str, str]:
    """Document and name from a request's members; a batch is an array, a persisted query has a hash or an id."""
    if not isinstance(found, dict) or not MEMBERS.issuperset(found):
        raise OpaqueError
    text, name, extensions = found.get("query"), found.get("operationName"), found.get("extensions")
    if not isinstance(text, str) or not isinstance(name, str | None) or extensions not in (None, {}):
        raise OpaqueError
    if not isinstance(found.get("variables"), dict | None):
        raise OpaqueError
    return text, name or ""


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise OpaqueError from None


def _facts_of(text: str, name: str) -> GraphQLFacts:
    from graphql.error import GraphQLError
    from graphql.language import FragmentDefinitionNode, OperationDefinitionNode, parse

    if len(text) > MAX_DOCUMENT_CHARACTERS:
        raise OpaqueError
    try:
        definitions = parse(text, no_location=True, max_tokens=MAX_TOKENS).definitions
    except (GraphQLError, RecursionError, ValueError):
        raise OpaqueError from None
    operations = [found for found in definitions if isinstance(found, OperationDefinitionNode)]
    fragments = {found.name.value: found for found in definitions if isinstance(found, FragmentDefinitionNode)}
    names = [found.name.value if found.name else "" for found in operations]
    chosen = [found for found, own in zip(operations, names, strict=True) if own == name] if name else operations
    if len(operations) + len(fragments) != len(definitions) or len(set(names)) != len(names) or len(chosen) != 1:
        raise OpaqueError(_worst(operations, fragments))
    fields = _Fields(fragments)
    fields.add(chosen[0].selection_set)
    if not fields.whole or not fields.found or not _reads_in_one_way(text):
        raise OpaqueError(_worst(operations, fragments))
    return GraphQLFacts(chosen[0].operation.value, frozenset(fields.found))


def _reads_in_one_way(text: str) -> bool:
    """Whether every server finds the same comments and strings.

    Old ones have no block strings: to them a quote inside of one ends a string, and what is behind it is no text.
    """
    if UNSURE.search(text):
        return False
    blocks = (found["block"] for found in STRINGS.finditer(text) if found["block"] is not None)
    return not any('"' in block or block.endswith("\\") for block in blocks)


def _worst(operations: Sequence[OperationDefinitionNode], fragments: dict[str, FragmentDefinitionNode]) -> GraphQLFacts:
    """All that could be seen, for whoever approves it; what runs may still be something else, so it is a mutation."""
    fields = _Fields(fragments)
    for operation in operations:
        fields.add(operation.selection_set)
    return GraphQLFacts("mutation", frozenset(fields.found), opaque=True)


class _Fields:
    """Fields of the root, through fragments, each fragment once."""

    def __init__(self, fragments: dict[str, FragmentDefinitionNode]) -> None:
        self.found: set[str] = set()
        self.whole = True
        """False where a fragment is missing or holds itself."""
        self._fragments = fragments
        self._inside: list[str] = []
        self._seen: set[str] = set()

    def add(self, selections: SelectionSetNode) -> None:
        from graphql.language import FieldNode, FragmentSpreadNode, InlineFragmentNode

        for selection in _selections(selections):
            match selection:
                case FieldNode():
                    self.found.add(selection.name.value)
                case InlineFragmentNode():
                    self.add(selection.selection_set)
                case FragmentSpreadNode():
                    self._spread(selection.name.value)
                case _:
                    self.whole = False

    def _spread(self, name: str) -> None:
        fragment = self._fragments.get(name)
        if fragment is None or name in self._inside:
            self.whole = False
        elif name not in self._seen:
            self._seen.add(name)
            self._inside.append(name)
            self.add(fragment.selection_set)
            self._inside.pop()


def _selections(found: SelectionSetNode | None) -> Iterable[Any]:
    return found.selections if found is not None else ()
