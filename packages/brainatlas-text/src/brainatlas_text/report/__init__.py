"""`brainatlas-text report OUT`: one page about a finished data set, to look at and to pass on with it.

Input: the finished data set, opened; its tables of measures, and a fair draw of its samples from the shards.
Output: OUT/report/index.html, which shows what the sources' terms allow to be passed on; with `private`
OUT/work/report/index.html, which shows everything (docs/decisions/0014-report.md). One file without a
request; pictures and points are bounded, so it stays small and quick however large the data set is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from brainatlas_text import plan, wording
from brainatlas_text.dataset import BrainAtlas
from brainatlas_text.pages import shell
from brainatlas_text.records import Sample
from brainatlas_text.report import charts, measures
from brainatlas_text.report.charts import Chart
from brainatlas_text.report.counts import Counts, count
from brainatlas_text.report.drawing import check_plots
from brainatlas_text.report.montage import sheets
from brainatlas_text.report.permits import Permits
from brainatlas_text.report.reading import some_samples
from brainatlas_text.report.survey import Survey, survey
from brainatlas_text.report.viewer import slide
from brainatlas_text.sources import terms_of
from brainatlas_text.wording import Wording

PUBLIC, PRIVATE = Path("report") / "index.html", Path("work") / "report" / "index.html"
"""Below the data set folder."""
MAX_REJECTIONS = 500
"""Listed with their reasons; all are counted."""


def write_report(out: Path, *, private: bool = False) -> Path:
    """Write the page about a finished data set; its path.

    Raises InputError for a folder that is none, and where the charts' library is missing.
    """
    check_plots()
    atlas = BrainAtlas(out)
    permits = Permits(private=private)
    words = wording.load(wording.within(atlas.root, atlas.recipe.caption))
    samples = some_samples(atlas.root, atlas.shards)
    found = survey(samples, atlas.recipe.seed, words, _may_show(atlas, permits))
    counts = count(atlas)
    page = shell.render(
        "report.html",
        name=atlas.root.resolve().name,
        recipe=atlas.recipe.name,
        private=private,
        counts=counts,
        kept_apart=plan.split_rule(atlas.recipe.plan),
        steps=_steps(atlas, counts),
        sheets=sheets(atlas.root, atlas.scans.values(), permits),
        groups=[(group, [slide(s, words) for s in chosen]) for group, chosen in found.shown.items()],
        num_read=found.num_samples,
        charts=_charts(atlas, permits, found, words),
        rejections=[asdict(rejection) for rejection in atlas.rejections[:MAX_REJECTIONS]],
        num_rejected=len(atlas.rejections),
        terms=_terms(atlas),
    )
    return shell.write(atlas.root / (PRIVATE if private else PUBLIC), page)


def _may_show(atlas: BrainAtlas, permits: Permits) -> Callable[[Sample], bool]:
    def may_show(sample: Sample) -> bool:
        scan = atlas.scans[str(sample.facts["moving"])]
        return permits.picture(scan) and permits.labels(scan)

    return may_show


def _steps(atlas: BrainAtlas, counts: Counts) -> list[tuple[str, str]]:
    """The way from scans to samples, with this data set's numbers."""
    sources, rejected = len(counts.people), len(atlas.rejections)
    voted = counts.num_scans - counts.labeled
    planes, by_hub = ", ".join(atlas.recipe.render.planes), atlas.recipe.register_.method == "hub"
    return [
        ("Scans", f"{counts.num_scans} used of {sources} source{'s' * (sources > 1)}, {rejected} rejected"),
        ("Prepare", "turned to RAS+, brain masked, intensities normalized"),
        ("Register", "each scan to the template" if by_hub else "each pair directly"),
        ("Label", f"{counts.labeled} with their source's labels, {voted} voted by others"),
        ("Plan", f"{counts.planned:,} ordered pairs, {counts.kept:,} kept; splits by person"),
        ("Render", f"one anatomy in another's pose; {planes}"),
        ("Measure, caption", "every number from that slice"),
        ("Shards", f"{counts.slices:,} samples, {counts.megabytes:,.1f} MB"),
    ]


def _charts(atlas: BrainAtlas, permits: Permits, found: Survey, words: Wording) -> list[Chart]:
    """Every chart that has something to show."""
    natives = measures.native_rows(atlas.root)
    shown = measures.prevalence(atlas.root, atlas.shards)
    counted, parts = shown.parts
    of = "" if counted == parts else f" in {counted} of {parts} blocks, spread evenly"
    agreeing = measures.agreement(natives)
    people = measures.people(natives, atlas.scans, permits.sizes)
    names = [name for name in measures.SHOWN if any(name in person.volumes_ml for person in people)]
    budgets = {kind: words.budget(*kind).limit for kind in found.tokens}
    drawn = [
        shown.shares and charts.prevalence_chart(shown.shares, shown.slices, of),
        agreeing and charts.agreement_chart(agreeing, max(map(len, agreeing.values()))),
        charts.volumes_chart(people, names, _left_out(atlas, permits)),
        found.tokens and charts.lengths_chart(found.tokens, budgets),
        found.sentences and charts.sentences_chart(found.sentences),
    ]
    return [chart for chart in drawn if chart]


def _left_out(atlas: BrainAtlas, permits: Permits) -> str:
    """Whose volumes are not shown, and why."""
    people = {scan.prepared.subject: scan for scan in atlas.scans.values()}.values()
    forbidden = sorted({scan.prepared.source for scan in people if not permits.sizes(scan)})
    ageless = sum(scan.prepared.facts.age_years is None for scan in people if permits.sizes(scan))
    sentences = []
    if forbidden:
        sentences.append(
            f"Not shown: people of {', '.join(forbidden)}, whose terms do not allow such studies."
        )
    if ageless:
        who = "1 person" if ageless == 1 else f"{ageless} people"
        sentences.append(f"Not shown{' either' if forbidden else ''}: {who} of unknown age.")
    return " ".join(sentences)


def _terms(atlas: BrainAtlas) -> list[tuple[str, str, str]]:
    """Name, sentence and acknowledgement of the terms that bind the data set."""
    keys = sorted({key for scan in atlas.scans.values() for key in scan.labeled.terms.split("+")})
    return [(t.name, t.terms, t.acknowledgement) for t in map(terms_of, keys)]
