"""A working folder, a home and an environment in which everything that a program might take belongs to somebody else.

`hostile` lays them out; what is planted says so in one file when it runs, and listeners count who connects. `traced` runs a
program below strace, and `touched` says which of its system calls named something of all this.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.peers.parts import missing

PROGRAMS = (
    "python python3 python3.11 sh bash env readlink dirname uname ps id ldconfig gcc cc ssh ssh-agent openssl".split()
)
FUNCTIONS = ("command", "readlink", "exec", "unset", "test")
MORE_MODULES = (
    "sitecustomize", "usercustomize", "site", "encodings", "codecs", "os", "io", "abc", "runpy", "zipimport", "mcp_gateway",
    "mcp_gateway_tools", "mcp_gateway_policies", "winloop", "colorama", "brotli", "h2", "gssapi", "pkcs11", "fido2", "keyring",
    "_virtualenv", "readline", "rlcompleter", "antigravity",
)  # fmt: skip


@dataclass(kw_only=True)
class Surroundings:
    """What lies around a program."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    connections: list[str] = field(default_factory=list)

    @property
    def work(self) -> Path:
        """The working folder."""
        return self.folder / "work"

    @property
    def home(self) -> Path:
        """The home folder."""
        return self.folder / "home"

    @property
    def owned(self) -> Path:
        """Written by whatever is planted, when it runs."""
        return self.folder / "owned"

    @property
    def key_log(self) -> Path:
        """Where secrets of TLS sessions would go."""
        return self.folder / "keys.log"

    def taken(self) -> list[str]:
        """What of all this had an effect."""
        ran = self.owned.read_text().splitlines() if self.owned.exists() else []
        return ran + self.connections + ([self.key_log.name] if self.key_log.exists() else [])


@contextmanager
def hostile(folder: Path, *, authority: Path) -> Iterator[Surroundings]:
    """Lay it all out; the environment names the authority."""
    folder.mkdir()
    found = Surroundings(folder=folder)
    with _counting(found.connections) as port, _counting_socket(found.connections, folder / "agent") as agent:
        _plant_modules(found)
        _plant_home(found, port=port)
        _plant_programs(found)
        (folder / "ca.pem").write_bytes(authority.read_bytes())
        (folder / "openssl.cnf").write_text(
            "openssl_conf = c\n[c]\nproviders = p\n[p]\nx = x\n[x]\nmodule = ./evil.so\nactivate = 1\n"
        )
        found.environ = _environment(found, port=port, agent=agent)
        yield found


def _environment(found: Surroundings, *, port: int, agent: Path) -> dict[str, str]:
    folder, work, proxy = found.folder, found.work, f"http://127.0.0.1:{port}"
    proxies = {name: proxy for base in ("http_proxy", "https_proxy", "all_proxy") for name in (base, base.upper())}
    functions = {f"BASH_FUNC_{name}%%": f"() {{ echo {name} >> {found.owned}; }}" for name in FUNCTIONS}
    python = {
        "PYTHONPATH": f"{work}:{work}/lib",
        "PYTHONHOME": str(work),
        "PYTHONSTARTUP": str(work / "sitecustomize.py"),
        "PYTHONUSERBASE": str(found.home / "base"),
        "PYTHONPYCACHEPREFIX": str(work / "cache"),
        "PYTHONPLATLIBDIR": "evil",
        "PYTHONEXECUTABLE": str(work / "bin" / "python"),
        "PYTHONBREAKPOINT": "sitecustomize.x",
        "PYTHONWARNINGS": "error",
        "PYTHONINSPECT": "1",
        "PYTHONASYNCIODEBUG": "1",
        "PYTHONTRACEMALLOC": "9",
        "PYTHONIOENCODING": "utf-16",
        "__PYVENV_LAUNCHER__": str(work / "bin" / "python"),
    }
    postgres = {
        "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "evil", "PGPASSWORD": "evil", "PGDATABASE": "evil",
        "PGSERVICE": "evil", "PGSERVICEFILE": str(found.home / ".pg_service.conf"), "PGPASSFILE": str(found.home / ".pgpass"),
        "PGSSLMODE": "disable", "PGSSLROOTCERT": str(folder / "ca.pem"), "PGSSLKEY": str(folder / "ca.pem"),
        "PGSSLCERT": str(folder / "ca.pem"), "PGOPTIONS": "-c search_path=evil", "PGSYSCONFDIR": str(found.home),
        "PGTARGETSESSIONATTRS": "standby", "PGGSSLIB": "evil", "PGKRBSRVNAME": "evil", "PGCLIENTENCODING": "SQL_ASCII",
    }  # fmt: skip
    return {
        **python, **postgres, **proxies, **functions,
        "HOME": str(found.home), "XDG_CONFIG_HOME": str(found.home / ".config"), "PWD": str(work),
        "PATH": f"{work / 'bin'}:.:{os.environ['PATH']}", "CDPATH": str(work), "ENV": str(work / "rc.sh"),
        "BASH_ENV": str(work / "rc.sh"), "NO_PROXY": "", "NETRC": str(found.home / ".netrc"),
        "SSL_CERT_FILE": str(folder / "ca.pem"), "SSL_CERT_DIR": str(folder), "OPENSSL_CONF": str(folder / "openssl.cnf"),
        "OPENSSL_MODULES": str(folder), "OPENSSL_ENGINES": str(folder), "SSLKEYLOGFILE": str(found.key_log),
        "REQUESTS_CA_BUNDLE": str(folder / "ca.pem"), "CURL_CA_BUNDLE": str(folder / "ca.pem"),
        "HOSTALIASES": str(folder / "hosts"), "SQLITE_TMPDIR": str(folder), "SSH_AUTH_SOCK": str(agent),
        "SSH_ASKPASS": str(work / "bin" / "id"), "SSH_ASKPASS_REQUIRE": "force", "KRB5_CONFIG": str(folder / "krb5.conf"),
        "VIRTUAL_ENV": str(work), "CONDA_PREFIX": str(work), "MCP_GATEWAY_DATA_DIR": str(folder), "_MCP_GATEWAY_COMPLETE": "",
    }  # fmt: skip


def _plant_modules(found: Surroundings) -> None:
    """A module for every name that this process has imported, which is more than the gateway does, and for some others."""
    names = {name.partition(".")[0] for name in sys.modules} | set(MORE_MODULES)
    for folder in (found.work, found.work / "lib", found.home / "base/lib/python3.11/site-packages"):
        folder.mkdir(parents=True, exist_ok=True)
        for name in sorted(name for name in names if name.isidentifier()):
            (folder / f"{name}.py").write_text(f"open({str(found.owned)!r}, 'a').write('module {name}\\n')\n")
    package = found.work / "lib" / "mcp_gateway"
    package.mkdir()
    for name in ("__init__", "__main__"):
        (package / f"{name}.py").write_text(f"open({str(found.owned)!r}, 'a').write('mcp_gateway.{name}\\n')\n")
    (found.work / ".env").write_text("MCP_GATEWAY_CONFIG=/evil.toml\nOPENSSL_CONF=/evil.cnf\n")
    (found.work / "gateway.toml").write_text('[identity]\nissuer = "local"\n')
    (found.work / "pyvenv.cfg").write_text(f"home = {found.work}/bin\ninclude-system-site-packages = true\n")
    (found.work / "rc.sh").write_text(f"echo rc >> {found.owned}\n")


def _plant_programs(found: Surroundings) -> None:
    (found.work / "bin").mkdir()
    for name in PROGRAMS:
        path = found.work / "bin" / name
        path.write_text(f"#!/bin/dash\necho program {name} >> {found.owned}\n")
        path.chmod(0o755)


def _plant_home(found: Surroundings, *, port: int) -> None:
    home = found.home
    for name in (".ssh", ".postgresql", ".config/mcp-gateway", ".config/python_keyring"):
        (home / name).mkdir(parents=True)
    (home / ".ssh/config").write_text(f"Host *\n  Port {port}\n  User evil\n  ProxyCommand echo ssh >> {found.owned}\n")
    for name in ("known_hosts", "id_rsa", "id_ed25519", "authorized_keys"):
        (home / ".ssh" / name).write_text("* ssh-ed25519 AAAA\n")
    (home / ".netrc").write_text("default login evil password evil\n")
    (home / ".pgpass").write_text("*:*:*:*:evil\n")
    (home / ".pg_service.conf").write_text(f"[evil]\nhost=127.0.0.1\nport={port}\n")
    for name in (".netrc", ".pgpass", ".pg_service.conf", ".ssh/config"):
        (home / name).chmod(0o600)
    (home / ".postgresql/root.crt").write_text("evil\n")
    (home / ".config/mcp-gateway/gateway.toml").write_text('[identity]\nissuer = "local"\n')
    (home / ".profile").write_text(f"echo profile >> {found.owned}\n")


@contextmanager
def _counting(connections: list[str]) -> Iterator[int]:
    """A listener that takes connections, notes them and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener, _accepting(listener, connections, "listener"):
        yield listener.getsockname()[1]


@contextmanager
def _counting_socket(connections: list[str], path: Path) -> Iterator[Path]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with _accepting(listener, connections, "agent"):
            yield path


@contextmanager
def _accepting(listener: socket.socket, connections: list[str], name: str) -> Iterator[None]:
    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            if ended.is_set():
                connection.close()
                return
            connections.append(f"connection to the {name}")
            connection.close()

    ended = threading.Event()
    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        with socket.socket(listener.family) as last:
            last.connect(listener.getsockname())
        thread.join()


STRACE = ("-f", "-qq", "-s", "400", "-e", "trace=%file,connect", "-e", "signal=none")


def traced(log: Path) -> list[str]:
    """The words before a command that have it traced into this file."""
    strace = shutil.which("strace") or missing("strace", hint="apt-get install strace")
    return [strace, *STRACE, "-o", str(log)]


def touched(log: Path, found: Surroundings) -> list[str]:
    """System calls, of the program and its children, that name something of all this; a shell looks at where it stands."""
    stands = re.compile(rf"^\d+ +(chdir|getcwd|newfstatat|stat)\((AT_FDCWD, )?\"{re.escape(str(found.work))}\"")
    lines = log.read_text(errors="replace").splitlines()
    return [line for line in lines if str(found.folder) in line and stands.match(line) is None]
