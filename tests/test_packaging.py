"""Each package's wheel, alone in a fresh environment with what it declares: complete and able to start."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

DATA = {
    "brainatlas-text": {
        "pages/templates/*",
        "recipes/*.toml",
        "phrases/*.toml",
        "tables/*.toml",
        "tables/*.tsv",
        "tables/schemes/*.tsv",
    },
    "brainldm": {"recipes/*.toml"},
}
# Imports every module, which shows what a package uses without declaring it.
IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
found = [module.name for module in pkgutil.walk_packages(package.__path__, sys.argv[1] + ".")]
names = [name for name in found if not name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def uv(*arguments: object) -> None:
    """Run uv; where torch is to come from is the environment's matter, as in the Makefile."""
    environment = dict(os.environ)
    if not environment.keys() & {"UV_FIND_LINKS", "UV_TORCH_BACKEND"}:
        environment["UV_TORCH_BACKEND"] = "cpu"
    command = [Path(sys.executable).with_name("uv"), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheels(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both wheels, built from the checkout."""
    folder = tmp_path_factory.mktemp("wheels")
    built = {}
    for package in DATA:
        uv("build", "--quiet", "--wheel", "--out-dir", folder / package, repository / "packages" / package)
        (built[package],) = (folder / package).glob("*.whl")
    return built


@pytest.mark.parametrize("package", DATA)
def test_wheel_carries_all_that_the_source_tree_holds(
    package: str, wheels: dict[str, Path], repository: Path
) -> None:
    source = repository / "packages" / package / "src"
    tracked = subprocess.run(
        ["git", "ls-files", "."], cwd=source, check=True, capture_output=True, text=True
    ).stdout.split()
    carried = set(zipfile.ZipFile(wheels[package]).namelist())
    assert set(tracked) <= carried
    name = package.replace("-", "_")
    for pattern in DATA[package]:
        assert any(Path(path).match(f"{name}/{pattern}") for path in carried), pattern
    assert f"{name}/py.typed" in carried
    assert not any("/tests/" in path for path in carried)


@pytest.mark.parametrize(
    ("package", "other"), [("brainatlas-text", "brainldm"), ("brainldm", "brainatlas-text")]
)
def test_wheel_works_alone(
    package: str, other: str, wheels: dict[str, Path], repository: Path, tmp_path: Path
) -> None:
    environment = tmp_path / "venv"
    uv("venv", "--quiet", "--python", sys.executable, environment)
    uv("pip", "install", "--quiet", "-p", environment, "-c", repository / "constraints.txt", wheels[package])

    def run(*command: object) -> subprocess.CompletedProcess[str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        return subprocess.run(
            list(map(str, command)), cwd=tmp_path, env=clean, capture_output=True, text=True
        )

    shown = run(environment / "bin" / package, "--help")
    assert shown.returncode == 0, shown.stderr
    assert f"usage: {package}" in shown.stdout
    module = package.replace("-", "_")
    imported = run(environment / "bin" / "python", "-c", IMPORT_ALL, module)
    assert imported.returncode == 0, imported.stderr
    assert int(imported.stdout) > 15
    absent = run(environment / "bin" / "python", "-c", f"import {other.replace('-', '_')}")
    assert "ModuleNotFoundError" in absent.stderr


def test_everything_installed_is_pinned(repository: Path) -> None:
    lines = (repository / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    listed = subprocess.run(
        [
            Path(sys.executable).with_name("uv"),
            "pip",
            "list",
            "-q",
            "-p",
            sys.executable,
            "--format",
            "freeze",
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    installed = dict(line.split("==") for line in listed)
    for name in (*DATA, "pip", "setuptools"):
        installed.pop(name, None)
    installed = {name: version.partition("+")[0] for name, version in installed.items()}
    assert installed.items() <= pins.items()
