"""The wheel whose examination of SQL is compiled finds what the interpreted one finds."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mcp_gateway.errors import RequestError
from mcp_gateway.facts.catalog import Catalog, Column, Relation
from mcp_gateway.facts.parser import SQLSyntaxError
from mcp_gateway.facts.worker import COMMAND, Examined, SQLWorker
from release.compiling import HINT, compiled_modules, missing_parts
from tests.corpora import CORPORA
from tests.facts.corpus import SCHEMA, effects, reads
from tests.masking.lineage.databases import catalog_of, database
from tests.masking.lineage.evasion import CASES, CLASSIFY
from tests.masking.lineage.statements import Generator
from tests.peers.parts import missing
from tests.peers.postgres import PostgresServer

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
START = """
import sys
sys.path.insert(0, {place!r})
from mcp_gateway.facts import judging, sql, worker_process
from mcp_gateway.masking.lineage import resolver
for module in judging, sql, resolver:
    assert module.__file__.startswith({place!r}) and module.__file__.endswith(".so"), module.__file__
worker_process.main()
"""
GENERATED = [Generator(seed).statement() for seed in range(400)]
DEEP = [
    "SELECT " + "(" * 300 + "1" + ")" * 300,
    "SELECT " + "NOT " * 400 + "true",
    "SELECT " + "CASE WHEN " * 120 + "true" + " THEN 1 END IS NULL" * 119 + " THEN 1 END",
    "SELECT * FROM " + "(SELECT * FROM " * 150 + "users" + ") x" * 150,
    "SELECT 1" + " + 1" * 5_000,
    "SELECT 1" + " UNION ALL SELECT 1" * 2_000,
    "SELECT ARRAY" + "[" * 200 + "1" + "]" * 200,
]
"""A compiled call is one of C: it has no limit of recursion but the stack."""


@asynccontextmanager
async def worker(*command: str) -> AsyncIterator[SQLWorker]:
    one = SQLWorker(command=command)
    try:
        yield one
    finally:
        await one.aclose()


async def outcome(one: SQLWorker, sql: str, catalog: Catalog | None, classify: Mapping[str, str]) -> Examined | str:
    """What an examination finds, or how it ends."""
    try:
        return await one.examine(sql, catalog_key=str(id(catalog)), catalog=catalog, classify=classify)
    except (RequestError, SQLSyntaxError) as error:
        return f"{type(error).__name__}: {error}"


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """The wheel, quickly compiled, and unpacked; a release is optimised, which is the C compiler's affair."""
    if lacking := missing_parts():
        missing(f"compiling takes {' and '.join(lacking)}", hint=HINT)
    environment = os.environ | {"HATCH_BUILD_HOOK_ENABLE_CUSTOM": "true", "MYPYC_OPT_LEVEL": "0"}
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    (wheel,) = tmp_path.glob("*.whl")
    assert not wheel.name.endswith("-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "unpacked")
    return tmp_path / "unpacked"


@pytest.fixture
def catalogs(postgres_server: PostgresServer) -> dict[str, Catalog]:
    """Those of the corpora's databases."""
    schemas = {"compiled_shop": CORPORA / "mask_evasion.sql", "compiled_corpus": SCHEMA}
    found = {}
    try:
        for name, path in schemas.items():
            with database(postgres_server, name, path.read_text(encoding="utf-8")):
                found[name] = catalog_of(postgres_server, name)
    finally:
        postgres_server.execute("DROP ROLE IF EXISTS corpus_reader")  # of the whole server
    return found


def views(number: int) -> Catalog:
    """One view on another."""
    names = [f"public.v{n}" for n in range(number)]
    relations = {
        name: Relation(oid=20_000 + n, schema="public", name=f"v{n}", kind="v", columns=(Column(name="a", type="pg_catalog.text"),), definition=f"SELECT * FROM public.v{n + 1}")
        for n, name in enumerate(names)
    }  # fmt: skip
    return Catalog(server_version=150018, search_path=("public",), relations=relations)


@pytest.mark.parametrize("module", compiled_modules(ROOT))
def test_no_compiled_module_has_a_cached_property(module: str) -> None:
    assert "cached_property" not in (ROOT / module).read_text(), (
        "compiled it is computed each time: cache a method instead"
    )


@pytest.mark.requirement("C1")
@pytest.mark.timeout(900)  # for the compiler, on a machine that does other things
@pytest.mark.early
async def test_compiled_modules_find_what_interpreted_ones_find(unpacked: Path, catalogs: dict[str, Catalog]) -> None:
    for module in map(Path, compiled_modules(ROOT)):
        assert list((unpacked / module).parent.glob(f"{module.stem}.*.so")), module
    for library in unpacked.rglob("*.so"):
        assert str(unpacked.parent.parent).encode() not in library.read_bytes()

    asked: Sequence[tuple[Catalog | None, Mapping[str, str], list[str]]] = [
        (None, {}, [one.sql for one in (*reads(), *effects())] + DEEP),
        (catalogs["compiled_corpus"], {}, [one.sql for one in (*reads(), *effects())]),
        (catalogs["compiled_shop"], CLASSIFY, [case["input"]["sql"] for case in CASES] + GENERATED + DEEP),
        (views(50), {"public.v49.a": "pii.email"}, ["SELECT * FROM v0", "SELECT * FROM v40"]),
    ]
    start = START.format(place=str(unpacked))
    different = {}
    async with worker(*COMMAND) as interpreted, worker(sys.executable, "-P", "-c", start) as compiled:
        assert await outcome(compiled, "SELECT 1", None, {}) == await outcome(interpreted, "SELECT 1", None, {})
        for catalog, classify, statements in asked:
            for sql in statements:
                expected = await outcome(interpreted, sql, catalog, classify)
                got = await outcome(compiled, sql, catalog, classify)
                if got != expected:
                    different[sql[:200]] = (expected, got)

        # However deep the chain of definitions: an answer, or a refusal of this one call.
        for deep in (views(200), views(3_000)):
            for one in (interpreted, compiled):
                await outcome(one, "SELECT * FROM v0", deep, {"public.v5.a": "pii.email"})
                assert not isinstance(await outcome(one, "SELECT 1", None, {}), str)

    assert different == {}
