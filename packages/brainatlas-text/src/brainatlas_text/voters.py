"""Whose labels vote for a scan: never its own person's, one scan a person, of the splits that may.

Input: the target, the scans with labels of their own and the split of each person (drawn in `plan`). Output:
the voters, by key. With the rule `split` a person of validation or test votes for people of that split only,
so that nothing of their labels reaches a training sample; training people vote for everybody. People who are
in no split, those of another build's atlas, are in none of these samples and vote for everybody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from brainatlas_text.records import ATLAS_KEY, PreparedScan, Rejection, VoterRule

TRAINING = "train"


def choose_voters(
    target: PreparedScan,
    labeled: Iterable[PreparedScan],
    splits: Mapping[str, str] | None = None,
    rule: VoterRule = "all",
) -> tuple[PreparedScan, ...]:
    """Labeled scans that vote for a target, one a person, by key.

    Of several labeled scans of a person the one of the target's sequence votes, else a T1w, else the first
    by key; at equals one of this build before one that an atlas brings.
    """
    chosen: dict[str, PreparedScan] = {}
    for scan in sorted(labeled, key=lambda scan: _preference(scan, target)):
        if scan.subject != target.subject and may_vote(scan.subject, target.subject, splits or {}, rule):
            chosen.setdefault(scan.subject, scan)
    return tuple(sorted(chosen.values(), key=lambda scan: scan.key))


def assign_voters(
    scans: Iterable[PreparedScan], labeled: Iterable[PreparedScan], splits: Mapping[str, str], rule: VoterRule
) -> tuple[dict[str, tuple[PreparedScan, ...]], tuple[Rejection, ...]]:
    """Voters of each scan by key, none for one with labels of its own; and scans nobody may vote for."""
    voters: dict[str, tuple[PreparedScan, ...]] = {}
    refused = []
    candidates = tuple(labeled)
    for scan in scans:
        chosen = choose_voters(scan, candidates, splits, rule) if scan.dseg is None else ()
        if chosen or scan.dseg is not None:
            voters[scan.key] = chosen
        else:
            refused.append(_no_voters(scan, candidates, splits))
    return voters, tuple(refused)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Whose labels reached whose scans."""

    votes: Mapping[tuple[str | None, str], int]
    """Votes by the voter's split and that of the scan; None for voters of an atlas."""
    crossed: tuple[str, ...]
    """People of validation or test who voted for a scan of another split."""
    alone: tuple[str, ...]
    """Keys of the scans that one voter alone labeled."""


def tally(ballots: Mapping[str, tuple[str, Sequence[str]]], splits: Mapping[str, str]) -> Tally:
    """Count votes; a ballot is a scan's key, its person and those who voted."""
    votes = Counter(
        (splits.get(voter), splits[person]) for person, voters in ballots.values() for voter in voters
    )
    crossed = {
        voter
        for person, voters in ballots.values()
        for voter in voters
        if splits.get(voter) not in (None, TRAINING, splits[person])
    }
    alone = tuple(sorted(key for key, (_, voters) in ballots.items() if len(voters) == 1))
    return Tally(votes=votes, crossed=tuple(sorted(crossed)), alone=alone)


def carriers(scans: Iterable[PreparedScan]) -> frozenset[str]:
    """Keys of the scans between which labels may be carried, whatever the rule: targets and their voters."""
    known = tuple(scans)
    labeled = [scan for scan in known if scan.dseg is not None]
    targets = [scan for scan in known if scan.dseg is None]
    chosen = {voter.key for target in targets for voter in choose_voters(target, labeled)}
    return frozenset(chosen | {target.key for target in targets})


def keep_registered(
    voters: Mapping[str, tuple[PreparedScan, ...]],
    scans: Iterable[PreparedScan],
    registered: Callable[[str, str], bool],
) -> tuple[dict[str, tuple[PreparedScan, ...]], tuple[Rejection, ...]]:
    """The voters of each scan that have an affine to it, and scans to whom none is left."""
    kept: dict[str, tuple[PreparedScan, ...]] = {}
    refused = []
    for scan in scans:
        if scan.key not in voters:
            continue
        able = tuple(voter for voter in voters[scan.key] if registered(voter.key, scan.key))
        if able or scan.dseg is not None:
            kept[scan.key] = able
        else:
            detail = f"{scan.key}: its registrations to all {len(voters[scan.key])} voters were refused"
            advice = "their rejections say why; look at its brain mask, or exclude it"
            refused.append(
                Rejection(stage="label", key=scan.key, reason="no_voters", detail=f"{detail}; {advice}")
            )
    return kept, tuple(refused)


def _no_voters(scan: PreparedScan, labeled: Iterable[PreparedScan], splits: Mapping[str, str]) -> Rejection:
    others = {item.subject for item in labeled} - {scan.subject}
    why = (
        f"label.voters is split, and of the {len(others)} labeled people none lies in training "
        f"or in this person's split ({splits[scan.subject]})"
        if others
        else "nobody else has any to vote with"
    )
    advice = "add labeled people, or lend those of another data set with --atlas"
    detail = f"{scan.key} has no labels and {why}; {advice}"
    return Rejection(stage="label", key=scan.key, reason="no_voters", detail=detail)


def may_vote(voter: str, target: str, splits: Mapping[str, str], rule: VoterRule) -> bool:
    """Whether the labels of a person may inform those of another, given both people's splits."""
    own = splits.get(voter)
    return rule == "all" or own in (None, TRAINING) or own == splits.get(target)


def _preference(scan: PreparedScan, target: PreparedScan) -> tuple[bool, bool, bool, str]:
    lent = scan.key.startswith(ATLAS_KEY)
    return scan.sequence != target.sequence, scan.sequence != "T1w", lent, scan.key
