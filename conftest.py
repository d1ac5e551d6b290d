"""Shared by the tests of both packages and by those that cross them."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

REPOSITORY = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    """Before torch, numba or datasets start: one thread a worker, no network, caches of our own."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    settings.register_profile("steady", deadline=None, derandomize=True)  # busy machines are slow, not wrong
    settings.load_profile("steady")
    if not hasattr(config, "workerinput"):  # the workers of xdist inherit the controller's environment
        config.stash[CACHE] = tempfile.mkdtemp(prefix="brainatlas-tests-")
        os.environ[CACHE_VARIABLE] = config.stash[CACHE]
        os.environ["HF_HOME"] = str(Path(config.stash[CACHE]) / "huggingface")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the caches of this session."""
    if CACHE in config.stash:
        shutil.rmtree(config.stash[CACHE], ignore_errors=True)


CACHE = pytest.StashKey[str]()
CACHE_VARIABLE = "BRAINATLAS_TEST_CACHE"


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of this checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real scans that must not be published; tests that need it are skipped without it."""
    path = Path(os.environ.get("BRAINATLAS_SHARED", REPOSITORY.parent / "shared"))
    if not (path / "data").is_dir():
        pytest.skip(f"no real scans at {path}; set BRAINATLAS_SHARED")
    return path


@pytest.fixture(scope="session")
def demo_sources() -> Path:
    """The demo's sources, written once by whichever test process is first; copy them before a change."""
    from brainatlas_text.demo import write_demo_sources

    cache = Path(os.environ[CACHE_VARIABLE])
    with FileLock(cache / "demo-sources.lock"):
        if not (cache / "demo-sources").is_dir():
            write_demo_sources(cache / "demo-sources", people=4, seed=0, workers=2)
    return cache / "demo-sources"
