"""The charts of a report: what is drawn, with its number, one sentence how to read it, and its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

from markupsafe import Markup

from brainatlas_text.records import PLANES, Plane
from brainatlas_text.report.drawing import FIRST, INK, LINE, SECOND, SOFT, THIRD, draw

_WIDTH, _ROW, _FRAME = 360, 17, 56
"""Units: a chart's width, a row's height, and what axis and legend take."""
_PANEL = (250, 170)
_PLANE_MARKS: Mapping[Plane, tuple[str, str]] = {
    "axial": ("o", FIRST),
    "coronal": ("s", SECOND),
    "sagittal": ("^", THIRD),
}
_SEX_MARKS = {"F": ("o", SECOND, "women"), "M": ("s", FIRST, "men"), None: ("^", SOFT, "sex unknown")}
_NUM_BINS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The data of a chart."""

    head: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    num_words: int = 1
    """Columns from the left that are words, not numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One chart, in one picture or several."""

    name: str
    title: str
    number: str
    """How much it rests on, such as `12 people`."""
    reading: str
    """One sentence how to read it."""
    pictures: tuple[Markup, ...]
    table: Table
    wide: bool = False
    """Many small pictures, side by side where there is room."""


def prevalence_chart(
    shares: Mapping[str, Mapping[Plane, float]], slices: Mapping[Plane, int], of: str
) -> Chart:
    """Share of the slices of each plane that show a structure, by structure; `slices` counted, `of` what."""
    names = sorted(shares, key=lambda name: -max(shares[name].values()))
    planes = [plane for plane in PLANES if slices.get(plane)]

    def content(axes: Any) -> None:
        for plane in planes:
            mark, color = _PLANE_MARKS[plane]
            values = [100 * shares[name].get(plane, 0.0) for name in names]
            axes.plot(values, range(len(names)), mark, color=color, markersize=5, label=plane)
        _rows(axes, names)
        axes.set_xlim(-3, 103)
        axes.set_xlabel("% of the plane's slices")
        _legend(axes, len(planes))

    return Chart(
        name="prevalence",
        title="Which structures slices show",
        number=", ".join(f"{slices[plane]:,} {plane}" for plane in planes) + f" slices{of}",
        reading="A mark far to the right is a structure that most slices of that plane show, on either side; "
        "one near zero is rare, and little can be learned of it.",
        pictures=(
            draw("prevalence", "Share of slices that show each structure", _WIDTH, _height(names), content),
        ),
        table=Table(
            head=("Structure", *(f"{plane} (%)" for plane in planes)),
            rows=[[name, *(f"{100 * shares[name].get(p, 0.0):.1f}" for p in planes)] for name in names],
        ),
    )


def agreement_chart(agreement: Mapping[str, Sequence[float]], num_scans: int) -> Chart:
    """Mean agreement of the voters in each structure, over scans with voted labels."""
    names = sorted(agreement, key=lambda name: -median(agreement[name]))
    spans = {name: _five(agreement[name]) for name in names}

    def content(axes: Any) -> None:
        for row, name in enumerate(names):
            least, low, middle, high, most = spans[name]
            axes.plot([least, most], [row, row], color=SOFT, linewidth=0.8)
            axes.plot([low, high], [row, row], color=FIRST, linewidth=4, solid_capstyle="butt")
            axes.plot(middle, row, "o", color=INK, markersize=5)
        _rows(axes, names)
        axes.set_xlim(right=1.0)
        axes.set_xlabel("share of voters behind the label")

    return Chart(
        name="agreement",
        title="How far the voters agree",
        number=f"{num_scans:,} scans with voted labels",
        reading="Dot: the median scan; bar: the middle half of the scans; line: all of them. Further right, "
        "more voters stand behind the label; agreement is not accuracy, and a single voter always agrees.",
        pictures=(draw("agreement", "Agreement of voters by structure", _WIDTH, _height(names), content),),
        table=Table(
            head=("Structure", "Scans", "Least", "Lower quarter", "Median", "Upper quarter", "Most"),
            rows=[[n, f"{len(agreement[n])}", *(f"{value:.3f}" for value in spans[n])] for n in names],
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One person's volumes, the mean of both sides' sums over the person's scans."""

    source: str
    age_years: float
    sex: str | None
    volumes_ml: Mapping[str, float]


def volumes_chart(people: Sequence[Person], names: Sequence[str], left_out: str) -> Chart:
    """Volumes of `names` by age and sex, a panel each; `left_out` says whose are not shown, and why."""
    sexes = [sex for sex in _SEX_MARKS if any(person.sex == sex for person in people)]

    def panel(name: str) -> Markup:
        def content(axes: Any) -> None:
            for sex in sexes:
                shown = [p for p in people if p.sex == sex and name in p.volumes_ml]
                mark, color, label = _SEX_MARKS[sex]
                axes.plot(
                    [p.age_years for p in shown], [p.volumes_ml[name] for p in shown], mark, color=color,
                    markersize=5, alpha=0.75, markeredgewidth=0, label=label,
                )  # fmt: skip
            axes.set_title(name, loc="left")
            axes.set_ylim(0, 1.1 * max(p.volumes_ml.get(name, 0.0) for p in people) or 1.0)
            axes.set_xlabel("age (years)")
            axes.set_ylabel("ml")
            axes.grid(axis="y")

        return draw("volume-" + name.replace(" ", "-"), f"Volume of {name} by age and sex", *_PANEL, content)

    marks = ", ".join(f"{_mark_name(sex)}: {_SEX_MARKS[sex][2]}" for sex in sexes)
    reading = (
        f"Each mark is one person in their own scan, both sides together ({marks}). Compare people, not "
        "sequences or sources: their labels were made in different ways."
    )
    return Chart(
        name="volumes",
        title="Volumes by age and sex",
        number=f"{len(people):,} people",
        reading=f"{reading if people else ''} {left_out}".strip(),
        pictures=tuple(panel(name) for name in names) if people else (),
        table=Table(
            head=("Source", "Sex", "Age (years)", *(f"{name} (ml)" for name in names)),
            rows=[
                [
                    p.source,
                    p.sex or "-",
                    f"{p.age_years:.0f}",
                    *(f"{p.volumes_ml[n]:.1f}" if n in p.volumes_ml else "-" for n in names),
                ]
                for p in sorted(people, key=lambda p: (p.source, p.sex or "", p.age_years))
            ],
            num_words=2,
        ),
        wide=True,
    )


def lengths_chart(
    tokens: Mapping[tuple[str, str], Sequence[int]], budgets: Mapping[tuple[str, str], int]
) -> Chart:
    """Tokens of captions by (style, language), beside their budgets."""

    def panel(kind: tuple[str, str]) -> Markup:
        style, language = kind
        limit = budgets[kind]

        def content(axes: Any) -> None:
            axes.hist(tokens[kind], bins=_NUM_BINS, range=(0, limit * 1.02), color=FIRST)
            axes.axvline(limit, color=SECOND, linestyle="--", linewidth=1.5)
            axes.set_title(f"{style}, {language}", loc="left")
            axes.set_xlabel("tokens")
            axes.set_ylabel("captions")

        return draw(
            f"tokens-{style}-{language}", f"Tokens of {style} captions in {language}", *_PANEL, content
        )

    rows = []
    for kind in tokens:
        least, _, middle, _, most = _five(tokens[kind])
        rows.append(
            [
                *kind,
                f"{len(tokens[kind]):,}",
                *(f"{v:.0f}" for v in (least, middle, most)),
                f"{budgets[kind]}",
            ]
        )
    return Chart(
        name="lengths",
        title="How long captions are",
        number=f"{sum(map(len, tokens.values())):,} captions",
        reading="The dashed line is the budget of tokens of the text encoder that the style is written for; "
        "no caption may pass it. Counted as the writer counts: a tokenizer never takes more.",
        pictures=tuple(map(panel, tokens)),
        table=Table(
            head=("Style", "Language", "Captions", "Shortest", "Median", "Longest", "Budget"),
            rows=rows,
            num_words=2,
        ),
        wide=True,
    )


def sentences_chart(uses: Mapping[tuple[str, str, str], Mapping[str, tuple[int, float]]]) -> Chart:
    """How often each sentence was used, and should be by chance, by (style, language, part)."""

    def panel(kind: tuple[str, str, str]) -> Markup:
        style, language, part = kind
        ratios = sorted((used / even for used, even in uses[kind].values() if even), reverse=True)

        def content(axes: Any) -> None:
            axes.bar(range(1, len(ratios) + 1), ratios, color=FIRST, width=0.8)
            axes.axhline(1, color=SECOND, linestyle="--", linewidth=1.5)
            axes.set_title(f"{style}, {language}: {part}", loc="left")
            axes.set_xlabel("sentences, most used first")
            axes.set_ylabel("use, 1 = even")
            axes.xaxis.get_major_locator().set_params(integer=True)

        words = f"Use of each {part} sentence of {style} captions in {language}"
        return draw("sentences-" + "-".join(kind), words, *_PANEL, content)

    return Chart(
        name="sentences",
        title="Which sentences they use",
        number=f"{sum(map(len, uses.values())):,} sentences",
        reading="Each bar is a sentence, its height how often it was used over how often it would be if all "
        "that fit were used alike; by chance alone bars leave the dashed line, less so with more captions.",
        pictures=tuple(map(panel, uses)),
        table=Table(
            head=("Style", "Language", "Part", "Sentence", "Used", "Even use"),
            rows=[
                [*kind, sentence, f"{used:,}", f"{even:,.0f}"]
                for kind, counts in uses.items()
                for sentence, (used, even) in sorted(counts.items(), key=lambda item: (-item[1][0], item[0]))
            ],
            num_words=4,
        ),
        wide=True,
    )


def _rows(axes: Any, names: Sequence[str]) -> None:
    """A row a name, the first on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="both", color=LINE)


def _legend(axes: Any, columns: int) -> None:
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, handletextpad=0.1, columnspacing=1.0
    )


def _height(names: Sequence[str]) -> float:
    return _FRAME + _ROW * max(len(names), 2)


def _five(values: Sequence[float]) -> tuple[float, float, float, float, float]:
    """Least, lower quartile, median, upper quartile and greatest."""
    low, middle, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return min(values), low, middle, high, max(values)


def _mark_name(sex: str | None) -> str:
    return {"F": "circles", "M": "squares"}.get(sex or "", "triangles")
