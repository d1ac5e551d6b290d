"""What a report counts, chooses and draws, from records and small tables."""

import io
import re
import tarfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from markupsafe import Markup
from PIL import Image

from brainatlas_text import caption
from brainatlas_text.engines.label_pictures import colors
from brainatlas_text.engines.png import encode_grey
from brainatlas_text.errors import DatasetError, InputError
from brainatlas_text.labels import canonical_table
from brainatlas_text.records import PLANES, Sample, Shard, SliceFacts, StructureMeasure
from brainatlas_text.report import charts, drawing, measures
from brainatlas_text.report.charts import Person
from brainatlas_text.report.drawing import check_plots
from brainatlas_text.report.permits import Permits
from brainatlas_text.report.reading import evenly, first_samples, some_samples
from brainatlas_text.report.survey import MAX_SHOWN, survey
from brainatlas_text.report.viewer import MARGIN, slide
from brainatlas_text.shards import sample_bytes
from brainatlas_text.wording import CaptionConfig, load

pytestmark = pytest.mark.unit
WORDING = load(CaptionConfig(languages=("en", "fr")))


def measured(number: int, area_mm2: float = 50.0) -> StructureMeasure:
    structure = canonical_table()[number]
    return StructureMeasure(
        label=number, name=structure.name, side=structure.side, area_mm2=area_mm2, volume_ml=1.0,
        centroid_mm=(0.0, 0.0, 0.0), agreement=0.75,
    )  # fmt: skip


def a_sample(
    number: int = 1, labels: tuple[int, ...] = (17, 53, 16), *, source: str = "ixi", plane: str = "axial"
) -> Sample:
    """A picture of squares, one a label, and its captions in both languages."""
    key = f"{source}-{number:03d}-t1w_{source}-900-t1w_{plane}-100"
    seg = np.zeros((256, 256), np.uint8)
    for place, label in enumerate(labels):
        seg[100:120, 60 + 30 * place : 80 + 30 * place] = label
    facts = SliceFacts(
        sequence="T1w", plane=plane, index=100, position_mm=3.0, position_fraction=0.5, age_years=40.0,
        juvenile=False, sex="F", structures=tuple(map(measured, labels)),
    )  # fmt: skip
    written = caption.write(facts, seed=7, key=key, languages=("en", "fr"))
    return Sample(
        key=key,
        image_png=encode_grey((seg > 0).astype(np.uint8) * 200),
        label_png=encode_grey(seg),
        text=written[0].text,
        facts={
            "key": key, "split": "train", "moving": f"{source}-{number:03d}-t1w",
            "fixed": f"{source}-900-t1w",
            "subject": f"{source}-{number:03d}", "source": source, "sequence": "T1w", "plane": plane,
            "position_mm": 3.0, "spacing_mm": [1.0, 0.5], "age_years": 40.0, "juvenile": False, "sex": "F",
            "terms": source,
            "structures": [
                {name: getattr(m, name) for name in ("label", "name", "side", "area_mm2", "agreement")}
                for m in facts.structures
            ],
            "captions": [{"style": c.style, "language": c.language, "text": c.text} for c in written],
        },
    )  # fmt: skip


@pytest.fixture
def shard(tmp_path) -> Shard:
    """A shard of five samples."""
    path = tmp_path / "data" / "train" / "ixi-axial-00000.tar"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"".join(sample_bytes(a_sample(n)) for n in range(5)) + bytes(1024))
    return Shard(
        path="data/train/ixi-axial-00000.tar", split="train", source="ixi", plane="axial", num_samples=5,
        num_bytes=path.stat().st_size, sha256="", terms=("ixi",),
    )  # fmt: skip


@pytest.mark.parametrize(("number", "at_most"), [(0, 3), (1, 3), (3, 3), (10, 3), (1000, 64)])
def test_evenly_takes_first_and_last_and_none_twice(number, at_most):
    items = list(range(number))
    chosen = evenly(items, at_most)
    assert len(chosen) == min(number, at_most) == len(set(chosen))
    assert not chosen or (chosen[0] == 0 and chosen[-1] == number - 1)
    steps = np.diff(chosen)
    assert not steps.size or steps.max() - steps.min() <= 1


def test_samples_come_back_from_a_shard_as_they_were_written(tmp_path, shard):
    assert list(first_samples(tmp_path / shard.path, 3)) == [a_sample(n) for n in range(3)]
    assert list(some_samples(tmp_path, [shard])) == [a_sample(n) for n in range(5)]


def test_a_shard_cut_off_is_named(tmp_path, shard):
    path = tmp_path / shard.path
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DatasetError, match=r"ixi-axial-00000\.tar: expected a whole shard.*build again"):
        list(first_samples(path, 5))
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("a.json"), io.BytesIO(b""))
    with pytest.raises(DatasetError, match="expected a whole shard"):
        list(first_samples(path, 5))


def test_a_survey_counts_every_caption_and_sentence():
    samples = [a_sample(n, plane=plane) for n in range(20) for plane in PLANES]
    found = survey(samples, 7, WORDING, lambda sample: True)
    assert found.num_samples == 60
    assert {kind: len(tokens) for kind, tokens in found.tokens.items()} == dict.fromkeys(
        [("full", "en"), ("full", "fr"), ("short", "en"), ("short", "fr")], 60
    )
    for (style, language, part), uses in found.sentences.items():
        assert sum(used for used, _ in uses.values()) == 60
        assert sum(even for _, even in uses.values()) == pytest.approx(60)
        options = getattr(caption.load_phrases(language).styles[style], part)
        assert {t.source for plane in PLANES for t in options[plane]} == uses.keys()


def test_a_survey_shows_different_people_with_most_structures():
    poor, rich = a_sample(1, (16,)), replace(a_sample(1, (16, 17, 53)), key="ixi-001-t1w_x_axial-101")
    others = [a_sample(n, (16, 17)) for n in (2, 3, 4)]
    found = survey([poor, rich, *others], 7, WORDING, lambda sample: sample.facts["subject"] != "ixi-004")
    assert found.shown.keys() == {("ixi", "T1w", "axial")}
    shown = found.shown["ixi", "T1w", "axial"]
    assert shown[0] == rich
    assert {s.facts["subject"] for s in shown} == {"ixi-001", "ixi-002", "ixi-003"}


def test_however_many_sources_there_are_few_samples_are_shown():
    samples = (a_sample(n, (16,), source=f"s{source}") for source in range(90) for n in range(2))
    assert sum(map(len, survey(samples, 7, WORDING, lambda sample: True).shown.values())) <= MAX_SHOWN


def test_a_slide_cuts_the_black_away_and_keeps_every_label():
    shown = slide(a_sample(labels=(17, 53, 16)), WORDING)
    pixels = picture_of(shown.labels)
    assert pixels.shape == (20 + 2 * MARGIN, 80 + 2 * MARGIN, 4)
    assert (shown.width_mm, shown.height_mm) == (0.5 * 92, 32.0)  # half a mm a column
    for place, label in enumerate((17, 53, 16)):
        square = pixels[MARGIN : MARGIN + 20, MARGIN + 30 * place : MARGIN + 30 * place + 20]
        assert (square == (*colors()[label], 255)).all()
    assert (pixels[..., 3] > 0).sum() == 3 * 400


def picture_of(uri: str) -> np.ndarray:
    import base64

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGBA"))


def test_every_label_has_a_color_of_its_own_or_the_page_could_not_tell_them_apart():
    assert len(set(colors().values())) == len(canonical_table())


def test_a_slice_that_shows_nothing_has_a_picture_too():
    assert picture_of(slide(a_sample(labels=()), WORDING).image).shape == (256, 256, 4)


def test_phrases_know_the_labels_they_name():
    shown = slide(a_sample(labels=(17, 53, 16)), WORDING)
    for words in shown.captions:
        assert "".join(piece.text for piece in words.pieces) in [
            c["text"] for c in a_sample(labels=(17, 53, 16)).facts["captions"]
        ]
        named = {piece.labels for piece in words.pieces if piece.labels}
        assert named == {(17, 53), (16,)}
    assert [(s.label, s.name) for s in shown.structures] == [
        (17, "left hippocampus"), (53, "right hippocampus"), (16, "brain stem"),
    ]  # fmt: skip


def ready(terms: str, label_terms: str):
    """A stand-in with the two fields that terms hang on."""
    from types import SimpleNamespace as Bag

    return Bag(prepared=Bag(terms=terms), labeled=Bag(terms=label_terms))


@pytest.mark.parametrize(
    ("terms", "label_terms", "picture", "labels", "sizes"),
    [
        ("ixi", "ixi+ibsr", True, False, True),
        ("ibsr", "ibsr", False, False, False),
        ("cc0", "cc0", True, True, True),
        ("cc-by", "cc-by+cc0", True, True, True),
        ("kirby", "kirby+ibsr", False, False, True),
        ("unstated", "unstated", False, False, False),
    ],
)
def test_terms_decide_what_is_shown(terms, label_terms, picture, labels, sizes):
    scan, public, private = ready(terms, label_terms), Permits(private=False), Permits(private=True)
    assert (public.picture(scan), public.labels(scan), public.sizes(scan)) == (picture, labels, sizes)
    assert (private.picture(scan), private.labels(scan), private.sizes(scan)) == (True, True, sizes)


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
