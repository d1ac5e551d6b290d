"""Go through samples once: how long their captions are, which sentences they use, which are worth a look."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from brainatlas_text import caption
from brainatlas_text.caption import Phrases
from brainatlas_text.records import PLANES, Plane, Sample
from brainatlas_text.wording import Wording

MAX_SHOWN, MOST_A_GROUP = 60, 3
Kind = tuple[str, str]
"""Style and language of captions."""
Group = tuple[str, str, str]
"""Source, sequence and plane."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a pass over samples found."""

    num_samples: int
    tokens: Mapping[Kind, list[int]]
    """Of each caption."""
    sentences: Mapping[tuple[str, str, str], Mapping[str, tuple[int, float]]]
    """By (style, language, part): how often each sentence was used, and how often it should be by chance."""
    shown: Mapping[Group, list[Sample]]
    """The samples to show: of each group those of different people that hold most structures."""


def survey(
    samples: Iterable[Sample], seed: int, wording: Wording, may_show: Callable[[Sample], bool]
) -> Survey:
    """Count and choose; `seed` and `wording` are those that the captions were written with."""
    tokens: dict[Kind, list[int]] = defaultdict(list)
    used: dict[Kind, Counter[tuple[Plane, str]]] = defaultdict(Counter)
    best: dict[Group, dict[str, Sample]] = defaultdict(dict)
    number = 0
    for sample in samples:
        number += 1
        facts: dict[str, Any] = sample.facts
        for written in facts["captions"]:
            style, language = written["style"], written["language"]
            tokens[style, language].append(wording.budget(style, language).cost(written["text"]))
            table = wording.phrases[language]
            chosen = caption.sentences_of(seed, sample.key, style, language, phrases=table)
            for sentence in chosen if facts["structures"] else chosen[:1]:  # the body tells of structures
                used[style, language][facts["plane"], sentence] += 1
        if may_show(sample):
            of_group = best[facts["source"], facts["sequence"], facts["plane"]]
            if _worth(sample) > _worth(of_group.get(facts["subject"])):
                of_group[facts["subject"]] = sample
    return Survey(
        num_samples=number,
        tokens=dict(sorted(tokens.items())),
        sentences=dict(_sentences(used, wording.phrases)),
        shown=_few(best),
    )


def _worth(sample: Sample | None) -> tuple[int, str]:
    """More structures first; the key decides between equals, so that the choice repeats."""
    structures: Any = sample.facts["structures"] if sample else ()
    return (len(structures), sample.key) if sample else (-1, "")


def _few(best: Mapping[Group, Mapping[str, Sample]]) -> dict[Group, list[Sample]]:
    """Some people of each group, so that all groups together stay few."""
    each = max(1, min(MOST_A_GROUP, MAX_SHOWN // max(1, len(best))))
    groups = sorted(best, key=lambda group: (*group[:2], PLANES.index(group[2])))[:MAX_SHOWN]
    return {g: sorted(best[g].values(), key=_worth, reverse=True)[:each] for g in groups}


def _sentences(
    used: Mapping[Kind, Counter[tuple[Plane, str]]], phrases: Mapping[str, Phrases]
) -> Iterable[tuple[tuple[str, str, str], dict[str, tuple[int, float]]]]:
    for style, language in sorted(used):
        counted = used[style, language]
        for part in ("opening", "body"):
            options: Mapping[Plane, tuple[Any, ...]] = getattr(phrases[language].styles[style], part)
            uses = {t.source: 0 for plane in PLANES for t in options[plane]}
            expected = dict.fromkeys(uses, 0.0)
            for plane in PLANES:
                sources = [template.source for template in options[plane]]
                total = sum(counted[plane, source] for source in sources)
                for source in sources:
                    uses[source] += counted[plane, source]
                    expected[source] += total / len(sources)
            if uses:
                yield (style, language, part), {s: (uses[s], expected[s]) for s in uses}
