"""Tiny sources and a tiny data set, made once a session: real template brains on coarse grids."""

import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from scipy import ndimage

from brainatlas_text import BrainAtlas, BuildConfig, build, load_recipe
from brainatlas_text.hub import load_hub
from brainatlas_text.records import Sample

QUICK = (
    "render.slice_step=16",
    "register.finest_mm=8.0",
    "prepare.bias_correction=false",
    "plan.block_pairs=4",
)


@dataclass(frozen=True)
class TinyBrain:
    """Template tissue in RAS order at 3 mm: image, CMA labels (white matter, cortex, ventricle-like core)."""

    image: np.ndarray
    labels: np.ndarray
    zooms: tuple[float, float, float] = (3.0, 3.0, 3.0)


def tiny_brain(seed: int) -> TinyBrain:
    """One made-up person: the template, stretched by a few per cent, with a thicker left temporal lobe."""
    rng = np.random.default_rng(seed)
    template = load_hub().image
    matrix = np.diag(3.0 * rng.uniform(0.93, 1.07, 3))
    image = ndimage.affine_transform(template.array, matrix, output_shape=(66, 78, 64), order=1)
    image *= 1000 / image.max()
    brain, x = image > 100, np.arange(66)[:, None, None]
    depth = ndimage.distance_transform_edt(brain)
    labels = np.where(x < 33, 3, 42) * brain
    labels[(depth > 2)] = 2
    labels[(depth > 2) & (x >= 33)] = 41
    labels[(depth > 7) & (x < 33)], labels[(depth > 7) & (x >= 33)] = 10, 49
    noise = rng.normal(0, 10, image.shape)
    return TinyBrain((image + noise).clip(1) * brain, labels)


def write_ibsr(folder: Path, number: int, brain: TinyBrain) -> None:
    """One person as the IBSR NIfTI release has them: stripped image and labels, origin in a corner."""
    place = folder / "IBSR_nifti_stripped" / f"IBSR_{number:02d}"
    place.mkdir(parents=True)
    affine = np.diag([*brain.zooms, 1.0])
    affine[0, 3] = -195.0
    for name, array in (("ana_strip", brain.image), ("seg_ana", brain.labels)):
        image = nib.Nifti1Image(array.astype(np.int16)[..., None], affine)
        image.set_qform(None, 0)
        nib.save(image, place / f"IBSR_{number:02d}_{name}.nii.gz")


def write_oasis(folder: Path, number: int, brain: TinyBrain) -> None:
    """One person as OASIS-1's stripped Talairach form has them: L, A, S array, big endian, no orientation."""
    session = f"OAS1_{number:04d}_MR1"
    place = folder / "disc1" / session / "PROCESSED" / "MPRAGE" / "T88_111"
    place.mkdir(parents=True)
    array = brain.image[::-1, :, :, None].astype(">i2")
    header = nib.AnalyzeHeader(endianness=">")
    header.set_data_dtype(">i2")
    header.set_data_shape(array.shape)
    header.set_zooms((*brain.zooms, 1.0))
    image = nib.AnalyzeImage(array, None, header)
    nib.save(image, place / f"{session}_mpr_n4_anon_111_t88_masked_gfc.img")


@pytest.fixture(scope="session")
def tiny_sources(tmp_path_factory) -> Path:
    """Three labeled IBSR people (one a juvenile) and two OASIS people."""
    root = tmp_path_factory.mktemp("sources")
    for number in (1, 2, 3):
        write_ibsr(root / "ibsr", number, tiny_brain(number))
    (root / "ibsr" / "IBSR_info.csv").write_text("ID,GENDER,AGE\n1,M,37\n2,M,41\n3,F,JUV\n")
    for number in (11, 12):
        write_oasis(root / "oasis", number, tiny_brain(number))
    (root / "oasis" / "oasis_cross-sectional.csv").write_text(
        "ID,M/F,Hand,Age,Educ,SES,MMSE,CDR,eTIV,nWBV,ASF,Delay\n"
        "OAS1_0011_MR1,F,R,52,4,2,30,0,1500,0.8,1.1,N/A\n"
    )
    return root


@pytest.fixture(scope="session")
def tiny_config(tiny_sources, tmp_path_factory) -> BuildConfig:
    """How the tiny data set is built."""
    return BuildConfig(
        sources=("ibsr", "oasis"),
        recipe=load_recipe("demo", QUICK),
        root=tiny_sources,
        out=tmp_path_factory.mktemp("built") / "dataset",
        workers=1,
    )


@pytest.fixture(scope="session")
def tiny_dataset(tiny_config) -> Path:
    """The tiny data set, built."""
    build(tiny_config)
    return tiny_config.out


@pytest.fixture(scope="session")
def quick() -> tuple[str, ...]:
    """Recipe overrides that make a build take seconds."""
    return QUICK


@pytest.fixture(scope="session")
def make_brain():
    """A made-up person by number, as `tiny_brain` makes them."""
    return tiny_brain


def stored_members(out: Path) -> dict[str, dict[str, bytes]]:
    """Key -> extension -> bytes of all samples, as Python's own tarfile reads them."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted((out / "data").rglob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, extension = member.name.partition(".")
                file = tar.extractfile(member)
                assert file is not None
                found.setdefault(key, {})[extension] = file.read()
    return found


def as_members(sample: Sample) -> dict[str, bytes]:
    """A sample as the shard format has it."""
    return {
        "png": sample.image_png,
        "seg.png": sample.label_png,
        "txt": sample.text.encode(),
        "json": json.dumps(sample.facts, ensure_ascii=False, separators=(",", ":")).encode(),
    }


@pytest.fixture(scope="session")
def assert_renders_its_shards() -> Callable[[BrainAtlas], None]:
    """Renders every sample of a data set again and compares it with the bytes in the tars."""

    def check(atlas: BrainAtlas) -> None:
        stored = stored_members(atlas.root)
        assert len(stored) == len(atlas) > 10 and sorted(stored) == sorted(atlas)
        for key in sorted(stored):  # by pair, so that each is rendered once
            assert as_members(atlas[key]) == stored[key]

    return check


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium; nothing is downloaded."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium on this machine; on Debian: apt-get install chromium")
    with sync_playwright() as driver:
        # no sandbox: continuous integration runs as root, and the page is our own
        chromium = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser) -> Iterator[Callable[..., tuple[Page, list[str]]]]:
    """Opens a page from disk in a window of some size and theme; gives it and what went wrong or out."""
    contexts = []

    def opened(path: Path, size: dict[str, int], scheme: str) -> tuple[Page, list[str]]:
        context = browser.new_context(viewport=size, color_scheme=scheme, offline=True)
        contexts.append(context)
        page, trouble = context.new_page(), []
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on(
            "request",
            lambda request: (
                trouble.append(request.url) if not request.url.startswith(("file:", "data:")) else None
            ),
        )
        page.goto(path.as_uri())
        return page, trouble

    yield opened
    for context in contexts:
        context.close()
