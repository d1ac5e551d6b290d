"""Who votes for whom: laws over made-up cohorts, and the choice of one scan a person."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainatlas_text import plan
from brainatlas_text.records import Facts, Preparation, PreparedScan
from brainatlas_text.voters import carriers, choose_voters

pytestmark = pytest.mark.unit
NOWHERE = Path("x")
PREPARED = PreparedScan(
    key="a-1-t1w", subject="a-1", source="a", sequence="T1w", image=NOWHERE, mask=NOWHERE, dseg=NOWHERE,
    look=NOWHERE, facts=Facts(), terms="ixi", source_zooms_mm=(1, 1, 1), orientation_source="header",
    digest="0",
    preparation=Preparation(
        stored_codes="RAS", stored_shape=(1, 1, 1), stored_zooms_mm=(1, 1, 1), oblique_deg=0.0,
        mask_method="stripped", mask_detail="", brain_ml=1000.0, bias_correction=None, intensity_range=(0, 1),
        histogram_before=(), histogram_after=(),
    ),
)  # fmt: skip
SEQUENCES = ("T1w", "T2w", "FLAIR")


def scan(person, sequence="T1w", visit=1, *, labeled=True, prefix=""):
    return replace(
        PREPARED,
        key=f"{prefix}a-{person}-{visit}-{sequence.lower()}",
        subject=f"a-{person}",
        sequence=sequence,
        dseg=NOWHERE if labeled else None,
    )


def keys(scans):
    return [item.key for item in scans]


cohorts = st.lists(
    st.builds(
        scan,
        st.integers(1, 9),
        st.sampled_from(SEQUENCES),
        st.integers(1, 2),
        labeled=st.booleans(),
        prefix=st.sampled_from(("", "atlas-")),
    ),
    min_size=1,
    max_size=20,
    unique_by=lambda item: item.key,
)


@given(cohorts, st.integers(0, 50), st.sampled_from(("all", "split")))
def test_nobody_votes_for_themselves_or_twice_and_none_that_may_is_left_out(scans, seed, rule):
    own = [item for item in scans if not item.key.startswith("atlas-")]
    splits = plan.split_subjects({item.subject: item.source for item in own}, seed, "default")
    labeled = [item for item in scans if item.dseg is not None]
    for target in own:
        voters = choose_voters(target, labeled, splits, rule)
        people = [voter.subject for voter in voters]
        assert target.subject not in people and len(set(people)) == len(people)
        assert keys(voters) == sorted(keys(voters))
        allowed = {item.subject for item in labeled if item.subject != target.subject}
        if rule == "split":
            homes = ("train", splits[target.subject])
            allowed = {person for person in allowed if splits.get(person, "train") in homes}
        assert set(people) == allowed
        for voter in voters:
            theirs = {item.sequence for item in labeled if item.subject == voter.subject}
            assert voter.sequence == target.sequence or target.sequence not in theirs
            assert voter.sequence in (target.sequence, "T1w") or "T1w" not in theirs


@given(cohorts, st.integers(0, 50))
def test_with_split_no_held_out_label_reaches_training(scans, seed):
    """The law itself, however it is met: training scans hear of no label of validation or test people."""
    splits = plan.split_subjects({item.subject: item.source for item in scans}, seed, "paper")
    labeled = [item for item in scans if item.dseg is not None]
    for target in scans:
        for voter in choose_voters(target, labeled, splits, "split"):
            if splits[target.subject] == "train":
                assert splits[voter.subject] == "train"
            assert {splits[voter.subject], splits[target.subject]} != {"validation", "test"}


def test_of_several_scans_of_a_person_that_of_the_targets_sequence_votes():
    both = [scan(1, "T1w"), scan(1, "FLAIR"), scan(1, "T1w", visit=2), scan(2, "T2w")]
    assert keys(choose_voters(scan(3, "FLAIR", labeled=False), both)) == ["a-1-1-flair", "a-2-1-t2w"]
    assert keys(choose_voters(scan(3, "T2w", labeled=False), both)) == ["a-1-1-t1w", "a-2-1-t2w"]
    assert keys(choose_voters(scan(3, "T1w", labeled=False), reversed(both))) == ["a-1-1-t1w", "a-2-1-t2w"]


def test_a_person_of_an_atlas_who_is_here_too_votes_once_and_never_for_themselves():
    lent = [scan(1, prefix="atlas-"), scan(2, prefix="atlas-")]
    here = [scan(1), scan(2, labeled=False), scan(3, labeled=False)]
    splits = {"a-1": "test", "a-2": "train", "a-3": "train"}
    assert keys(choose_voters(here[2], [here[0], *lent], splits)) == ["a-1-1-t1w", "atlas-a-2-1-t1w"]
    assert keys(choose_voters(here[1], [here[0], *lent], splits)) == ["a-1-1-t1w"]
    assert keys(choose_voters(here[2], [here[0], *lent], splits, "split")) == ["atlas-a-2-1-t1w"]


@given(cohorts, st.integers(0, 50), st.sampled_from(("all", "split")))
def test_carriers_are_all_scans_that_get_labels_and_all_that_can_be_asked_for_them(scans, seed, rule):
    splits = {
        person: "train" if (seed + n) % 3 else "test" for n, person in enumerate({s.subject for s in scans})
    }
    labeled = [item for item in scans if item.dseg is not None]
    targets = [item for item in scans if item.dseg is None]
    asked = {v.key for target in targets for v in choose_voters(target, labeled, splits, rule)}
    found = carriers(scans)
    assert asked | {target.key for target in targets} <= found
    assert bool(found) == bool(targets)


def test_labeled_scans_that_nobody_asks_are_no_carriers():
    both = [scan(1), scan(1, "T2w"), scan(2, labeled=False)]
    assert carriers(both) == {"a-1-1-t1w", "a-2-1-t1w"}
