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


def test_every_scheme_leads_into_the_canonical_table_and_keeps_the_side():
    table = labels.canonical_table()
    mapping = labels.scheme("ibsr-cma")
    assert set(mapping.values()) <= table.keys() | {0}
    # FACTS of the IBSR README: 73 is RIGHT and 74 LEFT thin white matter, the odd order
    assert table[mapping[73]].side == "right" and table[mapping[74]].side == "left"
    assert mapping[9] == 10 and mapping[48] == 49
    assert mapping[29] == mapping[61] == mapping[1] == 0


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
