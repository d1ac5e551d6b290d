"""Scores of an evaluation, and how they are written: JSON for machines, Markdown and a table for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from brainldm.metrics import Interval

if TYPE_CHECKING:
    from rich.table import Table

People = Literal["training", "unseen"]
Topic = Literal["reconstruction", "generation", "obedience"]

TITLES: dict[Topic, str] = {
    "reconstruction": "Table 1. Autoencoder: MS-SSIM of reconstructions (1 = equal)",
    "generation": "Table 2. Generated slices: Frechet distance to real ones (0 = same distribution)",
    "obedience": "Table 3. Prompts obeyed: share of slices that a small classifier reads as asked",
}
COLUMNS = ("figure", "people", "value [95 %]", "n", "what real images score")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One figure, and beside it the same figure for real images."""

    topic: Topic
    measure: str
    """Such as `MS-SSIM` or `FID (pyramid-128 features)`."""
    people: People
    estimate: Interval
    num_images: int
    num_reference: int | None = None
    """Real images it was compared with as a set."""
    num_people: int
    real: Interval | None = None
    real_is: str = ""
    """How the figure for real images came about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """All of an evaluation."""

    scores: tuple[Score, ...]
    settings: dict[str, Any]
    """Seed, counts, image size, scales, the judge's training: what the figures depend on."""
    notes: tuple[str, ...] = ()
    """What a reader must know before believing a figure."""
    seconds: dict[str, float]
    """Time a step took."""

    def find(self, measure: str, people: People) -> Score:
        """The score of that measure and people.

        Raises:
            KeyError: there is none.
        """
        for score in self.scores:
            if (score.measure, score.people) == (measure, people):
                return score
        raise KeyError(f"no score {measure!r} for {people} people")


def to_json(scores: Scores) -> str:
    """Everything, one object; times apart from what repeats with the seed."""
    return json.dumps(asdict(scores), indent=2) + "\n"


def to_markdown(scores: Scores) -> str:
    """Tables, settings and notes."""
    parts = ["# Evaluation", ""]
    for topic, title in TITLES.items():
        rows = _rows(scores, topic)
        if rows:
            parts += [f"## {title}", "", _markdown_row(COLUMNS), _markdown_row(["---"] * len(COLUMNS))]
            parts += [_markdown_row(row) for row in rows] + [""]
    parts += ["## How to read this", "", *(f"- {note}" for note in scores.notes), ""]
    parts += ["## Settings", "", _markdown_row(("setting", "value")), _markdown_row(("---", "---"))]
    parts += [_markdown_row((name, str(value))) for name, value in scores.settings.items()]
    return "\n".join(parts) + "\n"


def to_tables(scores: Scores) -> list[Table]:
    """One table a topic, for `rich.console.Console.print`."""
    from rich import box
    from rich.table import Table

    tables = []
    for topic, title in TITLES.items():
        chosen = [score for score in scores.scores if score.topic == topic]
        if chosen:
            what = "; ".join(dict.fromkeys(score.real_is for score in chosen))
            table = Table(title=title, caption=f"real: {what}", box=box.SIMPLE, title_justify="left")
            for heading in ("", "people", "value [95 %]", "images (people)", "real"):
                table.add_column(heading)
            for score in chosen:
                real = _show(score.real) if score.real else "-"
                table.add_row(score.measure, score.people, _show(score.estimate), _brief_counts(score), real)
            tables.append(table)
    return tables


def _rows(scores: Scores, topic: Topic) -> list[tuple[str, ...]]:
    return [
        (score.measure, score.people, _show(score.estimate), _counts(score), _real(score))
        for score in scores.scores
        if score.topic == topic
    ]


def _show(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return f"{interval.value:.3f} [-]"
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _counts(score: Score) -> str:
    against = "" if score.num_reference is None else f" against {score.num_reference}"
    return f"{score.num_images}{against} images, {score.num_people} people"


def _brief_counts(score: Score) -> str:
    against = "" if score.num_reference is None else f":{score.num_reference}"
    return f"{score.num_images}{against} ({score.num_people})"


def _real(score: Score) -> str:
    return f"{_show(score.real)} {score.real_is}" if score.real else score.real_is or "-"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
