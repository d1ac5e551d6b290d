"""The paper's way, an affine for each pair of scans, in whole builds: stopped, resumed, on two workers."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pytest
import SimpleITK as sitk

from brainatlas_text import BrainAtlas, BuildConfig, build, load_recipe, volumes
from brainatlas_text.engines import itk
from brainatlas_text.hub import load_hub

pytestmark = pytest.mark.slow
SETTINGS = (
    "register.method=direct", "plan.splits=paper", "render.slice_step=32", 'render.planes=["axial"]',
)  # fmt: skip


@pytest.fixture(scope="module")
def overrides(quick, tmp_path_factory) -> tuple[str, ...]:
    """Recipe overrides; the template is a small one of the user's own."""
    path = tmp_path_factory.mktemp("hub") / "coarse.nii.gz"
    hub = volumes.thin(load_hub().image, (3, 3, 3))
    nib.save(nib.Nifti1Image(hub.array, hub.affine), path)
    return (*quick, *SETTINGS, f"register.hub={path}")


@pytest.fixture(scope="module")
def config(tiny_sources, overrides, tmp_path_factory) -> BuildConfig:
    return BuildConfig(
        sources=("ibsr", "oasis"),
        recipe=load_recipe("demo", overrides),
        root=tiny_sources,
        out=tmp_path_factory.mktemp("direct") / "dataset",
        workers=1,
    )


@pytest.fixture(scope="module")
def built(config):
    return build(config), config.out


def rows(out: Path, kind: str) -> dict[str, dict]:
    table = pq.read_table(out / "quality.parquet").to_pylist()
    return {row["key"]: row for row in table if row["kind"] == kind}


def contents(out: Path) -> dict[str, bytes]:
    """What must repeat: transforms, their table, shards."""
    files = [*(out / "transforms").rglob("*"), *(out / "data").rglob("*"), out / "quality.parquet"]
    return {str(path.relative_to(out)): path.read_bytes() for path in files if path.is_file()}


def test_every_unordered_pair_is_registered_once(built):
    summary, out = built
    affines, pairs = rows(out, "affine"), rows(out, "pair")
    keys = sorted(affines)
    assert len(keys) == 5 and set(pairs) == {f"{a}_{b}" for a in keys for b in keys if a < b}
    assert summary.pairs["planned"] == 25 and summary.pairs["dropped"] == 0
    assert sum(number for name, number in summary.pairs.items() if name != "planned") == 25
    assert "<strong>10</strong> pairs registered directly" in summary.registration_page.read_text(
        encoding="utf-8"
    )
    for key, row in pairs.items():
        moving, fixed = key.split("_")
        assert (row["moving"], row["fixed"], row["maps"]) == (moving, fixed, "moving_from_fixed")
        path = out / "transforms" / "pairs" / fixed / f"{moving}_to-{fixed}.tfm"
        assert np.allclose(itk.read_transform(path), np.reshape(row["matrix"], (4, 4)), atol=1e-9)
    assert "registered to each other" in (out / "README.md").read_text()
    assert "coarse.nii.gz" in (out / "README.md").read_text()
    provenance = json.loads((out / "provenance.json").read_text())
    assert provenance["hub"]["name"] == "coarse.nii.gz" and len(provenance["hub"]["sha256"]) == 64
    atlases = list((out / "atlases").rglob("*_dseg.json"))
    assert {json.loads(path.read_text())["Hub"] for path in atlases} == {"coarse.nii.gz"}


def test_every_sample_comes_again_bit_for_bit(built, assert_renders_its_shards):
    """Through the affines of its pairs, not those of the hub."""
    assert_renders_its_shards(BrainAtlas(built[1]))


def test_direct_and_hub_agree_on_where_things_lie(built):
    """Two ways of estimating one affine: within some mm for people made from one template."""
    _, out = built
    hub = {key: np.reshape(row["matrix"], (4, 4)) for key, row in rows(out, "affine").items()}
    points = np.array([[0, 0, 0, 1], [40, 0, 0, 1], [0, -60, 0, 1], [0, 0, 50, 1]], dtype=float).T
    for row in rows(out, "pair").values():
        through = np.linalg.inv(hub[row["moving"]]) @ hub[row["fixed"]]
        start = np.linalg.inv(hub[row["fixed"]]) @ points
        assert np.abs(np.reshape(row["matrix"], (4, 4)) @ start - through @ start).max() < 6.0


def test_two_workers_give_the_same_bits(built, config, tmp_path):
    _, out = built
    other = tmp_path / "dataset"
    restart(out, other)
    build(replace(config, out=other, workers=2))
    assert contents(other) == contents(out)


def test_killed_while_registering_the_same_command_gives_the_same_bits(built, config, overrides, tmp_path):
    _, out = built
    other = tmp_path / "dataset"
    restart(out, other)
    sets = [word for key in overrides for word in ("--set", key)]
    command = [
        sys.executable, "-m", "brainatlas_text", "build", "--sources", "ibsr", "oasis", "--recipe", "demo",
        "--root", str(config.root), "--out", str(other), "--workers", "1", *sets,
    ]  # fmt: skip
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 300
    while len(finished_transforms(other)) < 7 and time.monotonic() < deadline:
        assert running.poll() is None, running.stderr.read().decode()
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    made = finished_transforms(other)
    assert 7 <= len(made) < 15
    for path in made:
        sitk.ReadTransform(str(path))  # nothing half-written
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert contents(other) == contents(out)
    assert not list(other.rglob(".part-*"))


def finished_transforms(out: Path) -> list[Path]:
    return [path for path in (out / "transforms").rglob("*.tfm") if not path.name.startswith(".")]


def restart(out: Path, other: Path) -> None:
    """A copy of a build in which nothing is registered yet."""
    shutil.copytree(out, other)
    for name in ("transforms", "data", "work/records/register", "work/records/block", "work/registered"):
        shutil.rmtree(other / name)


def test_refused_pairs_are_named_counted_and_dropped(built, config, overrides, tmp_path):
    """A limit that only some pairs keep: they alone are left, and the counts add up."""
    _, out = built
    figures = {key: row["similarity"] for key, row in rows(out, "pair").items()}
    limit = float(np.median(list(figures.values())))
    other = tmp_path / "dataset"
    recipe = load_recipe("demo", (*overrides, f"register.min_pair_similarity={limit}"))
    summary = build(replace(config, recipe=recipe, out=other))
    refused = {r.key: r for r in summary.rejections if r.stage == "register"}
    assert set(refused) == {key for key, value in figures.items() if value < limit}
    assert Counter(r.reason for r in refused.values()) == {"low_similarity": len(refused)}
    used = {row["key"] for row in pq.read_table(other / "scans.parquet").to_pylist()}
    among = [key for key in refused if used.issuperset(key.split("_"))]
    assert summary.pairs["planned"] == len(used) ** 2 and summary.pairs["dropped"] == 2 * len(among)
    assert sum(number for name, number in summary.pairs.items() if name != "planned") == len(used) ** 2
    table = rows(other, "pair")
    assert {key for key, row in table.items() if not row["accepted"]} == set(refused)
