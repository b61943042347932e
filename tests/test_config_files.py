"""Where gateway.toml is found, and when it is not trusted."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from mcp_gateway.config import (
    find_config,
    load_settings,
)
from mcp_gateway.errors import ConfigError
from tests.configurations import COMPLETE, LOCAL, parse


def written(folder: Path, content: str | bytes, *, mode: int = 0o600) -> Path:
    path = folder / "gateway.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


def test_a_file_is_loaded(tmp_path: Path) -> None:
    assert load_settings(written(tmp_path, COMPLETE)) == parse(COMPLETE)


@pytest.mark.parametrize(
    ("content", "mode", "expected"),
    [
        (LOCAL, 0o666, ": it has mode 0666, so that others can write to it; run chmod go-w on it"),
        (b"# ok\n# \xff\n", 0o600, ":2: expected UTF-8"),
        ("#" * (1024 * 1024 + 1), 0o600, ": expected at most 1,048,576 bytes, got more"),
    ],
)
def test_a_file_that_cannot_be_trusted_or_read_is_refused(
    tmp_path: Path, content: str | bytes, mode: int, expected: str
) -> None:
    path = written(tmp_path, content, mode=mode)

    with pytest.raises(ConfigError) as caught:
        load_settings(path)

    assert str(caught.value) == f"{path}{expected}"


# Where the file is.


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's configuration folder, wherever the platform has it, below a home of the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    from mcp_gateway.config import config_folder

    folder = config_folder()
    assert folder.is_relative_to(tmp_path)
    folder.mkdir(parents=True)
    return folder


def test_the_option_counts_first(home: Path) -> None:
    written(home, LOCAL)

    assert find_config("/a.toml", {"MCP_GATEWAY_CONFIG": "/b.toml"}) == Path("/a.toml")


def test_then_the_variable(home: Path) -> None:
    written(home, LOCAL)

    assert find_config(None, {"MCP_GATEWAY_CONFIG": "/b.toml"}) == Path("/b.toml")


def test_then_the_users_configuration_folder(home: Path) -> None:
    path = written(home, LOCAL)

    assert find_config(None, {}) == path
    assert find_config(None, {"MCP_GATEWAY_CONFIG": ""}) == path


def test_the_current_folder_never_counts(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    written(workspace, LOCAL)
    monkeypatch.chdir(workspace)

    with pytest.raises(ConfigError) as caught:
        find_config(None, {})

    assert str(caught.value) == (
        f"{home / 'gateway.toml'}: there is no configuration; run `mcp-gateway init`, or give --config"
    )


@pytest.mark.parametrize(
    ("explicit", "environ", "expected"),
    [
        ("gateway.toml", {}, "--config: expected an absolute path, got 'gateway.toml'"),
        (None, {"MCP_GATEWAY_CONFIG": "./x.toml"}, "MCP_GATEWAY_CONFIG: expected an absolute path, got './x.toml'"),
    ],
)
def test_a_path_below_the_current_folder_is_refused(
    explicit: str | None, environ: dict[str, str], expected: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        find_config(explicit, environ)

    assert str(caught.value) == expected


def test_a_configuration_folder_below_the_current_folder_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setattr("sys.platform", "linux")

    with pytest.raises(ConfigError, match=f"^{tmp_path}/.*: there is no configuration; "):
        find_config(None, {})


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user of whom the system knows nothing, as in a container that runs as any number."""

    def unknown(_: int) -> None:
        raise KeyError

    for name in [name for name in os.environ if name == "HOME" or name.startswith("XDG_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_who_has_no_home_is_told_what_to_give(homeless: None, tmp_path: Path) -> None:
    why = f"the user that runs this ({os.geteuid()}) has no home folder; set HOME to an absolute path, or "

    with pytest.raises(ConfigError) as of_the_file:
        find_config(None, {})
    with pytest.raises(ConfigError) as of_the_data:
        load_settings(written(tmp_path, LOCAL))

    assert str(of_the_file.value) == f"{why}give --config"
    assert str(of_the_data.value) == f"gateway.data_dir: {why}write it"


def test_who_has_no_home_needs_none_where_everything_is_named(homeless: None, tmp_path: Path) -> None:
    file = written(tmp_path, f'[gateway]\ndata_dir = "{tmp_path / "data"}"\n{LOCAL}')

    assert load_settings(find_config(str(file), {})).gateway.data_dir == tmp_path / "data"
