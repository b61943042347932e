"""What commands load beside the configuration. Below the commands, beside `assemble`, and lighter than it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mcp_gateway.calls import Target, TargetKind
from mcp_gateway.cli.further_tools import load_further_tools
from mcp_gateway.config import HTTPTarget, Settings, to_target
from mcp_gateway.errors import ConfigError, Problem
from mcp_gateway.facts.program_files import MAX_FILE_BYTES, built_in, read_programs
from mcp_gateway.facts.programs import Knowledge
from mcp_gateway.facts.requests import Interface
from mcp_gateway.policy.engine import PolicyEngine
from mcp_gateway.policy.loader import load_policies
from mcp_gateway.trusted_files import UntrustedFileError, read_trusted, read_untrusted

if TYPE_CHECKING:
    from mcp_gateway.facts.openapi import Document


def targets_of(settings: Settings) -> list[Target]:
    """The configured targets as policy sees them."""
    return [to_target(name, target, mode=settings.policy.mode) for name, target in settings.targets.items()]


def bases_of(settings: Settings) -> dict[str, str]:
    """The base URLs of the configured APIs, by target."""
    return {name: target.base_url for name, target in settings.targets.items() if isinstance(target, HTTPTarget)}


def load_interfaces(settings: Settings) -> Mapping[str, Interface]:
    """What is known of the API of each HTTP target, by name; OpenAPI documents decide like policies.

    Raises:
        ConfigError: with every problem in every document.
    """
    found: dict[str, Interface] = {}
    problems: list[Problem] = []
    for name, target in settings.targets.items():
        if not isinstance(target, HTTPTarget):
            continue
        document = None
        try:
            if target.openapi is not None:
                document = read_document(target.openapi, key=f"targets.{name}.openapi", guarded=True)
        except ConfigError as error:
            problems += error.problems
        found[name] = Interface(base_url=target.base_url, graphql=target.graphql or "", document=document)
    if problems:
        raise ConfigError(problems)
    return found


def documents_of(settings: Settings) -> list[Path]:
    """Where the OpenAPI documents of targets are."""
    targets = (target for target in settings.targets.values() if isinstance(target, HTTPTarget))
    return [target.openapi for target in targets if target.openapi is not None]


def read_document(path: Path, *, key: str = "", guarded: bool = False) -> Document:
    """An OpenAPI document; if `guarded`, one that only we or root can have written.

    Raises:
        ConfigError: with every problem in it.
    """
    from mcp_gateway.facts.openapi import MAX_DOCUMENT_BYTES, read_openapi

    try:
        if guarded:
            text = read_trusted(path, max_bytes=MAX_DOCUMENT_BYTES).decode()
        else:
            text = read_untrusted(path, max_bytes=MAX_DOCUMENT_BYTES).decode()
    except UntrustedFileError as error:
        raise ConfigError([Problem(file=str(path), path=key, message=str(error))]) from None
    except UnicodeDecodeError:
        raise ConfigError([Problem(file=str(path), path=key, message="expected UTF-8")]) from None
    return read_openapi(text, file=str(path))


def load_engine(settings: Settings, *, paths: Sequence[Path] = ()) -> PolicyEngine:
    """The configured policies, or those of `paths`, which nothing enforces and so may be anybody's.

    Raises:
        ConfigError: with every problem in every file, or what is wrong with a further tool.
    """
    return load_policies(
        paths or settings.policy.paths,
        targets=targets_of(settings),
        classes=settings.classes,
        tools=kinds_of_tools(settings),
        guarded=not paths,
    )


def kinds_of_tools(settings: Settings) -> Mapping[str, TargetKind]:
    """The further tools, and the kind of target that each is for. Raises `ConfigError`."""
    return {tool.name: tool.kind for tool in load_further_tools(settings.gateway.tools)}


def load_knowledge(settings: Settings | None) -> Knowledge:
    """What is known of programs on hosts: built in, and in the configured files, which decide like policies.

    Raises:
        ConfigError: with every problem in every file.
    """
    paths = settings.commands.programs if settings is not None else ()
    if not paths:
        return built_in()
    files: list[tuple[str, str]] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            files.append((str(path), read_trusted(path, max_bytes=MAX_FILE_BYTES).decode()))
        except UntrustedFileError as error:
            problems.append(Problem(file=str(path), message=str(error)))
        except UnicodeDecodeError:
            problems.append(Problem(file=str(path), message="expected UTF-8"))
    try:
        knowledge = read_programs(files)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from None
    if problems:
        raise ConfigError(problems)
    return knowledge
