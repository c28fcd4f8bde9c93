"""What is installed works: the command, the package's data, and twistd's three new commands."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
COMMANDS = {"pygmy-catalog", "pygmy-order", "pygmy-frontend"}


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", directory, PROJECT, cwd=directory)
    (built,) = directory.glob("*.whl")
    return built


def environment(directory: Path, *what: str | Path) -> Path:
    """The bin directory of a new environment with the project installed and today's dependencies at hand.

    The dependencies come by a .pth file, whose directory's own .pth files (another editable pygmy) do not count.
    """
    venv.create(directory, with_pip=False, symlinks=True)
    python = directory / "bin" / "python"
    site_packages = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=directory).strip()
    )
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "install"]
    run(*pip, "--quiet", "--no-deps", "--no-build-isolation", "--no-index", *what, cwd=directory)
    return python.parent


def assert_works(bin: Path, home: Path, cwd: Path) -> None:
    where = run(bin / "python", "-c", "import pygmy; print(pygmy.__file__)", cwd=cwd).strip()
    assert Path(where).is_relative_to(home)
    assert run(bin / "pygmy", "--version", cwd=cwd).startswith("pygmy, version ")
    helped = run(bin / "python", "-c", "from twisted.scripts.twistd import run; run()", "--help", cwd=cwd)
    assert {line.split()[0] for line in helped.splitlines() if "pygmy-" in line} == COMMANDS


def test_the_wheel_brings_everything(wheel: Path) -> None:
    files = [path for path in (PROJECT / "pygmy").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    names = {path.relative_to(PROJECT).as_posix() for path in files} | {"twisted/plugins/pygmy_plugin.py"}
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == names


def test_an_installed_wheel_gives_twistd_three_commands(wheel: Path, tmp_path: Path) -> None:
    bin = environment(tmp_path / "venv", wheel)
    assert_works(bin, tmp_path, tmp_path)


def test_an_editable_install_gives_twistd_three_commands(tmp_path: Path) -> None:
    """Some build backends lose the plugin here without a word."""
    bin = environment(tmp_path / "venv", "--editable", PROJECT)
    assert_works(bin, PROJECT, tmp_path)


def test_listing_the_commands_imports_nothing_of_pygmy() -> None:
    """twistd reads every plugin on every start of anything."""
    code = "import sys, twisted.plugins.pygmy_plugin; sys.exit(any(m.split('.')[0] == 'pygmy' for m in sys.modules))"
    path = f"import sys, twisted.plugins; twisted.plugins.__path__.append({str(PROJECT / 'twisted' / 'plugins')!r})"
    run(sys.executable, "-c", f"{path}; {code}", cwd=PROJECT)
