"""The wheel, installed as users install it: the command is there, and starts Python isolated by whatever link it is called."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from mcp_gateway import __version__
from tests.invariants.world import World

ROOT = Path(__file__).parents[2]
LAUNCHER = ROOT / "scripts" / "mcp-gateway"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_holds_the_launcher_and_no_other_script(wheel: Path, world: World) -> None:
    world.no_store = "nothing is served"
    with zipfile.ZipFile(wheel) as archive:
        scripts = [item for item in archive.infolist() if ".data/scripts/" in item.filename]
        assert [item.filename.rpartition("/")[2] for item in scripts] == ["mcp-gateway"]
        assert archive.read(scripts[0]) == LAUNCHER.read_bytes()
        assert scripts[0].external_attr >> 16 & 0o111 == 0o111
        entry_points = [archive.read(name).decode() for name in archive.namelist() if name.endswith("entry_points.txt")]
    assert not any("console_scripts" in text for text in entry_points)


def test_an_installed_wheel_starts_by_its_path_and_by_a_link(wheel: Path, tmp_path: Path, world: World) -> None:
    world.no_store = "nothing is served"
    environment = tmp_path / "a venv"  # with a space, which a script of Python could not name
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)], check=True)
    (packages,) = (environment / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    link = tmp_path / "mcp-gateway"
    link.symlink_to(environment / "bin" / "mcp-gateway")
    (tmp_path / "again").symlink_to(link)
    (tmp_path / "typer.py").write_text("raise SystemExit('a module of the working folder')")

    for command in (environment / "bin" / "mcp-gateway", link, tmp_path / "again", "./mcp-gateway"):
        ran = subprocess.run(
            [command, "--version"],
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path), "PYTHONHOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"mcp-gateway {__version__}\n", "")
