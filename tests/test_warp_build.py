"""A build that bends labels through the hub: whole, the same for any workers, and without its extra."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from brainatlas_text import build, volumes
from brainatlas_text.engines import syn
from brainatlas_text.errors import RecipeError
from brainatlas_text.recipe import to_toml
from brainatlas_text.workspace import PART

pytestmark = pytest.mark.integration


def hashes(out: Path, pattern: str) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(out.glob(pattern))}


@pytest.fixture(scope="module")
def bent(tiny_dataset, tiny_config, tmp_path_factory):
    """The tiny data set's prepared and registered scans, built on with coarse warps; and how."""
    out = tmp_path_factory.mktemp("bent") / "dataset"
    shutil.copytree(tiny_dataset, out)
    coarse = tiny_config.recipe.warp.model_copy(update={"method": "syn", "grid_mm": 8.0, "iterations": (5,)})
    config = dataclasses.replace(
        tiny_config, out=out, recipe=tiny_config.recipe.model_copy(update={"warp": coarse})
    )
    begun = out / "recipe.toml"
    call = [line for line in begun.read_text().splitlines(keepends=True) if line.startswith("# ")]
    begun.write_text("".join(call) + to_toml(config.recipe))
    return config, build(config)


def test_labels_are_carried_by_warps(bent, tiny_dataset):
    config, summary = bent
    assert not summary.rejections
    assert len(hashes(config.out, "work/warps/*.nii.gz")) == 2 * 5
    voted = "work/labels/oasis-0011-1-t1w_dseg.nii.gz"
    labels, by_affine = (volumes.load_prepared(out / voted).array for out in (config.out, tiny_dataset))
    changed = (labels != by_affine).mean() / (by_affine > 0).mean()
    assert 0.005 < changed < 0.5
    assert set(np.unique(labels)) == set(np.unique(by_affine))
    assert "symmetric normalization" in (config.out / "README.md").read_text()
    assert "symmetric normalization" not in (tiny_dataset / "README.md").read_text()


def test_workers_and_interruption_do_not_change_a_bit(bent, tmp_path):
    """Two scans' records and fields gone, a killed registration's folder left: continued by two processes."""
    config, _ = bent
    out = tmp_path / "dataset"
    shutil.copytree(config.out, out)
    for key in ("ibsr-02-t1w", "oasis-0011-1-t1w"):
        (out / "work" / "records" / "warp" / f"{key}.json").unlink()
        (out / "work" / "warps" / f"{key}_hub-from-bent.nii.gz").unlink()
    left = out / "work" / f"{PART}syn-left"
    left.mkdir()
    (left / "fixed.nii.gz").write_bytes(b"half a file")
    shutil.rmtree(out / "work" / "records" / "label")
    build(dataclasses.replace(config, out=out, workers=2))
    assert not list((out / "work").glob(f"{PART}*"))
    for pattern in ("work/warps/*.nii.gz", "work/labels/*.nii.gz", "data/*/*.tar"):
        assert hashes(out, pattern) == hashes(config.out, pattern) != {}


def test_a_scan_whose_warp_is_refused_is_left_out_with_its_reason(bent, tmp_path):
    """As an earlier run noted it: these warps are alike, so that a limit would refuse all or none."""
    config, _ = bent
    out = tmp_path / "dataset"
    shutil.copytree(config.out, out)
    record = out / "work" / "records" / "warp" / "ibsr-02-t1w.json"
    noted = json.loads(record.read_text())
    noted["payload"]["result"] = {
        "stage": "warp", "key": "ibsr-02-t1w", "reason": "implausible_warp",
        "detail": "ibsr-02-t1w folds", "look": None,
    }  # fmt: skip
    record.write_text(json.dumps(noted))
    summary = build(dataclasses.replace(config, out=out))
    assert [(r.stage, r.key, r.reason) for r in summary.rejections] == [
        ("warp", "ibsr-02-t1w", "implausible_warp")
    ]
    rows = {row["key"]: row for row in pq.read_table(out / "scans.parquet").to_pylist()}
    assert "ibsr-02-t1w" not in rows
    assert rows["oasis-0011-1-t1w"]["label_voters"] == ["ibsr-01-t1w", "ibsr-03-t1w"]


def test_the_missing_extra_is_told_before_anything_is_written(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(syn, "is_installed", lambda: False)
    out = tmp_path / "dataset"
    recipe = tiny_config.recipe.model_copy(
        update={"warp": tiny_config.recipe.warp.model_copy(update={"method": "syn"})}
    )
    with pytest.raises(RecipeError, match=r"brainatlas-text\[ants\]"):
        build(dataclasses.replace(tiny_config, recipe=recipe, out=out))
    assert not out.exists()
    labeled = dataclasses.replace(tiny_config, sources=("ibsr",), recipe=recipe, out=out)
    assert not build(labeled).rejections  # nobody needs labels, so nothing is bent
    assert pq.read_table(out / "scans.parquet").num_rows == 3
