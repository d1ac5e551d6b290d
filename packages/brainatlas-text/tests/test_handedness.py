from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from brainatlas_text import spaces, volumes
from brainatlas_text.engines import capsule, handedness
from brainatlas_text.hub import load_hub
from brainatlas_text.prepare import PrepareConfig, inputs_digest, prepare
from brainatlas_text.records import HandednessCheck, OtherForm, PreparedScan, Rejection, SourceScan
from brainatlas_text.volumes import Volume
from brainatlas_text.workspace import Workspace

pytestmark = pytest.mark.unit
ZOOM_MM = 2.0
LEFT_TEMPLE = (-0.75, 0.55, 0.35)


def ball(shape, center, radii):
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, center, radii, strict=True)) <= 1


def head(seed=0):
    """Skin, bone, brain, nose and unlike ears in noisy air, RAS, 2 mm; also center and radii in voxels."""
    rng = np.random.default_rng(seed)
    shape, center, radii = (100, 120, 110), np.array([50.0, 60, 55]), np.array([36.0, 46, 42])
    image = np.zeros(shape)
    for shrink, value in ((0, 60), (1, 100), (4, 10), (7, 70), (16, 90)):
        image[ball(shape, center, radii - shrink)] = value
    image[ball(shape, center + np.array([0, 47, -12]), (4, 6, 8))] = 80  # nose
    image[:, :, :10] = np.where(ball((*shape[:2], 1), (50, 55, 0), (26, 30, 9)), 60, 0)  # neck
    image[ball(shape, center + np.array([-37, -4, -16]), (4, 7, 9))] = 75
    image[ball(shape, center + np.array([37, -5, -16]), (3, 6, 10))] = 95
    image = ndimage.gaussian_filter(image, 0.5) + np.abs(rng.normal(0, 3, shape))
    affine = spaces.from_axis_codes("RAS", shape, [ZOOM_MM] * 3)
    return Volume(image.astype(np.float32), affine), center, radii


def with_capsule(direction, *, radii_mm=(4.5, 4.5, 9.0), gap_mm=0.0, value=110.0, seed=0):
    """A head with a capsule where a ray from its center leaves the skin."""
    volume, center, radii = head(seed)
    unit = np.array(direction) / np.linalg.norm(direction)
    out = 1 / np.sqrt(((unit / radii) ** 2).sum()) + (min(radii_mm) + gap_mm) / ZOOM_MM
    image = volume.array.copy()
    image[ball(image.shape, center + out * unit, np.array(radii_mm) / ZOOM_MM)] = value
    return Volume(ndimage.gaussian_filter(image, 0.4), volume.affine)


def mirrored(volume):
    return Volume(np.ascontiguousarray(volume.array[::-1]), volume.affine)


@pytest.mark.parametrize(
    ("direction", "gap_mm"),
    [(LEFT_TEMPLE, -1.0), (LEFT_TEMPLE, 6.0), ((-0.4, 0.9, 0.45), 0.0), ((-0.8, -0.3, 0.6), 3.0)],
)
def test_a_capsule_on_the_left_agrees_and_its_mirror_image_contradicts(direction, gap_mm):
    marked = with_capsule(direction, gap_mm=gap_mm)
    assert capsule.check_capsule(marked).verdict == "agrees"
    against = capsule.check_capsule(mirrored(marked))
    assert against.verdict == "contradicts" and "to the right" in against.detail


def test_where_the_capsule_was_found_is_said():
    found = capsule.check_capsule(with_capsule((-1.0, 0.0, 0.0), radii_mm=(5, 5, 5), gap_mm=2.0))
    numbers = [
        float(word) for word in found.detail.replace(",", "").split() if word.replace(".", "").isdigit()
    ]
    volume_ml, aside_mm = numbers[:2]
    assert volume_ml == pytest.approx(0.52, abs=0.2) and aside_mm == pytest.approx(79, abs=3)


def test_a_head_without_a_capsule_decides_nothing():
    assert capsule.check_capsule(head()[0]).verdict == "undecided"


def test_what_is_no_capsule_decides_nothing():
    cases = {
        "dim, as cloth or a ghost": with_capsule(LEFT_TEMPLE, value=30.0),
        "large, as a hand": with_capsule(LEFT_TEMPLE, radii_mm=(14, 14, 14), gap_mm=2.0),
        "in the middle of the forehead": with_capsule((0.0, 1.0, 0.4)),
        "below the jaw": with_capsule((-0.7, 0.2, -1.2)),
        "nothing": Volume(np.zeros((60, 60, 60), np.float32), np.diag([2.0, 2, 2, 1])),
    }
    verdicts = {name: capsule.check_capsule(volume).verdict for name, volume in cases.items()}
    assert set(verdicts.values()) == {"undecided"}, verdicts


def test_capsules_on_both_sides_decide_nothing():
    one, other = with_capsule(LEFT_TEMPLE), mirrored(with_capsule(LEFT_TEMPLE))
    both = Volume(np.maximum(one.array, other.array), one.affine)
    assert capsule.check_capsule(both).verdict == "undecided"


def test_a_capsule_that_the_grid_cuts_decides_nothing():
    """In a slab it may have been wrapped around from the other side."""
    marked = with_capsule((-1.0, 0.0, 0.2))
    edge = 100 - int(np.argmax((marked.array > 80).any(axis=(1, 2))[::-1]))
    first = int(np.argmax((marked.array > 80).any(axis=(1, 2)))) + 1
    cut = Volume(np.ascontiguousarray(marked.array[first:edge]), marked.affine)
    assert capsule.check_capsule(cut).verdict == "undecided"


def test_real_heads_without_a_capsule_decide_nothing(shared):
    """IXI fixes none; ears, noses and the fold of the field of view are there."""
    scans = sorted((shared / "data" / "real-mini" / "ixi" / "IXI-T1").glob("*.nii.gz"))
    assert scans
    for path in scans:
        assert capsule.check_capsule(volumes.load(path)).verdict == "undecided"


@pytest.fixture(scope="module")
def brain():
    """The template at 3 mm with folds of its own on each side; the template itself is mirror symmetric."""
    template = volumes.thin(load_hub().image, (3, 3, 3))
    folds = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=template.shape), 1.5)
    array = np.where(template.array > 30, template.array * 8 * (1 + 1.5 * folds), 0)
    return Volume(array.astype(np.float32), template.affine)


def moved(volume, seed=0):
    """The same brain tilted, a little smaller, elsewhere and with other noise."""
    rng = np.random.default_rng(seed)
    angle = np.radians(8.0)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    other_vox = spaces.invert(volume.affine) @ turn @ np.diag([1.06, 1.04, 1.05, 1.0]) @ volume.affine
    array = ndimage.affine_transform(volume.array, other_vox[:3, :3], other_vox[:3, 3], order=1)
    noisy = np.where(array > 20, array * 0.5 + rng.normal(0, 10, array.shape), 0)
    return Volume(noisy.astype(np.float32), spaces.translation([5.0, -20.0, 8.0]) @ volume.affine)


def test_two_forms_of_one_scan_agree_and_a_mirrored_one_contradicts(brain):
    other = moved(brain)
    agree = handedness.compare_forms(brain, other, "other.img")
    contradict = handedness.compare_forms(brain, mirrored(other), "other.img")
    assert (agree.verdict, contradict.verdict) == ("agrees", "contradicts")
    assert agree.detail.startswith("other.img") and "mirrored" in agree.detail


def test_a_symmetric_brain_and_another_persons_decide_nothing(brain):
    symmetric = Volume((brain.array + brain.array[::-1]) / 2, brain.affine)
    assert handedness.compare_forms(symmetric, moved(symmetric), "o").verdict == "undecided"
    rng = np.random.default_rng(9)
    folds = ndimage.gaussian_filter(rng.normal(size=brain.shape), 1.5)
    stranger = Volume(np.where(brain.array > 0, 800 * (1 + 1.5 * folds), 0).astype(np.float32), brain.affine)
    assert handedness.compare_forms(brain, stranger, "o").verdict == "undecided"


def test_the_real_pair_of_forms_agrees_and_its_mirror_image_contradicts(shared):
    session = shared / "data" / "real-mini" / "oasis" / "disc1" / "OAS1_9003_MR1"
    own = volumes.load(next(session.rglob("*_sbj_111.img")), "ASL")
    talairach = volumes.load(next(session.rglob("*_masked_gfc.img")), "LAS")
    assert handedness.compare_forms(own, talairach, "t88").verdict == "agrees"
    assert handedness.compare_forms(own, mirrored(talairach), "t88").verdict == "contradicts"


def says(method, verdict):
    return HandednessCheck(method=method, verdict=verdict, detail=f"{method} {verdict}")


@pytest.mark.parametrize(
    ("by_capsule", "by_forms", "key", "source", "outcome"),
    [
        (None, None, "reject", "convention", "quiet"),
        ("agrees", None, "reject", "checked", "quiet"),
        ("agrees", "agrees", "reject", "checked", "quiet"),
        ("undecided", "agrees", "reject", "convention", "quiet"),
        ("undecided", "undecided", "strict", "convention", "quiet"),
        ("contradicts", None, "reject", "convention", "refused"),
        ("contradicts", "agrees", "reject", "convention", "refused"),
        ("contradicts", "contradicts", "strict", "convention", "refused"),
        ("contradicts", None, "keep", "convention", "noted"),
        (None, "contradicts", "reject", "convention", "noted"),
        ("undecided", "contradicts", "strict", "convention", "refused"),
        (None, "contradicts", "keep", "convention", "noted"),
        ("agrees", "contradicts", "strict", "checked", "noted"),
    ],
)
def test_what_follows_from_the_checks(by_capsule, by_forms, key, source, outcome):
    checks = [says(m, v) for m, v in (("capsule", by_capsule), ("two forms", by_forms)) if v]
    sides = handedness.judge(checks, "convention", key)
    found = "refused" if sides.refusal else "noted" if sides.notes else "quiet"
    assert (sides.source, found) == (source, outcome)
    for check in checks:
        if check.verdict == "contradicts":
            assert check.detail in " ".join([*sides.notes, sides.refusal or ""])


@pytest.fixture
def scan(tmp_path, brain):
    """An OASIS head on disk, A, S, L, with a capsule and the brain alone as a second form."""
    whole, center, radii = head()
    shown = with_capsule(LEFT_TEMPLE, gap_mm=1.0)
    inside = ball(shown.shape, center, radii - 8)
    folds = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=shown.shape), 2.0)
    image = Volume(np.where(inside, shown.array * (1 + 2 * folds), shown.array), whole.affine)
    mask = Volume(inside.astype(np.int16), whole.affine)
    write_analyze(tmp_path / "sbj.img", image, "ASL")
    write_analyze(tmp_path / "mask.img", mask, "ASL")
    write_analyze(tmp_path / "t88.img", Volume(np.where(inside, image.array, 0), image.affine), "LAS")
    other = OtherForm(image=tmp_path / "t88.img", array_order="LAS", orientation_source="convention")
    return SourceScan(
        key="oasis-0001-1-t1w", subject="oasis-0001", source="oasis", sequence="T1w",
        image=tmp_path / "sbj.img", mask=tmp_path / "mask.img", array_order="ASL", left_marker=True,
        orientation_source="convention", terms="oasis", superseded=(other,),
    )  # fmt: skip


def write_analyze(path, volume, codes):
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    array = nib.orientations.apply_orientation(volume.array.astype(np.int16), turn)
    nib.save(nib.AnalyzeImage(array, np.diag([ZOOM_MM] * 3 + [1.0])), path)


QUICK = PrepareConfig(bias_correction=False)


def test_a_scan_that_its_capsule_confirms_is_checked_and_both_verdicts_are_recorded(scan, tmp_path):
    done = prepare(scan, Workspace(tmp_path / "out"), QUICK)
    assert isinstance(done, PreparedScan), done
    assert done.orientation_source == "checked"
    verdicts = {check.method: check.verdict for check in done.preparation.handedness}
    assert verdicts == {"capsule": "agrees", "two forms": "agrees"}
    assert not any("left and right" in note for note in done.notes)


def test_a_mirrored_file_is_refused_by_name_and_kept_only_by_order_and_never_flipped(scan, tmp_path):
    lying = replace(scan, array_order="ASR")
    refused = prepare(lying, Workspace(tmp_path / "out"), QUICK)
    assert isinstance(refused, Rejection) and refused.reason == "handedness_contradicted"
    assert str(scan.image) in refused.detail and "capsule" in refused.detail and "t88.img" in refused.detail
    lying = replace(lying, superseded=())
    kept = prepare(lying, Workspace(tmp_path / "kept"), QUICK.model_copy(update={"contradicted": "keep"}))
    assert isinstance(kept, PreparedScan) and kept.orientation_source == "convention"
    assert any("contradicted" in note and "capsule" in note for note in kept.notes)
    image = volumes.load_prepared(tmp_path / "kept" / kept.image)
    right = prepare(replace(scan, superseded=()), Workspace(tmp_path / "right"), QUICK)
    straight = volumes.load_prepared(tmp_path / "right" / right.image)
    np.testing.assert_array_equal(image.array, straight.array[::-1])  # as the file says, wrong as it is


def test_a_form_that_contradicts_is_noted_and_one_that_cannot_be_read_decides_nothing(scan, tmp_path):
    unmarked = replace(scan, left_marker=False, superseded=(replace(scan.superseded[0], array_order="RAS"),))
    done = prepare(unmarked, Workspace(tmp_path / "out"), QUICK)
    assert isinstance(done, PreparedScan) and done.orientation_source == "convention"
    assert any("t88.img" in note and "mirrored" in note for note in done.notes)
    before = inputs_digest(scan, QUICK)
    scan.superseded[0].image.write_bytes(b"short")
    assert inputs_digest(scan, QUICK) != before
    done = prepare(scan, Workspace(tmp_path / "out"), QUICK)
    assert {check.verdict for check in done.preparation.handedness} == {"agrees", "undecided"}
