"""The proof that nobody leaks between splits: it holds for honest data sets, and planted leaks are found."""

import io
import json
import shutil
import tarfile

import nibabel as nib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy import ndimage

from brainatlas_text import BuildConfig, build, cli, load_recipe
from brainatlas_text.copies import check_pictures
from brainatlas_text.distribute import Engine
from brainatlas_text.evidence import Evidence
from brainatlas_text.leaks import check_people, check_voters
from brainatlas_text.plan import split_subjects
from brainatlas_text.progress import Silent

pytestmark = pytest.mark.integration
TWIN_OF, TWIN = "study-a", "study-e"
"""The same person, scanned twice, enrolled under two ids."""


def folded(brain, seed: int) -> np.ndarray:
    """A made-up person's image with folds of their own."""
    field = ndimage.gaussian_filter(np.random.default_rng([seed, 7]).normal(size=brain.image.shape), 1.3)
    return brain.image * (1 + 0.7 * np.tanh(8 * field / field.std() / 4))


def save(path, array, affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.astype(np.int16), affine), path)


@pytest.fixture(scope="module")
def cohort(make_brain, tmp_path_factory):
    """Four people; the fifth id is the first person again: moved, turned, noisier, darker."""
    folder = tmp_path_factory.mktemp("study") / "study"
    for number, label in enumerate("abcde"):
        first = label == "e"
        brain = make_brain(40 if first else 40 + number)
        image, affine = folded(brain, 0 if first else number), np.diag([*brain.zooms, 1.0])
        affine[:3, 3] = (-99.0, -130.0, -70.0)
        if first:
            noise = np.random.default_rng(1).normal(0, 25, image.shape)
            image = (0.6 * image + noise * (image > 0)).clip(0)
            turn = np.deg2rad(7)
            affine[:2, :2] = affine[:2, :2] @ [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
            affine[:3, 3] += (12, -9, 4)
        save(folder / f"sub-{label}/anat/sub-{label}_T1w.nii.gz", image, affine)
        mask = folder / f"derivatives/masks/sub-{label}/anat/sub-{label}_desc-brain_mask.nii.gz"
        save(mask, brain.image > 0, affine)
        if label in "ab":
            save(folder / f"derivatives/atlas/sub-{label}/anat/sub-{label}_dseg.nii.gz", brain.labels, affine)
    names = ("Left-Cerebral-White-Matter", "Left-Cerebral-Cortex", "Left-Thalamus")
    rows = [f"{n}\t{name}" for n, name in zip((2, 3, 10), names, strict=True)]
    rows += [f"{n}\t{name.replace('Left', 'Right')}" for n, name in zip((41, 42, 49), names, strict=True)]
    (folder / "derivatives/atlas/dseg.tsv").write_text("\n".join(["index\tname", *rows]) + "\n")
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "Study", "License": "CC0"}))
    return folder


@pytest.fixture(scope="module")
def leaky(cohort, quick, tmp_path_factory):
    """The cohort built with a seed that puts the two ids of one person into different splits."""
    people = {f"study-{label}": "study" for label in "abcde"}
    draws = {seed: split_subjects(people, seed, "default") for seed in range(50)}
    seed = next(n for n, splits in draws.items() if {splits[TWIN_OF], splits[TWIN]} == {"train", "test"})
    recipe = load_recipe("demo", (*quick, "render.slice_step=32", f"seed={seed}"))
    out = tmp_path_factory.mktemp("leaky") / "dataset"
    build(BuildConfig(sources=(f"bids:{cohort}",), recipe=recipe, root=cohort.parent, out=out, workers=1))
    return out


def test_one_person_under_two_ids_is_found_and_nobody_else(leaky, capsys):
    assert cli.main(["verify", str(leaky), "--workers", "1", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["holds"] and found["complete"]
    results = {result["check"]: result for result in found["results"]}
    assert [bool(result["breaches"]) for result in found["results"]] == [False, False, False, True]
    (breach,) = results["lookalikes"]["breaches"]
    assert f"{TWIN_OF}-t1w ({TWIN_OF}, " in breach and f"{TWIN}-t1w ({TWIN}, " in breach
    assert "train)" in breach and "test)" in breach
    figures = results["lookalikes"]["figures"]
    assert figures["num_pairs"] == 10 and len(figures["suspects"]) == 1


@pytest.fixture
def copy(tiny_dataset, tmp_path):
    """The tiny data set, to be spoiled; its people are stretched copies of one, so likeness says nothing."""
    return shutil.copytree(tiny_dataset, tmp_path / "dataset")


def evidence(root) -> Evidence:
    return Evidence(root, Engine(1), Silent())


def rewrite(path, change) -> None:
    """Change the rows of a table."""
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def shard_of(root, split: str):
    return min((root / "data" / split).glob("*-axial-*.tar"))


def members(path) -> list[tuple[str, bytes]]:
    with tarfile.open(path) as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar]


def pack(path, files) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in files:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))


def test_an_honest_data_set_holds(tiny_dataset):
    looked = evidence(tiny_dataset)
    for check in (check_people, check_voters, check_pictures):
        result = check(looked)
        assert result.breaches == () and result.unproven is None
        assert str(len(looked.atlas)) in result.proof or check is check_voters
    assert sum(contents.num_samples for contents in looked.contents) == len(looked.atlas)


def test_a_person_in_two_splits_is_named_with_the_pairs(copy):
    def change(rows):
        row = next(r for r in rows if r["split"] == "train" and r["moving"] != r["fixed"])
        change.pair, change.person = row["pair"], row["moving_subject"]
        row["split"] = "test"

    rewrite(copy / "plan.parquet", change)
    found = check_people(evidence(copy)).breaches
    assert any(b.startswith(f"{change.person} is shown in test ({change.pair}) and train (") for b in found)
    assert any(b.startswith("data/train/") and "the plan does not" in b for b in found)


def test_a_pose_from_another_split_is_a_leak_unless_the_scheme_declares_it(copy):
    def change(rows):
        row = next(r for r in rows if r["split"] is None)
        native = next(r for r in rows if r["pair"] == f"{row['moving']}_{row['moving']}")
        row["split"], row["block"], change.pair = native["split"], native["block"], row["pair"]

    rewrite(copy / "plan.parquet", change)
    (breach,) = check_people(evidence(copy)).breaches
    assert f"lends their pose to {change.pair}" in breach
    recipe = copy / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('splits = "default"', 'splits = "paper"'))
    result = check_people(evidence(copy))
    assert result.breaches == () and "1 pairs" in result.notes[0] and "plan.splits = paper" in result.notes[0]


def test_tables_that_contradict_each_other_are_said_to(copy):
    def change(rows):
        rows[0]["subject"] = "ibsr-99"

    rewrite(copy / "scans.parquet", change)
    (breach,) = check_people(evidence(copy)).breaches
    assert breach.startswith("scans.parquet has ibsr-01-t1w as ibsr-99 in ")


def test_a_shard_in_the_folder_of_another_split_is_found(copy):
    path = shard_of(copy, "train")
    moved = copy / "data" / "test" / path.name.replace("-axial-", "-coronal-9")
    path.rename(moved)

    def change(rows):
        row = next(r for r in rows if r["path"] == path.relative_to(copy).as_posix())
        row["path"] = moved.relative_to(copy).as_posix()

    rewrite(copy / "shards.parquet", change)
    assert any("belong to train" in breach for breach in check_people(evidence(copy)).breaches)


def test_one_picture_in_two_splits_is_found_by_its_pixels(copy):
    """Written by another encoder and under another key."""
    train, test = members(shard_of(copy, "train")), members(shard_of(copy, "test"))
    pixels = Image.open(io.BytesIO(train[8][1]))
    again = io.BytesIO()
    pixels.save(again, "png", optimize=True)
    assert train[8][0].endswith(".png") and again.getvalue() != train[8][1]
    test[4] = (test[4][0], again.getvalue())
    pack(shard_of(copy, "test"), test)
    result = check_pictures(evidence(copy))
    keys = [name.removesuffix(".png") for name, _ in (train[8], test[4])]
    assert result.breaches == (f"the same picture: {keys[0]} (train) and {keys[1]} (test)",)
    assert result.figures["in_two_splits"] == 1


def test_pictures_that_show_next_to_nothing_are_not_compared(copy):
    dot = io.BytesIO()
    Image.fromarray(np.pad(np.full((5, 5), 9, np.uint8), (0, 251))).save(dot, "png")
    for split in ("train", "test"):
        files = members(shard_of(copy, split))
        files[0] = (files[0][0], dot.getvalue())
        pack(shard_of(copy, split), files)
    result = check_pictures(evidence(copy))
    assert result.breaches == () and result.figures["left_out"] == 2


def test_votes_across_splits_are_declared_or_a_leak(copy):
    def change(rows):
        target = next(r for r in rows if r["label_voters"] and r["split"] == "train")
        target["label_voters"] = [next(r["key"] for r in rows if r["split"] == "test")]

    rewrite(copy / "scans.parquet", change)
    voter = next(
        r["subject"] for r in pq.read_table(copy / "scans.parquet").to_pylist() if r["split"] == "test"
    )
    card = copy / "README.md"
    card.write_text(card.read_text().replace(voter, "somebody"))
    found = check_voters(evidence(copy)).breaches
    assert f"{voter} voted across splits, and the card does not say so" in found
    assert any("name other voters than scans.parquet" in breach for breach in found)
    recipe = copy / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('voters = "all"', 'voters = "split"'))
    found = check_voters(evidence(copy)).breaches
    assert f"{voter} voted for scans of another split, but label.voters is split" in found


def test_a_vote_for_oneself_is_a_leak(copy):
    def change(rows):
        rows[-1]["label_voters"] = [rows[-1]["key"]]
        change.said = f"{rows[-1]['subject']} voted for their own scan {rows[-1]['key']}"

    rewrite(copy / "scans.parquet", change)
    assert change.said in check_voters(evidence(copy)).breaches


def test_without_the_prepared_scans_it_says_what_is_not_proven(copy, capsys):
    shutil.rmtree(copy / "work")
    assert cli.main(["verify", str(copy), "--workers", "1"]) == 3
    said = capsys.readouterr().out
    assert "lookalikes unproven" in said and said.rstrip().endswith("no leak found; not checked: lookalikes")


@pytest.mark.parametrize("spoil", ["cut", "missing", "mixed"])
def test_a_damaged_shard_is_one_line(copy, spoil, capsys):
    path = shard_of(copy, "train")
    if spoil == "cut":
        path.write_bytes(path.read_bytes()[:-3000])
    elif spoil == "missing":
        path.unlink()
    else:
        files = members(path)
        pack(path, [files[0], files[7], *files[1:7], *files[8:]])
    assert cli.main(["verify", str(copy), "--workers", "1"]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert str(path) in line and line.endswith("run the same build again")


def test_what_is_no_data_set_is_refused(tmp_path, capsys):
    assert cli.main(["verify", str(tmp_path)]) == 2
    assert "not a data set of brainatlas-text" in capsys.readouterr().err
    assert cli.main(["verify", str(tmp_path), "--workers", "0"]) == 2
