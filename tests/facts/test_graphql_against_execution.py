"""What is said of a GraphQL request against what a server runs: graphql-core's own executor, which reads the same text anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from graphql import GraphQLField, GraphQLInt, GraphQLObjectType, GraphQLSchema, execute_sync, parse
from graphql.error import GraphQLError
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.facts.graphql import GraphQLFacts, examine_graphql
from mcp_gateway.facts.http import resolve
from tests.fuzz.sizes import FULL

FIELDS = ("me", "secrets", "pay")
KINDS = {"query": "Q", "mutation": "M"}


def schema(ran: list[tuple[str, str]]) -> GraphQLSchema:
    """One that writes down which fields of which root were resolved."""

    def resolver(kind: str, name: str) -> Callable[..., int]:
        def resolve_(*_: Any, **__: Any) -> int:
            ran.append((kind, name))
            return 1

        return resolve_

    roots = {
        kind: GraphQLObjectType(root, {name: GraphQLField(GraphQLInt, resolve=resolver(kind, name)) for name in FIELDS})
        for kind, root in KINDS.items()
    }
    return GraphQLSchema(query=roots["query"], mutation=roots["mutation"])


names = st.sampled_from(["A", "B"])
roots = st.sampled_from([*KINDS.values(), "Other"])
conditions = st.sampled_from(["", "", " @skip(if: true)", " @include(if: false)"])


def selections(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    item = st.one_of(
        st.builds("{}{}{}".format, st.sampled_from(["", "x: ", "me: "]), st.sampled_from(FIELDS), conditions),
        st.builds("...{}{}".format, names, conditions),
        st.builds("... on {}{} {}".format, roots, conditions, inner),
        st.builds("...{} {}".format, conditions, inner),
    )
    return st.lists(item, min_size=1, max_size=4).map(lambda items: "{ " + " ".join(items) + " }")


bodies = st.recursive(st.sampled_from(FIELDS).map("{{ {} }}".format), selections, max_leaves=6)
operations = st.one_of(
    bodies,
    st.builds("{} {} {}".format, st.sampled_from([*KINDS, "subscription"]), st.just("") | names, bodies),
)
fragments = st.builds("fragment {} on {} {}".format, names, roots, bodies)
documents = st.tuples(st.lists(operations, max_size=3), st.lists(fragments, max_size=3)).flatmap(
    lambda parts: st.permutations([*parts[0], *parts[1]]).map("\n".join)
)


def run(text: str, name: str | None) -> set[tuple[str, str]]:
    """What a server runs that does not even validate; nothing of a document that it refuses."""
    ran: list[tuple[str, str]] = []
    try:
        execute_sync(schema(ran), parse(text), operation_name=name)
    except (GraphQLError, RecursionError, TypeError):
        return set()
    return set(ran)


@given(documents, st.none() | names | st.just(""))
@settings(deadline=None, max_examples=20_000 if FULL else 150)
def test_nothing_runs_that_the_facts_do_not_name(text: str, name: str | None) -> None:
    request = resolve(
        "https://api.example.com", "/graphql", method="POST", headers={"content-type": "application/json"}
    )
    body = json.dumps({"query": text} | ({} if name is None else {"operationName": name})).encode()
    found = examine_graphql(request, body, path="/graphql")
    ran = run(text, name)

    assert found.operation
    if found.opaque:
        assert found == GraphQLFacts("mutation", found.fields, opaque=True)
    else:
        assert {kind for kind, _ in ran} <= {found.operation}
        assert {field for _, field in ran} <= found.fields


def test_the_witness_sees_what_runs() -> None:
    assert run("{ me }", None) == {("query", "me")}
    assert run("query A { x: secrets } mutation B { ...A } fragment A on M { pay }", "B") == {("mutation", "pay")}
