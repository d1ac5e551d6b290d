"""Write the sheets of captions in the documentation: 200 of each style and language, of synthetic people.

    python packages/brainatlas-text/tools/caption_sheet.py [--docs docs]

The people are the demo's base brain, stretched, each with an age and a sex or without; no scan of anybody is
looked at. Run it after a change of the phrase tables, and read what it wrote. Needs the extra `demo`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from brainatlas_text import caption, labels, measure
from brainatlas_text.demo import templates
from brainatlas_text.demo.brain import build_brain
from brainatlas_text.demo.materials import Material
from brainatlas_text.measure import NORMAL_AXIS
from brainatlas_text.records import PLANES, SEQUENCES, Caption, SliceFacts
from brainatlas_text.workspace import write_text

NUM_CAPTIONS, NUM_ON_PAGE, NUM_PEOPLE, SEED = 200, 8, 40, 7
MIN_LABELED_MM2 = 400.0
PAGE = """# Captions to look at

{on_page} of {number} of each style and language, drawn at random; the links lead to all of them. They are of
synthetic people (the demo's base brain, stretched), written by
`packages/brainatlas-text/tools/caption_sheet.py`. How captions are made and changed:
[Change the captions](../how-to/phrases.md).
"""


def main() -> None:
    """Write the page and the sheets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--docs", type=Path, default=Path(__file__).resolve().parents[3] / "docs")
    docs = parser.parse_args().docs
    page = [PAGE.format(on_page=NUM_ON_PAGE, number=NUM_CAPTIONS)]
    slices = list(random_slices())
    for language in caption.SHIPPED:
        for style in caption.load_phrases(language).styles:
            texts = [of_slice(number, facts, style, language).text for number, facts in enumerate(slices)]
            name = f"captions/{language}-{style}.txt"
            write_text(docs / name, "\n".join(texts) + "\n")
            page.append(f"## {style}, {language}\n\n[All {NUM_CAPTIONS}](../{name})\n")
            page += [f"- {text}" for text in texts[:: NUM_CAPTIONS // NUM_ON_PAGE]]
            page.append("")
    write_text(docs / "reference" / "captions.md", "\n".join(page))


def of_slice(number: int, facts: SliceFacts, style: str, language: str) -> Caption:
    """One caption; `number` stands for the sample's key."""
    (written,) = caption.write(facts, seed=SEED, key=str(number), styles=(style,), languages=(language,))
    return written


def random_slices() -> Iterator[SliceFacts]:
    """Slices of random people at random places in random planes."""
    rng = np.random.default_rng(SEED)
    brain = build_brain()
    canonical = np.where(brain.materials < Material.SULCAL_CSF, brain.materials, 0).astype(np.uint8)
    origin = -np.array(templates.BASE_ORIGIN_MM) - [side.start for side in brain.box]
    for _ in range(NUM_PEOPLE):
        zooms_mm = rng.uniform(0.88, 1.08, 3)
        measures = measure.measure_slices(
            canonical, None, zooms_mm=zooms_mm, origin_index=origin, table=labels.canonical_table()
        )
        years = round(float(rng.uniform(1, 95)), 1) if rng.random() < 0.65 else None
        juvenile = years is None and bool(rng.random() < 0.4)
        sex, sequence = (None, "F", "M")[rng.integers(3)], SEQUENCES[rng.integers(3)]
        for _ in range(NUM_CAPTIONS // NUM_PEOPLE):
            plane = PLANES[rng.integers(3)]
            axis = NORMAL_AXIS[plane]
            shown = [
                i for i in range(canonical.shape[axis]) if _labeled_mm2(measures, plane, i) > MIN_LABELED_MM2
            ]
            index = int(rng.choice(shown))
            yield SliceFacts(
                sequence=sequence,
                plane=plane,
                index=index,
                position_mm=round(float((index - origin[axis]) * zooms_mm[axis]), 2),
                position_fraction=round((index - shown[0]) / (shown[-1] - shown[0]), 4),
                age_years=years,
                juvenile=juvenile,
                sex=sex,
                structures=measures.slice_structures(plane, index),
            )


def _labeled_mm2(measures: measure.VolumeMeasures, plane: str, index: int) -> float:
    return sum(structure.area_mm2 for structure in measures.slice_structures(plane, index))


if __name__ == "__main__":
    main()
