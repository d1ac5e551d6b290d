"""The tables of measures of a built data set, against its label pictures and its stored facts."""

import csv
import dataclasses
import hashlib
import io
import shutil
from collections import defaultdict
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nibabel.processing import resample_from_to
from PIL import Image

from brainatlas_text import BrainAtlas, build, load_recipe
from brainatlas_text.errors import DatasetError

pytestmark = pytest.mark.integration
AXES = {"sagittal": 0, "coronal": 1, "axial": 2}


@pytest.fixture(scope="module")
def atlas(tiny_dataset) -> BrainAtlas:
    return BrainAtlas(tiny_dataset)


def by_key(table: pa.Table) -> dict[str, list[dict]]:
    found = defaultdict(list)
    for row in table.to_pylist():
        found[row["key"]].append(row)
    return dict(found)


def test_every_row_equals_a_count_over_the_label_picture(atlas):
    """Pixels, areas, and centroids by their distances from each other, which need no origin."""
    slices, checked = by_key(atlas.slices()), 0
    for key in sorted(atlas):
        sample = atlas[key]
        labels = np.asarray(Image.open(io.BytesIO(sample.label_png)))
        rows = slices.get(key, [])
        assert {row["label"] for row in rows} == set(np.unique(labels).tolist()) - {0}
        places, columns_mm, rows_mm = [], [], []
        high_mm, wide_mm = sample.facts["spacing_mm"]
        for row in rows:
            at = np.argwhere(labels == row["label"])
            assert row["num_pixels"] == len(at)
            assert row["area_mm2"] == pytest.approx(len(at) * high_mm * wide_mm, abs=1e-4)
            assert row["plane"] == sample.facts["plane"] and row["index"] == sample.facts["index"]
            places.append([row["x_mm"], row["y_mm"], row["z_mm"]])
            columns_mm.append(at[:, 1].mean() * wide_mm)
            rows_mm.append(-at[:, 0].mean() * high_mm)  # rows run down, axes up
            checked += 1
        if rows:
            across, upward = (axis for axis in range(3) if axis != AXES[rows[0]["plane"]])
            for axis, seen in ((across, columns_mm), (upward, rows_mm)):
                stated = np.array(places)[:, axis]
                assert np.allclose(stated - stated[0], np.array(seen) - seen[0], atol=3e-3)
            normal = np.array(places)[:, AXES[rows[0]["plane"]]]
            assert np.allclose(normal, sample.facts["position_mm"], atol=6e-3)
    assert checked == atlas.slices().num_rows > 200


def test_every_row_says_what_the_sample_says(atlas):
    slices, volumes = by_key(atlas.slices()), {}
    for row in atlas.volumes().to_pylist():
        volumes[row["pair"], row["label"]] = row
    for key in sorted(atlas):
        stated = atlas[key].facts
        rows = slices.get(key, [])
        assert len(rows) == len(stated["structures"])
        for row, structure in zip(rows, stated["structures"], strict=True):
            assert [row[name] for name in ("label", "name", "side", "area_mm2", "agreement")] == [
                structure[name] for name in ("label", "name", "side", "area_mm2", "agreement")
            ]
            assert [row["x_mm"], row["y_mm"], row["z_mm"]] == structure["centroid_mm"]
            assert volumes[row["pair"], row["label"]]["volume_ml"] == structure["volume_ml"]


def test_volumes_are_those_of_the_whole_rendered_box(atlas):
    table = atlas.volumes().to_pylist()
    rendered = [pair.pair for pair in atlas.plan.values() if pair.split is not None]
    assert {row["pair"] for row in table} == set(rendered)
    for name in rendered:
        pair, measured = atlas.plan[name], atlas.measured(name)
        box, share = measured.rendered.labels, measured.rendered.agreement
        rows = {row["label"]: row for row in table if row["pair"] == name}
        assert rows.keys() == set(np.unique(box).tolist()) - {0}
        for number, row in rows.items():
            here = box == number
            assert row["volume_ml"] == pytest.approx(here.sum() / 1000, abs=1e-4)  # 1 mm voxels
            assert row["brain_share"] == pytest.approx(row["volume_ml"] / row["brain_ml"], abs=2e-6)
            assert (row["native"], row["subject"]) == (pair.moving == pair.fixed, pair.moving_subject)
            expected = None if share is None else pytest.approx(share[here].mean() / 100, abs=1e-4)
            assert row["agreement"] == expected
        left, right = (rows[number]["volume_ml"] for number in (2, 41))
        assert rows[2]["asymmetry"] == pytest.approx((left - right) / ((left + right) / 2), abs=2e-4)


def test_the_brain_is_as_large_as_its_mask_moved_by_nibabel(atlas):
    """The mask resampled into the frame and counted; a native's is the source's own."""
    volumes = {row["pair"]: row["brain_ml"] for row in atlas.volumes().to_pylist()}
    rows = [pair for pair in atlas.plan.values() if pair.split is not None]
    for pair in rows[:4] + [row for row in rows if row.moving != row.fixed][:3]:
        moving, fixed = atlas.scans[pair.moving], atlas.scans[pair.fixed]
        mask = nib.load(atlas.root / moving.prepared.mask)
        fixed_from_moving = np.linalg.inv(fixed.transform.matrix) @ moving.transform.matrix
        if pair.moving == pair.fixed:  # not through the hub and back, which is off by a rounding
            fixed_from_moving = np.eye(4)
        rim = np.eye(4)  # nibabel reads the outer half of border voxels as 0, and this brain reaches them
        rim[:3, 3] = -1
        padded = np.pad(np.asarray(mask.dataobj), 1)
        placed = nib.Nifti1Image(padded, fixed_from_moving @ mask.affine @ rim)
        frame = atlas.measured(pair.pair).rendered.frame
        counted = np.asarray(resample_from_to(placed, (frame.shape, frame.affine), order=0).dataobj).sum()
        native = pair.moving == pair.fixed  # else 3 mm voxels meet 1 mm ones at changing places
        assert volumes[pair.pair] == pytest.approx(counted / 1000, rel=1e-6 if native else 4e-3)


def test_csv_holds_the_same_numbers_with_decimal_points(atlas, tiny_dataset):
    words = {None: "", True: "true", False: "false"}
    for folder in ("slices", "volumes"):
        parts = sorted((tiny_dataset / folder).glob("*.parquet"))
        assert parts and {path.stem for path in parts} == {
            p.stem for p in (tiny_dataset / folder).glob("*.csv")
        }
        for path in parts:
            rows = pq.read_table(path).to_pylist()
            with path.with_suffix(".csv").open(newline="", encoding="utf-8") as file:
                read = list(csv.DictReader(file))
            assert len(read) == len(rows) and list(read[0]) == list(rows[0])
            for text, row in zip(read, rows, strict=True):
                for name, value in row.items():
                    if isinstance(value, float):
                        assert float(text[name]) == value
                    else:
                        assert (
                            text[name] == words[value]
                            if value is None or isinstance(value, bool)
                            else str(value)
                        )


def contents(out: Path) -> dict[str, str]:
    files = [path for folder in ("slices", "volumes") for path in sorted((out / folder).iterdir())]
    return {f"{p.parent.name}/{p.name}": hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_parts_come_again_byte_for_byte_and_old_ones_go(tiny_dataset, tiny_config, tmp_path):
    out = tmp_path / "dataset"
    shutil.copytree(tiny_dataset, out)
    before = contents(out)
    for name in (
        "slices/train-ibsr-00099.parquet",
        "slices/train-ibsr-00099.csv",
        "volumes/test-mars-00000.csv",
    ):
        (out / name).write_text("of an older plan")
    (out / "slices" / "notes.txt").write_text("my own")
    gone = next((out / "slices").glob("train-*.parquet"))
    gone.unlink()
    build(dataclasses.replace(tiny_config, out=out))
    assert (out / "slices" / "notes.txt").read_text() == "my own"
    (out / "slices" / "notes.txt").unlink()
    assert contents(out) == before and len(before) == 4 * len(list((out / "slices").glob("*.csv")))


def test_csv_is_left_out_where_the_recipe_says_so(tiny_dataset, tiny_config, quick, tmp_path):
    out = tmp_path / "dataset"
    shutil.copytree(tiny_dataset, out)
    recipe = out / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("csv = true", "csv = false"))
    build(
        dataclasses.replace(tiny_config, out=out, recipe=load_recipe("demo", (*quick, "measure.csv=false")))
    )
    assert not list(out.rglob("slices/*.csv")) and not list(out.rglob("volumes/*.csv"))
    assert BrainAtlas(out).slices().equals(BrainAtlas(tiny_dataset).slices())


def test_some_columns_are_read_alone_and_missing_tables_are_said(atlas, tmp_path):
    assert atlas.slices(["key", "name"]).column_names == ["key", "name"]
    copy = tmp_path / "copy"
    shutil.copytree(atlas.root, copy, ignore=shutil.ignore_patterns("work", "slices"))
    with pytest.raises(DatasetError, match=r"slices: holds no table of measures; run the same build again"):
        BrainAtlas(copy).slices()
