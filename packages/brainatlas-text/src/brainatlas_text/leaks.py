"""Who is shown in which split, and whose labels reached whom: what names alone can prove.

The plan, `scans.parquet` and every sample of the shards must say the same.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from brainatlas_text import voters
from brainatlas_text.evidence import CheckResult, Evidence, and_, counted, few
from brainatlas_text.records import PlannedPair


def check_people(evidence: Evidence) -> CheckResult:
    """Who is shown in which split, by the plan, `scans.parquet` and every sample."""
    plan = evidence.atlas.plan
    kept = [pair for pair in plan.values() if pair.split is not None]
    shown: dict[str, dict[str, str]] = defaultdict(dict)
    for pair in kept:
        shown[pair.moving_subject].setdefault(str(pair.split), pair.pair)
    posed = [pair for pair in kept if pair.split not in shown.get(pair.fixed_subject, {})]
    declared = evidence.atlas.recipe.plan.splits == "paper"
    breaches = [
        f"{person} is shown in {and_(f'{split} ({pair})' for split, pair in sorted(places.items()))}"
        for person, places in sorted(shown.items())
        if len(places) > 1
    ]
    if not declared:
        breaches += few(_posed(pair, shown) for pair in posed)
    breaches += few(_contradictions(evidence))
    lent = Counter(str(pair.split) for pair in posed)
    notes = (
        f"{len(posed)} pairs ({counted(lent)}) show people in the pose of somebody of another split: "
        "plan.splits = paper declares it",
    )
    samples = sum(contents.num_samples for contents in evidence.contents)
    splits = Counter(split for places in shown.values() for split in places)
    return CheckResult(
        check="people",
        proof=f"{len(shown)} people ({counted(splits)}) in {len(plan)} planned pairs, {len(kept)} of them "
        f"kept, and in {samples} samples of {len(evidence.contents)} shards: who is shown, and in whose pose",
        breaches=tuple(breaches),
        notes=notes if posed and declared else (),
        figures={"people": dict(splits), "pairs": len(plan), "kept": len(kept), "samples": samples},
    )


def check_voters(evidence: Evidence) -> CheckResult:
    """Whose labels reached whom, by `scans.parquet` and every sample; crossings must be declared."""
    natives = {pair.moving: pair for pair in evidence.atlas.plan.values() if pair.moving == pair.fixed}
    persons = {key: pair.moving_subject for key, pair in natives.items()}
    splits = {pair.moving_subject: pair.split for pair in natives.values() if pair.split is not None}
    ballots = {
        row["key"]: (persons[row["key"]], [persons.get(voter, voter) for voter in row["label_voters"]])
        for row in evidence.scan_rows
        if row["key"] in persons and persons[row["key"]] in splits
    }
    tally = voters.tally(ballots, splits)
    crossings = sum(
        count for (voter, target), count in tally.votes.items() if voter is not None and voter != target
    )
    num_votes, rule = sum(tally.votes.values()), evidence.atlas.recipe.label.voters
    breaches = [
        f"{person} voted for their own scan {key}" for key, (person, by) in ballots.items() if person in by
    ]
    if rule == "split":
        breaches += [
            f"{person} voted for scans of another split, but label.voters is split"
            for person in tally.crossed
        ]
    breaches += few(_undeclared(evidence, persons, tally.crossed))
    return CheckResult(
        check="voters",
        proof=f"{num_votes} votes for {len(ballots)} scans (label.voters = {rule}), {crossings} of them "
        f"across splits; {len(tally.crossed)} people of validation or test voted for another split",
        breaches=tuple(breaches),
        notes=(f"labels of {and_(tally.crossed)} reached another split, as the card declares",)
        if tally.crossed and rule == "all"
        else (),
        figures={"votes": num_votes, "across": crossings, "crossed": list(tally.crossed)},
    )


def _posed(pair: PlannedPair, shown: Mapping[str, Mapping[str, str]]) -> str:
    theirs = and_(sorted(shown.get(pair.fixed_subject, {"no split": ""})))
    return f"{pair.fixed_subject}, of {theirs}, lends their pose to {pair.pair} in {pair.split}"


def _contradictions(evidence: Evidence) -> Iterator[str]:
    """Where the tables or a shard say other things than the plan."""
    plan = evidence.atlas.plan
    for row in evidence.scan_rows:
        native = plan.get(f"{row['key']}_{row['key']}")
        said = (row["subject"], row["split"])
        if native is None or said != (native.moving_subject, native.split):
            planned = "no such scan" if native is None else f"{native.moving_subject} in {native.split}"
            yield f"scans.parquet has {row['key']} as {row['subject']} in {row['split']}, the plan {planned}"
    for contents in evidence.contents:
        for origin, count in sorted(contents.origins.items(), key=str):
            pair = plan.get(f"{origin.moving}_{origin.fixed}")
            named = (origin.subject, origin.fixed_subject, origin.split)
            if pair is None or named != (pair.moving_subject, pair.fixed_subject, pair.split):
                what = f"{count} samples of {origin.moving}_{origin.fixed}"
                yield f"{contents.path}: {what} name {and_(named)}, the plan does not"
            elif origin.split != contents.split:
                yield f"{contents.path}: {count} samples of {pair.pair} belong to {origin.split}"


def _undeclared(evidence: Evidence, persons: Mapping[str, str], crossed: Iterable[str]) -> Iterator[str]:
    """People whose labels crossed splits without the card's saying so, and samples that name other voters."""
    card = (evidence.root / "README.md").read_text(encoding="utf-8")
    yield from (
        f"{person} voted across splits, and the card does not say so"
        for person in crossed
        if not re.search(rf"(?<![\w-]){re.escape(person)}(?![\w-])", card)
    )
    voters_of = {row["key"]: tuple(row["label_voters"]) for row in evidence.scan_rows}
    for contents in evidence.contents:
        for origin in sorted(contents.origins, key=str):
            if origin.moving in persons and origin.voters != voters_of.get(origin.moving):
                yield f"{contents.path}: samples of {origin.moving} name other voters than scans.parquet"
