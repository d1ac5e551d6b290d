"""What the pages of registrations and labels say, from records alone."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from brainatlas_text.engines.hub_pictures import draw_scan
from brainatlas_text.engines.label_pictures import draw_labels
from brainatlas_text.hub import load_hub
from brainatlas_text.pages import labels, registration
from brainatlas_text.pages.figures import LEAST_JACOBIAN, OVERLAP
from brainatlas_text.pages.labels import Labeled, labels_page
from brainatlas_text.pages.registration import Registered, registration_page, write_registration_page
from brainatlas_text.records import Facts, LabeledScan, Preparation, PreparedScan, Rejection
from brainatlas_text.registrations import (
    HubTransform,
    HubWarp,
    PairTransform,
    TransformQuality,
    TransformRejection,
)
from brainatlas_text.volumes import Volume

pytestmark = pytest.mark.unit
EVIL = "<script>alert('x')</script>\"&"
IDENTITY = tuple(tuple(float(i == j) for j in range(4)) for i in range(4))
QUALITY = TransformQuality(
    similarity=0.2, overlap=0.95, determinant=1.4, scales=(1.05, 1.1, 1.2), shear_deg=3.0
)
LIMITS = {OVERLAP: (0.8, None), LEAST_JACOBIAN: (0.05, None)}


def scan(key: str, **changes) -> PreparedScan:
    preparation = Preparation(
        stored_codes="RAS", stored_shape=(4, 4, 4), stored_zooms_mm=(1.0, 1.0, 1.0), oblique_deg=0.0,
        mask_method="stripped", mask_detail="", brain_ml=1400.0, bias_correction=None,
        intensity_range=(0.0, 1.0), histogram_before=(1,), histogram_after=(1,),
    )  # fmt: skip
    made = PreparedScan(
        key=key, subject="-".join(key.split("-")[:2]), source=key.split("-")[0], sequence="T1w",
        image=Path("i"), mask=Path("m"), dseg=None, look=Path("l"), facts=Facts(), terms="ixi",
        source_zooms_mm=(1.0, 1.0, 1.0), orientation_source="header", preparation=preparation, digest="",
    )  # fmt: skip
    return replace(made, **changes)


def affine(key: str, **quality) -> HubTransform:
    look = Path("work/registered") / f"{key}_look.svg"
    return HubTransform(
        key=key, hub_from_scan=IDENTITY, quality=replace(QUALITY, **quality), look=look, digest=""
    )


def warp(key: str, **quality) -> HubWarp:
    better = {"overlap": 0.98, "similarity": 0.3, "jacobian": (0.4, 3.0)} | quality
    look = Path("work/warps") / f"{key}_look.svg"
    return HubWarp(
        key=key, bent_from_hub=Path("a"), hub_from_bent=Path("b"), quality=replace(QUALITY, **better),
        digest="", look=look,
    )  # fmt: skip


def registered(*affines: HubTransform, warps=(), rejections=(), pairs=(), extra=()) -> Registered:
    return Registered(
        scans=[*(scan(transform.key) for transform in affines), *extra],
        affines={transform.key: transform for transform in affines},
        warps={transform.key: transform for transform in warps},
        pairs=pairs,
        rejections=rejections,
        limits=LIMITS,
        hub=load_hub(),
    )


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

    def entries(self) -> dict[str, dict[str, str | None]]:
        return {article["data-key"]: article for article in self.all("article")}


def read(root: Path, shown: Registered) -> Reader:
    return Reader(registration_page(root, "dataset", "demo", shown))


def squeezed(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def picture() -> str:
    ball = np.linalg.norm(np.mgrid[:40, :40, :40] - 20.0, axis=0) < 15
    volume = Volume((ball * 2000).astype(np.uint16), np.diag([4.0, 4.0, 4.0, 1.0]))
    return draw_scan(load_hub(), volume, Volume(ball.astype(np.uint8), volume.affine), lambda points: points)


def keep(root: Path, picture: str, *paths: Path | None) -> None:
    for path in filter(None, paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(picture)


def test_every_scan_and_rejection_is_there_with_its_pictures_rejected_ones_first(tmp_path, picture):
    done, bent = affine("ixi-002-t1w"), warp("ixi-002-t1w")
    refused = Rejection(
        stage="register",
        key="ixi-001-t1w",
        reason="low_overlap",
        detail="overlaps by 0.5",
        look=Path("work/no.svg"),
    )
    early = Rejection(stage="prepare", key="ixi-000-t1w", reason="unreadable", detail="not of this page")
    keep(tmp_path, picture, done.look, bent.look, refused.look)
    shown = registered(done, warps=[bent], rejections=(early, refused), extra=[scan("ixi-001-t1w")])
    page = read(tmp_path, shown)
    assert list(page.entries()) == ["ixi-001-t1w", "ixi-002-t1w"]
    kinds = [span["class"] for span in page.all("span") if (span.get("class") or "").startswith("look ")]
    assert kinds == ["look affine", "look affine", "look warp"]
    assert "overlaps by 0.5" in page.text and "not of this page" not in page.text
    assert "1 scans registered to MNI152NLin2009aSym, 1 bent into it, 1 rejected" in squeezed(page.text)
    assert {tag["id"] for tag in page.all("g") if "id" in tag} == {"hub-image", "hub-lines"}
    assert page.entries()["ixi-002-t1w"]["data-least-jacobian"] == "0.4"


def test_a_warp_that_is_refused_shows_both_pictures_and_the_reason(tmp_path, picture):
    done = affine("ixi-001-t1w")
    refused = Rejection(
        stage="warp", key="ixi-001-t1w", reason="implausible_warp", detail="it folds", look=Path("work/w.svg")
    )
    keep(tmp_path, picture, done.look, refused.look)
    page = read(tmp_path, registered(done, rejections=(refused,)))
    assert list(page.entries()) == ["ixi-001-t1w"]
    assert page.entries()["ixi-001-t1w"]["data-flag"].split() == ["rejected"]
    assert sum("look " in (span.get("class") or "") for span in page.all("span")) == 2
    assert "it folds" in page.text


def test_what_was_refused_shows_its_figures_where_they_are_known(tmp_path):
    bad = replace(QUALITY, overlap=0.61)
    refused = TransformRejection(
        stage="register",
        key="ixi-001-t1w",
        reason="low_overlap",
        detail="too low",
        kind="affine",
        quality=bad,
    )
    pair = replace(refused, key="ixi-001-t1w_ixi-002-t1w", kind="pair")
    folded = TransformRejection(
        stage="warp", key="ixi-002-t1w", reason="implausible_warp", detail="it folds", kind="warp",
        quality=replace(QUALITY, jacobian=(-0.5, 30.0)),
    )  # fmt: skip
    shown = registered(affine("ixi-002-t1w"), rejections=(refused, pair, folded), extra=[scan("ixi-001-t1w")])
    entries = read(tmp_path, shown).entries()
    assert entries["ixi-001-t1w"]["data-overlap"] == entries[pair.key]["data-overlap"] == "0.61"
    assert entries["ixi-001-t1w"]["data-flag"] == "rejected"  # which says it all
    assert entries["ixi-002-t1w"]["data-overlap"] == "0.95"
    assert entries["ixi-002-t1w"]["data-least-jacobian"] == "-0.5"


def flags(page: Reader) -> dict[str, set[str]]:
    return {key: set(entry["data-flag"].split()) for key, entry in page.entries().items()}


def test_what_trips_a_flag(tmp_path):
    usual = [affine(f"ixi-{n:03d}-t1w", overlap=0.95 + 0.001 * n, shear_deg=2 + 0.1 * n) for n in range(9)]
    odd, near = affine("ixi-100-t1w", shear_deg=9.0), affine("ixi-101-t1w", overlap=0.86)
    page = read(tmp_path, registered(*usual, odd, near))
    assert flags(page)[odd.key] == {"unusual"} and flags(page)[near.key] == {"unusual", "close"}
    assert all(flags(page)[transform.key] == set() for transform in usual)
    few = read(tmp_path, registered(*usual[:5], odd))
    assert flags(few)[odd.key] == set()  # too few to compare with
    visits = [affine(f"kirby-7-{n}-t1w", determinant=d) for n, d in ((1, 1.4), (2, 1.42), (3, 1.7))]
    assert [flags(read(tmp_path, registered(*visits)))[v.key] for v in visits] == [set(), set(), {"person"}]


@pytest.mark.parametrize(
    ("quality", "expected"),
    [
        ({}, set()), ({"overlap": 0.9}, {"worse"}), ({"similarity": 0.1}, {"worse"}),
        ({"jacobian": (-0.1, 3)}, {"close"}),
    ],
)  # fmt: skip
def test_a_warp_that_does_harm_is_flagged(tmp_path, quality, expected):
    key = "ixi-001-t1w"
    page = read(tmp_path, registered(affine(key), warps=[warp(key, **quality)]))
    assert flags(page)[key] == expected


def test_the_most_unusual_comes_first(tmp_path):
    usual = [affine(f"ixi-{n:03d}-t1w", shear_deg=2 + 0.1 * n) for n in range(9)]
    odd = affine("ixi-999-t1w", shear_deg=20.0)
    assert next(iter(read(tmp_path, registered(*usual, odd)).entries())) == odd.key


def test_thousands_of_pairs_are_counted_and_only_the_refused_are_listed(tmp_path):
    ends = affine("ixi-001-t1w"), affine("ixi-002-t1w")
    pairs = [
        PairTransform(
            moving=ends[n % 2].key, fixed=ends[1 - n % 2].key, moving_from_fixed=IDENTITY, digest="",
            quality=replace(QUALITY, overlap=0.9 + 0.00001 * n),
        )
        for n in range(5000)
    ]  # fmt: skip
    refused = Rejection(
        stage="register", key="ixi-001-t1w_ixi-002-t1w", reason="low_overlap", detail="far off"
    )
    text = registration_page(tmp_path, "d", "demo", registered(*ends, pairs=pairs, rejections=(refused,)))
    page = Reader(text)
    assert list(page.entries()) == [refused.key, ends[0].key, ends[1].key]
    assert "5000 pairs registered directly, 1 rejected" in squeezed(page.text)
    assert re.search(r"Overlap ?ixi ?5000 ?0\.900 ?0\.902", squeezed(page.text))
    assert len(text) < 1_000_000


def test_evil_names_stay_text_and_nothing_is_requested(tmp_path, picture):
    refused = Rejection(stage="register", key=EVIL, reason=EVIL, detail=EVIL)
    shown = registered(affine("ixi-001-t1w"), rejections=(refused,))
    keep(tmp_path, picture, affine("ixi-001-t1w").look)
    page = Reader(registration_page(tmp_path, EVIL, EVIL, shown))
    assert len(page.all("script")) == 1 and EVIL in page.entries() and page.text.count(EVIL) >= 4
    for tag, attributes in page.tags:
        assert tag not in ("iframe", "object", "embed", "base")
        for name in ("src", "href", "xlink:href", "action", "srcset", "data"):
            target = attributes.get(name) or "data:"
            assert target.startswith(("data:", "#")) or re.fullmatch(r"[a-z]+\.html", target), (tag, target)
    for name in ("histograms.css", "registration.css", "histograms.html"):
        text = (resources.files("brainatlas_text.pages") / "templates" / name).read_text(encoding="utf-8")
        assert not re.search(r"url\(|@import|fetch|XMLHttpRequest|https?:", text), name


def test_an_empty_build_has_its_pages_and_a_lost_picture_is_said(tmp_path):
    assert "0 scans registered" in squeezed(read(tmp_path, registered()).text)
    assert "picture is gone" in read(tmp_path, registered(affine("ixi-001-t1w"))).text
    nothing = Labeled(scans=[], labels={}, rejections=())
    assert "0 scans with labels" in squeezed(Reader(labels_page(tmp_path, "d", "demo", nothing)).text)


def test_the_page_is_written_when_something_changed_and_only_then(tmp_path):
    path = write_registration_page(tmp_path, "d", "demo", registered(affine("ixi-001-t1w")))
    first = path.stat().st_mtime_ns
    write_registration_page(tmp_path, "d", "demo", registered(affine("ixi-001-t1w")))
    assert path.stat().st_mtime_ns == first
    write_registration_page(tmp_path, "d", "demo", registered(affine("ixi-001-t1w", overlap=0.933)))
    assert "0.933" in path.read_text(encoding="utf-8")


def test_the_pages_lie_where_publishing_leaves_them_out():
    assert registration.PATH.parts[0] == labels.PATH.parts[0] == "work"


def labeled(key: str, **changes) -> LabeledScan:
    made = LabeledScan(
        key=key, dseg=Path("d"), agreement=Path("a"), label_method="majority", voters=("ibsr-01-t1w",),
        terms="ibsr", digest="", mean_agreement=0.9, labeled_share=0.92,
        look=Path("work/labels") / f"{key}.svg",
    )  # fmt: skip
    return replace(made, **changes)


def test_the_page_of_labels_shows_each_map_its_voters_and_its_doubts(tmp_path):
    block = np.zeros((20, 20, 20), dtype=np.uint16)
    block[4:16, 4:16, 4:16] = 2000
    maps = [
        labeled("ixi-001-t1w"),
        labeled("ixi-002-t1w", mean_agreement=0.5),
        labeled("ixi-003-t1w", labeled_share=0.7),
        labeled("ibsr-01-t1w", mean_agreement=None, voters=(), label_method="manual"),
    ]
    svg = draw_labels(Volume(block, np.eye(4)), (block > 0).astype(np.uint8) * 17, np.full(3, 10.0))
    keep(tmp_path, svg, *(result.look for result in maps))
    refused = Rejection(stage="label", key="ixi-009-t1w", reason="no_voters", detail="nobody to vote")
    scans = [scan(key) for key in ("ixi-001-t1w", "ixi-002-t1w", "ixi-003-t1w", "ixi-009-t1w")]
    shown = Labeled(
        scans=[*scans, scan("ibsr-01-t1w", dseg=Path("own"))],
        labels={result.key: result for result in maps},
        rejections=(refused,),
    )
    page = Reader(labels_page(tmp_path, "d", "demo", shown))
    assert flags(page) == {
        "ixi-009-t1w": {"rejected"}, "ibsr-01-t1w": {"own"}, "ixi-001-t1w": set(),
        "ixi-002-t1w": {"doubtful"}, "ixi-003-t1w": {"partly"},
    }  # fmt: skip
    text = squeezed(page.text)
    assert "4 scans with labels, 1 rejected" in text and "majority of 1: ibsr-01-t1w" in text
    assert "nobody to vote" in text and "hippocampus" in text
    assert len(page.all("image")) == 2 * 3 * len(maps)
