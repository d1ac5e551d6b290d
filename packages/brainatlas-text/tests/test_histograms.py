"""Figures, what stands out among them, and the histograms that show them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainatlas_text.pages import figures
from brainatlas_text.pages.figures import LEAST_JACOBIAN, OVERLAP, SHEAR, SIMILARITY
from brainatlas_text.pages.histograms import NUM_BARS, histograms, summary
from brainatlas_text.pages.outliers import modified_z
from brainatlas_text.registrations import TransformQuality

pytestmark = pytest.mark.unit
QUALITY = TransformQuality(
    similarity=0.2, overlap=0.95, determinant=1.4, scales=(1.05, 1.1, 1.2), shear_deg=3.0,
    jacobian=(0.3, 4.0),
)  # fmt: skip


def members(values: list[float], source: str = "ixi", figure=OVERLAP):
    return [(f"{source}-{number:03d}-t1w", source, {figure: value}) for number, value in enumerate(values)]


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=80))
def test_every_scan_lies_in_the_bar_that_covers_its_value(values):
    (histogram,) = histograms([OVERLAP], members(values), {})
    (row,) = histogram.rows
    assert sorted(key for bar in row.bars for key in bar.keys) == [name for name, _, _ in members(values)]
    assert max(bar.share for bar in row.bars) == 1.0
    columns = [bar.column for bar in row.bars]
    assert columns == sorted(set(columns)) and columns[0] >= 1 and columns[-1] <= NUM_BARS
    by_name = dict(zip((name for name, _, _ in members(values)), values, strict=True))
    for bar, following in zip(row.bars, row.bars[1:], strict=False):
        assert max(by_name[key] for key in bar.keys) <= min(by_name[key] for key in following.keys)
    assert all(-1e-6 <= place <= 1 + 1e-6 for place, _ in histogram.ticks)
    assert 1 <= len(histogram.ticks) <= 8


def test_sources_share_an_axis_and_keep_their_own_heights():
    rows = [*members([0.9, 0.9, 0.9, 0.95]), *members([0.9], "oasis")]
    (histogram,) = histograms([OVERLAP], rows, {})
    ixi, oasis = histogram.rows
    assert [row.source for row in histogram.rows] == ["ixi", "oasis"]
    assert ixi.bars[0].column == oasis.bars[0].column and ixi.bars[0].share == oasis.bars[0].share == 1.0
    assert ixi.bars[-1].share == pytest.approx(1 / 3)
    assert ixi.words == "ixi: 4, 0.900 to 0.950, median 0.900"
    assert ixi.bars[-1].words == "0.950: ixi-003-t1w"


def test_a_limit_is_drawn_where_the_axis_reaches_it_and_is_said_in_any_case():
    near, far = ({OVERLAP: (limit, None)} for limit in (0.88, 0.1))
    (drawn,) = histograms([OVERLAP], members([0.9, 0.92, 0.95]), near)
    assert drawn.accepted == "at least 0.880" and len(drawn.limits) == 1 and 0 < drawn.limits[0] < 0.1
    (said,) = histograms([OVERLAP], members([0.9, 0.92, 0.95]), far)
    assert said.accepted == "at least 0.100" and not said.limits
    (both,) = histograms([SHEAR], members([3.0, 9.0], figure=SHEAR), {SHEAR: (1.0, 10.0)})
    assert both.accepted == "at least 1.0°, at most 10.0°" and len(both.limits) == 2


def test_a_value_beyond_a_limit_lies_beyond_its_line():
    (histogram,) = histograms([OVERLAP], members([0.7, 0.9, 0.95]), {OVERLAP: (0.8, None)})
    (limit,), (row,) = histogram.limits, histogram.rows
    assert row.bars[0].column / NUM_BARS < limit < (row.bars[1].column - 1) / NUM_BARS


def test_figures_that_nobody_has_and_values_that_are_no_number_are_left_out():
    assert histograms([SIMILARITY], members([0.9]), {}) == []
    (histogram,) = histograms([OVERLAP], members([float("nan"), 0.9, float("inf")]), {})
    assert histogram.rows[0].number == 1
    assert histograms([OVERLAP], members([float("nan")]), {}) == []


def test_a_bar_of_many_pairs_names_a_few_and_counts_the_rest():
    (histogram,) = histograms([OVERLAP], members([0.9] * 500), {}, linked=False)
    (bar,) = histogram.rows[0].bars
    assert bar.keys == () and bar.words.endswith("and 488 more") and bar.words.count("ixi-") == 12


def test_the_summary_gives_order_statistics():
    ((title, source, number, *values),) = summary([OVERLAP], members([i / 100 for i in range(101)]))
    assert (title, source, number) == ("Overlap", "ixi", "101")
    assert values == ["0.000", "0.050", "0.500", "0.950", "1.000"]


def test_the_figures_are_those_of_the_transform():
    values = figures.of_affine(QUALITY) | figures.of_warp(QUALITY)
    shown = {figure.name: figure.text(value) for figure, value in values.items()}
    assert shown == {
        "similarity": "0.200", "overlap": "0.950", "determinant": "1.40", "least-stretch": "1.05",
        "greatest-stretch": "1.20", "anisotropy": "1.14", "shear": "3.0°",
        "warp-similarity": "0.200", "warp-overlap": "0.950",
        "least-jacobian": "0.30", "greatest-jacobian": "4.0",
    }  # fmt: skip


def test_close_to_a_limit_is_within_a_tenth_or_beyond():
    limits = {OVERLAP: (0.8, None), SHEAR: (None, 20.0), LEAST_JACOBIAN: (0.05, None)}
    close = {
        name: figures.close_to({OVERLAP: value}, limits) for name, value in (("near", 0.87), ("no", 0.89))
    }
    assert close == {"near": (OVERLAP,), "no": ()}
    assert figures.close_to({SHEAR: 18.5, LEAST_JACOBIAN: -0.2}, limits) == (SHEAR, LEAST_JACOBIAN)


def test_a_modified_z_score_is_that_of_the_textbook():
    group = [2.1, 2.6, 2.4, 2.5, 2.3, 2.1, 2.3, 2.6, 8.2, 8.3]  # Iglewicz and Hoaglin's example
    scores = [modified_z(value, group) for value in group]
    assert [score > 3.5 for score in scores] == [False] * 8 + [True] * 2
    assert modified_z(9.0, [1.0] * 10) == 0.0
