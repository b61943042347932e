"""Programs from npm that tests run, with the Node.js that they need: `npm --prefix tests/peers/node ci`."""

from __future__ import annotations

from pathlib import Path

from tests.peers.parts import missing

FOLDER = Path(__file__).with_name("node")
HINT = "run npm --prefix tests/peers/node ci"


def node_program(*parts: str) -> list[str]:
    """The command line that runs a program of `node_modules/.bin`, or a file of the folder.

    Where the packages are missing the test ends with how to get them.
    """
    node = FOLDER / "node_modules" / ".bin" / "node"
    program = FOLDER.joinpath(*parts) if parts[-1].endswith(".mjs") else node.with_name(*parts)
    if not (node.exists() and program.exists()):
        missing(f"Node.js or {program.name} is missing", hint=HINT)
    return [str(node), str(program)]
