"""Which scans are used: lists, the paper's numbers, health, people under two ids."""

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from brainatlas_text.errors import SourceError
from brainatlas_text.records import SourceScan
from brainatlas_text.sources import find
from brainatlas_text.sources.selection import PAPER, Selection, join_people

pytestmark = pytest.mark.unit


@pytest.fixture
def root(tmp_path):
    """Five people of IXI, two sessions of one in OASIS and one who is not healthy."""
    names = [f"ixi/IXI00{n}-Guys-0828-{s}.nii.gz" for n in range(1, 6) for s in ("T1", "T2")]
    names += [f"oasis/OAS1_000{n}_MR{v}_mpr_n4_anon_sbj_111.img" for n, v in ((1, 1), (1, 2), (3, 1))]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "ixi/IXI.csv").write_text("IXI_ID,SEX_ID,AGE\n1,1,30\n2,2,60\n3,1,30\n")
    (tmp_path / "oasis/oasis_cross-sectional.csv").write_text(
        "ID,M/F,Age,CDR\nOAS1_0001_MR1,F,74,0\nOAS1_0001_MR2,F,74,0\nOAS1_0003_MR1,F,73,0.5\n"
    )
    return tmp_path


def chosen(root, sources=("ixi", "oasis"), **options):
    return find(sources, root, Selection(**options))


def listed(root, text):
    path = root / "list.txt"
    path.write_text(text)
    return path


def test_a_list_picks_people_and_scans_with_comments_and_blank_lines(root):
    path = listed(root, "# mine\nixi-002   # both sequences\n\nIXI-004-T2w\noasis-0001\n")
    found = chosen(root, subjects=path)
    keys = [scan.key for scan in found.scans]
    assert keys == ["ixi-002-t1w", "ixi-002-t2w", "ixi-004-t2w", "oasis-0001-1-t1w", "oasis-0001-2-t1w"]
    assert not found.rejections and "5 of 12 scans" in found.notes["selection"][0]


def test_a_table_picks_by_its_first_column(root):
    path = listed(root, "participant_id\tage\nixi-002\t60\nixi-003\t30\n")
    assert {scan.subject for scan in chosen(root, subjects=path).scans} == {"ixi-002", "ixi-003"}


def test_an_id_that_fits_nothing_is_named_with_the_nearest(root):
    with pytest.raises(SourceError, match=r"ixi-0002 fits no subject or scan found; did you mean ixi-002"):
        chosen(root, subjects=listed(root, "ixi-0002\n"))
    with pytest.raises(SourceError, match=r"nor do 1 others"):
        chosen(root, subjects=listed(root, "nobody\nixi-77\n"))


def test_who_is_left_out_for_health_is_still_known_by_id(root):
    found = chosen(root, subjects=listed(root, "oasis-0003\n"))
    assert not found.scans and [item.reason for item in found.rejections] == ["not_healthy"]
    assert [s.key for s in chosen(root, subjects=listed(root, "oasis-0003\n"), healthy_only=False).scans]


def test_health_is_judged_by_the_source_unless_everybody_is_asked_for(root):
    assert [item.key for item in chosen(root).rejections] == ["oasis-0003-1-t1w"]
    assert "Clinical Dementia Rating" in chosen(root).rejections[0].detail
    everybody = chosen(root, healthy_only=False)
    assert not everybody.rejections and "oasis-0003-1-t1w" in {scan.key for scan in everybody.scans}


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\xff\xfe\0\0\xff"])
def test_a_list_of_nothing_is_an_error(root, content):
    path = root / "list.txt"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"list\.txt"):
        chosen(root, subjects=path)
    with pytest.raises(SourceError, match="nowhere"):
        chosen(root, subjects=root / "nowhere")


def test_one_person_under_two_ids_gets_one_subject(root):
    path = listed(root, "ixi-001 oasis-0001\nixi-003\tixi-001  # a chain\n")
    subjects = {scan.key: scan.subject for scan in chosen(root, same_person=path).scans}
    joined = {
        "ixi-001-t1w",
        "ixi-001-t2w",
        "oasis-0001-1-t1w",
        "oasis-0001-2-t1w",
        "ixi-003-t1w",
        "ixi-003-t2w",
    }
    assert {key for key, subject in subjects.items() if subject == "ixi-003"} == joined
    assert subjects["ixi-002-t1w"] == "ixi-002"


def test_facts_that_contradict_each_other_are_noted_on_a_joined_person(root):
    notes = {s.key: s.notes for s in chosen(root, same_person=listed(root, "ixi-001 oasis-0001\n")).scans}
    for key in ("ixi-001-t1w", "oasis-0001-2-t1w"):
        assert any("the sex differs (F, M)" in note for note in notes[key])
        assert any("ages are 30 and 74" in note for note in notes[key])
    same = {s.key: s.notes for s in chosen(root, same_person=listed(root, "ixi-001 ixi-003\n")).scans}
    assert not any("joined" in note for note in same["ixi-001-t1w"])


def test_a_person_joined_with_themselves_or_in_a_circle_is_one_person(root):
    path = listed(root, "ixi-001 ixi-001\nixi-001 ixi-002\nixi-002 ixi-001\n")
    subjects = {scan.key: scan.subject for scan in chosen(root, same_person=path).scans}
    assert subjects["ixi-001-t1w"] == subjects["ixi-002-t1w"] == "ixi-001"


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=9))
def test_people_are_one_exactly_where_a_chain_of_pairs_joins_them(pairs):
    scans = [
        SourceScan(
            key=f"x-{n}-t1w", subject=f"x-{n}", source="x", sequence="T1w", image=Path("x"), terms="ixi"
        )
        for n in range(8)
    ]
    links = np.zeros((8, 8))
    links[tuple(np.array(pairs).T)] = 1
    _, component = connected_components(links, directed=False)
    with tempfile.TemporaryDirectory() as folder:
        path = listed(Path(folder), "".join(f"x-{a} x-{b}\n" for a, b in pairs))
        subjects = [scan.subject for scan in join_people(scans, path)]
    for one, other in itertools.combinations(range(8), 2):
        assert (subjects[one] == subjects[other]) == (component[one] == component[other])


def test_a_list_of_pairs_with_one_id_or_an_unknown_one_is_an_error(root):
    with pytest.raises(SourceError, match=r"line 2: expected two ids"):
        chosen(root, same_person=listed(root, "ixi-001 ixi-002\nixi-003\n"))
    with pytest.raises(SourceError, match=r"did you mean ixi-001"):
        chosen(root, same_person=listed(root, "ixi-01 ixi-002\n"))


def test_people_are_selected_by_either_id(root):
    pairs = root / "pairs.txt"
    pairs.write_text("ixi-001 oasis-0001\n")
    for name, count in (("oasis-0001", 2), ("ixi-001", 4)):
        assert len(chosen(root, subjects=listed(root, name), same_person=pairs).scans) == count


def write_paper_sources(root):
    names = [f"ibsr/IBSR_{n:02d}_ana_strip.nii.gz" for n in range(1, 19)]
    names += [f"oasis/OAS1_{n:04d}_MR{v}_mpr_n4_anon_sbj_111.img" for n in range(1, 91) for v in (1, 2)]
    names += [
        f"ixi/IXI{n:03d}-{('Guys', 'IOP')[n % 2]}-0828-{s}.nii.gz"
        for n in range(1, 151)
        for s in ("T1", "T2")
    ]
    names += [
        f"kirby/visit_{v}/{n}/{n}-0{v}-{s}.nii.gz"
        for n in range(113, 134)
        for v in (1, 2)
        for s in ("T1", "FLAIR")
    ]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    rows = "".join(
        f"OAS1_{n:04d}_MR{v},F,74,{0.5 if n % 9 == 0 else 0}\n" for n in range(1, 91) for v in (1, 2)
    )
    (root / "oasis/oasis_cross-sectional.csv").write_text("ID,M/F,Age,CDR\n" + rows)


def test_the_papers_numbers_are_taken_by_the_stated_rule(tmp_path):
    write_paper_sources(tmp_path)
    found = find(("ibsr", "oasis", "ixi", "kirby"), tmp_path, Selection(subjects="paper"))
    taken = {source: [scan for scan in found.scans if scan.source == source] for source in PAPER}
    assert {source: len(scans) for source, scans in taken.items()} == {
        "ibsr": 18,
        "oasis": 77,
        "ixi": 64,
        "kirby": 42,
    }
    assert {(s, scan.sequence) for s, scans in taken.items() for scan in scans} == {
        ("ibsr", "T1w"), ("oasis", "T1w"), ("ixi", "T2w"), ("kirby", "FLAIR"),
    }  # fmt: skip
    oasis = [scan.key for scan in taken["oasis"]]
    healthy = [n for n in range(1, 91) if n % 9]
    assert oasis == [f"oasis-{n:04d}-1-t1w" for n in healthy[:77]]  # one session a person, by id
    assert {scan.facts.scanner for scan in taken["ixi"]} == {"GE 1.5 T"}
    assert [scan.key for scan in taken["ixi"]] == [f"ixi-{n:03d}-t2w" for n in range(1, 128, 2)]
    assert len({scan.subject for scan in taken["kirby"]}) == 21


def test_the_papers_numbers_where_fewer_are_there_and_of_a_strange_source(root, tmp_path):
    found = chosen(root, subjects="paper")
    assert len(found.scans) == 5 + 1  # Guys' where IOP has none; one session a person
    assert "5 of 64 T2w scans of ixi, no more are here" in " ".join(found.notes["selection"])
    scan = tmp_path / "mine/sub-01/anat/sub-01_T1w.nii.gz"
    scan.parent.mkdir(parents=True)
    scan.touch()
    with pytest.raises(SourceError, match=r"mine is none of the paper's sources"):
        find((f"bids:{tmp_path / 'mine'}",), tmp_path, Selection(subjects="paper"))


def test_a_selection_is_told_by_what_its_files_say(root):
    one = Selection(subjects=listed(root, "ixi-001\nixi-002\n")).flags()
    assert Selection(subjects=listed(root, "# reordered\nixi-002\nixi-001\n")).flags() == one
    assert Selection(subjects=listed(root, "ixi-001\n")).flags() != one
    assert Selection().flags() == [] and Selection(subjects="paper").flags() == ["--subjects paper"]
    assert Selection(healthy_only=False, average_repeats=True).flags() == [
        "--all-people",
        "--average-repeats",
    ]
