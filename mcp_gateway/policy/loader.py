"""Policy files from disk to an engine: the one place of this package that reads files.

Whoever can write a policy file decides what agents may do, so files and folders are read as `trusted_files` does.
`compiling` does the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from mcp_gateway.calls import Target, TargetKind
from mcp_gateway.errors import ConfigError, Problem
from mcp_gateway.policy.compiling import NO_TOOLS, compile_policies
from mcp_gateway.policy.engine import PolicyEngine
from mcp_gateway.policy.split import MAX_FILE_CHARACTERS, Source
from mcp_gateway.trusted_files import UntrustedFileError, check_folder, read_trusted

SUFFIX = ".cedar"
MAX_FILE_BYTES = 4 * MAX_FILE_CHARACTERS


def load_policies(
    paths: Sequence[Path],
    *,
    targets: Sequence[Target],
    classes: Collection[str],
    tools: Mapping[str, TargetKind] = NO_TOOLS,
    guarded: bool = True,
) -> PolicyEngine:
    """Load every `*.cedar` file of these files and folders; no policy at all denies everything.

    Args:
        paths: absolute paths; a folder gives the files directly in it.
        targets: what environments, labels and classes of the schema are taken from.
        classes: configured data classes beside the built-in ones and the targets' own.
        tools: further tools beside the built-in ones, and the kind of target that each is for.
        guarded: whether owner and mode are checked. Off only where nothing is enforced: tests of a candidate set.

    Raises:
        ConfigError: with every problem in every file.
    """
    sources, problems = read_sources(paths, guarded=guarded)
    try:
        compiled = compile_policies(sources, targets=targets, classes=classes, tools=tools)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from None
    if problems:
        raise ConfigError(problems)
    return PolicyEngine(compiled, targets=targets)


def read_sources(paths: Sequence[Path], *, guarded: bool = True) -> tuple[list[Source], list[Problem]]:
    """Read the text of every policy file; a file that two paths lead to is read once."""
    sources: dict[Path, Source] = {}
    problems: list[Problem] = []
    for path in paths:
        try:
            files = _files(path, guarded=guarded)
        except (UntrustedFileError, OSError) as error:
            problems.append(_problem(path, error))
            continue
        for file in files:
            try:
                real = file.resolve(strict=True)
                if real not in sources:
                    sources[real] = Source(file=str(file), text=_text(file, guarded=guarded))
            except (UntrustedFileError, OSError) as error:
                problems.append(_problem(file, error))
    return list(sources.values()), problems


def _problem(path: Path, error: UntrustedFileError | OSError) -> Problem:
    message = f"it cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
    return Problem(file=str(path), message=message)


def _files(path: Path, *, guarded: bool) -> list[Path]:
    if not path.is_absolute():
        raise UntrustedFileError("expected an absolute path")
    if not path.exists():
        raise UntrustedFileError("there is no such file or folder")
    if not path.is_dir():
        if path.suffix != SUFFIX:
            raise UntrustedFileError(f"expected a folder or a *{SUFFIX} file")
        return [path]
    if guarded:
        check_folder(path)
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    for entry in entries:
        # A folder in the folder would otherwise look as if it were in force.
        if entry.is_dir() and any(entry.glob(f"*{SUFFIX}")):
            raise UntrustedFileError(f"{entry.name!r} in it holds policies too; name that folder in [policy] paths")
    return [entry for entry in entries if entry.suffix == SUFFIX and not entry.is_dir()]


def _text(file: Path, *, guarded: bool) -> str:
    if guarded:
        content = read_trusted(file, max_bytes=MAX_FILE_BYTES)
    elif file.is_file():
        content = file.read_bytes()
    else:
        raise UntrustedFileError("expected a regular file")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UntrustedFileError(f"it is not UTF-8: byte {error.start} cannot be read") from None
