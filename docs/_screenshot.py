"""Takes the picture of a page for the docs: docs/_screenshot.py PAGE.html[#PLACE] PICTURE.jpg [WORDS].

The words are what is looked for, or, on a page that cannot be searched, what is pointed at.

Needs a Chromium on the PATH (`apt-get install chromium`). Only pages about the synthetic people of the demo
may be shown here, never real scans.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTH, HEIGHT = 1280, 1260


def main(page_path: str, picture_path: str, words: str = "") -> None:
    """Open the page from disk, offline, find the words, and save what the window shows at that place."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("no Chromium on this machine; on Debian: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, offline=True)
        page = context.new_page()
        file, hash_, place = page_path.partition("#")
        page.goto(Path(file).resolve().as_uri() + hash_ + place)
        if words and page.get_by_label("Find").count():
            page.get_by_label("Find").fill(words)
        elif words:
            page.locator(":visible", has_text=words).last.hover()
        page.screenshot(path=picture_path, type="jpeg", quality=80)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
