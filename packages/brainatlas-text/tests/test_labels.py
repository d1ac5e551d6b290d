import numpy as np
import pytest

from brainatlas_text import labels
from brainatlas_text.errors import LabelError

pytestmark = pytest.mark.unit


def test_every_canonical_number_fits_one_byte_and_sides_come_in_pairs():
    table = labels.canonical_table()
    assert all(0 < number < 256 for number in table)
    sided = {}
    for structure in table.values():
        if structure.side != "midline":
            sided.setdefault(structure.name, set()).add(structure.side)
    assert all(sides == {"left", "right"} for sides in sided.values())


@pytest.mark.parametrize("name", ["ibsr-cma", "freesurfer", "synthseg"])
def test_every_scheme_leads_into_the_canonical_table(name):
    mapping = labels.scheme(name).canonical
    assert {
        number for numbers in mapping.values() for number in numbers
    } <= labels.canonical_table().keys() | {0}
    assert mapping[0] == (0,)


def test_the_cma_scheme_keeps_the_side_of_its_odd_numbers():
    table, mapping = labels.canonical_table(), labels.scheme("ibsr-cma").canonical
    # FACTS of the IBSR README: 73 is RIGHT and 74 LEFT thin white matter, the odd order
    assert table[mapping[73][0]].side == "right" and table[mapping[74][0]].side == "left"
    assert mapping[9] == (10,) and mapping[48] == (49,)
    assert mapping[29] == mapping[61] == mapping[1] == (0,)


@pytest.mark.parametrize(
    ("number", "canonical"),
    [
        (3, 3), (17, 17), (1002, 3), (1035, 3), (2002, 42), (11123, 3), (12123, 42), (3007, 2), (4007, 41),
        (5001, 2), (5002, 41), (78, 2), (79, 41), (80, 0), (24, 24), (30, 30), (62, 62), (85, 85), (16, 16),
    ],
)  # fmt: skip
def test_freesurfers_numbers_beyond_a_byte_have_their_structure(number, canonical):
    array = np.full((2, 2, 2), number, dtype=np.int32)
    assert set(labels.to_canonical(array, "freesurfer", "aseg").ravel()) == {canonical}


def test_synthseg_merges_what_its_training_maps_divide():
    array = np.array([25, 57, 136, 137, 163, 164, 516, 24, 1010, 2010])
    assert labels.to_canonical(array, "synthseg", "map").tolist() == [2, 41, 4, 5, 43, 44, 0, 24, 3, 42]


def test_a_structure_without_a_side_goes_to_the_nearer_one():
    """White matter hypointensities (77) and the callosum (251) between two halves of white matter."""
    array = np.zeros((20, 6, 6), dtype=np.int32)
    array[:9], array[11:] = 2, 41
    array[9:11] = 251
    array[2:4, 2, 2], array[15, 2, 2] = 77, 77
    canonical = labels.to_canonical(array, "freesurfer", "aseg")
    assert (canonical[:10] == 2).all() and (canonical[10:] == 41).all()


def test_a_structure_without_a_side_and_nothing_to_tell_it_by_is_named():
    with pytest.raises(LabelError, match=r"aseg: .*2 or 41"):
        labels.to_canonical(np.array([[[17, 53, 77]]]), "freesurfer", "aseg")


def test_labels_are_mapped_voxel_by_voxel():
    array = np.array([[[0, 9, 10, 73, 29]]])
    canonical = labels.to_canonical(array, "ibsr-cma", "seg")
    assert canonical.dtype == np.uint8 and canonical.ravel().tolist() == [0, 10, 10, 41, 0]


@pytest.mark.parametrize("number", [99, -3, 70000])
def test_an_unknown_number_is_named(number):
    with pytest.raises(LabelError, match=rf"IBSR_01_seg: label {number} "):
        labels.to_canonical(np.array([2, number]), "ibsr-cma", "IBSR_01_seg")


def test_an_unknown_scheme_names_the_known_ones():
    with pytest.raises(LabelError, match="ibsr-cma"):
        labels.scheme("ibsr")
