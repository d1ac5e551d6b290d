"""`--help` of both programs: nothing heavy is imported for it, and every command shows an example."""

import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration

PROGRAMS = {"brainatlas-text": "brainatlas_text", "brainldm": "brainldm"}
HEAVY = {
    "SimpleITK", "accelerate", "ants", "dask", "datasets", "distributed", "matplotlib", "monai", "nibabel",
    "nilearn", "numba", "numpy", "pandas", "pyarrow", "pydantic", "requests", "scipy", "tensorboard", "torch",
    "transformers", "urllib3",
}  # fmt: skip
IMPORTED = """
import runpy, sys
module, sys.argv = sys.argv[1], sys.argv[1:]
try:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
except SystemExit as stop:
    assert not stop.code, stop.code
print("IMPORTED", *{name.partition(".")[0] for name in sys.modules})
"""


def ask(module: str, *arguments: str) -> str:
    """What a program prints."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout


def commands(module: str) -> list[str]:
    """The commands that a program's help lists."""
    listed = ask(module, "--help").partition("COMMAND\n")[2].partition("\n\n")[0]
    return re.findall(r"^ {4}([a-z][a-z-]*)", listed, re.MULTILINE)


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_imports_nothing_heavy(program: str) -> None:
    module = PROGRAMS[program]
    for arguments in ([], *[[command] for command in commands(module)]):
        done = subprocess.run(
            [sys.executable, "-c", IMPORTED, module, *arguments, "--help"],
            check=True,
            capture_output=True,
            text=True,
        )
        imported = set(done.stdout.rpartition("IMPORTED")[2].split())
        assert module in imported
        assert not imported & HEAVY


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_shows_an_example_of_itself(program: str) -> None:
    module = PROGRAMS[program]
    found = commands(module)
    assert len(found) >= 2
    assert "example" in ask(module, "--help").lower()
    for command in found:
        shown = " ".join(ask(module, command, "--help").split())
        assert re.search(rf"examples?: .*{program} {command}\b", shown), f"{program} {command}: no example"
