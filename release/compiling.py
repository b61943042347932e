"""Builds the wheel with the modules that examine SQL compiled by mypyc, for one platform and one version of Python.

`make compiled`, or `HATCH_BUILD_HOOK_ENABLE_CUSTOM=true python -m build`, asks for it; otherwise this is not loaded and the
wheel is the one that runs anywhere. Both are of the same source and find the same facts. Needs a C compiler and Python's
headers. `MYPYC_OPT_LEVEL`, from 0 to 3, is the compiler's level of optimisation.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPILED = (
    "mcp_gateway/facts/conditions.py",
    "mcp_gateway/facts/harmless.py",
    "mcp_gateway/facts/judging*.py",
    "mcp_gateway/facts/reach.py",
    "mcp_gateway/facts/scopes.py",
    "mcp_gateway/facts/shapes.py",
    "mcp_gateway/facts/sql*.py",
    "mcp_gateway/facts/traits.py",
    "mcp_gateway/facts/tree.py",
    "mcp_gateway/facts/uses.py",
    "mcp_gateway/masking/lineage/*.py",
)
"""They take most of the time of the process that examines SQL, and a statement that broke them would end that alone.

What they read for every node is `Final` where it is a constant, which saves a look-up by name, and a field of a plain class
or dataclass, which is quicker to read than one of a named tuple.
"""
INTERPRETED = ("mcp_gateway/masking/lineage/verdict.py",)
"""Not compiled: `facts.frames` reads these values by their types, and mypyc keeps none."""


def compiled_modules(root: Path) -> list[str]:
    """The paths of the modules that are compiled, from the root of the project."""
    found = {str(path.relative_to(root)) for pattern in COMPILED for path in root.glob(pattern)}
    return sorted(found.difference(INTERPRETED))


HINT = "apt-get install gcc libc6-dev python3-dev"
"""How Debian has what compiling takes."""


def missing_parts() -> list[str]:
    """What is not here that compiling takes."""
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    missing = [] if shutil.which(compiler.split()[0]) else [f"a C compiler ({compiler.split()[0]})"]
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        missing.append(f"the headers of {sys.executable}")
    return missing


def compile_modules(root: Path, into: Path) -> dict[str, str]:
    """Compile; the paths of the libraries, each with its place in the wheel. Whatever is made on the way is in `into`, too."""
    if missing := missing_parts():
        sys.exit(f"compiling takes {' and '.join(missing)}; on Debian: {HINT}")
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    with chdir(root):
        extensions = mypycify(
            compiled_modules(root),
            opt_level=os.environ.get("MYPYC_OPT_LEVEL", "2"),
            debug_level="0",
            group_name="mcp_gateway",
            target_dir=str(into / "source"),
        )
        command = build_ext(Distribution({"ext_modules": extensions}))
        command.build_lib, command.build_temp = str(into / "built"), str(into / "objects")
        command.ensure_finalized()
        command.run()
    return {str(path): str(path.relative_to(into / "built")) for path in (into / "built").rglob("*.so")}


class CompilingHook(BuildHookInterface[Any]):
    """Puts the libraries into the wheel, each beside the module that it stands for."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before the wheel is put together."""
        if version == "editable":
            return
        self._directory = TemporaryDirectory(prefix="mcp-gateway-")
        build_data["force_include"].update(compile_modules(Path(self.root), Path(self._directory.name)))
        build_data["pure_python"], build_data["infer_tag"] = False, True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - as called
        """Called when the wheel is there."""
        if version != "editable":
            self._directory.cleanup()
