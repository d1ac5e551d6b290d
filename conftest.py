"""Shared by the tests of both packages and by those that cross them."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
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
        os.environ["HF_HOME"] = config.stash[CACHE]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the caches of this session."""
    if CACHE in config.stash:
        shutil.rmtree(config.stash[CACHE], ignore_errors=True)


CACHE = pytest.StashKey[str]()


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
