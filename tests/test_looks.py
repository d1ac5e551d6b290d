"""The pages of registrations and labels, from the files of a build to what a browser makes of them."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page
from pydantic import TypeAdapter

from brainatlas_text import BuildConfig, build, cli
from brainatlas_text.errors import SourceError
from brainatlas_text.hub import load_hub
from brainatlas_text.pages.registration import Registered, registration_page
from brainatlas_text.recipe import to_toml
from brainatlas_text.records import PreparedScan
from brainatlas_text.registrations import HubTransform, HubWarp

pytestmark = pytest.mark.integration
REGISTRATION, LABELS = Path("work/report/registration.html"), Path("work/report/labels.html")
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1440, "height": 900}
SCANS = ["ibsr-01-t1w", "ibsr-02-t1w", "ibsr-03-t1w", "oasis-0011-1-t1w", "oasis-0012-1-t1w"]


@pytest.fixture(scope="module")
def strict(tiny_dataset, tiny_config, tmp_path_factory) -> BuildConfig:
    """A limit that nobody meets: everyone's registration is refused. Preparation is taken over."""
    out = tmp_path_factory.mktemp("strict") / "dataset"
    register = tiny_config.recipe.register_.model_copy(update={"min_overlap": 0.999})
    recipe = tiny_config.recipe.model_copy(update={"register_": register})
    for part in ("prepared", "records/prepare"):
        shutil.copytree(tiny_dataset / "work" / part, out / "work" / part)
    text = (tiny_dataset / "recipe.toml").read_text()
    assert "min_overlap = 0.82\n" in text
    (out / "recipe.toml").write_text(text.replace("min_overlap = 0.82\n", "min_overlap = 0.999\n"))
    return dataclasses.replace(tiny_config, recipe=recipe, out=out)


@pytest.fixture(scope="module")
def refused(strict) -> Path:
    """The page of a build in which no registration is accepted."""
    with pytest.raises(SourceError, match=r"every scan with labels was rejected.*registration\.html"):
        build(strict)
    return strict.out / REGISTRATION


def shown(page: Page) -> list[str]:
    return [article.get_attribute("data-key") for article in page.locator("article:visible").all()]


def test_the_page_of_registrations_is_there_although_all_were_refused(refused):
    text = refused.read_text(encoding="utf-8")
    assert all(f'data-key="{key}"' in text for key in SCANS)
    assert text.count("Rejected: low overlap") == len(SCANS)
    assert text.count('class="scan-image"') == len(SCANS)  # refused ones have pictures too


def test_the_page_of_registrations_is_there_although_a_later_stage_fails(tiny_dataset, tiny_config, tmp_path):
    out = tmp_path / "dataset"
    shutil.copytree(tiny_dataset, out)
    (out / REGISTRATION).unlink()
    shutil.rmtree(out / "work" / "labels")
    (out / "work" / "labels").write_text("a file where a folder should be")
    with pytest.raises(OSError):
        build(dataclasses.replace(tiny_config, out=out))
    assert (out / REGISTRATION).is_file()


def test_the_command_names_the_pages(tiny_dataset, tiny_config, tmp_path, capsys):
    recipe = tmp_path / "quick.toml"
    recipe.write_text(to_toml(tiny_config.recipe))
    arguments = ["build", "--sources", *tiny_config.sources, "--root", str(tiny_config.root)]
    arguments += ["--out", str(tiny_dataset), "--recipe", str(recipe), "--workers", "1"]
    assert cli.main(arguments) == 0
    said = capsys.readouterr().out
    assert f"a look at each registration: {tiny_dataset / REGISTRATION}\n" in said
    assert f"a look at each label map: {tiny_dataset / LABELS}\n" in said
    assert f"a page about all of it: brainatlas-text report {tiny_dataset}\n" in said
    assert cli.main([*arguments, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["registration_page"] == str(tiny_dataset / REGISTRATION)
    assert summary["labels_page"] == str(tiny_dataset / LABELS)


@pytest.mark.parametrize("page_path", [REGISTRATION, LABELS], ids=["registration", "labels"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_they_open_from_disk_without_a_word_or_a_request_and_fit(
    open_page, tiny_dataset, page_path, size, scheme
):
    page, trouble = open_page(tiny_dataset / page_path, size, scheme)
    assert sorted(shown(page)) == SCANS
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    page.get_by_role("checkbox", name="Contact sheet").uncheck()
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    page.get_by_text("As a table").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert not trouble


def colors(page: Page, path: Path) -> dict[str, int]:
    """Pixels of the first picture in the lines' colors; the picture itself must show."""
    page.locator("figure .look:visible").first.screenshot(path=path)
    red, green, blue = np.moveaxis(np.asarray(Image.open(path).convert("RGB")).astype(int), -1, 0)
    assert (red + green + blue).mean() > 30
    return {
        "orange": int(((red - blue > 120) & (red - green > 60)).sum()),
        "blue": int(((blue - red > 90) & (green - red > 60)).sum()),
    }


def test_scan_and_template_change_places_and_lines_can_be_hidden(open_page, tiny_dataset, tmp_path):
    page, trouble = open_page(tiny_dataset / REGISTRATION, DESKTOP, "light")
    seen = colors(page, tmp_path / "scan.png")
    assert seen["orange"] > 300 and seen["blue"] == 0
    page.get_by_role("checkbox", name="Template").check()
    seen = colors(page, tmp_path / "template.png")
    assert seen["orange"] == 0 and seen["blue"] > 300
    page.get_by_role("checkbox", name="Outlines").uncheck()
    assert colors(page, tmp_path / "bare.png") == {"orange": 0, "blue": 0}
    assert not trouble


@pytest.fixture(scope="module")
def bent(tiny_dataset) -> Path:
    """The page as it would be if one scan had a warp; the warp's picture has no image in it."""

    def noted(stage: str, kind: type) -> list:
        records = sorted((tiny_dataset / "work" / "records" / stage).glob("*.json"))
        payloads = [json.loads(path.read_text())["payload"]["result"] for path in records]
        return [TypeAdapter(kind).validate_python(payload) for payload in payloads]

    affines = {transform.key: transform for transform in noted("register", HubTransform)}
    one = affines[SCANS[0]]
    look = Path("work/registered") / "bent.svg"
    drawn = re.sub(r"<image .*?/>", "", (tiny_dataset / one.look).read_text())
    (tiny_dataset / look).write_text(drawn)
    warp = HubWarp(
        key=one.key, bent_from_hub=look, hub_from_bent=look, quality=one.quality, look=look, digest=""
    )  # fmt: skip
    shown = Registered(
        scans=noted("prepare", PreparedScan), affines=affines, warps={one.key: warp}, rejections=(),
        limits={}, hub=load_hub(),
    )  # fmt: skip
    path = tiny_dataset.parent / "bent.html"
    path.write_text(registration_page(tiny_dataset, "d", "demo", shown), encoding="utf-8")
    return path


def test_affine_and_warp_change_places(open_page, bent):
    page, trouble = open_page(bent, DESKTOP, "light")
    both = page.locator(f"#{SCANS[0]}")
    assert both.locator(".look.affine").is_visible() and not both.locator(".look.warp").is_visible()
    page.get_by_label("Show").select_option("after the warp")
    assert both.locator(".look.warp").is_visible() and not both.locator(".look.affine").is_visible()
    assert page.locator(f"#{SCANS[1]} .look.affine").is_visible()  # it has no warp
    both.locator(".enlarge").click()
    assert page.locator("dialog .look.warp").is_visible()
    page.keyboard.press("w")
    assert page.locator("dialog .look.affine").is_visible()
    assert not page.locator("dialog .look.warp").is_visible()
    assert not trouble


def focused(page: Page, selector: str) -> None:
    """Press Tab until what has the focus fits the selector."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab never reaches {selector}")


def test_the_keyboard_alone_reads_a_histogram_and_shows_a_bars_scans(open_page, tiny_dataset):
    page, trouble = open_page(tiny_dataset / REGISTRATION, DESKTOP, "dark")
    overlap = page.locator(".histogram[data-title=Overlap]")
    focused(page, ".histogram[data-title=Overlap] .bars button")
    told = overlap.locator("output").inner_text()
    assert "ibsr-0" in told
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert overlap.locator("output").inner_text() == told
    keys = page.evaluate("document.activeElement.dataset.keys").split()
    assert all(key in told for key in keys)
    page.keyboard.press("Enter")
    assert sorted(shown(page)) == sorted(keys) and 0 < len(keys) < len(SCANS)
    page.get_by_role("button", name="Only Overlap").press("Enter")
    assert sorted(shown(page)) == SCANS
    focused(page, "button.enlarge")
    page.keyboard.press("Enter")
    title = page.locator("dialog h2")
    assert page.locator("dialog .look svg").is_visible() and title.inner_text() == shown(page)[0]
    page.keyboard.press("t")
    assert page.locator("dialog .hub-image").is_visible()
    assert not page.locator("dialog .scan-image").is_visible()
    page.keyboard.press("ArrowRight")
    assert title.inner_text() == shown(page)[1]
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    assert not trouble


def test_the_table_sorts_and_leads_to_a_scan_that_was_filtered_away(open_page, tiny_dataset):
    page, trouble = open_page(tiny_dataset / REGISTRATION, PHONE, "light")
    page.get_by_text("As a table").click()
    table = page.get_by_role("region", name="Figures of each scan")
    table.get_by_role("button", name="Overlap").click()
    values = [float(row.locator("td").nth(1).inner_text()) for row in table.locator("tbody tr").all()]
    assert values == sorted(values) and len(values) == len(SCANS)
    table.get_by_role("button", name="Overlap").click()
    assert float(table.locator("tbody td").nth(1).inner_text()) == max(values)
    page.get_by_role("combobox", name="Source").select_option("oasis")
    table.get_by_role("link", name="ibsr-02").click()
    assert page.locator("#ibsr-02-t1w").is_visible() and sorted(shown(page)) == SCANS
    assert not trouble


def test_refused_registrations_can_be_filtered_and_their_reason_found(open_page, refused):
    page, trouble = open_page(refused, PHONE, "dark")
    page.get_by_role("link", name="Rejected").click()
    assert sorted(shown(page)) == SCANS
    page.get_by_label("Find").fill("oasis-0012 overlaps")
    assert shown(page) == ["oasis-0012-1-t1w"]
    assert not trouble


def test_labels_can_be_hidden(open_page, tiny_dataset, tmp_path):
    page, trouble = open_page(tiny_dataset / LABELS, DESKTOP, "light")
    page.get_by_label("Find").fill("ibsr-01")
    path = tmp_path / "labels.png"

    def colorful() -> float:
        page.locator("figure .look:visible").first.screenshot(path=path)
        pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
        return float((np.ptp(pixels, axis=2) > 40).mean())

    assert colorful() > 0.1
    page.get_by_role("checkbox", name="Labels").uncheck()
    assert colorful() == 0.0
    assert not trouble
