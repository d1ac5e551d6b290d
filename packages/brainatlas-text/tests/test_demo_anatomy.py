"""The anatomy and physics behind the synthetic people, without any file."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from brainatlas_text import spaces
from brainatlas_text.demo import templates
from brainatlas_text.demo.anatomy import FIELD_STEP_MM, Anatomy, build_anatomy
from brainatlas_text.demo.brain import collapse, grow
from brainatlas_text.demo.camera import Camera, Grid, Scan
from brainatlas_text.demo.contrast import Look
from brainatlas_text.demo.layouts import ibsr, ixi, kirby, oasis
from brainatlas_text.demo.materials import Material, is_brain, structures, tissues
from brainatlas_text.demo.people import Person, person_point
from brainatlas_text.errors import InputError
from brainatlas_text.labels import canonical_table

pytestmark = pytest.mark.unit

PLAUSIBLE_ML = {  # per side, adult averages and IBSR's manual volumes within
    2: (180, 320), 3: (230, 400), 4: (4, 30), 5: (0.1, 2), 7: (8, 25), 8: (45, 85), 10: (5, 13),
    11: (2.5, 6), 12: (3.5, 9), 13: (1, 3.5), 14: (0.5, 3), 15: (0.8, 4), 16: (15, 35), 17: (2.5, 7),
    18: (1, 3), 24: (0.3, 5), 26: (0.3, 1.5), 28: (3, 8),
}  # fmt: skip
RIGHT_OF = {
    2: 41,
    3: 42,
    4: 43,
    5: 44,
    7: 46,
    8: 47,
    10: 49,
    11: 50,
    12: 51,
    13: 52,
    17: 53,
    18: 54,
    26: 58,
    28: 60,
}
LEFT_OF = {right: left for left, right in RIGHT_OF.items()}


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return build_anatomy()


@pytest.fixture(scope="module")
def camera(anatomy: Anatomy) -> Camera:
    return Camera(anatomy=anatomy, seed=0)


def scan_of(camera: Camera, person: Person, look: Look) -> Scan:
    """A scan at 2 mm, enough to count and average tissues."""
    grid = Grid(shape=(96, 120, 96), affine=spaces.from_axis_codes("RAS", (96, 120, 96), (2, 2, 2)))
    return camera.take(person, grid, look, session=0)


def test_every_structure_is_there_on_both_sides_and_of_plausible_size(anatomy: Anatomy) -> None:
    volumes_ml = np.bincount(structures(anatomy.materials).ravel(), minlength=256) / 1000
    present = {int(n) for n in np.flatnonzero(volumes_ml)} - {0}
    expected = set(PLAUSIBLE_ML) | set(RIGHT_OF.values())
    assert present == expected and len(expected) >= 25
    assert present <= set(canonical_table())
    for number, (least, most) in PLAUSIBLE_ML.items():
        for side in {number, RIGHT_OF.get(number, number)}:
            assert least <= volumes_ml[side] <= most, (side, volumes_ml[side])


def test_left_structures_lie_on_the_left(anatomy: Anatomy) -> None:
    x_mm = np.arange(templates.BASE_SHAPE[0]) + templates.BASE_ORIGIN_MM[0]
    for left, right in RIGHT_OF.items():
        means = [
            np.average(x_mm, weights=(anatomy.materials == side).sum(axis=(1, 2))) for side in (left, right)
        ]
        assert means[0] < -2 and means[1] > 2, (left, means)


def test_anatomy_is_not_mirror_symmetric(anatomy: Anatomy) -> None:
    swap = np.arange(256)
    for a, b in (*RIGHT_OF.items(), *LEFT_OF.items()):
        swap[a] = b
    labels = structures(anatomy.materials)
    mirrored = swap[labels[::-1]]  # the grid is symmetric about x = 0
    assert templates.BASE_ORIGIN_MM[0] == -(templates.BASE_SHAPE[0] - 1) / 2
    either = (labels > 0) | (mirrored > 0)
    assert (labels != mirrored)[either].mean() > 0.15


def test_brain_is_one_piece_and_the_head_covers_it(anatomy: Anatomy) -> None:
    brain = is_brain(anatomy.materials)
    _, pieces = ndimage.label(brain)
    assert pieces == 1
    assert 1500 < brain.sum() / 1000 < 2000
    rim = ndimage.binary_dilation(brain, iterations=2) & ~brain
    around = set(np.unique(anatomy.materials[rim]).tolist())
    assert not around & {int(Material.AIR), int(Material.SKIN), int(Material.MARKER)}


def test_label_map_numbers_become_canonical() -> None:
    numbers = np.zeros((6, 3, 3), dtype=np.int16)
    numbers[1:3, 1, 1] = 1035, 251
    numbers[3:5, 1, 1] = 251, 2035
    assert collapse(numbers, middle=3)[1:5, 1, 1].tolist() == [3, 2, 41, 42]


def test_growth_takes_the_asked_voxels_and_steps() -> None:
    labels = np.zeros((7, 3, 3), dtype=np.uint8)
    labels[1, 1, 1] = 3
    allowed = np.zeros(labels.shape, dtype=bool)
    allowed[1:6, 1, 1] = True
    grow(labels, into=allowed, steps=2, sources=(3,))
    assert labels[:, 1, 1].tolist() == [0, 3, 3, 3, 0, 0, 0] and labels.sum() == 9


def test_people_are_bent_invertibly_and_differently(camera: Camera) -> None:
    people = [camera.person(who) for who in (ibsr.identity(0, 0), oasis.identity(0, 0), oasis.identity(1, 0))]
    for one, other in itertools.combinations(people, 2):
        assert np.sqrt(((one.displacement - other.displacement) ** 2).sum(-1).mean()) > 2.0
    for person in people:
        assert 2.0 < person.rms_mm < 8.0
        moved = person.displacement
        here = moved[:-1, :-1, :-1]
        along = (moved[1:, :-1, :-1], moved[:-1, 1:, :-1], moved[:-1, :-1, 1:])
        derivative = np.stack([step - here for step in along], axis=-1) / FIELD_STEP_MM + np.eye(3)
        assert np.linalg.det(derivative).min() > 0


def test_points_of_the_base_are_found_again_in_a_person(camera: Camera) -> None:
    person = camera.person(ixi.identity(0, 0))
    for base in ((-79.0, 30.0, 12.0), (20.0, -40.0, 30.0)):
        point = person_point(person, base)
        index = (point - templates.BASE_ORIGIN_MM) / FIELD_STEP_MM
        moved = [
            ndimage.map_coordinates(person.displacement[..., a], index[:, None], order=1)[0] for a in range(3)
        ]
        assert np.allclose(point + moved, base, atol=0.02)


def test_contrasts_order_the_tissues_as_scanners_do(camera: Camera) -> None:
    means = {}
    person = camera.person(ixi.identity(2, 0))
    for sequence in ("T1w", "T2w", "FLAIR"):
        scan = scan_of(camera, person, Look(sequence=sequence, shading=0.0))
        core = {t: ndimage.binary_erosion(tissues(scan.materials, filled=True) == t) for t in (1, 2, 3)}
        means[sequence] = [float(scan.signal[core[t]].mean()) for t in (1, 2, 3)]
    csf, grey, white = means["T1w"]
    assert csf < grey < white
    csf, grey, white = means["T2w"]
    assert white < grey < csf
    csf, grey, white = means["FLAIR"]
    assert csf < white < grey


def test_ventricles_and_sulci_open_with_age(camera: Camera) -> None:
    shares = []
    for years in (22.0, 85.0):
        person = camera.person(replace(ixi.identity(2, 0), age_years=years))
        labels = scan_of(camera, person, Look(sequence="T1w")).materials
        brain = is_brain(labels).sum()
        shares.append((np.isin(labels, (4, 43)).sum() / brain, (labels == Material.SULCAL_CSF).sum() / brain))
    assert shares[1][0] > 1.5 * shares[0][0]
    assert shares[1][1] > 1.1 * shares[0][1]


def test_a_session_changes_pose_and_noise_but_not_the_person(camera: Camera) -> None:
    grid = Grid(shape=(80, 100, 80), affine=spaces.from_axis_codes("RAS", (80, 100, 80), (2.4, 2.4, 2.4)))
    people = [camera.person(kirby.identity(0, 0)) for _ in range(2)]
    first, second = (camera.take(people[0], grid, Look(sequence="FLAIR"), session) for session in (0, 1))
    again = camera.take(people[1], grid, Look(sequence="FLAIR"), 0)
    assert np.array_equal(first.signal, again.signal) and not np.array_equal(first.signal, second.signal)
    sizes = [scan.mask.sum() for scan in (first, second)]
    assert abs(sizes[0] - sizes[1]) < 0.02 * sizes[0]


def test_a_person_depends_on_seed_source_and_number_alone() -> None:
    assert ixi.identity(3, 0) == ixi.identity(3, 0)
    assert ixi.identity(3, 0).age_years != ixi.identity(3, 1).age_years
    people = [ixi.identity(number, 0) for number in range(4)]
    assert {who.sex for who in people} == {"F", "M"}
    assert np.ptp([who.age_years for who in people]) > 25


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "PACKAGE", "no_such_package")
    with pytest.raises(InputError, match=r"no_such_package is not installed.*brainatlas-text\[demo\]"):
        templates.read_template()
