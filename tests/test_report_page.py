"""The report on a finished data set, from the command to what a browser makes of it."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page
from scipy import ndimage

from brainatlas_text import BrainAtlas, cli
from brainatlas_text.plan import split_rule
from brainatlas_text.report import PRIVATE, PUBLIC, write_report
from brainatlas_text.report.reading import first_samples

pytestmark = pytest.mark.integration
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
LEFT_CORTEX, RIGHT_CORTEX = 3, 42


@pytest.fixture(scope="module")
def private(tiny_dataset) -> Path:
    """The page with all pictures."""
    return write_report(tiny_dataset, private=True)


@pytest.fixture(scope="module")
def public(tiny_dataset) -> Path:
    """The page to pass on."""
    return write_report(tiny_dataset)


def test_the_command_names_the_page_it_wrote(tiny_dataset, capsys):
    assert cli.main(["report", str(tiny_dataset), "--private"]) == 0
    assert capsys.readouterr().out == f"report: {tiny_dataset / PRIVATE}\n"


def test_the_same_data_set_gives_the_same_page(tiny_dataset, private):
    before = private.read_bytes()
    private.unlink()
    assert write_report(tiny_dataset, private=True).read_bytes() == before


def test_a_folder_that_is_no_data_set_costs_one_line_and_nothing_is_written(tmp_path, capsys):
    assert cli.main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert str(tmp_path) in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_damaged_shard_costs_one_line_and_leaves_the_page_that_was(tiny_dataset, private, tmp_path, capsys):
    copy = tmp_path / "dataset"
    shutil.copytree(tiny_dataset, copy)
    before = (copy / PRIVATE).read_bytes()
    shard = next(copy.glob("data/*/*.tar"))
    shard.write_bytes(shard.read_bytes()[:2000])
    assert cli.main(["report", str(copy), "--private"]) == 2
    assert shard.name in capsys.readouterr().err
    assert (copy / PRIVATE).read_bytes() == before


def test_nothing_that_may_not_be_passed_on_is_on_the_public_page(tiny_dataset, public):
    """IBSR forbids passing on images and segmentations, and studies; OASIS wants to be asked."""
    assert public == tiny_dataset / PUBLIC
    text = public.read_text(encoding="utf-8")
    assert "data:image" not in text
    assert text.count("The terms of this source do not let its images be passed on.") == 2
    assert "whose terms do not allow such studies" in text
    volumes = text.partition('id="volumes"')[2].partition("</figure>")[0]
    assert '<th scope="row">oasis</th>' in volumes
    assert '<th scope="row">ibsr</th>' not in volumes


def test_counts_are_those_of_the_tables(tiny_dataset, private):
    atlas = BrainAtlas(tiny_dataset)
    text = private.read_text(encoding="utf-8")
    assert split_rule(atlas.recipe.plan) in text.replace("&#39;", "'")
    tiles = text.partition('class="tiles')[2].partition("</ul>")[0]
    kept = sum(pair.split is not None for pair in atlas.plan.values())
    for number, words in (
        (5, "people"),
        (5, "scans"),
        (kept, "pairs kept"),
        (kept, "pairs not empty"),
        (len(atlas), "slices"),
    ):
        assert f"<strong>{number}</strong> <span>{words}</span>" in tiles


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_from_disk_without_a_word_or_a_request_and_fits(open_page, private, size, scheme):
    page, trouble = open_page(private, size, scheme)
    page.locator(".slide[data-ready]").wait_for()
    assert page.locator(".slide:visible").count() == 1
    for details in page.locator("details").all():
        details.evaluate("details => details.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    grounds = page.evaluate("getComputedStyle(document.body).backgroundColor").strip("rgb()").split(",")
    assert (sum(map(int, grounds)) > 3 * 128) == (scheme == "light")
    assert not trouble


def test_the_public_page_opens_without_a_word_too(open_page, public):
    page, trouble = open_page(public, PHONE, "light")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert "No sample may be shown here" in page.locator("#samples").inner_text()
    assert not trouble


@pytest.fixture
def viewer(open_page, private) -> Page:
    """The page with its first sample ready."""
    page, trouble = open_page(private, DESKTOP, "light")
    page.locator(".slide[data-ready]").wait_for()
    yield page
    assert not trouble


def stored_labels(root: Path, page: Page) -> np.ndarray:
    """The label image of the sample that is shown, from the shards, cut as the page cuts it."""
    key = page.locator(".slide:visible").get_attribute("aria-label")
    samples = (s for shard in BrainAtlas(root).shards for s in first_samples(root / shard.path, 9999))
    sample = next(sample for sample in samples if sample.key == key)
    seg = np.asarray(Image.open(io.BytesIO(sample.label_png)))
    shown = (seg > 0) | (np.asarray(Image.open(io.BytesIO(sample.image_png))) > 0)
    rows, columns = (np.flatnonzero(shown.any(axis=1 - axis)) for axis in (0, 1))
    return seg[rows[0] - 6 : rows[-1] + 7, columns[0] - 6 : columns[-1] + 7]


def point_at(page: Page, labels: np.ndarray, label: int) -> None:
    """Move the mouse to the pixel that lies deepest inside a structure."""
    depth = ndimage.distance_transform_edt(np.pad(labels == label, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    stage = page.locator(".slide:visible .stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    rows, columns = labels.shape
    page.mouse.move(
        box["x"] + (column + 0.5) / columns * box["width"], box["y"] + (row + 0.5) / rows * box["height"]
    )


def lit(page: Page) -> set[int]:
    return {int(n) for n in (page.locator(".slide:visible").get_attribute("data-lit") or "").split()}


def painted(page: Page) -> np.ndarray:
    """Which pixels of the picture are lit."""
    canvas = page.locator(".slide:visible canvas")
    height, width = (canvas.evaluate(f"canvas => canvas.{name}") for name in ("height", "width"))
    read = "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    return np.array(canvas.evaluate(read)).reshape(height, width, 4)[..., 3] > 0


def test_pointing_into_the_picture_lights_the_structure_its_phrases_and_its_row(viewer, tiny_dataset):
    labels = stored_labels(tiny_dataset, viewer)
    assert labels.shape == painted(viewer).shape
    for label, side in ((LEFT_CORTEX, "left"), (RIGHT_CORTEX, "right")):
        point_at(viewer, labels, label)
        assert lit(viewer) == {label}
        assert (painted(viewer) == (labels == label)).all()
        phrases = [p.inner_text() for p in viewer.locator(".slide:visible .phrase.lit").all()]
        assert phrases and all("cort" in phrase for phrase in phrases)
        rows = viewer.locator(".slide:visible .list button.lit .name")
        assert rows.all_inner_texts() == [f"{side} cerebral cortex"]
        assert viewer.locator(".slide:visible .told").inner_text().startswith(f"{side} cerebral cortex, ")
    viewer.mouse.move(2, 2)
    assert lit(viewer) == set() and not painted(viewer).any()


def test_left_is_on_the_left_of_the_picture(viewer, tiny_dataset):
    labels = stored_labels(tiny_dataset, viewer)
    box = viewer.locator(".slide:visible .stage").bounding_box()
    for label, letter in ((LEFT_CORTEX, "L"), (RIGHT_CORTEX, "R")):
        column = np.argwhere(labels == label)[:, 1].mean() / labels.shape[1]
        corner = viewer.locator(".slide:visible .corner", has_text=letter).bounding_box()
        assert (column < 0.5) == (letter == "L") == (corner["x"] - box["x"] < box["width"] / 2)


def test_pointing_at_a_phrase_lights_both_sides_and_their_rows(viewer, tiny_dataset):
    phrase = viewer.locator(".slide:visible .phrase", has_text="left and right cerebral cortex").first
    phrase.hover()
    assert lit(viewer) == {LEFT_CORTEX, RIGHT_CORTEX}
    labels = stored_labels(tiny_dataset, viewer)
    assert (painted(viewer) == np.isin(labels, (LEFT_CORTEX, RIGHT_CORTEX))).all()
    assert viewer.locator(".slide:visible .list button.lit").count() == 2


def focused(page: Page, attribute: str) -> str | None:
    return page.evaluate(f"document.activeElement.getAttribute('{attribute}')")


def test_the_keyboard_alone_goes_through_phrases_and_structures(viewer):
    for _ in range(60):
        viewer.keyboard.press("Tab")
        if focused(viewer, "role") == "button":
            break
    first = focused(viewer, "data-labels")
    assert first and lit(viewer) == set(map(int, first.split()))
    assert viewer.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    viewer.keyboard.press("Enter")
    assert focused(viewer, "aria-pressed") == "true"
    viewer.keyboard.press("Tab")
    assert (
        lit(viewer) == set(map(int, focused(viewer, "data-labels").split())) != set(map(int, first.split()))
    )
    for _ in range(40):
        viewer.keyboard.press("Tab")
        if focused(viewer, "data-color"):
            break
    assert lit(viewer) == {int(focused(viewer, "data-labels"))}
    viewer.keyboard.press("Escape")
    assert lit(viewer) == set()


def test_labels_of_the_montage_can_be_shown(viewer):
    labels = viewer.locator(".montage .labels").first
    assert not labels.is_visible()
    viewer.locator("#people").get_by_label("Labels").check()
    assert labels.is_visible()


def test_what_is_kept_stays_lit_while_nothing_else_is_pointed_at(viewer):
    row = viewer.locator(".slide:visible .list button").first
    row.click()
    viewer.mouse.move(2, 2)
    kept = lit(viewer)
    assert kept == {int(row.get_attribute("data-labels"))}
    assert row.get_attribute("aria-pressed") == "true"
    row.click()
    viewer.mouse.move(2, 2)
    viewer.evaluate("document.activeElement.blur()")
    assert lit(viewer) == set()


def test_every_sample_can_be_chosen(viewer):
    keys = set()
    for scans in ("ibsr T1w", "oasis T1w"):
        viewer.locator("select[name=scans]").select_option(scans)
        for plane in ("axial", "coronal", "sagittal"):
            viewer.locator("select[name=plane]").select_option(plane)
            while True:
                shown = viewer.locator(".slide:visible")
                assert (
                    shown.get_attribute("data-scans") == scans and shown.get_attribute("data-plane") == plane
                )
                keys.add(shown.get_attribute("aria-label"))
                following = viewer.get_by_role("button", name="Next")
                if following.is_disabled():
                    break
                following.click()
    assert len(keys) == viewer.locator(".slide").count() > 6
