import pytest

from brainatlas_text import card
from brainatlas_text.records import RenderCounts

pytestmark = pytest.mark.unit


def test_brains_that_leave_the_frame_are_said_and_only_then():
    counts = {"slices_seen": 768, "slices_kept": 400, "volumes_shown": 1}
    whole = card._slices(RenderCounts(**counts, volumes_cropped=0, most_cropped=0.0004))
    assert whole == "Slices cut: 768; kept: 400; empty: 368."
    cut = card._slices(RenderCounts(**counts, volumes_cropped=1, most_cropped=0.0321))
    assert cut.startswith(whole) and "outside of the frame: 1; of one of them 3.2 %" in cut
