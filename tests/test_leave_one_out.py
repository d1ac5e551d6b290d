"""Leaving labeled people out of a real, tiny build: the build's own labels, nothing of it changed, cached."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pytest

from brainatlas_text import build, cli, load_recipe
from brainatlas_text.evaluate_labels import TruthConfig, against_truth
from brainatlas_text.leave_one_out import LeaveOneOutConfig, leave_one_out

pytestmark = pytest.mark.integration
KEYS = ["ibsr-01-t1w", "ibsr-02-t1w", "ibsr-03-t1w"]


class Counts:
    """Remembers the tasks and the reused ones of each stage."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int, int]] = []

    def start(self, stage: str, total: int, reused: int) -> None:
        self.stages.append((stage, total, reused))

    def advance(self) -> None:
        pass

    def finish(self, line: str) -> None:
        pass


@pytest.fixture
def dataset(tiny_dataset, tmp_path) -> Path:
    """A copy of the tiny data set."""
    shutil.copytree(tiny_dataset, tmp_path / "dataset")
    return tmp_path / "dataset"


def contents(root: Path) -> dict[str, bytes]:
    """All files of a data set but the evaluation's."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    named = {path.relative_to(root).as_posix(): path for path in files}
    own = ("work/evaluation/", "work/report/label-scores", "work/lock")
    return {name: path.read_bytes() for name, path in named.items() if not name.startswith(own)}


def fused(root: Path, key: str) -> np.ndarray:
    (path,) = root.rglob(f"labels/{key}_dseg.nii.gz")
    return np.asarray(nib.load(path).dataobj)


def test_a_person_left_out_gets_what_a_build_without_their_labels_gives(
    dataset, tiny_config, tiny_sources, quick, tmp_path
):
    leave_one_out(LeaveOneOutConfig(out=dataset, workers=1))
    shutil.copytree(tiny_sources / "ibsr", tmp_path / "sources" / "ibsr")
    (segmentation,) = (tmp_path / "sources").rglob("IBSR_02_seg_ana.nii.gz")
    segmentation.unlink()
    without, recipe = tmp_path / "without", load_recipe("demo", (*quick, "render.slice_step=32"))
    build(replace(tiny_config, root=tmp_path / "sources", sources=("ibsr",), out=without, recipe=recipe))
    np.testing.assert_array_equal(fused(dataset / "work" / "evaluation", KEYS[1]), fused(without, KEYS[1]))


def test_nothing_of_the_data_set_changes_and_nothing_is_done_twice(dataset):
    before, first, second = contents(dataset), Counts(), Counts()
    config = LeaveOneOutConfig(out=dataset, workers=1)
    scored = leave_one_out(config, first)
    assert contents(dataset) == before
    assert [scan.scan for scan in scored.scans] == KEYS
    assert not scored.rejections
    assert leave_one_out(config, second) == scored
    assert all(total == reused for _, total, reused in second.stages)
    assert ("register", 3, 3) in first.stages  # the build's own
    assert ("score", 3, 0) in first.stages


def test_scores_are_those_of_the_fused_maps_against_the_persons_own(dataset, tmp_path):
    (group,) = leave_one_out(LeaveOneOutConfig(out=dataset, workers=1)).groups
    for key in KEYS:
        (path,) = (dataset / "work" / "evaluation").rglob(f"labels/{key}_dseg.nii.gz")
        (tmp_path / "labels").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "labels")
    prepared = TruthConfig(labels=(tmp_path / "labels",), truth=dataset / "work" / "prepared", workers=1)
    (other,) = against_truth(prepared).groups
    assert group.structures == other.structures
    assert 0.3 < np.mean([score.dice for score in group.structures]) < 0.99


def test_other_settings_are_compared_beside_the_recipes_own(dataset, capsys):
    arguments = ["evaluate-labels", str(dataset), "--methods", "register.method=direct", "--workers", "1"]
    before = contents(dataset)
    assert cli.main([*arguments, "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert [group["method"] for group in scored["groups"]] == ["recipe", "register.method=direct"]
    ours, others = (group["structures"] for group in scored["groups"])
    assert ours != others
    assert contents(dataset) == before
    report = dataset / "work" / "report"
    assert (report / "label-scores.svg").is_file()
    assert len((report / "label-scores.csv").read_text().splitlines()) == 1 + 2 * 3 * len(ours)


def test_direct_pairs_are_registered_once_and_refused_ones_are_named(dataset):
    """Three people make three pairs, in whichever direction labels go; without pairs nobody can vote."""
    counts, strict = Counts(), "register.method=direct,register.min_pair_similarity=0.9"
    scored = leave_one_out(LeaveOneOutConfig(out=dataset, methods=(strict,), workers=1), counts)
    assert ("pairs", 3, 0) in counts.stages
    assert {scan.method for scan in scored.scans} == {"recipe"}
    assert {r.key for r in scored.rejections if r.reason == "low_similarity"} == {
        f"{a}_{b}" for a in KEYS for b in KEYS if a < b
    }
    assert {r.key for r in scored.rejections if r.reason == "no_voters"} == set(KEYS)


def test_tissues_of_people_left_out(dataset):
    (group,) = leave_one_out(LeaveOneOutConfig(out=dataset, tissue=True, workers=1)).groups
    names = [score.structure for score in group.structures]
    assert names == ["grey matter", "white matter", "grey matter, filled"]


def test_a_build_that_was_stopped_during_registration_is_enough(dataset):
    (dataset / "scans.parquet").unlink()
    (dataset / "work" / "records" / "register" / f"{KEYS[1]}.json").unlink()
    counts = Counts()
    scored = leave_one_out(LeaveOneOutConfig(out=dataset, workers=1), counts)
    assert ("register", 3, 2) in counts.stages
    assert [scan.scan for scan in scored.scans] == KEYS


def test_held_out_labels_vote_as_the_recipe_lets_them(dataset):
    splits = {row["key"]: row["split"] for row in pq.read_table(dataset / "scans.parquet").to_pylist()}
    scored = leave_one_out(LeaveOneOutConfig(out=dataset, methods=("label.voters=split",), workers=1))
    paths = (dataset / "work" / "evaluation").rglob("label/*.json")
    records = [json.loads(path.read_text()) for path in paths]
    voters = [(r["key"], r["payload"]["result"]["voters"]) for r in records]
    assert len({splits[key] for key in KEYS}) > 1
    allowed = {key: [o for o in KEYS if o != key and splits[o] in ("train", splits[key])] for key in KEYS}
    assert all((key, allowed[key]) in voters for key in KEYS if allowed[key])
    assert len(scored.rejections) == sum(not keys for keys in allowed.values())


def test_bad_input_is_one_line(dataset, capsys):
    def complaint(*arguments: str) -> str:
        assert cli.main(["evaluate-labels", *arguments, "--workers", "1"]) == 2
        return capsys.readouterr().err.strip().splitlines()[-1]

    assert "did you mean" in complaint(str(dataset), "--methods", "register.finest=4.0")
    assert "cannot be compared" in complaint(str(dataset), "--methods", "prepare.bias_correction=true")
    (dataset / "scans.parquet").unlink()
    for key in KEYS[1:]:
        (dataset / "work" / "records" / "prepare" / f"{key}.json").unlink()
    assert "only one labeled person (ibsr-01)" in complaint(str(dataset))


def test_people_lent_by_an_atlas_vote_but_are_not_scored(
    tiny_dataset, tiny_config, tiny_sources, quick, tmp_path
):
    person = Path("ibsr") / "IBSR_nifti_stripped" / "IBSR_01"
    shutil.copytree(tiny_sources / person, tmp_path / person)
    recipe = load_recipe("demo", (*quick, "render.slice_step=32"))
    places = {"root": tmp_path, "sources": ("ibsr",), "out": tmp_path / "out", "atlases": (tiny_dataset,)}
    build(replace(tiny_config, recipe=recipe, **places))
    scored = leave_one_out(LeaveOneOutConfig(out=tmp_path / "out", workers=1))
    assert [scan.scan for scan in scored.scans] == KEYS[:1]
    (record,) = (tmp_path / "out" / "work" / "evaluation").rglob("records/label/*.json")
    voters = json.loads(record.read_text())["payload"]["result"]["voters"]
    assert voters == ["atlas-ibsr-02-t1w", "atlas-ibsr-03-t1w"]  # never the same person's
