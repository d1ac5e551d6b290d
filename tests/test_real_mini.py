"""The whole build on real scans, where they are at hand; what is known of each person is stated here."""

import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from brainatlas_text import BuildConfig, build, caption, cli, load_recipe

pytestmark = pytest.mark.slow
PEOPLE = {
    "ibsr-01-t1w": (37.0, False, "M"),
    "ibsr-03-t1w": (None, True, "F"),
    "ibsr-07-t1w": (70.0, False, "F"),
    "ibsr-09-t1w": (41.0, False, "M"),
    "ibsr-11-t1w": (59.0, False, "F"),
    "ibsr-16-t1w": (7.0, False, "M"),
    "oasis-9001-1-t1w": (None, False, None),
    "oasis-9002-1-t1w": (None, False, None),
    "oasis-9003-1-t1w": (None, False, None),
    "ixi-012-t1w": (38.78, False, "M"),
    "ixi-015-t1w": (24.28, False, "M"),
    "ixi-476-t2w": (78.36, False, "F"),
    "kirby-113-1-t1w": (28.0, False, "F"),
    "kirby-113-2-t1w": (28.0, False, "F"),
    "kirby-113-2-flair": (28.0, False, "F"),
}
SEQUENCES = {"t1w": "T1w", "t2w": "T2w", "flair": "FLAIR"}
QUICK = (
    "render.slice_step=32",
    "register.finest_mm=8.0",
    "prepare.bias_correction=false",
    "plan.splits=paper",
)


@pytest.fixture(scope="module")
def built(shared, tmp_path_factory):
    config = BuildConfig(
        sources=("ibsr", "oasis", "ixi", "kirby"),
        recipe=load_recipe("demo", QUICK),
        root=shared / "data" / "real-mini",
        out=tmp_path_factory.mktemp("real") / "dataset",
        workers=1,
    )
    return build(config), config.out


@pytest.fixture(scope="module")
def rows(built):
    splits = ("train", "validation", "test")
    return [row for split in splits for row in load_dataset(str(built[1]), split=split, streaming=True)]


def test_every_usable_scan_is_used_and_the_localizer_is_refused(built):
    summary, out = built
    assert {row["key"] for row in pq.read_table(out / "scans.parquet").to_pylist()} == PEOPLE.keys()
    assert [(r.key, r.reason) for r in summary.rejections] == [("kirby-505-1-survey", "localizer")]
    assert summary.pairs["planned"] == len(PEOPLE) ** 2


def test_age_sex_and_sequence_are_the_moving_persons(rows):
    assert {row["json"]["moving"] for row in rows} == PEOPLE.keys()
    for row in rows:
        facts = row["json"]
        age = None if facts["age_years"] is None else round(facts["age_years"], 2)  # IXI states eight digits
        assert (age, facts["juvenile"], facts["sex"]) == PEOPLE[facts["moving"]]
        assert facts["sequence"] == SEQUENCES[facts["moving"].rsplit("-", 1)[1]]


def test_every_caption_states_the_facts_and_no_others(rows):
    for row in rows[::7]:
        age, juvenile, sex = PEOPLE[row["json"]["moving"]]
        for written in row["json"]["captions"]:
            stated = caption.read(written["text"])
            assert stated.sequence == row["json"]["sequence"] and stated.plane == row["json"]["plane"]
            assert stated.age_years == (None if age is None else int(age))
            assert stated.juvenile == juvenile
            assert stated.sex == (None if juvenile else sex)


def test_the_known_left_of_a_labeled_person_is_on_the_pictures_left(rows):
    """IBSR_01's manual labels in the person's own frame: nothing here was registered or propagated."""
    own = [row for row in rows if row["json"]["moving"] == row["json"]["fixed"] == "ibsr-01-t1w"]
    seen = 0
    for row in own:
        if row["json"]["plane"] == "sagittal":
            continue
        labels = np.asarray(row["seg.png"])
        left, right = labels == 2, labels == 41
        if min(left.sum(), right.sum()) > 300:
            assert np.nonzero(left)[1].mean() < 128 < np.nonzero(right)[1].mean()
            seen += 1
    assert seen >= 4


def test_brains_are_the_right_way_up(rows):
    """The cerebellum lies low and at the back of every person, by labels of other people or their own."""
    for row in rows:
        labels = np.asarray(row["seg.png"])
        cerebellum, cortex = np.isin(labels, (8, 47)), np.isin(labels, (3, 42))
        if row["json"]["plane"] != "sagittal" or min(cerebellum.sum(), cortex.sum()) < 500:
            continue
        (low, back), (high, front) = (np.mean(np.nonzero(mask), axis=1) for mask in (cerebellum, cortex))
        assert low > high and back < front


def verified(out, capsys) -> tuple[int, dict[str, dict]]:
    """Exit code of `verify` and its results by check."""
    code = cli.main(["verify", str(out), "--workers", "1", "--json"])
    return code, {result["check"]: result for result in json.loads(capsys.readouterr().out)["results"]}


def test_no_person_leaks_and_the_two_visits_of_one_look_it(built, capsys):
    code, results = verified(built[1], capsys)
    assert code == 0
    figures = results["lookalikes"]["figures"]
    assert figures["scans"] == len(PEOPLE) and figures["suspects"] == []
    assert figures["nearest_across"]["likeness"] < 0.5
    assert [known["subjects"] for known in figures["known"]] == [["kirby-113", "kirby-113"]] * 3
    assert figures["known"][-1]["keys"] == ["kirby-113-1-t1w", "kirby-113-2-t1w"]
    assert figures["known"][-1]["likeness"] > 0.7


def test_a_kirby_person_whose_tables_say_two_is_found(built, tmp_path, capsys):
    """The second visit under another id and in another split."""
    out = shutil.copytree(built[1], tmp_path / "dataset", copy_function=os.link)
    splits = {row["split"] for row in pq.read_table(out / "scans.parquet").to_pylist()}
    native = next(
        row
        for row in pq.read_table(out / "plan.parquet").to_pylist()
        if row["pair"] == "kirby-113-1-t1w_kirby-113-1-t1w"
    )
    other = min(splits - {native["split"]})
    for name in ("scans.parquet", "plan.parquet"):
        table = pq.read_table(out / name)
        rows = table.to_pylist()
        for row in rows:
            if (row.get("moving") or row.get("key")).startswith("kirby-113-2"):
                row |= {"split": other, ("subject" if "subject" in row else "moving_subject"): "kirby-999"}
        (out / name).unlink()  # a link to the file of the honest data set
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), out / name)
    code, results = verified(out, capsys)
    assert code == 1
    named = results["lookalikes"]["breaches"]
    assert "kirby-113-1-t1w (kirby-113, " in named[0] and "kirby-113-2-t1w (kirby-999, " in named[0]
    assert all("kirby-999" in breach and "kirby-113-1-t1w" in breach for breach in named)
    assert any("name kirby-113" in breach for breach in results["people"]["breaches"])
