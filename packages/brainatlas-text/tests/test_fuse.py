import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brainatlas_text.engines import block_matching, intensity_model, votes
from brainatlas_text.engines.block_matching import Search, Shifts
from brainatlas_text.fuse import LabelConfig, fuse

pytestmark = pytest.mark.unit
MAJORITY, MATCHING = LabelConfig(method="majority"), LabelConfig(method="matching")
ZOOMS_MM = (1.5, 1.5, 1.5)
stacks = st.integers(1, 6).flatmap(lambda n: arrays(np.uint8, (n, 4, 3, 2), elements=st.integers(0, 4)))


@given(stacks)
def test_the_vote_is_a_majority_of_what_was_proposed(stack):
    winners, agreement = votes.majority(stack)
    for where in np.ndindex(winners.shape):
        cast = stack[(slice(None), *where)]
        counts = {label: int((cast == label).sum()) for label in cast.tolist()}
        most = max(counts.values())
        first = next(label for label in cast.tolist() if counts[label] == most)
        assert winners[where] == first
        assert agreement[where] == int(np.floor(100 * most / len(cast) + 0.5))


def test_one_voter_is_copied_with_full_agreement():
    only = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    winners, agreement = votes.majority(only[None])
    np.testing.assert_array_equal(winners, only)
    assert (agreement == 100).all()


def brain(shift_vox=(0, 0, 0), seed=None):
    """White matter (2) around a putamen (12), a thalamus (10) and a ventricle (4), on 40 x 40 x 40 voxels."""
    place = np.moveaxis(np.indices((40, 40, 40)), 0, -1) - np.array(shift_vox)
    labels = np.full((40, 40, 40), 2, dtype=np.uint8)
    for label, center, radius in ((12, (11, 20, 20), 6), (10, (27, 15, 20), 6), (4, (25, 29, 22), 5)):
        labels[((place - center) ** 2).sum(axis=-1) < radius**2] = label
    if seed is None:
        return labels
    levels = np.zeros(256)
    levels[[2, 12, 10, 4]] = (3300, 1900, 2600, 500)
    noise = np.random.default_rng(seed).normal(0, 150, labels.shape)
    return labels, np.clip(levels[labels] + noise, 1, 4095).astype(np.uint16)


def dice(one, other):
    present = [label for label in np.unique(other) if label]
    return np.mean(
        [2 * ((one == n) & (other == n)).sum() / ((one == n).sum() + (other == n).sum()) for n in present]
    )


def test_matching_finds_what_all_voters_miss():
    truth, image = brain(seed=1)
    inside = np.ones(truth.shape, dtype=bool)
    proposed = [brain(shift) for shift in ((2, 0, 1), (1, 2, 0), (2, 1, 1))]
    plain = fuse(image, inside, ZOOMS_MM, proposed, MAJORITY)
    matched = fuse(image, inside, ZOOMS_MM, proposed, MATCHING)
    assert dice(plain.labels, truth) < 0.85
    assert dice(matched.labels, truth) > 0.95


def test_matching_needs_no_common_contrast():
    truth, image = brain(seed=2)
    inverted = (4096 - image).astype(np.uint16)
    proposed = [brain(shift) for shift in ((2, 0, 1), (1, 2, 0), (2, 1, 1))]
    inside = np.ones(truth.shape, dtype=bool)
    assert dice(fuse(inverted, inside, ZOOMS_MM, proposed, MATCHING).labels, truth) > 0.95


def test_a_coil_that_sees_one_side_brighter_changes_little():
    truth, image = brain(seed=8)
    inside = np.ones(truth.shape, dtype=bool)
    ramp = np.linspace(0.6, 1.4, 40)[:, None, None]
    uneven = np.clip(image * ramp, 1, 4095).astype(np.uint16)
    even = intensity_model.evened(uneven, truth, inside, np.array(ZOOMS_MM))
    spread = [
        np.ptp([np.median(i[x : x + 8][truth[x : x + 8] == 2]) for x in (0, 32)]) for i in (uneven, even)
    ]
    assert spread[1] < 0.5 * spread[0]
    proposed = [brain(shift) for shift in ((2, 0, 1), (1, 2, 0), (2, 1, 1))]
    assert dice(fuse(uneven, inside, ZOOMS_MM, proposed, MATCHING).labels, truth) > 0.93


@pytest.mark.parametrize("config", [MAJORITY, MATCHING], ids=["majority", "matching"])
def test_nothing_is_labeled_outside_of_the_mask(config):
    truth, image = brain(seed=3)
    inside = np.zeros(truth.shape, dtype=bool)
    inside[5:35, 5:35, 5:35] = True
    fused = fuse(np.where(inside, image, 0).astype(np.uint16), inside, ZOOMS_MM, [truth, truth], config)
    assert not fused.labels[~inside].any() and not fused.agreement[~inside].any()
    assert (fused.agreement[inside] > 0).mean() > 0.98


@given(st.integers(0, 1000), st.integers(1, 4))
def test_matching_takes_no_number_that_nobody_proposed(seed, num_voters):
    draw = np.random.default_rng(seed)
    numbers = draw.choice([0, 2, 3, 4, 10, 17, 30, 85], size=3, replace=False).astype(np.uint8)
    proposed = draw.choice(numbers, size=(num_voters, 6, 7, 5))
    image = draw.integers(1, 4096, size=(6, 7, 5)).astype(np.uint16)
    inside = draw.random((6, 7, 5)) < 0.8
    fused = fuse(image, inside, ZOOMS_MM, proposed, MATCHING)
    assert set(np.unique(fused.labels)) <= {0, *numbers.tolist()}
    assert fused.agreement.max(initial=0) <= 100


def test_an_empty_mask_gives_no_label():
    truth, image = brain(seed=4)
    fused = fuse(image, np.zeros(truth.shape, dtype=bool), ZOOMS_MM, [truth], MATCHING)
    assert not fused.labels.any() and not fused.agreement.any()


def test_the_same_call_gives_the_same_bits():
    truth, image = brain(seed=5)
    inside = np.ones(truth.shape, dtype=bool)
    runs = [fuse(image, inside, ZOOMS_MM, [brain((2, 1, 0)), truth], MATCHING) for _ in range(2)]
    np.testing.assert_array_equal(runs[0].labels, runs[1].labels)
    np.testing.assert_array_equal(runs[0].agreement, runs[1].agreement)


def test_equally_likely_labels_go_to_the_smallest_number():
    """Two voters, each of its own mind, and a brightness that is as likely under both."""
    proposed = np.stack([np.full((8, 8, 8), label, dtype=np.uint8) for label in (12, 11)])
    still = Shifts(
        vectors=np.zeros((3, 1, 1, 1), np.float32),
        block_vox=np.full(3, 8.0),
        fit=np.zeros((1, 1, 1), np.float32),
    )
    winners = votes.most_likely(
        np.zeros((8, 8, 8), np.uint8),
        np.ones((8, 8, 8), dtype=bool),
        proposed,
        proposed,
        (still, still),
        np.zeros((256, 256), np.float32),
        np.array(ZOOMS_MM),
    )
    assert (winners == 11).all()


def test_structures_of_one_tissue_share_a_gaussian():
    shared = intensity_model.tissues()
    assert shared[49] == shared[10] and shared[41] == 2  # right and left
    assert len({int(shared[number]) for number in (0, 4, 5, 14, 15, 24, 43, 44)}) == 1  # fluid
    assert shared[10] != shared[12]


def test_a_gaussian_ignores_what_misplaced_labels_put_in():
    """A third of the putamen's voxels is really white matter."""
    draw = np.random.default_rng(6)
    steps = np.concatenate((draw.normal(120, 12, 2000), draw.normal(220, 8, 1000))).astype(np.uint8)
    labels = np.full(3000, 12, dtype=np.uint8)
    everywhere, agreed = np.ones(3000, dtype=bool), np.full(3000, 100, dtype=np.uint8)
    table = intensity_model.log_likelihoods(steps, labels, agreed, everywhere)
    assert int(table[12].argmax()) == pytest.approx(120, abs=4)
    np.testing.assert_array_equal(table[12], table[51])
    np.testing.assert_allclose(np.exp(table[12]).sum(), 1, atol=0.02)


@pytest.mark.parametrize("zooms", [(1.0, 1.0, 1.0), (0.9, 1.5, 1.2)])
def test_search_recovers_a_shift_in_millimeters(zooms):
    truth, image = brain(seed=7)
    zooms_mm = np.array(zooms)
    moved = brain(tuple(np.rint(np.array((2.0, -1.5, 1.2)) / zooms_mm).astype(int)))
    inside = np.ones(truth.shape, dtype=bool)
    steps = intensity_model.brightness(image, inside)
    agreed = np.full(truth.shape, 100, dtype=np.uint8)
    likelihoods = intensity_model.log_likelihoods(steps, truth, agreed, inside)
    level = Search(block_mm=5.0, step_mm=1.0, radius=3)
    found = block_matching.search(steps, inside, moved, likelihoods, zooms_mm, level)
    assert dice(moved, truth) < 0.76
    assert dice(block_matching.shifted(moved, found), truth) > 0.9


def test_labels_are_read_at_the_shifts_and_nothing_from_beyond_the_box():
    labels = np.arange(1, 9, dtype=np.uint8).reshape(8, 1, 1)
    vectors = np.zeros((3, 2, 1, 1), dtype=np.float32)
    vectors[0] = 2.0
    shifts = Shifts(vectors=vectors, block_vox=np.array([4.0, 1.0, 1.0]), fit=np.zeros((2, 1, 1), np.float32))
    assert block_matching.shifted(labels, shifts)[:, 0, 0].tolist() == [3, 4, 5, 6, 7, 8, 0, 0]
