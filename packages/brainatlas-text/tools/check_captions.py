"""Check the captions of a data set against its pictures and its people, by other code than made them.

    python packages/brainatlas-text/tools/check_captions.py OUT [--samples 10000]

Shards are read by webdataset, label pictures decoded by Pillow, areas counted by NumPy, people and sequences
looked up in scans.parquet. Numbers are taken from the texts by regular expressions of this file and compared
within the rounding that docs/how-to/phrases.md states; no digit of a caption may be left over. Then
`caption.read` reads each text and is compared with the stored facts. Exit code 1 where something differs.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import webdataset
from PIL import Image

from brainatlas_text import caption, load_recipe, wording
from brainatlas_text.records import SliceFacts, StructureMeasure

AREAS = re.compile(r"\((\d+(?:[.,]\d+)?)(?:\s(?:and|et)\s(\d+(?:[.,]\d+)?))?\s?mm²\)")
SHARES = re.compile(r"\((\d+)\s?%\)")
FRACTION = re.compile(r"(\d+)\s?%\s")
PLACE = re.compile(r"(\d+)\s?mm\b")
AGE = re.compile(r"(\d+)(?:-year-old|\sans\b)|\baged (\d+)")
INFANT = {0: re.compile(r"under one year|moins d'un an"), 1: re.compile(r"(?<!moins )d'un an")}
FEMALE = re.compile(r"\b(?:woman|girl|female|femme|fille|féminin)\b")
MALE = re.compile(r"\b(?:man|boy|male|homme|garçon|masculin)\b")
WORDS = {
    "sequence": {"T1w": r"\bT1\b", "T2w": r"\bT2\b", "FLAIR": "FLAIR"},
    "plane": {plane: plane for plane in ("axial", "coronal", "sagittal")},
}
SAME_AREA = 2e-4
"""Relative: `spacing_mm` is stored with four digits."""
Facts = dict[str, Any]


@dataclass
class Check:
    """What was compared, and what did not match."""

    compared: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def equal(self, what: str, found: object, expected: object, where: str) -> None:
        """Count one comparison."""
        self.compared[what] += 1
        if found != expected:
            self.wrong[what] += 1
            self.examples.append(f"{what}: found {found}, expected {expected}, in {where}")


def main() -> int:
    """Print what was compared."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--samples", type=int, default=10_000, help="drawn at random; all where fewer")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    check = check_captions(arguments.out, arguments.samples, arguments.seed)
    for what, number in sorted(check.compared.items()):
        print(f"{what:26}{number:9} compared{check.wrong[what]:7} wrong")
    print("\n".join(check.examples[:20]))
    print(f"{check.compared['key']} samples, {check.wrong.total()} mismatches")
    return 1 if check.wrong else 0


def check_captions(out: Path, num_samples: int, seed: int = 0) -> Check:
    """Compare random samples of a finished data set."""
    check = Check()
    scans = pd.read_parquet(out / "scans.parquet").set_index("key")
    labels = pd.read_csv(out / "labels.tsv", sep="\t").set_index("number")
    tables = tuple(wording.load(load_recipe(str(out / "recipe.toml")).caption).phrases.values())
    for sample in drawn(out, num_samples, seed):
        facts = json.loads(sample["json"])
        check.equal("key", sample["__key__"], facts["key"], facts["key"])
        check.equal("main caption", sample["txt"].decode(), facts["captions"][0]["text"], facts["key"])
        check.equal("person and sequence", *people(facts, scans), facts["key"])
        areas = areas_of(np.asarray(Image.open(io.BytesIO(sample["seg.png"]))), facts, labels)
        check.equal("stored areas", differing(facts, areas), [], facts["key"])
        for written in facts["captions"]:
            where = f"{facts['key']}: {written['text']}"
            numbers_in(check, written["text"], facts, areas, where)
            words_in(check, written["text"], facts, where)
            read_back(check, written, facts, tables, where)
    return check


def drawn(out: Path, num_samples: int, seed: int) -> Iterator[dict[str, Any]]:
    """Samples at random over all shards, in the order of the shards."""
    shards = pd.read_parquet(out / "shards.parquet")
    total = int(shards["num_samples"].sum())
    chosen = set(random.Random(seed).sample(range(total), min(num_samples, total)))
    paths = [str(out / path) for path in shards["path"]]
    for place, sample in enumerate(webdataset.WebDataset(paths, shardshuffle=False)):
        if place in chosen:
            yield sample


def people(facts: Facts, scans: pd.DataFrame) -> tuple[list[object], list[object]]:
    """What a sample says of its person, and what the table of scans does."""
    scan = scans.loc[facts["moving"]]
    names = ("age_years", "juvenile", "sex", "sequence", "subject", "source")
    return [facts[name] for name in names], [None if pd.isna(scan[n]) else scan[n] for n in names]


def areas_of(picture: np.ndarray, facts: Facts, labels: pd.DataFrame) -> dict[tuple[str, str, int], float]:
    """(name, side, number) -> area of each label in the picture that is anatomy with a name."""
    numbers, counts = np.unique(picture[picture > 0], return_counts=True)
    pixel_mm2 = math.prod(facts["spacing_mm"])
    return {
        (labels.name[number], labels.side[number], int(number)): count * pixel_mm2
        for number, count in zip(numbers, counts.tolist(), strict=True)
        if labels.named[number] == "yes"
    }


def differing(facts: Facts, areas: dict[tuple[str, str, int], float]) -> list[object]:
    """Stored structures whose area is not that in the picture, and those that one of both lacks."""
    stored = {(s["name"], s["side"], s["label"]): s["area_mm2"] for s in facts["structures"]}
    same = {k for k in stored.keys() & areas.keys() if math.isclose(stored[k], areas[k], rel_tol=SAME_AREA)}
    return sorted((stored.keys() | areas.keys()) - same)


def numbers_in(
    check: Check, text: str, facts: Facts, areas: dict[tuple[str, str, int], float], where: str
) -> None:
    """Every number in a text is one of the picture, the place or the person; none is left over."""
    sides: Counter[tuple[str, str]] = Counter()
    names: Counter[str] = Counter()
    for (name, side, _), area in areas.items():
        sides[name, side] += area  # type: ignore[assignment]  # areas are no counts
        names[name] += area  # type: ignore[assignment]
    said = [float(n.replace(",", ".")) for pair in AREAS.findall(text) for n in pair if n]
    check.equal("area", unexplained(said, list(sides.values()), _step), [], where)
    shares = [100 * area / sum(names.values()) for area in names.values()]
    check.equal("share", unexplained(map(float, SHARES.findall(text)), shares, lambda _: 1.0), [], where)
    rest = SHARES.sub("", AREAS.sub("", text))
    mm = math.floor(abs(facts["position_mm"]) + 0.5)
    check.equal("position", [int(n) for n in PLACE.findall(rest)], [mm] if mm else [], where)
    fractions = [float(n) for n in FRACTION.findall(rest)]
    check.equal(
        "fraction", unexplained(fractions, [100 * facts["position_fraction"]], lambda _: 1.0), [], where
    )
    rest = re.sub(r"\bT[12]\b", "", AGE.sub("", FRACTION.sub("", PLACE.sub("", rest))))
    check.equal("digits left over", re.findall(r"\d+", rest), [], where)


def _step(area_mm2: float) -> float:
    """Distance of neighbors among rounded areas: two digits under 10 mm², whole mm² from 10 up."""
    return 10.0 ** (math.floor(math.log10(area_mm2)) - 1) if area_mm2 < 10 else 1.0


def unexplained(said: Any, there: list[float], step: Any) -> list[float]:
    """Numbers of a text that are no rounded number of the list; each of the list explains one."""
    left = list(there)
    strange = []
    for number in said:
        fits = [v for v in left if abs(v - number) <= step(v) / 2 + SAME_AREA * v + 1e-9]
        if fits:
            left.remove(min(fits, key=lambda value: abs(value - number)))
        else:
            strange.append(number)
    return strange


def words_in(check: Check, text: str, facts: Facts, where: str) -> None:
    """Age, sex, sequence and plane in a text are those of the facts; what is not known is not said."""
    age = facts["age_years"]
    years = [int(a or b) for a, b in AGE.findall(text)]
    years += [number for number, pattern in INFANT.items() if pattern.search(text)]
    check.equal("age", years, [] if age is None else [math.floor(age)], where)
    juvenile = facts["juvenile"] and age is None
    sex = "F" if FEMALE.search(text) else "M" if MALE.search(text) else None
    check.equal("sex", sex, None if juvenile else facts["sex"], where)
    check.equal("juvenile", bool(re.search(r"juv[eé]nile", text)), juvenile, where)
    for what, words in WORDS.items():
        said = {value for value, word in words.items() if re.search(word, text, re.IGNORECASE)}
        check.equal(what, said, {facts[what]}, where)


def as_facts(facts: Facts) -> SliceFacts:
    """The stored facts of a sample as those that captions are written from."""
    names = ("sequence", "plane", "index", "position_mm", "position_fraction", "age_years", "juvenile", "sex")
    structures = tuple(
        StructureMeasure(**s | {"centroid_mm": tuple(s["centroid_mm"])}) for s in facts["structures"]
    )
    return SliceFacts(**{name: facts[name] for name in names}, structures=structures)


def read_back(
    check: Check, written: Facts, facts: Facts, tables: tuple[caption.Phrases, ...], where: str
) -> None:
    """`caption.read` finds the stored facts in a text, and all structures in one that names all."""
    stated = caption.read(written["text"], tables)
    check.equal("read back", caption.disagreements(stated, as_facts(facts)), (), where)
    if written["style"] in ("full", "report"):
        there = {(s["name"], s["side"]) for s in facts["structures"]}
        found = {(s.name, s.side) for s in stated.structures if s.area_mm2 is not None}
        check.equal("read back: not there", found - there, set(), where)
        if written is facts["captions"][0]:
            dropped = facts["dropped_structures"]
            check.equal("read back: left out", len(there - found), dropped, where)


if __name__ == "__main__":
    sys.exit(main())
