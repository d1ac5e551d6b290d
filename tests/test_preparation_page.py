"""The preparation page of a build, from the files of the build to what a browser makes of them."""

import dataclasses
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from brainatlas_text import BuildConfig, build, cli
from brainatlas_text.errors import SourceError
from brainatlas_text.recipe import to_toml

pytestmark = pytest.mark.integration
PAGE = Path("work/report/preparation.html")
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1440, "height": 900}


@pytest.fixture(scope="module")
def config(tiny_sources, tiny_config, tmp_path_factory) -> BuildConfig:
    """The one labeled person's image is a slab, one file is no scan, two people can be prepared."""
    root = tmp_path_factory.mktemp("sources") / "tiny"
    shutil.copytree(tiny_sources, root)
    for number in ("02", "03"):
        shutil.rmtree(next(root.rglob(f"IBSR_{number}")))
    whole = next(root.rglob("IBSR_01_ana_strip.nii.gz"))
    nib.save(nib.load(whole).slicer[:, :, 20:36], whole)
    session = next(root.rglob("OAS1_0012_MR1"))
    for path in list(session.rglob("*.*")):
        twin = Path(str(path).replace("OAS1_0012", "OAS1_0013"))
        twin.parent.mkdir(parents=True, exist_ok=True)
        twin.write_bytes(path.read_bytes()[:300])
    return dataclasses.replace(tiny_config, root=root, out=tmp_path_factory.mktemp("built") / "dataset")


@pytest.fixture(scope="module")
def built(config) -> Path:
    """The page of a build in which nobody is left to label anybody."""
    with pytest.raises(SourceError, match=r"every scan with labels was rejected.*preparation\.html"):
        build(config)
    return config.out / PAGE


def test_the_page_is_there_although_nothing_could_be_labeled(built):
    text = built.read_text(encoding="utf-8")
    for key in ("ibsr-01-t1w", "oasis-0011-1-t1w", "oasis-0012-1-t1w", "oasis-0013-1-t1w"):
        assert f'data-key="{key}"' in text
    assert text.count("<image ") == 3 * 3  # the slab has a picture too; what is no scan has none


def test_the_page_is_there_although_a_later_stage_fails(built, config, tmp_path):
    out = tmp_path / "dataset"
    shutil.copytree(config.out, out)
    (out / PAGE).unlink()
    shutil.rmtree(out / "work" / "records" / "register")
    shutil.rmtree(out / "transforms")
    (out / "transforms").write_text("a file where a folder should be")
    with pytest.raises(OSError):
        build(dataclasses.replace(config, out=out))
    assert (out / PAGE).is_file()


def test_the_command_names_the_page(tiny_dataset, tiny_config, tmp_path, capsys):
    recipe = tmp_path / "quick.toml"
    recipe.write_text(to_toml(tiny_config.recipe))
    arguments = ["build", "--sources", *tiny_config.sources, "--root", str(tiny_config.root)]
    arguments += ["--out", str(tiny_dataset), "--recipe", str(recipe), "--workers", "1"]
    assert cli.main(arguments) == 0
    assert f"a look at each scan: {tiny_dataset / PAGE}\n" in capsys.readouterr().out
    assert cli.main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["preparation_page"] == str(tiny_dataset / PAGE)


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_from_disk_without_a_word_or_a_request_and_fits(open_page, built, size, scheme):
    page, trouble = open_page(built, size, scheme)
    assert page.locator("article:visible").count() == 4
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    grounds = page.evaluate("getComputedStyle(document.body).backgroundColor").strip("rgb()").split(",")
    assert (sum(map(int, grounds)) > 3 * 128) == (scheme == "light")
    assert not trouble


def orange(page: Page, path: Path) -> int:
    """Pixels of the first picture that have the outline's color."""
    page.locator(".look").first.screenshot(path=path)
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert pixels.mean() > 10  # the scan itself shows
    return int((pixels[..., 0] - pixels[..., 2] > 100).sum())


def test_pictures_show_and_their_outline_can_be_hidden(open_page, built, tmp_path):
    page, trouble = open_page(built, DESKTOP, "light")
    page.get_by_label("Source").select_option("oasis")
    page.locator("article", has_text="oasis-0013").evaluate("article => article.remove()")
    page.locator("article", has_text="ibsr-01").evaluate("article => article.remove()")
    assert orange(page, tmp_path / "with.png") > 500
    page.get_by_role("checkbox", name="Outline").uncheck()
    assert orange(page, tmp_path / "without.png") == 0
    assert not trouble


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the field of that name has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name") == name:
            return
    raise AssertionError(f"Tab never reaches {name}")


def shown(page: Page) -> list[str]:
    return [article.get_attribute("data-key") for article in page.locator("article:visible").all()]


def test_the_keyboard_alone_filters_sorts_and_enlarges(open_page, built):
    page, trouble = open_page(built, DESKTOP, "dark")
    tab_to(page, "words")
    page.keyboard.type("OASIS-0012")
    assert shown(page) == ["oasis-0012-1-t1w"]
    assert page.locator("output").inner_text() == "1 of 4"
    page.keyboard.press("Control+A")
    page.keyboard.type("zzz")
    assert shown(page) == [] and page.locator("#nothing").is_visible()
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    tab_to(page, "source")
    page.keyboard.type("ibsr")
    assert shown(page) == ["ibsr-01-t1w"]
    page.keyboard.press("Home")
    tab_to(page, "flag")
    page.keyboard.type("Rejected")
    assert shown(page) == ["ibsr-01-t1w", "oasis-0013-1-t1w"]
    page.keyboard.press("Home")
    tab_to(page, "sort")
    page.keyboard.type("largest")
    volumes = [float(a.get_attribute("data-volume") or -1) for a in page.locator("article:visible").all()]
    assert volumes == sorted(volumes, reverse=True) and len(volumes) == 4
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "enlarge":
            break
    page.keyboard.press("Enter")
    title = page.locator("dialog h2")
    assert page.locator("dialog svg").is_visible() and title.inner_text() == shown(page)[0]
    page.keyboard.press("ArrowRight")
    assert title.inner_text() == shown(page)[1]
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    assert not trouble


def test_a_click_on_a_count_shows_what_it_counts(open_page, built):
    page, _ = open_page(built, PHONE, "light")
    page.get_by_role("link", name="Health unknown").click()
    assert shown(page) == ["oasis-0012-1-t1w"]  # who is in no spreadsheet
    page.get_by_role("button", name="Reset").click()
    page.wait_for_function("document.querySelector('output').value === '4 of 4'")
    page.get_by_label("Contact sheet").check()
    assert not page.locator("dl.files").first.is_visible()
    assert page.locator("article .look:visible").count() == 3
    page.get_by_label("Find").fill("oasis-0012")
    assert shown(page) == ["oasis-0012-1-t1w"]  # the sheet is filtered like the list
