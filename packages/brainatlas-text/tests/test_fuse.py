import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brainatlas_text import fuse

pytestmark = pytest.mark.unit
stacks = st.integers(1, 6).flatmap(lambda n: arrays(np.uint8, (n, 4, 3, 2), elements=st.integers(0, 4)))


@given(stacks)
def test_the_vote_is_a_majority_of_what_was_proposed(stack):
    winners, agreement = fuse.majority(stack)
    for where in np.ndindex(winners.shape):
        votes = stack[(slice(None), *where)]
        counts = {label: int((votes == label).sum()) for label in votes.tolist()}
        most = max(counts.values())
        first = next(label for label in votes.tolist() if counts[label] == most)
        assert winners[where] == first
        assert agreement[where] == int(np.floor(100 * most / len(votes) + 0.5))


def test_one_voter_is_copied_with_full_agreement():
    only = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    winners, agreement = fuse.majority([only])
    np.testing.assert_array_equal(winners, only)
    assert (agreement == 100).all()
