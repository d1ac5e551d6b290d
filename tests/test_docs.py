"""The documentation is true: links lead somewhere, commands parse, and every code block runs.

Blocks run in page order in one folder, the world, where few of the demo's people are kept. Heavy commands run
as written with overrides appended that make them small (`SMALLER`); `make` targets are only looked up, since
continuous integration runs them themselves.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from brainatlas_text import load_recipe
from brainatlas_text.recipe import to_toml

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *(ROOT / "docs" / name for name in ("tutorial.md", "reference/python.md", "reference/recipes.md")),
]
PAGES += sorted(
    {
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("*/*/README.md"),
        *ROOT.glob("benchmarks/*.md"),
    }
    - set(PAGES)
)
SMALLER = {
    "brainatlas-text build": [
        *("--set", "render.slice_step=16"),
        *("--set", "register.finest_mm=8.0"),
        *("--set", "prepare.bias_correction=false"),
        *("--set", "warp.grid_mm=8.0", "--set", "warp.iterations=[3]"),
        *("--set", "label.method=majority"),
    ],
    "brainldm train": ["--max-images", "32", "--set", "sampling.steps=2"],
}
LEFT_OUT = (
    "ibsr/*/IBSR_0[34]",
    "oasis/*/OAS1_000[2-4]_MR1",
    "ixi/IXI-T1",
    "ixi/IXI-T2/IXI0[235]?-*",
    "kirby/KKI2009-ALL-T2w",
    "kirby/*/KKI2009-0[2457]-*",
)
BUT_REJECTED = 3  # exit code: done, and scans were rejected, as the demo means them to be


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    fences = re.finditer(r"^```(.*)\n((?:.*\n)*?)^```$", text, re.MULTILINE)
    return [Block(page, text.count("\n", 0, f.start()) + 1, f[1].strip(), f[2]) for f in fences]


ALL = [block for page in PAGES for block in blocks(page)]


def commands(block: Block) -> list[str]:
    """The command lines of a shell block, continuation lines joined, without comments."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


@pytest.mark.unit
def test_every_block_names_a_language_that_is_checked() -> None:
    assert len(ALL) > 10
    assert {block.language for block in ALL} <= {"sh", "python", "toml", "text", "json"}


@pytest.mark.unit
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing


@pytest.mark.unit
def test_make_targets_exist() -> None:
    named = {
        word
        for block in ALL
        for line in commands(block)
        if block.language in {"sh", "text"} and line.startswith("make ")
        for word in shlex.split(line, comments=True)[1:]
        if "=" not in word
    }
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"setup", "demo"} <= named <= targets


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation, built strictly."""
    folder = tmp_path_factory.mktemp("site")
    run("mkdocs", "build", "--strict", "--quiet", "--site-dir", folder, cwd=ROOT)
    return folder


@pytest.mark.integration
def test_the_reference_shows_what_commands_print(site: Path) -> None:
    assert "brainldm train" in (site / "reference" / "cli.html").read_text(encoding="utf-8")


@pytest.mark.integration
def test_every_key_of_a_recipe_is_documented(site: Path) -> None:
    page = (site / "reference" / "recipes.html").read_text(encoding="utf-8")
    keys = tomllib.loads(to_toml(load_recipe("default")))
    tables = {name: table for name, table in keys.items() if isinstance(table, dict)}
    assert {"register", "warp", "label"} <= tables.keys()
    sections = {name: page.partition(f'<h3 id="{name}">')[2].partition("<h3")[0] for name in tables}
    missing = [
        f"{name}.{key}"
        for name, table in tables.items()
        for key in table
        if f"<code>{key}</code>" not in sections[name]
    ]
    assert not missing + [key for key in keys.keys() - tables.keys() if f"<code>{key}</code>" not in page]


def run(*command: object, cwd: Path) -> None:
    """Run a command with this environment's programs first; its output is shown where it fails."""
    folder = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "NO_MKDOCS_2_WARNING": "1",
    }
    words = [str(part) for part in command]
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True)
    good = {0, BUT_REJECTED} if words[:2] == ["brainatlas-text", "build"] else {0}
    assert done.returncode in good, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def world(demo_sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like a checkout with the demo's sources, of which few people are kept."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "brainldm").symlink_to(ROOT / "brainldm")
    shutil.copytree(demo_sources, folder / "demo" / "sources")
    for pattern in LEFT_OUT:
        found = list((folder / "demo" / "sources").glob(pattern))
        assert found, pattern
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (folder / "sources").symlink_to(folder / "demo" / "sources")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_run(page: Path, world: Path) -> None:
    for block in blocks(page):
        if block.language == "python":
            run(sys.executable, "-c", block.text, cwd=world)
        for line in commands(block) if block.language == "sh" else []:
            if not line.startswith(("make ", "git ")):
                smaller = next(
                    (add for name, add in SMALLER.items() if name in line and "--set" not in line), []
                )
                run(*shlex.split(line, comments=True), *smaller, cwd=world)


@pytest.mark.slow
@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize(("heading", "folder"), [("The data set", "demo/dataset"), ("The run", "demo/run")])
def test_folders_hold_what_the_reference_says(heading: str, folder: str, world: Path) -> None:
    page = (ROOT / "docs" / "reference" / "folders.md").read_text(encoding="utf-8")
    section = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    named = {name.rstrip("/") for name in re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)}
    assert named == {path.name for path in (world / folder).iterdir()}
