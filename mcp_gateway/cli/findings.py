"""What `check` looks at beyond the text of the configuration: the files it names, and what works but should not stay so.

Reads owner and mode of files and whether a variable is set, never what is in them, but for certificates, the gateway's own
keys, and host keys and private keys of SSH; of the audit store whether it opens.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import assert_never
from urllib.parse import urlsplit

from mcp_gateway.authorities import trusting
from mcp_gateway.cli.keys import APPROVAL_KEY, MASKING_KEY, STATE_KEY, read_key
from mcp_gateway.cli.room import check_room
from mcp_gateway.config import EnvSource, FileSource, HTTPTarget, PostgresTarget, Settings, SSHTarget
from mcp_gateway.config_sources import CommandSource, KeyringSource
from mcp_gateway.credentials.sources import keyring_problem
from mcp_gateway.decisions import CALLER_GROUP
from mcp_gateway.errors import ConfigError, Problem, StoreError
from mcp_gateway.facts.requests import Interface
from mcp_gateway.masking.classes import BUILT_IN
from mcp_gateway.policy.statement import Policy
from mcp_gateway.surroundings import AUTHORITIES
from mcp_gateway.trusted_files import UntrustedFileError, check_trusted, read_trusted

LEAST_FREE_BYTES = 16 * 1024 * 1024
ALIKE = 0.85
"""Of `difflib`: two letters changed places or one is missing, and no more."""

AnyTarget = PostgresTarget | SSHTarget | HTTPTarget
AnySource = EnvSource | FileSource | KeyringSource | CommandSource


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedFile:
    """A file that the configuration names, and what kind of trust it needs."""

    key: str
    path: Path
    private: bool
    look: Callable[[], object] | None = None
    """Reads it as a gateway would. Raises `ConfigError` if that could not use it."""


def find_file_problems(settings: Settings) -> list[Problem]:
    """Files that are missing, or that others could read or change: what needs them would be refused."""
    problems = _tls_problems(settings)
    for named in _files(settings):
        problems += _file_problems(named)
    return problems + _key_problems(settings) + find_store_problems(settings.gateway.data_dir)


def find_store_problems(data_dir: Path) -> list[Problem]:
    """Why the audit store would refuse every call, as far as that can be seen without writing to it."""
    from mcp_gateway.audit.files import Paths, check_directory, check_file, check_makeable, exists, refuse_network
    from mcp_gateway.audit.search import opened

    paths = Paths(data_dir)
    try:
        if not exists(data_dir):
            nearest = check_makeable(data_dir)
            refuse_network(nearest)
            check_room(nearest, least_bytes=LEAST_FREE_BYTES)
            return []
        check_directory(data_dir)
        refuse_network(data_dir)
        if exists(paths.leases):
            check_directory(paths.leases)
        for path in filter(exists, paths.watched):
            check_file(path)
        if exists(paths.database):
            with opened(data_dir) as connection:
                connection.execute("SELECT max(sequence), max(hash) FROM events").fetchone()
        check_room(data_dir, least_bytes=LEAST_FREE_BYTES)
    except StoreError as error:
        return [Problem(path="gateway.data_dir", message=str(error))]
    return []


def find_warnings(settings: Settings, *, environ: Mapping[str, str], forgotten: Collection[str] = ()) -> list[str]:
    """What is allowed, and weaker or emptier than it may be meant; `forgotten` are variables that are not used."""
    found = list(_general_warnings(settings))
    found += [
        f"the environment variable {name} is not used; name certificate authorities with 'tls_ca'"
        for name in sorted(AUTHORITIES.intersection(forgotten))
    ]
    for name, target in settings.targets.items():
        found += [f"targets.{name}: {warning}" for warning in _target_warnings(target)]
        found += [f"targets.{name}.classify: {warning}" for warning in _class_warnings(target)]
    for key, source in credential_sources(settings):
        if isinstance(source, EnvSource) and not environ.get(source.env):
            found.append(f"{key}: {source} is not set here; it has to be where the gateway runs")
        if isinstance(source, KeyringSource) and (problem := keyring_problem()) is not None:
            found.append(f"{key}: {source} cannot be used here: {problem}")
    return found


def find_missing_credentials(settings: Settings, *, environ: Mapping[str, str]) -> list[str]:
    """Credentials that a gateway which starts here cannot have, by the same looks; of a command, its program."""
    return [
        f"{key}: {source} {lack}; what needs it is refused"
        for key, source in credential_sources(settings)
        if (lack := _lack(source, environ=environ)) is not None
    ]


def credential_sources(settings: Settings) -> Iterator[tuple[str, AnySource]]:
    """Every credential source of the configuration, and the key that it stands at."""
    opa = settings.policy.opa
    if opa is not None and opa.token is not None:
        yield "policy.opa.token", opa.token
    for name, target in settings.targets.items():
        for key, source in _sources(target):
            yield f"targets.{name}.{key}", source


def absent_approvers(settings: Settings, policies: Iterable[Policy]) -> list[str]:
    """Groups that policies ask and that too few are in, where everybody is known: with the local issuer."""
    if settings.identity.issuer != "local" or not settings.approvals.clients:
        return []
    members = Counter(group for person in settings.identity.local.people.values() for group in person.groups)
    short: dict[tuple[str, int], list[str]] = {}
    for policy in policies:
        given = policy.annotations
        for group in given.approval - {CALLER_GROUP} if given.mode == "enforce" else ():
            if members[group] < given.approvers:
                short.setdefault((group, given.approvers), []).append(policy.id)
    return [
        f"{', '.join(names)}: needs {asked} of the group {group!r}, and identity.local.people has {members[group]}"
        for (group, asked), names in sorted(short.items())
    ]


def odd_servers(interfaces: Mapping[str, Interface]) -> list[str]:
    """Targets whose OpenAPI document means other paths than those below their base URL."""
    found = []
    for name, interface in interfaces.items():
        servers = interface.document.servers if interface.document is not None else ()
        path = urlsplit(interface.base_url).path.rstrip("/")
        if servers and path not in servers:
            listed = ", ".join(repr(server or "/") for server in dict.fromkeys(servers))
            found.append(
                f"targets.{name}: the document's servers have the path {listed}, base_url has {path or '/'!r}; "
                "its paths are taken to be below base_url"
            )
    return found


def _general_warnings(settings: Settings) -> Iterator[str]:
    if not settings.targets:
        yield "there is no target, so there is nothing that a call could reach"
    observed = sorted(
        name for name, target in settings.targets.items() if (target.mode or settings.policy.mode) == "observe"
    )
    if observed:
        yield f"policy is only observed, so every call runs and nobody is asked: {', '.join(observed)}"
    if not settings.approvals.clients:
        yield "approvals.clients is empty, so nobody can approve anything"
    tokens = sorted(name for name, style in settings.masking.styles.items() if style == "token")
    if tokens:
        yield f"the style 'token' acts as 'redact' until there are tokens: {', '.join(tokens)}"
    if "/" in settings.identity.audience.partition("://")[2]:
        yield "identity.audience has a path: clients that check RFC 9728 metadata may refuse it"


def _target_warnings(target: AnyTarget) -> Iterator[str]:
    if not isinstance(target, PostgresTarget):
        return
    if not target.classify:
        yield "no column is classified, so only detectors mask what comes back"
    match target.tls:
        case "require":
            yield "tls = 'require' does not check who the server is: anybody between can read along; use 'verify-full'"
        case "verify-ca":
            yield "tls = 'verify-ca' takes any host's certificate of that authority; use 'verify-full'"
        case _:
            pass


def _class_warnings(target: AnyTarget) -> Iterator[str]:
    """Classes of one's own are as good as the built-in ones, but for one that is a misspelt built-in one."""
    if not isinstance(target, PostgresTarget):
        return
    for name in sorted({*target.classify.values()} - BUILT_IN.keys()):
        if near := get_close_matches(name, BUILT_IN, n=1, cutoff=ALIKE):
            columns = ", ".join(sorted(column for column, found in target.classify.items() if found == name))
            yield (
                f"{name!r} ({columns}) is no built-in data class, so policies, styles and detectors for {near[0]!r} are not "
                f"for it; did you mean {near[0]!r}?"
            )


def _key_problems(settings: Settings) -> list[Problem]:
    """Why a gateway could not use the keys that an earlier one made; those that are missing it makes anew."""
    from mcp_gateway.identity.local_key import KEY_FILE, open_local_key

    problems: list[Problem] = []
    data_dir = settings.gateway.data_dir
    if not os.path.isdir(data_dir):  # noqa: PTH112 - it says no where `Path.is_dir` raises
        return problems
    for name in (APPROVAL_KEY, MASKING_KEY, STATE_KEY):
        try:
            with suppress(FileNotFoundError):
                read_key(data_dir / name)
        except ConfigError as error:
            problems += error.problems
    if settings.identity.issuer == "local" and os.path.lexists(data_dir / KEY_FILE):
        try:
            open_local_key(data_dir, unique="check")
        except ConfigError as error:
            problems += error.problems
    return problems


def _file_problems(named: NamedFile) -> list[Problem]:
    if (problem := _untrusted(named.path, private=named.private)) is not None:
        return [Problem(file=str(named.path), path=named.key, message=problem)]
    try:
        if named.look is not None:
            named.look()
    except ConfigError as error:
        return list(error.problems)
    return []


def _tls_problems(settings: Settings) -> list[Problem]:
    """Why the gateway could not prove who it is. Here the key is read, to see whether it is the certificate's."""
    from mcp_gateway.doors.tls import server_context

    server = settings.server
    if server.tls_cert is None or server.tls_key is None:
        return []
    try:
        server_context(server.tls_cert, server.tls_key)
    except ConfigError as error:
        return list(error.problems)
    return []


def _files(settings: Settings) -> Iterator[NamedFile]:
    if settings.identity.tls_ca is not None:
        yield _authorities("identity.tls_ca", settings.identity.tls_ca)
    if settings.approvals.tls_ca is not None:
        yield _authorities("approvals.tls_ca", settings.approvals.tls_ca)
    if settings.policy.opa is not None and settings.policy.opa.tls_ca is not None:
        yield _authorities("policy.opa.tls_ca", settings.policy.opa.tls_ca)
    for name, target in settings.targets.items():
        if isinstance(target, SSHTarget):
            yield _known_hosts(f"targets.{name}.known_hosts", target)
        if isinstance(target, PostgresTarget | HTTPTarget) and target.tls_ca is not None:
            yield _authorities(f"targets.{name}.tls_ca", target.tls_ca)
    ssh_keys = {f"targets.{name}.key" for name, target in settings.targets.items() if isinstance(target, SSHTarget)}
    for key, source in credential_sources(settings):
        if isinstance(source, FileSource):
            yield (
                _private_key(key, source.file)
                if key in ssh_keys
                else NamedFile(key=key, path=source.file, private=True)
            )
        if isinstance(source, CommandSource):
            yield NamedFile(key=key, path=Path(source.command[0]), private=False)


def _authorities(key: str, path: Path) -> NamedFile:
    return NamedFile(key=key, path=path, private=False, look=lambda: trusting(path, key=key))


def _known_hosts(key: str, target: SSHTarget) -> NamedFile:
    def look() -> None:
        from mcp_gateway.targets.ssh_keys import UnusableKeyError, host_keys, read_known_hosts

        try:
            host_keys(read_known_hosts(target.known_hosts), host=target.host, port=target.port)
        except UnusableKeyError as error:
            raise ConfigError([Problem(file=str(target.known_hosts), path=key, message=str(error))]) from None

    return NamedFile(key=key, path=target.known_hosts, private=False, look=look)


def _private_key(key: str, path: Path) -> NamedFile:
    def look() -> None:
        from mcp_gateway.credentials.sources import MAX_CREDENTIAL_BYTES
        from mcp_gateway.targets.ssh_keys import UnusableKeyError, private_key

        try:
            private_key(read_trusted(path, max_bytes=MAX_CREDENTIAL_BYTES, private=True))
        except (UntrustedFileError, UnusableKeyError) as error:
            raise ConfigError([Problem(file=str(path), path=key, message=str(error))]) from None

    return NamedFile(key=key, path=path, private=True, look=look)


def _lack(source: AnySource, *, environ: Mapping[str, str]) -> str | None:
    match source:
        case EnvSource(env=name):
            return None if environ.get(name) else "is not set"
        case FileSource(file=path):
            problem = _untrusted(path, private=True)
        case CommandSource(command=command):
            problem = _untrusted(Path(command[0]), private=False)
        case KeyringSource():
            problem = keyring_problem()
        case _:
            assert_never(source)
    return None if problem is None else f"cannot be used: {problem}"


def _untrusted(path: Path, *, private: bool) -> str | None:
    try:
        check_trusted(path, private=private)
    except UntrustedFileError as error:
        return str(error)
    return None


def _sources(target: AnyTarget) -> Iterator[tuple[str, AnySource]]:
    match target:
        case PostgresTarget(password=source) if source is not None:
            yield "password", source
        case SSHTarget(key=source):
            yield "key", source
        case HTTPTarget(auth=auth) if auth is not None:
            if auth.bearer is not None:
                yield "auth.bearer", auth.bearer
            if auth.basic is not None:
                yield "auth.basic.password", auth.basic.password
            if auth.header is not None:
                yield "auth.header.value", auth.header.value
        case _:
            pass
