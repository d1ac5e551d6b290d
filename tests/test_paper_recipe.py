"""The recipe `paper` on the demo's people, coarsely registered: pictures of the fixed scans' own voxels."""

import io
import json
import tarfile
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from brainatlas_text import BuildConfig, build, load_recipe
from brainatlas_text.cohort import found_on_disk, load_forms
from brainatlas_text.costs import load_costs
from brainatlas_text.estimate import estimate
from brainatlas_text.sources import Selection, find

pytestmark = pytest.mark.slow
STEP = 8
COARSE = (f"render.slice_step={STEP}", "register.finest_mm=8.0", "prepare.bias_correction=false")
SCANS = ("ibsr-01-t1w", "ibsr-02-t1w", "kirby-405-1-flair")
AXES = {"sagittal": 0, "coronal": 1, "axial": 2}


@pytest.fixture(scope="module")
def built(demo_sources, tmp_path_factory):
    folder = tmp_path_factory.mktemp("paper")
    (folder / "scans.txt").write_text("\n".join(SCANS))
    config = BuildConfig(
        sources=("ibsr", "kirby"),
        recipe=load_recipe("paper", COARSE),
        selection=Selection(subjects=folder / "scans.txt"),
        root=demo_sources,
        out=folder / "dataset",
        workers=1,
    )
    return build(config), config


@pytest.fixture(scope="module")
def rows(built) -> list[tuple[dict, np.ndarray, np.ndarray]]:
    """Facts, picture and label image of every sample."""
    found = []
    for path in sorted(built[1].out.glob("data/*/*.tar")):
        with tarfile.open(path) as tar:
            members = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}
        for name in members:
            if name.endswith(".json"):
                key = name.removesuffix(".json")
                pages = (Image.open(io.BytesIO(members[f"{key}{end}"])) for end in (".png", ".seg.png"))
                found.append((json.loads(members[name]), *(np.asarray(page) for page in pages)))
    return found


@cache
def prepared(out: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Array and voxel sizes of a prepared file."""
    image = nib.load(out / "work" / "prepared" / f"{name}.nii.gz")
    return np.asanyarray(image.dataobj), np.array(image.header.get_zooms()[:3], float)


def on_page(array: np.ndarray, axis: int, index: int) -> np.ndarray:
    """A slice as the page shows it, padded evenly, left on the left and up above."""
    cut = array.take(index, axis=axis)
    across, upward = cut.shape
    page = np.zeros((256, 256), array.dtype)
    left, below = (256 - across) // 2, (256 - upward + 1) // 2
    page[256 - below - upward : 256 - below, left : left + across] = cut.T[::-1]
    return page


def test_it_is_the_papers_way(built):
    summary, config = built
    recipe = config.recipe
    assert (recipe.register_.method, recipe.label.method) == ("direct", "majority")
    assert (recipe.plan.splits, recipe.render.frame) == ("paper", "fixed")
    assert summary.pairs["planned"] == 9 and summary.pairs["dropped"] == 0
    scans = {row["key"]: row for row in pq.read_table(config.out / "scans.parquet").to_pylist()}
    assert scans[SCANS[2]]["label_method"] == "majority" and scans[SCANS[2]]["label_voters"] == list(
        SCANS[:2]
    )
    card = (config.out / "README.md").read_text()
    assert "the fixed scan's own voxel grid" in card and "By the moving person" in card
    assert "with at least one slice | 9 |" in card
    notes = [note for note in summary.notes if note.startswith("splits: ")]
    assert "nobody is in validation" in notes[0] and "test has nobody of kirby (1)" in notes[1]
    assert all(note in card for note in notes)


def test_slices_are_counted_on_the_real_grids_as_the_plan_foretold(built):
    summary, config = built
    shapes = [prepared(config.out, key)[0].shape for key in SCANS]
    assert len(set(shapes)) > 1
    cut = sum(3 * len(range(0, size, STEP)) for shape in shapes for size in shape)
    assert summary.slices_kept + summary.slices_dropped == cut
    members, _ = found_on_disk(find(config.sources, config.root, config.selection).scans)
    foretold = estimate(members, config.recipe, load_forms(None), load_costs())
    assert foretold.volumes == summary.pairs
    assert sum(foretold.slices_cut.values()) == cut
    assert sum(foretold.slices_kept.values()) == pytest.approx(summary.slices_kept, rel=0.25)


def test_a_native_shows_its_own_voxels_the_right_way_up(built, rows):
    out = built[1].out
    checked = 0
    for facts, picture, labels in rows:
        if facts["moving"] != facts["fixed"]:
            continue
        axis, index = AXES[facts["plane"]], facts["index"]
        image, _ = prepared(out, facts["moving"])
        shown = np.rint(on_page(image, axis, index) * (255 / 4095))
        np.testing.assert_array_equal(picture, shown)
        if facts["source"] == "ibsr":
            own, _ = prepared(out, f"{facts['moving']}_dseg")
            np.testing.assert_array_equal(labels, on_page(own, axis, index))
        checked += 1
    assert checked > 30


def test_every_size_is_that_of_anisotropic_voxels(built, rows):
    out = built[1].out
    spacings = set()
    for facts, picture, labels in rows:
        _, zooms = prepared(out, facts["fixed"])
        across, upward = (a for a in range(3) if a != AXES[facts["plane"]])
        assert facts["spacing_mm"] == pytest.approx([zooms[upward], zooms[across]], abs=1e-6)
        spacings.add(tuple(facts["spacing_mm"]))
        pixel_mm2 = facts["spacing_mm"][0] * facts["spacing_mm"][1]
        assert np.count_nonzero(picture) * pixel_mm2 >= 400 - 1e-6
        for structure in facts["structures"]:
            inside = labels == structure["label"]
            assert structure["area_mm2"] == round(np.count_nonzero(inside) * pixel_mm2, 4)
    assert any(rows_mm != columns_mm for rows_mm, columns_mm in spacings)


def test_positions_and_centroids_are_in_mm_of_the_fixed_scan(built, rows):
    """Between two slices of a volume both move by as much as the slices lie apart."""
    out = built[1].out
    volumes: dict[tuple[str, str, str], list[dict]] = {}
    for facts, _, _ in rows:
        volumes.setdefault((facts["moving"], facts["fixed"], facts["plane"]), []).append(facts)
    for (_, fixed, plane), found in volumes.items():
        zoom = prepared(out, fixed)[1][AXES[plane]]
        first, last = min(found, key=lambda f: f["index"]), max(found, key=lambda f: f["index"])
        apart = (last["index"] - first["index"]) * zoom
        assert apart > 60
        assert last["position_mm"] - first["position_mm"] == pytest.approx(apart, abs=0.011)
        for facts in found:
            for structure in facts["structures"]:
                along = structure["centroid_mm"][AXES[plane]]
                assert along == pytest.approx(facts["position_mm"], abs=0.006)
