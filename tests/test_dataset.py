"""A finished data set, opened: any sample again bit for bit, and why there is none where there is none."""

import dataclasses
import json
import shutil
import tarfile

import pyarrow.parquet as pq
import pytest

from brainatlas_text import BrainAtlas, InputError, build
from brainatlas_text.errors import DatasetError, SampleKeyError
from brainatlas_text.records import Rejection
from brainatlas_text.shards import sample_bytes

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def atlas(tiny_dataset) -> BrainAtlas:
    return BrainAtlas(tiny_dataset)


def test_every_sample_comes_again_bit_for_bit(atlas, assert_renders_its_shards):
    assert_renders_its_shards(atlas)


def test_the_last_sample_alone_equals_the_shards_bytes(tiny_dataset):
    """Not only after others of its pair: a new process asks for one slice."""
    path = max((tiny_dataset / "data").rglob("*.tar"))
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-1]
    key = last.name.partition(".")[0]
    data = sample_bytes(BrainAtlas(tiny_dataset)[key])
    assert path.read_bytes().removesuffix(bytes(1024)).endswith(data)


def test_after_a_second_build_the_samples_are_the_same(
    tiny_dataset, tiny_config, assert_renders_its_shards, tmp_path
):
    out = tmp_path / "dataset"
    shutil.copytree(tiny_dataset, out)
    shutil.rmtree(out / "work" / "records" / "block")
    (out / "work" / "records" / "label" / "oasis-0011-1-t1w.json").unlink()
    build(dataclasses.replace(tiny_config, out=out))
    assert_renders_its_shards(BrainAtlas(out))


def test_scans_plan_shards_and_recipe_are_those_of_the_build(atlas, tiny_dataset, tiny_config):
    rows = {row["key"]: row for row in pq.read_table(tiny_dataset / "scans.parquet").to_pylist()}
    assert list(atlas.scans) == list(rows)
    for key, scan in atlas.scans.items():
        assert scan.prepared.key == scan.transform.key == scan.labeled.key == key
        assert scan.prepared.facts.age_years == rows[key]["age_years"]
        assert list(scan.labeled.voters) == rows[key]["label_voters"]
    assert len(atlas.plan) == 25 and any(pair.split is None for pair in atlas.plan.values())
    assert {shard.path for shard in atlas.shards} == {
        path.relative_to(tiny_dataset).as_posix() for path in (tiny_dataset / "data").rglob("*.tar")
    }
    assert atlas.recipe.render == tiny_config.recipe.render and atlas.recipe.name == "demo"
    assert atlas.rejections == ()


def why(atlas: BrainAtlas, key: str) -> str:
    with pytest.raises(SampleKeyError) as caught:
        atlas[key]
    assert isinstance(caught.value, KeyError) and isinstance(caught.value, InputError)
    said = str(caught.value)
    assert said.startswith(f"{atlas.root}: ") and "\n" not in said
    return said


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("ibsr-01-t1w_ibsr-01-t1w_axial_128", "expected MOVING_FIXED_PLANE-INDEX; such as "),
        ("ibsr-01-t1w_ibsr-01-t1w_axail-128", "did you mean ibsr-01-t1w_ibsr-01-t1w_axial-128?"),
        ("ibsr-01-t1w_ibsr-01-t1w_axial-28", "did you mean ibsr-01-t1w_ibsr-01-t1w_axial-028?"),
        ("ibsr-01-t1w_ibsr-01-t1w_axial-0128", "did you mean ibsr-01-t1w_ibsr-01-t1w_axial-128?"),
        ("IBSR-01-T1w_ibsr-01-t1w_axial-128", "did you mean ibsr-01-t1w_ibsr-01-t1w_axial-128?"),
        ("", "is no key of a sample"),
        (
            "ibsr-1-t1w_ibsr-01-t1w_axial-128",
            "no scan ibsr-1-t1w; did you mean ibsr-01-t1w_ibsr-01-t1w_axial-128",
        ),
        (
            "mars_ibsr-01-t1w_axial-128",
            "no scan mars; scans.parquet lists those it has, as in ",
        ),
        ("ibsr-01-t1w_ibsr-01-t1w_axial-129", "left out by render.slice_step = 16; the nearest is "),
        ("ibsr-01-t1w_ibsr-01-t1w_axial-000", "must show 400 mm² of brain (render.min_brain_mm2)"),
        ("ibsr-01-t1w_ibsr-01-t1w_axial-999", "this slice is empty"),
    ],
)
def test_a_key_that_is_not_there_is_explained(atlas, key, words):
    assert words in why(atlas, key)


def test_the_nearest_key_that_is_offered_is_there(atlas):
    for key in ("ibsr-01-t1w_ibsr-01-t1w_axial-129", "ibsr-01-t1w_ibsr-01-t1w_sagittal-003"):
        assert atlas[why(atlas, key).split()[-1]].facts["moving"] == "ibsr-01-t1w"


def test_a_dropped_pair_is_said_to_be_one(atlas):
    pair = next(pair for pair in atlas.plan.values() if pair.split is None)
    said = why(atlas, f"{pair.pair}_axial-128")
    assert "this pair was dropped" in said
    assert pair.moving_subject in said and pair.fixed_subject in said and "across splits" in said


def test_a_scan_that_was_rejected_is_said_to_be_one(tiny_dataset):
    atlas = BrainAtlas(tiny_dataset)
    refused = Rejection(stage="prepare", key="oasis-0013-1-t1w", reason="unreadable", detail="it is broken")
    atlas.__dict__["rejections"] = (refused,)
    said = why(atlas, "oasis-0013-1-t1w_oasis-0011-1-t1w_axial-128")
    assert said.endswith("oasis-0013-1-t1w was rejected in prepare (unreadable): it is broken")


def test_folders_that_are_no_finished_data_set_are_refused(tiny_dataset, tmp_path):
    with pytest.raises(DatasetError, match=r"not a data set of brainatlas-text \(no recipe.toml\)"):
        BrainAtlas(tmp_path)
    with pytest.raises(DatasetError, match=r"not a data set of brainatlas-text"):
        BrainAtlas(tmp_path / "nowhere")
    shutil.copy(tiny_dataset / "recipe.toml", tmp_path)
    shutil.copy(tiny_dataset / "plan.parquet", tmp_path)
    with pytest.raises(
        DatasetError, match=r"has not finished \(no scans.parquet, rejected.parquet, shards.p"
    ):
        BrainAtlas(tmp_path)


def test_a_published_copy_has_its_lists_but_says_why_it_renders_nothing(atlas, tiny_dataset, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_dataset, copy, ignore=shutil.ignore_patterns("work"))
    published = BrainAtlas(copy)
    assert published.plan == atlas.plan and list(published) == list(atlas)
    with pytest.raises(DatasetError, match=r"work: not there.*never published"):
        published[next(iter(published))]


def test_damaged_and_foreign_files_are_named(atlas, tiny_dataset, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_dataset, copy, ignore=shutil.ignore_patterns("work"))
    (copy / "plan.parquet").write_bytes((copy / "plan.parquet").read_bytes()[:200])
    with pytest.raises(DatasetError, match=r"plan\.parquet: damaged since it was written .*build again"):
        BrainAtlas(copy).plan  # noqa: B018
    pq.write_table(pq.read_table(tiny_dataset / "plan.parquet").drop(["block"]), copy / "plan.parquet")
    with pytest.raises(DatasetError, match=r"plan\.parquet: written by another version"):
        BrainAtlas(copy).plan  # noqa: B018
    (copy / atlas.shards[0].path).unlink()
    with pytest.raises(DatasetError, match=r"\.tar: this shard is missing; run the same build again"):
        list(BrainAtlas(copy))


def test_pairs_that_are_not_there_are_explained_too(atlas):
    with pytest.raises(SampleKeyError, match=r"the data set has no scan ibsr-9-t1w"):
        atlas.measured("ibsr-9-t1w_ibsr-01-t1w")


def test_what_the_shards_were_not_made_of_is_not_rendered(tiny_dataset, tmp_path):
    """A scan prepared anew by a build that stopped before it rendered."""
    out = tmp_path / "dataset"
    shutil.copytree(tiny_dataset, out)
    record = out / "work" / "records" / "prepare" / "ibsr-01-t1w.json"
    noted = json.loads(record.read_text())
    noted["payload"]["result"]["digest"] = "0" * 64
    record.write_text(json.dumps(noted))
    key = next(key for key in BrainAtlas(out) if key.startswith("ibsr-01-t1w_"))
    with pytest.raises(
        DatasetError, match=r"were not made of the scans and transforms .*run the same build again"
    ):
        BrainAtlas(out)[key]
    record.unlink()
    with pytest.raises(DatasetError, match="the stage prepare noted nothing of ibsr-01-t1w that can be used"):
        BrainAtlas(out)[key]
