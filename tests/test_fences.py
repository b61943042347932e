"""Fences that no linter knows: where a broad `except` may stand, and which way imports may point."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {"mcp_gateway": "", "tools/mcp_gateway_tools": "tools/", "policies/mcp_gateway_policies": "policies/"}

SWALLOWS = {
    "mcp_gateway/audit/database.py": "a unit's own exception goes back to whoever handed the unit in",
    "mcp_gateway/audit/revocations.py": "what the work itself raises is raised again where its caller can tell it",
    "mcp_gateway/audit/writer.py": "whatever breaks closes the store, and the writer thread lives on to refuse",
    "mcp_gateway/cli/reloading.py": "whatever is wrong with a changed file, the gateway goes on with what it has",
    "mcp_gateway/doors/mcp.py": "the door's own handler: a client gets `internal`, never a traceback",
    "mcp_gateway/facts/worker.py": "a child that nobody waits for is replaced, whatever went wrong with it",
    "mcp_gateway/facts/worker_process.py": "the worker's loop goes on, and this one examination is refused",
    "mcp_gateway/masking/lineage/resolver.py": "what is not understood is masked as a whole",
    "mcp_gateway/pipeline.py": "the call's recorder: whatever breaks before the start refuses the call",
    "mcp_gateway/running.py": "the call's recorder: whatever breaks after the start ends in one recorded outcome",
    "mcp_gateway/trouble.py": "what is done again and again beside the calls is tried again, and ends none of them",
}
"""Files in which a handler may end an exception of any kind, each with its reason."""

VALUES, DOMAIN, ROAD, DOORS, COMMANDS = range(5)
LAYERS = {
    VALUES: {
        "__version__", "answers", "authorities", "beginnings", "bounds", "build", "calls", "clock", "decisions", "errors", "events", "held", "inference", "quantities", "rates", "recent",
        "surroundings", "toml_errors", "toml_places", "trouble", "trusted_files", "turns", "usage",
    },
    DOMAIN: {
        "approval", "audit", "config", "config_models", "config_sources", "config_targets",
        "config_places", "config_values", "credentials", "facts", "identity", "journal", "masking", "policy", "refusals", "registry", "targets",
        "toml_report", "tool", "mcp_gateway_tools", "mcp_gateway_policies",
    },
    ROAD: {"admission", "admitting", "aside", "deciding", "establishing", "masked_facts", "pipeline", "reception", "running"},
    DOORS: {"doors"},
    COMMANDS: {"cli", "demo", "__main__"},
}  # fmt: skip
"""From the inside out. An import points to the same layer or further in."""
RANK = {name: rank for rank, names in LAYERS.items() for name in names}

FOR_TOOLS = {"answers", "calls", "errors", "facts", "masking", "targets", "tool"}
"""The contract, values, and what the built-in tools examine, execute and mask by."""
ONLY_COMMANDS_KNOW = {"cli", "demo", "config", "doors", "mcp_gateway_policies", "mcp_gateway_tools"}
PURE = ("facts", "policy", "masking", "approval/ticket.py")
EDGES = {"facts/child.py", "facts/worker.py", "facts/worker_process.py"}
"""The parts of pure packages that start or are a process."""
IMPURE = {
    "anyio", "asyncio", "asyncpg", "asyncssh", "httpx2", "random", "secrets", "select", "socket", "sqlite3", "subprocess",
    "time", "urllib.request",
}  # fmt: skip


@cache
def trees() -> dict[str, ast.Module]:
    """Every source file, by its path below the root of the repository."""
    return {
        str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8"))
        for root in SOURCES
        for path in sorted((ROOT / root).rglob("*.py"))
    }


def swallowing(tree: ast.Module) -> Iterator[int]:
    """Lines of handlers that catch everything and do not end in raising."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and is_broad(node.type) and not isinstance(node.body[-1], ast.Raise):
            yield node.lineno
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress") and any(map(is_broad, node.args)):
            yield node.lineno


def is_broad(caught: ast.expr | None) -> bool:
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(name is None or ast.unparse(name) in {"Exception", "BaseException"} for name in names)


def test_only_listed_files_end_exceptions_of_any_kind() -> None:
    found = {path for path, tree in trees().items() if next(swallowing(tree), None)}
    assert found == SWALLOWS.keys()


@pytest.mark.parametrize(
    "handler",
    ["except Exception:\n  pass", "except:\n  pass", "except (OSError, BaseException) as e:\n  log(e)"],
)
def test_a_handler_that_ends_everything_is_found(handler: str) -> None:
    assert list(swallowing(ast.parse(f"try:\n  x()\n{handler}")))
    assert not list(swallowing(ast.parse(f"try:\n  x()\n{handler}\n  raise")))
    assert list(swallowing(ast.parse("with contextlib.suppress(Exception):\n  x()")))


def imports(path: str, tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Full names of what a file imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{path}:{node.lineno} imports by a relative name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from ((name if node.module == "mcp_gateway" else node.module, node.lineno) for name in names)


def part(name: str) -> str | None:
    """The part of the gateway that a module's full name belongs to."""
    top, *rest = name.split(".")
    if top == "mcp_gateway":
        return rest[0] if rest else "__version__"
    return top if top in {"mcp_gateway_tools", "mcp_gateway_policies"} else None


def own_part(path: str) -> str:
    steps = Path(path).with_suffix("").parts
    return part(".".join(steps[1:] if steps[0] in {"tools", "policies"} else steps)) or ""


def edges() -> Iterator[tuple[str, str, str]]:
    """Who imports whom, and where."""
    for path, tree in trees().items():
        own = own_part(path)
        for name, line in imports(path, tree):
            other = part(name)
            if other is not None and other != own and own != "__init__":
                yield own, other, f"{path}:{line}"


def test_every_part_of_the_gateway_has_its_layer() -> None:
    assert {own_part(path) for path in trees()} - {"__init__"} == RANK.keys() - {"__version__"}


def test_imports_point_inward() -> None:
    assert [place for own, other, place in edges() if RANK[own] < RANK[other]] == []


def test_a_tool_knows_its_contract_and_no_more() -> None:
    assert [place for own, other, place in edges() if own == "mcp_gateway_tools" and other not in FOR_TOOLS] == []


def test_only_the_commands_know_everybody() -> None:
    assert [place for own, other, place in edges() if other in ONLY_COMMANDS_KNOW and RANK[own] != COMMANDS] == []


def test_pure_packages_import_nothing_that_reaches_outside() -> None:
    for path, tree in trees().items():
        below = path.removeprefix("mcp_gateway/")
        if below.startswith(PURE) and below not in EDGES:
            assert not [f"{path}:{line} {name}" for name, line in imports(path, tree) if name in IMPURE]


def test_the_lint_rule_is_lifted_for_no_pure_package() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    assert {"TID", "BLE"} <= set(lint["select"])
    lifted = {path.removeprefix("mcp_gateway/") for path in lint["per-file-ignores"] if path.startswith("mcp_gateway/")}
    assert {path for path in lifted if path.startswith(PURE)} <= EDGES
