"""`mcp-gateway init`: a first configuration and the starter policies, in the user's configuration folder."""

from __future__ import annotations

import json
import os
import shlex
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from mcp_gateway.cli.output import AsJSON, print_json, print_line, print_sentence
from mcp_gateway.cli.places import from_here

app = typer.Typer(add_completion=False)

TEMPLATE = "first_gateway.toml"
POLICY_FOLDER = "policies"
FILE_MODE = 0o600
FOLDER_MODE = 0o700


@app.command()
def init(
    folder: Annotated[
        str | None, typer.Option("--dir", metavar="FOLDER", help="Where to; default: your configuration folder.")
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """Write gateway.toml and the starter policies; what is there already is never overwritten."""
    from mcp_gateway.config import config_folder

    chosen = config_folder(instead="name a folder with --dir") if folder is None else from_here(folder).resolve()
    config, policies = write_first_files(chosen)
    if as_json:
        print_json({"id": str(config), "policies": [{"id": str(path)} for path in policies]})
        return
    option = "" if folder is None else f" --config {shlex.quote(str(config))}"
    print_line(f"wrote {config}")
    print_line(f"wrote {len(policies)} policy files into {chosen / POLICY_FOLDER}")
    print_line()
    print_line("next:")
    print_sentence(f"  put a target into {config}; there is an example of each kind")
    print_line(f"  mcp-gateway{option} check")
    print_line(f"  mcp-gateway{option} targets test")
    print_line(f"  mcp-gateway{option} client-config claude-code")


def write_first_files(folder: Path) -> tuple[Path, list[Path]]:
    """Write into a folder that is made if need be; gives the configuration and the policies.

    Raises:
        ConfigError: something is there already, or others could change it, and nothing was written; or the folder
            cannot be written to.
    """
    from mcp_gateway_policies import starter_policies

    from mcp_gateway.config import FILE_NAME

    sources = sorted(starter_policies().glob("*.cedar"))
    config, policies = folder / FILE_NAME, folder / POLICY_FOLDER
    _check(folder, made=[config, policies])
    try:
        _make_folder(policies)
        written = [_write(policies / source.name, source.read_text(encoding="utf-8")) for source in sources]
        return _write(config, first_config(policies=policies)), written
    except OSError as error:
        from mcp_gateway.errors import ConfigError, Problem

        message = f"cannot be written: {error.strerror}; choose another folder with --dir"
        raise ConfigError([Problem(file=str(error.filename or folder), message=message)]) from None


def first_config(*, policies: Path) -> str:
    """The text of a first configuration."""
    from mcp_gateway.config import default_data_dir

    template = (resources.files("mcp_gateway.cli") / TEMPLATE).read_text(encoding="utf-8")
    return template.replace("@DATA_DIR@", _quoted(default_data_dir())).replace("@POLICIES@", _quoted(policies))


def _check(folder: Path, *, made: list[Path]) -> None:
    from mcp_gateway.errors import ConfigError, Problem
    from mcp_gateway.trusted_files import UntrustedFileError, check_folder

    problems = [
        Problem(file=str(path), message="is there already; move it away, or choose another folder with --dir")
        for path in made
        if os.path.lexists(path)
    ]
    try:
        if folder.exists():
            check_folder(folder)
    except UntrustedFileError as error:
        problems.append(Problem(file=str(folder), message=str(error)))
    if problems:
        raise ConfigError(problems)


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, all of them ours alone."""
    for path in reversed([folder, *folder.parents]):
        if not path.exists():
            path.mkdir(mode=FOLDER_MODE)


def _write(path: Path, text: str) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def _quoted(path: Path) -> str:
    """A TOML string."""
    return json.dumps(str(path), ensure_ascii=False)
