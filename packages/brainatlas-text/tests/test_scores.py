import subprocess
import sys
from itertools import pairwise

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial import KDTree

from brainatlas_text import scores
from brainatlas_text.labels import canonical_table
from brainatlas_text.scores import ScanScores, StructureScore

pytestmark = pytest.mark.unit
maps = arrays(np.uint8, (6, 5, 4), elements=st.sampled_from([0, 0, 2, 41, 17]))


def block(shape, start, size, value=17):
    array = np.zeros(shape, dtype=np.uint8)
    array[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = value
    return array


def one(labels, truth, zooms=(1.0, 1.0, 1.0)):
    (score,) = scores.score_structures(labels, truth, zooms)
    return score


def test_a_map_agrees_with_itself():
    truth = block((12, 12, 12), (3, 4, 2), (5, 4, 3))
    assert one(truth, truth) == StructureScore(
        structure="left hippocampus", dice=1.0, hd95_mm=0.0, volume_error=0.0
    )


def test_a_shift_moves_the_surface_by_as_many_mm():
    truth = block((20, 20, 20), (5, 5, 5), (8, 8, 8))
    moved = block((20, 20, 20), (7, 5, 5), (8, 8, 8))
    score = one(moved, truth, (1.5, 1.0, 1.0))
    assert score.dice == pytest.approx(0.75)
    assert score.hd95_mm == pytest.approx(3.0)
    assert score.volume_error == 0.0


def test_twice_the_volume_is_an_error_of_plus_one():
    truth, map_ = block((9, 9, 9), (2, 2, 2), (2, 2, 2)), block((9, 9, 9), (2, 2, 2), (4, 2, 2))
    assert one(map_, truth).volume_error == 1.0
    assert one(truth, map_).volume_error == -0.5


def test_a_missing_structure_scores_zero_and_has_no_distance():
    truth = block((9, 9, 9), (2, 2, 2), (2, 2, 2))
    score = one(np.zeros_like(truth), truth)
    assert (score.dice, score.hd95_mm, score.volume_error) == (0.0, None, -1.0)


def test_what_the_truth_lacks_is_not_scored():
    assert (
        scores.score_structures(
            block((4, 4, 4), (0, 0, 0), (2, 2, 2)), np.zeros((4, 4, 4), np.uint8), (1, 1, 1)
        )
        == ()
    )


def test_vessels_and_sulcal_csf_are_not_scored():
    array = np.array([24, 30, 62, 85], dtype=np.uint8).reshape(4, 1, 1)
    assert [score.structure for score in scores.score_structures(array, array, (1, 1, 1))] == ["optic chiasm"]


def test_left_for_right_scores_nothing():
    left, right = block((9, 9, 9), (1, 1, 1), (3, 3, 3), 17), block((9, 9, 9), (1, 1, 1), (3, 3, 3), 53)
    assert one(left, right).dice == 0.0


@given(maps, maps, st.tuples(*[st.floats(0.5, 3)] * 3))
def test_figures_follow_their_definitions(labels, truth, zooms):
    found = {score.structure: score for score in scores.score_structures(labels, truth, zooms)}
    names = scores.structure_names()
    for number in np.unique(truth[truth > 0]).tolist():
        score, a, b = found.pop(names[number]), labels == number, truth == number
        assert score.dice == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
        if not a.any():
            continue
        assert score.volume_error == pytest.approx(a.sum() / b.sum() - 1)
        points = [surface_points(mask) * zooms for mask in (a, b)]
        directed = [np.percentile(KDTree(q).query(p)[0], 95) for p, q in (points, points[::-1])]
        assert score.hd95_mm == pytest.approx(max(directed))
    assert not found


def surface_points(mask):
    """Voxels with a face on something else, counted by hand."""
    padded = np.pad(mask, 1)
    inner = padded.copy()
    for axis in range(3):
        inner &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
    return np.argwhere(padded & ~inner)


@given(maps, maps)
def test_dice_and_distance_do_not_care_which_is_the_truth(labels, truth):
    ours = {s.structure: s for s in scores.score_structures(labels, truth, (1.0, 2.0, 1.5))}
    theirs = {s.structure: s for s in scores.score_structures(truth, labels, (1.0, 2.0, 1.5))}
    for name in ours.keys() & theirs.keys():
        assert (ours[name].dice, ours[name].hd95_mm) == (theirs[name].dice, theirs[name].hd95_mm)


def test_every_canonical_number_has_a_tissue_but_vessels():
    numbers = np.array(sorted(canonical_table()), dtype=np.uint8)
    tissues = dict(zip(numbers.tolist(), scores.tissue_map(numbers).tolist(), strict=True))
    assert {n for n, tissue in tissues.items() if tissue == 0} == {30, 62}
    csf = {4, 5, 14, 15, 24, 31, 43, 44, 63, 72}
    assert {n for n, tissue in tissues.items() if tissue == scores.CSF} == csf
    assert {n for n, tissue in tissues.items() if tissue == scores.WHITE} == {2, 7, 16, 41, 46, 85, 192}
    assert {tissues[n] for n in (13, 52, 28, 60, 8, 47, 17, 3)} == {scores.GREY}


def test_filled_grey_takes_what_the_mask_holds_of_nothing_and_of_sulcal_csf():
    canonical = np.array([0, 0, 24, 24, 4, 2, 3, 30], dtype=np.uint8).reshape(8, 1, 1)
    brain = np.array([0, 1, 0, 1, 1, 1, 1, 1], dtype=bool).reshape(8, 1, 1)
    filled = scores.filled_grey(canonical, brain)
    assert filled.ravel().tolist() == [False, True, False, True, False, False, True, True]


def test_tissues_are_scored_with_and_without_filling():
    canonical = np.array([3, 3, 0, 24, 2, 4], dtype=np.uint8).reshape(6, 1, 1)
    truth = np.array([2, 2, 2, 2, 3, 1], dtype=np.uint8).reshape(6, 1, 1)
    plain = scores.score_tissues(canonical, truth, (1, 1, 1))
    filled = scores.score_tissues(canonical, truth, (1, 1, 1), np.ones((6, 1, 1), dtype=bool))
    assert filled[:3] == plain
    found = {score.structure: score.dice for score in filled}
    assert found["grey matter"] == pytest.approx(2 * 2 / 6)
    assert found["grey matter, filled"] == 1.0
    assert found["white matter"] == 1.0
    assert found["CSF"] == pytest.approx(2 / 3)


def test_means_count_each_structure_alike_and_leave_distances_out_that_are_not_there():
    def scan(name, sequence, **dice):
        found = tuple(
            StructureScore(structure=s, dice=d, hd95_mm=None if d == 0 else 2.0, volume_error=-0.1)
            for s, d in dice.items()
        )
        return ScanScores(method="m", scan=name, sequence=sequence, structures=found)

    pallidum, other = {"left pallidum": 0.6}, {"left pallidum": 0.0, "optic chiasm": 0.5}
    t1, t2 = scores.group_scores(
        [scan("a", "T1w", **pallidum), scan("b", "T2w", **pallidum), scan("c", "T1w", **other)]
    )
    assert (t1.sequence, t1.scans, t2.sequence, t2.scans) == ("T1w", 2, "T2w", 1)
    assert [(s.structure, s.scans, s.dice, s.hd95_mm) for s in t1.structures] == [
        ("left pallidum", 2, pytest.approx(0.3), 2.0),
        ("optic chiasm", 1, 0.5, 2.0),
    ]
    assert scores.mean_dice(t1.standard) == pytest.approx(0.3)
    assert scores.mean_dice(t1.structures) == pytest.approx(0.4)
    assert scores.mean_dice(()) is None


def test_structures_come_in_the_order_of_the_table():
    array = np.arange(0, 61, dtype=np.uint8).reshape(61, 1, 1)
    (group,) = scores.group_scores(
        [
            ScanScores(
                method="m",
                scan="a",
                sequence="",
                structures=scores.score_structures(array, array, (1, 1, 1))[::-1],
            )
        ]
    )
    names = list(scores.structure_names().values())
    places = [names.index(score.structure) for score in group.structures]
    assert all(a < b for a, b in pairwise(places))
    assert len(group.standard) == len(scores.STANDARD) == 25


def test_the_same_figures_as_the_judges_tool(shared, tmp_path):
    """Two people's label maps, one bent against the other, scored by both."""
    truth_image = nib.load(shared / "data" / "label-maps" / "training_seg_05.nii.gz")
    truth = np.asarray(truth_image.dataobj)[::2, ::2, ::2].astype(np.int16)
    truth = np.where(truth < 86, truth, 0).astype(np.int16)
    labels = np.roll(truth, (1, -2, 1), (0, 1, 2))
    labels[labels == 18] = 0
    for name, array in (("labels", labels), ("truth", truth)):
        (tmp_path / name).mkdir()
        image = nib.Nifti1Image(array, np.diag([1.0, 1.5, 2.0, 1.0]))
        nib.save(image, tmp_path / name / "person_dseg.nii.gz")
    tool = [sys.executable, shared / "tools" / "score_labels.py", "labels", "truth", "--csv", "out.csv"]
    subprocess.run(tool, cwd=tmp_path, check=True, capture_output=True)
    rows = [line.split(",") for line in (tmp_path / "out.csv").read_text().splitlines()[1:]]
    theirs = {structure: tuple(figures) for _, structure, *figures in rows}
    found = scores.score_structures(labels.astype(np.uint8), truth.astype(np.uint8), (1.0, 1.5, 2.0))
    renamed = {"cerebellar": "cerebellum", "caudate nucleus": "caudate", "nucleus accumbens": "accumbens"}
    compared = 0
    for score in found:
        name = score.structure
        for ours, other in renamed.items():
            name = name.replace(ours, other)
        if (figures := theirs.get(name.replace(" ", "-"))) is None:
            continue
        for ours, other in zip((score.dice, score.hd95_mm, score.volume_error), figures, strict=True):
            assert (ours is None and not other) or ours == pytest.approx(float(other), abs=1e-6)
        compared += 1
    assert compared == len(theirs) == 31
