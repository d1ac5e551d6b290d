import re
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainatlas_text import plan
from brainatlas_text.plan import PlanConfig
from brainatlas_text.records import Facts, Preparation, PreparedScan, SourceScan
from brainatlas_text.sources import Selection, find
from brainatlas_text.sources.selection import join_people

pytestmark = pytest.mark.unit


PREPARATION = Preparation(
    stored_codes="RAS", stored_shape=(1, 1, 1), stored_zooms_mm=(1, 1, 1), oblique_deg=0.0,
    mask_method="stripped", mask_detail="", brain_ml=1000.0, bias_correction=None, intensity_range=(0, 1),
    histogram_before=(), histogram_after=(),
)  # fmt: skip


def scan(source, person, number=1):
    key = f"{source}-{person:03d}-{number}-t1w"
    nowhere = Path("x")
    return PreparedScan(
        key=key,
        subject=f"{source}-{person:03d}",
        source=source,
        sequence="T1w",
        image=nowhere,
        mask=nowhere,
        dseg=None,
        look=nowhere,
        facts=Facts(),
        terms=source,
        source_zooms_mm=(1, 1, 1),
        orientation_source="header",
        preparation=PREPARATION,
        digest="0",
    )


def cohort(**counts):
    return [scan(source, person) for source, n in counts.items() for person in range(n)]


def make_plan(scans, seed, config):
    return plan.make_plan(scans, plan.draw_splits(scans, seed, config), seed, config)


def test_the_papers_counts_give_40401_volumes():
    planned = make_plan(cohort(ibsr=18, oasis=77, ixi=64, kirby=42), 7, PlanConfig(splits="paper"))
    assert len(planned) == 201 * 200 + 201 == 40_401
    assert plan.counts(planned)["dropped"] == 0


def test_every_atlas_meets_every_data_set_in_two_generations():
    """18 people's own labels, then the three new atlases: rows and columns, and 40,401 in all."""
    sizes = {"ibsr": 18, "oasis": 77, "ixi": 64, "kirby": 42}
    scans = cohort(**sizes)
    own = {item.key for item in scans if item.source == "ibsr"}
    for config in (PlanConfig(splits="paper"), PlanConfig()):
        planned = make_plan(scans, 7, config)
        volumes = plan.atlas_volumes(planned, own)
        assert volumes == {
            (atlas, 1 if atlas == "ibsr" else 2, fixed): sizes[atlas] * sizes[fixed]
            for atlas in sizes
            for fixed in sizes
        }
        assert sum(volumes.values()) == 40_401
        kept = plan.atlas_volumes(planned, own, kept=True)
        assert sum(kept.values()) == 40_401 - plan.counts(planned)["dropped"]
        assert kept.keys() == volumes.keys() and all(kept[cell] <= volumes[cell] for cell in kept)
    assert sum(kept.values()) < 40_401


def test_a_source_may_hold_both_generations():
    scans = cohort(a=2, b=1)
    volumes = plan.atlas_volumes(make_plan(scans, 7, PlanConfig()), {scans[0].key})
    assert volumes == {("a", 1, "a"): 2, ("a", 1, "b"): 1, ("a", 2, "a"): 2, ("a", 2, "b"): 1,
                       ("b", 2, "a"): 2, ("b", 2, "b"): 1}  # fmt: skip


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(1, 7), min_size=1), st.integers(0, 99))
def test_no_person_is_in_two_splits(counts, seed):
    scans = cohort(**counts) + [scan(source, 0, number=2) for source in counts]
    planned = make_plan(scans, seed, PlanConfig())
    assert len(planned) == len(scans) ** 2
    homes = {}
    for pair in planned:
        if pair.split is not None:
            for subject in (pair.moving_subject, pair.fixed_subject):
                assert homes.setdefault(subject, pair.split) == pair.split
    assert len(homes) == sum(counts.values())  # natives keep everybody


@pytest.mark.parametrize(
    ("total", "counts"),
    [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 1, 1)), (4, (2, 1, 1)), (10, (8, 1, 1)), (77, (61, 8, 8))],
)
def test_largest_remainder_leaves_no_split_empty_where_three_people_are(total, counts):
    assert plan.split_counts(total, plan.SHARES["default"]) == counts


@given(st.integers(0, 300), st.sampled_from(sorted(plan.SHARES)))
def test_split_counts_add_up_and_stay_within_one_of_the_share(total, scheme):
    counts = plan.split_counts(total, plan.SHARES[scheme])
    assert sum(counts) == total
    if total >= 10:
        assert all(abs(n - total * share) <= 1 for n, share in zip(counts, plan.SHARES[scheme], strict=True))


def test_adding_a_scan_moves_nobody_elses_draw():
    assert plan.draw(7, "pair", "a_b") == plan.draw(7, "pair", "a_b") != plan.draw(8, "pair", "a_b")


def test_blocks_hold_each_kept_pair_once_in_order():
    planned = make_plan(cohort(a=6, b=5), 1, PlanConfig(block_pairs=4))
    blocks = plan.blocks(planned)
    listed = [pair.pair for pairs in blocks.values() for pair in pairs]
    assert sorted(listed) == sorted(pair.pair for pair in planned if pair.split)
    assert all(len(pairs) <= 4 for pairs in blocks.values())
    assert all([p.order for p in pairs] == list(range(len(pairs))) for pairs in blocks.values())


def test_the_plan_is_a_table(tmp_path):
    planned = make_plan(cohort(a=3), 1, PlanConfig())
    plan.write_plan(tmp_path / "plan.parquet", planned)
    rows = pq.read_table(tmp_path / "plan.parquet").to_pylist()
    assert [row["pair"] for row in rows] == [pair.pair for pair in planned]


def homes_of(planned, scheme):
    """Splits in which each person appears: as the moving one, and with `default` as the fixed one too."""
    homes = {}
    for pair in planned:
        if pair.split is not None:
            homes.setdefault(pair.moving_subject, set()).add(pair.split)
            if scheme == "default":
                homes.setdefault(pair.fixed_subject, set()).add(pair.split)
    return homes


@given(
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), min_size=1, max_size=6),
    st.sampled_from(sorted(plan.SHARES)),
    st.integers(0, 99),
)
def test_no_plan_parts_people_under_two_ids_whatever_their_sources(pairs, scheme, seed):
    """12 people of three sources, two visits each; `--same-person` says that some of them are one."""
    scans = [
        SourceScan(
            key=f"{source}-{n}-{visit}-t1w", subject=f"{source}-{n}", source=source, sequence="T1w",
            image=Path("x"), terms=source,
        )
        for n in range(12) for visit in (1, 2) for source in (("ibsr", "ixi", "kirby")[n % 3],)
    ]  # fmt: skip
    ids = sorted({scan.subject for scan in scans})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.txt"
        path.write_text("".join(f"{ids[a]} {ids[b]}\n" for a, b in pairs))
        joined = join_people(scans, path)
    planned = make_plan(joined, seed, PlanConfig(splits=scheme))
    assert len(planned) == 24**2
    homes = homes_of(planned, scheme)
    assert all(len(splits) == 1 for splits in homes.values())
    subject_of = {before.subject: after.subject for before, after in zip(scans, joined, strict=True)}
    for a, b in pairs:
        assert homes[subject_of[ids[a]]] == homes[subject_of[ids[b]]]
    assert homes.keys() == set(subject_of.values())


@pytest.mark.parametrize("scheme", sorted(plan.SHARES))
def test_both_planted_leaks_are_planned_away(tmp_path, scheme):
    """A Kirby person's two visits, and one person who is in IXI and in OASIS, as the files say it."""
    files = [f"kirby/KKI2009-{n:02d}-FLAIR.nii.gz" for n in range(1, 7)]
    files += [f"ixi/IXI{n:03d}-Guys-0828-T2.nii.gz" for n in range(1, 7)]
    files += [f"oasis/OAS1_{n:04d}_MR1_mpr_n4_anon_sbj_111.img" for n in range(1, 7)]
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    visits = "1,501,1\n6,501,2\n2,502,1\n5,502,2\n3,503,1\n4,503,2\n"
    (tmp_path / "kirby" / "subject_id_to_visit_id.csv").write_text(
        f"Visit_ID,Subject_ID,Subj_Visit\n{visits}"
    )
    (tmp_path / "same.txt").write_text("ixi-003 oasis-0005\n")
    chosen = Selection(same_person=tmp_path / "same.txt", healthy_only=False)
    scans = find(("kirby", "ixi", "oasis"), tmp_path, chosen).scans
    assert len(scans) == 18 and len({scan.subject for scan in scans}) == 14
    untold = find(("ixi", "oasis"), tmp_path, Selection(healthy_only=False)).scans
    parted = 0
    for seed in range(30):
        planned = make_plan(scans, seed, PlanConfig(splits=scheme))
        splits = {pair.moving: pair.split for pair in planned if pair.moving == pair.fixed}
        assert splits["kirby-501-1-flair"] == splits["kirby-501-2-flair"]
        assert splits["ixi-003-t2w"] == splits["oasis-0005-1-t1w"]
        assert all(len(found) == 1 for found in homes_of(planned, scheme).values())
        alone = plan.draw_splits(untold, seed, PlanConfig(splits=scheme))
        parted += alone["ixi-003"] != alone["oasis-0005"]
    assert parted > 0  # without being told, the draws do part them


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ({"a": 3, "b": 4}, []),
        ({"a": 1}, ["nobody is in validation and test: .*(a \\(1\\) now)"]),
        (
            {"a": 2, "b": 1},
            ["nobody is in validation: .*three people of one source", "test has nobody of b \\(1\\)"],
        ),
        ({"a": 3, "b": 2}, ["^splits: validation has nobody of b \\(2\\)"]),
    ],
)
def test_too_few_people_for_three_splits_are_said(counts, says):
    scans = cohort(**counts)
    notes = plan.split_notes(scans, plan.draw_splits(scans, 7, PlanConfig()))
    assert len(notes) == len(says)
    for note, pattern in zip(notes, says, strict=True):
        assert re.search(pattern, note), note
