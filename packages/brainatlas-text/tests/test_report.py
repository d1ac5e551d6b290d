"""What a report counts, chooses and draws, from records and small tables."""

import io
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace as Bag

import numpy as np
import pytest
from PIL import Image

from brainatlas_text import caption
from brainatlas_text.engines.label_pictures import colors, draw_labels
from brainatlas_text.engines.png import encode_grey
from brainatlas_text.errors import DatasetError
from brainatlas_text.labels import canonical_table
from brainatlas_text.records import PLANES, Facts, Sample, Shard, SliceFacts, StructureMeasure
from brainatlas_text.report.montage import sheets
from brainatlas_text.report.permits import Permits
from brainatlas_text.report.reading import evenly, first_samples, some_samples
from brainatlas_text.report.survey import MAX_SHOWN, survey
from brainatlas_text.report.viewer import MARGIN, slide
from brainatlas_text.shards import sample_bytes
from brainatlas_text.volumes import Volume
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


def person_with_look(root: Path, key: str, label_terms: str) -> Bag:
    """A scan whose cached picture shows it with labels, as the build draws it."""
    image = np.zeros((20, 24, 20), np.uint16)
    image[4:16, 4:20, 4:16] = 2000
    labels = np.where(image > 0, 17, 0).astype(np.uint8)
    drawn = draw_labels(Volume(image, np.eye(4)), labels, np.full(3, 10.0))
    (root / f"{key}.svg").write_text(drawn, encoding="utf-8")
    source = key.partition("-")[0]
    facts = Facts(age_years=40.0, sex="F")
    prepared = Bag(key=key, source=source, subject=key[:-4], sequence="T1w", terms=source, facts=facts)
    return Bag(prepared=prepared, labeled=Bag(terms=label_terms, look=Path(f"{key}.svg")))


@pytest.mark.parametrize(
    ("label_terms", "private", "pictures", "labels"),
    [("ixi+ibsr", False, 3, 0), ("ixi+ibsr", True, 3, 3), ("ixi", False, 3, 3)],
)
def test_a_montage_shows_labels_only_where_all_terms_allow(tmp_path, label_terms, private, pictures, labels):
    sheet, *others = sheets(
        tmp_path, [person_with_look(tmp_path, "ixi-012-t1w", label_terms)], Permits(private=private)
    )
    assert not others and (sheet.source, sheet.shown, sheet.people) == ("ixi", 1, 1)
    assert sheet.tiles[0].words == "T1w, woman, 40 years"
    drawn = sheet.tiles[0].picture
    assert drawn.count("image/jpeg") == pictures and drawn.count("image/png") == labels


def test_a_montage_names_sources_that_may_not_be_shown(tmp_path):
    scans = [person_with_look(tmp_path, f"{s}-001-t1w", s) for s in ("ibsr", "ixi", "oasis")]
    found = {
        sheet.source: (sheet.shown, sheet.people) for sheet in sheets(tmp_path, scans, Permits(private=False))
    }
    assert found == {"ibsr": (0, 1), "ixi": (1, 1), "oasis": (0, 1)}
