"""The build on real files: whole, repeatable, resumable, and clear about what is wrong."""

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset
from datasets import load_dataset

from brainatlas_text import InputError, build, cli, load_recipe
from brainatlas_text.engines import deepbet
from brainatlas_text.pipeline import BuildSummary

pytestmark = pytest.mark.integration


def shard_hashes(out: Path) -> dict[str, str]:
    tars = sorted((out / "data").rglob("*.tar"))
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in tars}


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def samples(out: Path) -> list[dict]:
    return list(load_dataset(str(out), split="train", streaming=True))


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "brainatlas_text", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)


def test_datasets_opens_it_plain_and_streaming(tiny_dataset, tmp_path):
    plain = load_dataset(str(tiny_dataset), cache_dir=str(tmp_path))
    assert set(plain) == {"train", "validation", "test"}
    streamed = {row["json"]["key"]: row for row in samples(tiny_dataset)}
    assert len(streamed) == len(plain["train"]) > 0
    row = plain["train"][0]
    other = streamed[row["json"]["key"]]
    np.testing.assert_array_equal(np.asarray(row["png"]), np.asarray(other["png"]))
    assert row["png"].size == row["seg.png"].size == (256, 256)
    assert row["txt"] == other["txt"] == row["json"]["captions"][0]["text"]
    assert row["json"] == other["json"]


def test_every_config_of_the_card_loads(tiny_dataset):
    axial = load_dataset(str(tiny_dataset), "axial", split="train", streaming=True)
    assert {row["json"]["plane"] for row in axial} == {"axial"}
    oasis = load_dataset(str(tiny_dataset), "oasis", split="train", streaming=True)
    assert {row["json"]["source"] for row in oasis} == {"oasis"}


def test_webdataset_reads_the_same_tars(tiny_dataset):
    tars = sorted(map(str, (tiny_dataset / "data" / "train").glob("*.tar")))
    rows = list(webdataset.WebDataset(tars, shardshuffle=False, empty_check=False))
    assert {row["__key__"] for row in rows} == {row["json"]["key"] for row in samples(tiny_dataset)}
    assert all({"png", "seg.png", "txt", "json"} <= row.keys() for row in rows)


def test_every_number_of_a_sample_is_true_of_its_label_image(tiny_dataset):
    checked = 0
    for row in samples(tiny_dataset):
        labels, facts = np.asarray(row["seg.png"]), row["json"]
        pixel_mm2 = np.prod(facts["spacing_mm"])
        for structure in facts["structures"]:
            count = int((labels == structure["label"]).sum())
            assert structure["area_mm2"] == pytest.approx(count * pixel_mm2)
            checked += 1
        assert {s["label"] for s in facts["structures"]} == set(np.unique(labels).tolist()) - {0}
    assert checked > 50


def test_left_structures_lie_on_the_left_of_the_picture(tiny_dataset):
    for row in samples(tiny_dataset):
        if row["json"]["plane"] == "sagittal":
            continue
        labels = np.asarray(row["seg.png"])
        left, right = np.isin(labels, (2, 3, 10)), np.isin(labels, (41, 42, 49))
        if min(left.sum(), right.sum()) > 500:
            assert np.nonzero(left)[1].mean() < np.nonzero(right)[1].mean()


def test_facts_are_the_moving_persons_and_nothing_is_invented(tiny_dataset):
    known = {
        "ibsr-01": (37.0, False, "M"),
        "ibsr-02": (41.0, False, "M"),
        "ibsr-03": (None, True, "F"),
        "oasis-0011": (52.0, False, "F"),
        "oasis-0012": (None, False, None),
    }
    seen = set()
    for split in ("train", "validation", "test"):
        for row in load_dataset(str(tiny_dataset), split=split, streaming=True):
            facts = row["json"]
            assert (facts["age_years"], facts["juvenile"], facts["sex"]) == known[facts["subject"]]
            assert facts["sequence"] == "T1w" and "T1" in row["txt"]
            assert facts["split"] == split
            seen.add(facts["subject"])
    assert seen == known.keys()


def test_nobody_votes_for_themselves(tiny_dataset):
    rows = pq.read_table(tiny_dataset / "scans.parquet").to_pylist()
    for row in rows:
        own = row["source"] == "ibsr"
        assert row["label_method"] == ("manual" if own else "matching")
        assert len(row["label_voters"]) == (0 if own else 3)
        assert row["terms"] == ("ibsr" if own else "ibsr+oasis")


def test_people_are_in_one_split_each(tiny_dataset):
    homes: dict[str, set[str]] = {}
    for row in pq.read_table(tiny_dataset / "plan.parquet").to_pylist():
        if row["split"] is not None:
            homes.setdefault(row["moving_subject"], set()).add(row["split"])
            homes.setdefault(row["fixed_subject"], set()).add(row["split"])
    assert len(homes) == 5 and all(len(splits) == 1 for splits in homes.values())


def test_the_shard_table_tells_the_truth(tiny_dataset):
    rows = pq.read_table(tiny_dataset / "shards.parquet").to_pylist()
    assert {row["path"]: row["sha256"] for row in rows} == shard_hashes(tiny_dataset)
    assert all(row["num_bytes"] == (tiny_dataset / row["path"]).stat().st_size for row in rows)


def test_the_same_call_again_does_nothing(tiny_dataset, tiny_config):
    before = {path: path.stat().st_mtime_ns for path in (tiny_dataset / "data").rglob("*.tar")}
    records = {path: path.stat().st_mtime_ns for path in (tiny_dataset / "work").rglob("*") if path.is_file()}
    summary = build(tiny_config)
    assert isinstance(summary, BuildSummary) and summary.slices_kept > 0
    assert before == {path: path.stat().st_mtime_ns for path in before}
    after = {path: path.stat().st_mtime_ns for path in records if path.name != "lock"}
    assert after == {path: time for path, time in records.items() if path.name != "lock"}


def test_workers_and_resuming_do_not_change_a_byte(tiny_dataset, tiny_config, tmp_path):
    """A half-finished copy (some records, shards and scans gone), continued by two processes."""
    out = tmp_path / "dataset"
    shutil.copytree(tiny_dataset, out)
    (out / "work" / "records" / "register" / "ibsr-02-t1w.json").unlink()
    (out / "work" / "prepared" / "oasis-0011-1-t1w.nii.gz").unlink(missing_ok=True)
    shutil.rmtree(out / "work" / "records" / "block")
    shutil.rmtree(out / "data")
    next((out / "atlases").rglob("*_dseg.nii.gz")).unlink()
    (out / "work" / "records" / "atlas" / "oasis-0012-1-t1w.json").unlink()
    build(dataclasses.replace(tiny_config, out=out, workers=2))
    assert shard_hashes(out) == shard_hashes(tiny_dataset)
    assert hashes(out / "atlases") == hashes(tiny_dataset / "atlases") != {}


def test_a_changed_scan_is_prepared_again_and_its_neighbours_are_not(
    tiny_dataset, tiny_config, tiny_sources, tmp_path
):
    root, out = tmp_path / "sources", tmp_path / "dataset"
    shutil.copytree(tiny_sources, root)
    shutil.copytree(tiny_dataset, out)
    table = root / "ibsr" / "IBSR_info.csv"
    table.write_text(table.read_text().replace("1,M,37", "1,M,38"))
    records = out / "work" / "records" / "prepare"
    before = {path.name: path.read_text() for path in records.iterdir()}
    build(dataclasses.replace(tiny_config, root=root, out=out))
    changed = {name for name, text in before.items() if (records / name).read_text() != text}
    assert changed == {"ibsr-01-t1w.json"}
    ages = {row["subject"]: row["age_years"] for row in pq.read_table(out / "scans.parquet").to_pylist()}
    assert ages["ibsr-01"] == 38.0


def test_another_configuration_is_refused(tiny_dataset, tiny_config):
    other = tiny_config.recipe.model_copy(update={"seed": 8})
    with pytest.raises(InputError, match="differs in seed"):
        build(dataclasses.replace(tiny_config, recipe=other))
    with pytest.raises(InputError, match="--sources"):
        build(dataclasses.replace(tiny_config, sources=("ibsr",)))


def test_a_strange_folder_is_not_written_into(tiny_config, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="not empty"):
        build(dataclasses.replace(tiny_config, out=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_no_labels_anywhere_is_said_before_anything_is_written(tiny_config, tmp_path):
    with pytest.raises(InputError, match=r"no scan has labels.*--atlas PATH"):
        build(dataclasses.replace(tiny_config, sources=("oasis",), out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sources", "ibbsr"], "did you mean ibsr"),
        (["--sources", "ibsr", "--root", "nowhere"], "nowhere: no such folder"),
        (["--sources", "ibsr", "--recipe", "dmo"], "did you mean demo"),
        (["--sources", "ibsr", "--set", "render.slice_stp=2"], "did you mean render.slice_step"),
        (["--sources", "ibsr", "--set", "render.slice_step=0"], "render.slice_step"),
        (["--sources", "ibsr", "--workers", "0"], "--workers"),
        (["--sources", "kirby"], "kirby"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(tiny_sources, tmp_path, capsys, arguments, words):
    if "--root" not in arguments:
        arguments = [*arguments, "--root", str(tiny_sources)]
    assert cli.main(["build", *arguments, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert words in said and len(said.strip().splitlines()) == 1
    assert not (tmp_path / "out" / "data").exists()


def test_an_unreadable_scan_is_rejected_by_name_and_the_rest_is_built(tiny_sources, tmp_path):
    root = tmp_path / "sources"
    shutil.copytree(tiny_sources, root)
    broken = next((root / "oasis").rglob("OAS1_0011*.img"))
    broken.write_bytes(broken.read_bytes()[:1000])
    quick = [
        "--set",
        "render.slice_step=32",
        "--set",
        "register.finest_mm=8.0",
        "--set",
        "prepare.bias_correction=false",
    ]
    done = command(
        "build", "--sources", "ibsr", "oasis", "--root", root, "--out", tmp_path / "out", "--recipe", "demo",
        "--workers", 1, "--json", *quick,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    summary = json.loads(done.stdout)
    assert [(r["stage"], r["key"][:10]) for r in summary["rejections"]] == [("prepare", "oasis-0011")]
    told = summary["rejections"][0]["detail"]
    passed_on = pq.read_table(tmp_path / "out" / "rejected.parquet").to_pylist()[0]["detail"]
    assert passed_on == told.replace(f"{root}/", "") and passed_on.startswith("oasis/")  # nobody's folders
    assert str(tmp_path) not in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "oasis-0012" in " ".join(shard_subjects(tmp_path / "out"))


def test_without_a_labeled_scan_left_the_build_says_where_to_look(tiny_sources, tmp_path, capsys):
    root, out = tmp_path / "sources", tmp_path / "out"
    shutil.copytree(tiny_sources, root)
    for image in (root / "ibsr").rglob("*_ana_strip.nii.gz"):
        image.write_bytes(image.read_bytes()[:1000])
    arguments = [
        "build",
        "--sources",
        "ibsr",
        "oasis",
        "--root",
        str(root),
        "--out",
        str(out),
        "--workers",
        "1",
    ]
    assert cli.main([*arguments, "--recipe", "demo", "--set", "prepare.bias_correction=false"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "every scan with labels was rejected" in said and "preparation.html" in said
    page = (out / "work" / "report" / "preparation.html").read_text()
    assert page.count("Rejected: unreadable") == 3
    assert not (out / "data").exists()


def shard_subjects(out: Path) -> set[str]:
    return {row["subject"] for row in pq.read_table(out / "scans.parquet").to_pylist()}


@pytest.fixture
def begun(tiny_dataset, tiny_config, tmp_path):
    """A copy of the tiny data set, begun where there was no deepbet."""
    out = tmp_path / "dataset"
    shutil.copytree(tiny_dataset, out)
    text = (out / "recipe.toml").read_text().replace('mask = "deepbet"', 'mask = "embedded"')
    assert 'mask = "embedded"' in text  # `auto` is not what a data set is made by
    (out / "recipe.toml").write_text(text)
    return dataclasses.replace(tiny_config, out=out)


def test_a_method_that_was_installed_since_changes_nothing(begun, monkeypatch):
    monkeypatch.setattr(deepbet, "is_installed", lambda: False)
    build(begun)
    records = begun.out / "work" / "records"
    before = {path: path.stat().st_mtime_ns for path in records.rglob("*.json")}
    monkeypatch.setattr(deepbet, "is_installed", lambda: True)
    monkeypatch.setattr(deepbet, "version", lambda: "9.9")
    assert begun.recipe.prepare.mask == "auto"
    build(begun)
    assert before == {path: path.stat().st_mtime_ns for path in records.rglob("*.json")}


def test_a_method_that_is_gone_is_said_in_one_line(begun, monkeypatch):
    recipe = begun.out / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('mask = "embedded"', 'mask = "deepbet"'))
    monkeypatch.setattr(deepbet, "is_installed", lambda: False)
    with pytest.raises(InputError, match="'deepbet', which is not installed; pip install") as caught:
        build(begun)
    assert "\n" not in str(caught.value)


def test_asking_for_another_method_than_the_frozen_one_is_refused(begun):
    recipe = load_recipe("demo", ["prepare.mask=command", "prepare.mask_command=true {image} {mask}"])
    settings = begun.recipe.model_copy(update={"prepare": recipe.prepare})
    with pytest.raises(
        InputError, match=r"differs in prepare\.bias_correction, prepare\.mask, prepare\.mask_c"
    ):
        build(dataclasses.replace(begun, recipe=settings))


def test_the_table_of_scans_says_how_each_was_prepared(tiny_dataset):
    for row in pq.read_table(tiny_dataset / "scans.parquet").to_pylist():
        assert row["mask_method"] == "stripped" and "outline" in row["mask_detail"]
        assert row["num_averaged"] == 1 and row["thinned_by"] == [1, 1, 1]
        assert row["stored_codes"] == ("RAS" if row["source"] == "ibsr" else "LAS")
        assert row["stored_shape"] == [66, 78, 64] and row["stored_zooms_mm"] == [3.0, 3.0, 3.0]
        assert 500 < row["brain_ml"] < 2500 and row["bias_correction"] is None
        assert row["intensity_range"][0] < row["intensity_range"][1]
