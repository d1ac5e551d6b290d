"""The figures of a report: what is counted in the tables of measures, and what is drawn of it."""

import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from markupsafe import Markup

from brainatlas_text.errors import DatasetError, InputError
from brainatlas_text.records import PLANES, Shard
from brainatlas_text.report import charts, drawing, measures
from brainatlas_text.report.charts import Person
from brainatlas_text.report.drawing import check_plots

pytestmark = pytest.mark.unit


@pytest.fixture
def tables(tmp_path) -> Path:
    """Two parts of slices, made at random, on disk."""
    draw = np.random.default_rng(0)
    (tmp_path / "slices").mkdir()
    for block in range(2):
        rows = [
            {"key": f"a_b_{plane}-{index:03d}-{block}", "plane": plane, "name": name}
            for plane in PLANES
            for index in range(20)
            for name in ("hippocampus", "hippocampus", "thalamus", "brain stem")
            if draw.random() < 0.4
        ]
        pq.write_table(
            pa.Table.from_pylist(rows), tmp_path / "slices" / f"train-my-source-{block:05d}.parquet"
        )
    return tmp_path


def shards_of_blocks() -> list[Shard]:
    return [
        Shard(
            path=f"data/train/my-source-{plane}-{block:05d}.tar", split="train", source="my-source",
            plane=plane, num_samples=20, num_bytes=1, sha256="", terms=(),
        )
        for plane in PLANES
        for block in range(2)
    ]  # fmt: skip


def test_prevalence_counts_a_slice_once_whatever_the_sides(tables):
    rows = [row for path in (tables / "slices").iterdir() for row in pq.read_table(path).to_pylist()]
    keys = defaultdict(set)
    for row in rows:
        keys[row["name"], row["plane"]].add(row["key"])
    found = measures.prevalence(tables, shards_of_blocks())
    assert found.slices == dict.fromkeys(PLANES, 40) and found.parts == (2, 2)
    assert {(n, p): share for n, shares in found.shares.items() for p, share in shares.items()} == {
        cell: len(seen) / 40 for cell, seen in keys.items()
    }


def test_prevalence_of_some_parts_counts_the_slices_of_these_alone(tables, monkeypatch):
    monkeypatch.setattr(measures, "MAX_PARTS", 2)
    extra = tables / "slices" / "test-my-source-00000.parquet"
    extra.write_bytes((tables / "slices" / "train-my-source-00000.parquet").read_bytes())
    found = measures.prevalence(tables, shards_of_blocks())
    assert found.parts == (2, 3)
    assert set(found.slices.values()) == {20}  # first and last part; the shards of the first are not there


def native(key: str, name: str, volume_ml: float, agreement: float | None) -> dict:
    return {
        "moving": key, "native": True, "name": name, "volume_ml": volume_ml, "brain_ml": 1000.0,
        "agreement": agreement,
    }  # fmt: skip


def test_agreement_weighs_sides_by_their_volume_and_leaves_own_labels_out():
    rows = [
        native("a", "thalamus", 3.0, 0.9),
        native("a", "thalamus", 1.0, 0.5),
        native("b", "thalamus", 4.0, None),
    ]
    assert measures.agreement(rows) == {"thalamus": [pytest.approx(0.8)]}


def test_natives_alone_are_read(tmp_path):
    (tmp_path / "volumes").mkdir()
    pair = native("a", "thalamus", 9.0, None) | {"native": False}
    table = pa.Table.from_pylist([native("a", "thalamus", 3.0, 0.9), pair])
    pq.write_table(table, tmp_path / "volumes" / "train-ixi-00000.parquet")
    assert [row["volume_ml"] for row in measures.native_rows(tmp_path)] == [3.0]


@pytest.mark.parametrize("read", [measures.native_rows, lambda root: measures.prevalence(root, [])])
def test_a_data_set_without_its_tables_is_named(tmp_path, read):
    with pytest.raises(DatasetError, match=r"(slices|volumes): holds no table of measures"):
        read(tmp_path)


def some_charts() -> list[charts.Chart]:
    five = {"thalamus": [0.8, 0.9, 0.7], "brain stem": [0.5]}
    person = Person(source="ixi", age_years=40.0, sex="F", volumes_ml={"thalamus": 12.0})
    return [
        charts.prevalence_chart({"thalamus": {"axial": 0.5}}, {"axial": 10}, ""),
        charts.agreement_chart(five, 3),
        charts.volumes_chart(
            [person, replace(person, sex=None)], ["thalamus"], "Not shown: 2 of unknown age."
        ),
        charts.lengths_chart(
            {("full", "en"): [100, 120], ("short", "fr"): [40]}, {("full", "en"): 510, ("short", "fr"): 75}
        ),
        charts.sentences_chart(
            {("full", "en", "opening"): {"{A_plane} slice.": (10, 8.5), "Other.": (7, 8.5)}}
        ),
    ]


def test_charts_take_the_page_s_colors_and_keep_their_names_apart():
    pictures = [picture for chart in some_charts() for picture in chart.pictures]
    together = Markup("").join(pictures)
    inks = set(re.findall(r"(?:fill|stroke): ?([^;\"]+)", together))
    assert inks <= {
        "none",
        "currentColor",
        *(f"var(--{n})" for n in ("soft", "line", "first", "second", "third")),
    }
    assert {"var(--first)", "var(--soft)"} <= inks
    names = re.findall(r' id="([^"]+)"', together)
    assert len(names) == len(set(names))
    assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', together)) <= set(names)
    assert all('role="img" aria-label="' in picture for picture in pictures)
    assert "<metadata" not in together and "DejaVu" not in together


def test_charts_repeat_byte_for_byte_and_say_n_and_how_to_read_them():
    for one, other in zip(some_charts(), some_charts(), strict=True):
        assert one == other
        assert re.match(r"\d", one.number) and one.reading.endswith(".") and one.table.rows
        assert all(len(row) == len(one.table.head) for row in one.table.rows)


def test_a_style_may_have_any_name():
    """Users name styles, in TOML, where a key may hold anything."""
    for name in ('<b>"x"&', "$x_1$", "été d'été"):
        chart = charts.lengths_chart({(name, "en"): [3]}, {(name, "en"): 9})
        drawn = ElementTree.fromstring(str(chart.pictures[0]).replace("<svg ", '<svg xmlns:xlink="x" ', 1))
        assert f"{name}, en" in ["".join(text.itertext()) for text in drawn.iter("text")]


def test_nobody_to_show_is_said_without_a_chart():
    chart = charts.volumes_chart([], [], "Not shown: people of ibsr, whose terms do not allow such studies.")
    assert chart.pictures == () and chart.reading.startswith("Not shown: people of ibsr")


def test_without_matplotlib_the_command_to_install_it_is_named(monkeypatch):
    monkeypatch.setattr(drawing, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'brainatlas-text\[plots\]'"):
        check_plots()
