import csv
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest

from brainatlas_text.engines.pictures import draw_planes
from brainatlas_text.pages import flags
from brainatlas_text.pages.flags import PLAUSIBLE_ML, flags_of, plausible_ml
from brainatlas_text.pages.preparation import PATH, Found, preparation_page, write_preparation_page
from brainatlas_text.records import (
    Facts,
    HandednessCheck,
    OtherForm,
    Preparation,
    PreparedScan,
    Rejection,
    SourceScan,
)
from brainatlas_text.volumes import Volume

pytestmark = pytest.mark.unit
EVIL = "<script>alert('x')</script>\"&"
KNOWN = Facts(age_years=40.0, sex="M", healthy=True, scanner="Philips 1.5 T")
PREPARATION = Preparation(
    stored_codes="PSR",
    stored_shape=(256, 256, 150),
    stored_zooms_mm=(0.9375, 0.9375, 1.2),
    oblique_deg=3.2,
    mask_method="embedded",
    mask_detail="version 1",
    brain_ml=1400.0,
    bias_correction="N4, SimpleITK",
    intensity_range=(12.0, 480.0),
    histogram_before=tuple(range(64)),
    histogram_after=tuple(range(64, 0, -1)),
)


def scan(key: str = "ixi-012-t1w", facts: Facts = KNOWN, notes: tuple[str, ...] = (), **how) -> PreparedScan:
    return PreparedScan(
        key=key,
        subject="-".join(key.split("-")[:2]),
        source=key.split("-")[0],
        sequence="T1w",
        image=Path(f"work/prepared/{key}.nii.gz"),
        mask=Path(f"work/prepared/{key}_mask.nii.gz"),
        dseg=None,
        look=Path(f"work/prepared/{key}_look.svg"),
        facts=facts,
        terms=key.split("-")[0],
        source_zooms_mm=(1.2, 0.9375, 0.9375),
        orientation_source="header",
        preparation=replace(PREPARATION, **how),
        digest="",
        notes=notes,
    )


def found(*prepared: PreparedScan, rejections: tuple[Rejection, ...] = (), **source) -> Found:
    sources = [
        SourceScan(
            key=p.key, subject=p.subject, source=p.source, sequence=p.sequence, terms=p.terms,
            **({"image": Path(f"sources/{p.source}/{p.key}.nii.gz")} | source),
        )
        for p in prepared
    ]  # fmt: skip
    notes = {"ixi": ["IXI.xls is missing"]}
    return Found(scans=sources, prepared=prepared, rejections=rejections, root=Path("sources"), notes=notes)


class Reader(HTMLParser):
    """Collects the start tags and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def read(root: Path, shown: Found) -> Reader:
    return Reader(preparation_page(root, "dataset", "demo", shown))


def squeezed(text: str) -> str:
    return " ".join(text.split())


def draw(root: Path, path: Path) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    ball = np.linalg.norm(np.mgrid[:40, :40, :40] - 20.0, axis=0) < 15
    (root / path).write_text(draw_planes(Volume(ball.astype(np.float32), np.eye(4)), ball))


def test_every_scan_and_every_rejection_appears_with_its_picture(tmp_path):
    scans = [scan(f"ixi-{number:03d}-t1w") for number in range(5)]
    looks = [*(s.look for s in scans), Path("work/prepared/kirby-1-flair_look.svg")]
    for look in looks:
        draw(tmp_path, look)
    rejections = (
        Rejection(
            stage="prepare", key="kirby-1-flair", reason="implausible_brain", detail="a: 9 ml", look=looks[5]
        ),
        Rejection(stage="discover", key="kirby-2-survey", reason="localizer", detail="b.nii: a localizer"),
    )
    page = read(tmp_path, found(*scans, rejections=rejections))
    articles = {article["data-key"]: article for article in page.all("article")}
    assert articles.keys() == {s.key for s in scans} | {r.key for r in rejections}
    assert [articles[r.key]["data-sequence"] for r in rejections] == ["FLAIR", "other"]
    assert len(page.all("image")) == 3 * len(looks)
    for words in ("implausible brain", "a: 9 ml", "b.nii: a localizer", "IXI.xls is missing"):
        assert words in page.text
    assert "5 scans of 5 people prepared, 2 rejected" in squeezed(page.text)


def test_a_rejection_may_share_its_key_with_a_scan(tmp_path):
    double = Rejection(stage="discover", key="ixi-012-t1w", reason="duplicate_key", detail="twice")
    ids = [a["id"] for a in read(tmp_path, found(scan(), rejections=(double, double))).all("article")]
    assert len(set(ids)) == 3


def test_what_is_not_known_says_so(tmp_path):
    unknown = squeezed(read(tmp_path, found(scan(facts=Facts()))).text)
    for name in ("Age", "Sex", "Healthy", "Scanner"):
        assert re.search(rf"{name} ?unknown", unknown), name
    juvenile = squeezed(read(tmp_path, found(scan(facts=Facts(juvenile=True)))).text)
    assert "juvenile, no number stated" in juvenile
    known = squeezed(read(tmp_path, found(scan())).text)
    assert "40 years" in known and "male" in known and "Philips 1.5 T" in known
    assert not re.search(r"(Age|Sex|Scanner) ?unknown", known.partition("ixi-012-t1w")[2])


def test_how_it_was_prepared_is_there(tmp_path):
    checked = HandednessCheck(method="capsule", verdict="agrees", detail="bright at x = -80 mm")
    how = scan(handedness=(checked,), thinned_by=(1, 2, 2), num_averaged=3)
    form = OtherForm(image=Path("elsewhere/t88.img"))
    text = squeezed(read(tmp_path, found(how, superseded=(form,))).text)
    for words in (
        "PSR, turned to RAS", "3.2°", "256 x 256 x 150 of 0.94 x 0.94 x 1.20 mm", "1.20 x 1.88 x 1.88 mm",
        "means of 1 x 2 x 2 voxels", "3 repeats", "version 1", "1400 ml", "N4, SimpleITK", "12 to 480",
        "agrees: bright at x = -80 mm", "ixi/ixi-012-t1w.nii.gz", "elsewhere/t88.img",
    ):  # fmt: skip
        assert words in text, words
    assert "sources/ixi" not in text  # paths are shown from the folder of sources on


def test_evil_names_stay_text(tmp_path):
    rejection = Rejection(stage="discover", key=EVIL, reason=EVIL, detail=EVIL)
    shown = found(scan(notes=(EVIL,), mask_detail=EVIL), rejections=(rejection,), image=Path(EVIL))
    shown = replace(shown, notes={EVIL: [EVIL]})
    page = Reader(preparation_page(tmp_path, EVIL, EVIL, shown))
    assert len(page.all("script")) == 1  # ours
    assert page.text.count(EVIL) >= 8
    assert EVIL in {article["data-key"] for article in page.all("article")}


def test_file_names_that_are_no_utf8_do_not_stop_the_page(tmp_path):
    shown = found(scan(), image=Path(b"scan-\xff.nii".decode("utf-8", "surrogateescape")))
    assert "scan-?.nii" in write_preparation_page(tmp_path, "d", "demo", shown).read_text(encoding="utf-8")


def test_nothing_is_requested_from_anywhere(tmp_path):
    draw(tmp_path, scan().look)
    page = read(tmp_path, found(scan(), rejections=()))
    for tag, attributes in page.tags:
        assert tag not in ("iframe", "object", "embed", "base")
        for name in ("src", "href", "xlink:href", "action", "srcset", "poster", "data"):
            target = attributes.get(name) or "data:"
            assert target.startswith(("data:", "#")), (tag, target)
    for name in ("shell.css", "sheet.css", "sheet.js"):
        text = (resources.files("brainatlas_text.pages") / "templates" / name).read_text(encoding="utf-8")
        assert not re.search(r"url\(|@import|fetch|XMLHttpRequest|https?:", text), name
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_the_page_says_that_it_is_not_for_passing_on(tmp_path):
    text = squeezed(read(tmp_path, found(scan())).text)
    assert "Not for passing on." in text and "terms of their sources" in text
    assert PATH.parts[0] == "work"  # what publishing leaves out


def test_an_empty_build_has_a_page_and_a_lost_picture_is_said(tmp_path):
    assert "0 scans of 0 people prepared" in squeezed(read(tmp_path, found()).text)
    assert "picture is gone" in read(tmp_path, found(scan())).text


def test_the_page_is_written_when_something_changed_and_only_then(tmp_path):
    path = write_preparation_page(tmp_path, "d", "demo", found(scan()))
    first = path.stat().st_mtime_ns
    assert write_preparation_page(tmp_path, "d", "demo", found(scan())).stat().st_mtime_ns == first
    write_preparation_page(tmp_path, "d", "demo", found(scan(brain_ml=1401.0)))
    assert "1401 ml" in path.read_text(encoding="utf-8")
    assert [p.name for p in path.parent.iterdir()] == ["preparation.html"]


AGAINST = HandednessCheck(method="capsule", verdict="contradicts", detail="bright on the right")


def names(scans: list[PreparedScan]) -> dict[str, set[str]]:
    return {key: {flag.name for flag in tripped} for key, tripped in flags_of(scans).items()}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, set()),
        ({"brain_ml": 2100.0}, {"volume"}),
        ({"brain_ml": 1000.0}, {"volume"}),
        ({"brain_ml": 1000.0, "facts": Facts(age_years=70.0, sex="M", healthy=True)}, set()),
        ({"brain_ml": 1900.0, "facts": Facts(age_years=40.0, sex="F", healthy=True)}, {"volume"}),
        ({"brain_ml": 1000.0, "facts": Facts(age_years=7.0, sex="M", healthy=True)}, set()),
        ({"oblique_deg": 10.5}, {"oblique"}),
        ({"facts": Facts(age_years=40.0, healthy=True)}, {"facts"}),
        ({"facts": Facts(sex="M", juvenile=True, healthy=True)}, set()),
        ({"facts": Facts(sex="M", age_years=30.0)}, {"health"}),
        ({"notes": ("two ages",)}, {"notes"}),
        ({"handedness": (AGAINST,)}, {"contradiction"}),
        ({"handedness": (replace(AGAINST, verdict="undecided"),)}, set()),
    ],
)  # fmt: skip
def test_what_trips_a_flag(changes, expected):
    one = scan(**changes)
    assert names([one])[one.key] == expected


def test_a_mask_unlike_its_group_or_its_person_is_flagged():
    usual = [scan(f"ixi-{number:03d}-t1w", brain_ml=1400.0 + 10 * number) for number in range(9)]
    odd = scan("ixi-100-t1w", brain_ml=1750.0)
    assert names([*usual, odd])[odd.key] == {"outlier"}
    assert names([*usual[:6], odd])[odd.key] == set()  # too few to compare with
    visits = [
        scan(f"kirby-7-{visit}-t1w", brain_ml=ml) for visit, ml in ((1, 1400.0), (2, 1410.0), (3, 1600.0))
    ]
    assert [names(visits)[v.key] for v in visits] == [set(), set(), {"person"}]


def test_unknown_facts_widen_what_is_plausible():
    assert plausible_ml(Facts()) == (750.0, 2000.0)
    assert plausible_ml(Facts(sex="F")) == (750.0, 1800.0)
    assert plausible_ml(Facts(sex="M", age_years=60.0)) == PLAUSIBLE_ML["M", False]


def test_the_plausible_volumes_are_those_of_the_table(shared):
    table = shared / "data" / "real-mini" / "oasis" / "oasis_cross-sectional.csv"
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    for (sex, old), (low, high) in PLAUSIBLE_ML.items():
        same_sex = [row for row in rows if row["M/F"] == sex]
        inside = [float(row["eTIV"]) for row in same_sex]
        brains = [
            float(row["eTIV"]) * float(row["nWBV"])
            for row in same_sex
            if (float(row["Age"]) > flags.OLD_YEARS) == old
        ]
        assert low == 50 * round((mean(brains) - 3 * stdev(brains)) / 50)
        assert high == 50 * round((mean(inside) + 3 * stdev(inside)) / 50)


def luminance(color: str) -> float:
    full = color if len(color) == 7 else "#" + "".join(2 * c for c in color[1:])
    parts = [int(full[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_text_is_readable_in_every_theme():
    """Contrast of WCAG 2.2, level AA, for each pair of text and ground in light, dark and print."""
    css = (resources.files("brainatlas_text.pages") / "templates" / "shell.css").read_text(encoding="utf-8")
    themes = [
        dict(re.findall(r"--([\w-]+): (#\w+)", block)) for block in re.findall(r":root \{(.*?)\}", css, re.S)
    ]
    assert len(themes) == 3
    for theme in themes:
        for text, ground in (
            ("ink", "ground"), ("ink", "paper"), ("soft", "ground"), ("soft", "paper"), ("accent", "paper"),
            ("warn", "paper"), ("warn", "warn-soft"), ("bad", "bad-soft"),
        ):  # fmt: skip
            bright, dark = sorted((luminance(theme[text]), luminance(theme[ground])), reverse=True)
            assert (bright + 0.05) / (dark + 0.05) >= 4.5, (text, ground, theme)
