import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainldm.data import (
    DataConfig,
    Stream,
    chance,
    draw_evenly,
    open_samples,
    prefetched,
    reduce_picture,
    splits,
)
from brainldm.errors import DataError, LaunchError
from brainldm.shard_index import fingerprint

pytestmark = pytest.mark.unit


def seen(num_samples: int, batch_size: int, ranks: int, cursor: int, steps: int) -> list[list[int]]:
    """Numbers of the samples of each step, all ranks together."""
    streams = [
        Stream(num_samples, seed=3, batch_size=batch_size, rank=rank, num_ranks=ranks)
        for rank in range(ranks)
    ]
    return [
        [
            number
            for stream in streams
            for number in stream.numbers(stream.positions(cursor + step * batch_size))
        ]
        for step in range(steps)
    ]


@given(st.integers(1, 50), st.sampled_from([1, 2, 3, 4]), st.integers(1, 4), st.integers(0, 200))
def test_ranks_share_out_what_one_process_would_see(num_samples, ranks, per_rank, cursor):
    batch_size = ranks * per_rank
    alone = seen(num_samples, batch_size, 1, cursor, 4)
    shared = seen(num_samples, batch_size, ranks, cursor, 4)
    assert [sorted(step) for step in alone] == [sorted(step) for step in shared]


@given(st.integers(1, 40), st.integers(1, 8))
def test_an_epoch_shows_every_sample_once(num_samples, batch_size):
    steps = -(-3 * num_samples // batch_size)
    order = [number for step in seen(num_samples, batch_size, 1, 0, steps) for number in step]
    for epoch in range(3):
        part = order[epoch * num_samples : (epoch + 1) * num_samples]
        assert sorted(part) == list(range(num_samples))


def test_epochs_differ_and_seeds_differ():
    orders = {
        tuple(Stream(30, seed=seed, batch_size=30).numbers(np.arange(30) + 30 * epoch))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(orders) == 4


def test_going_on_under_another_number_of_processes_loses_and_repeats_nothing():
    whole = seen(20, 4, 1, 0, 10)
    pieces = seen(20, 4, 1, 0, 3) + seen(20, 4, 2, 12, 4) + seen(20, 4, 1, 28, 3)
    assert [sorted(step) for step in whole] == [sorted(step) for step in pieces]


def test_a_batch_that_cannot_be_dealt_evenly_is_refused():
    with pytest.raises(LaunchError, match="batch_size = 8 images a step cannot be dealt evenly to 3"):
        Stream(10, seed=0, batch_size=8, num_ranks=3)


def test_chance_belongs_to_a_position():
    assert chance(1, 5).random() == chance(1, 5).random()
    assert len({chance(seed, position).random() for seed in (1, 2) for position in (5, 6)}) == 4


def test_prefetching_changes_nothing_and_passes_errors_on():
    assert list(prefetched(lambda cursor: cursor * 2, range(5))) == [0, 2, 4, 6, 8]
    with pytest.raises(ZeroDivisionError):
        list(prefetched(lambda cursor: 1 // cursor, [1, 0]))


def test_a_picture_is_cropped_at_the_center_and_averaged_over_areas():
    pixels = np.zeros((256, 256), np.uint8)
    pixels[32:35, 32:35] = 90  # the first area of the kept square
    pixels[:32] = 255
    reduced = reduce_picture(pixels, 192, 64)
    assert reduced.shape == (64, 64) and reduced[0, 0] == 90 and reduced.sum() == 90


def test_a_subset_is_drawn_evenly_over_subjects():
    subjects = np.array(["a"] * 50 + ["b"] * 5 + ["c"] * 2, dtype=object)
    chosen = subjects[draw_evenly(subjects, 12)]
    assert {name: int((chosen == name).sum()) for name in "abc"} == {"a": 5, "b": 5, "c": 2}


def test_samples_are_what_the_shards_hold(dataset: Path, shard_tools):
    samples = open_samples(dataset, DataConfig(caption_styles=("short",)), split="test")
    assert len(samples) == 72 and splits(dataset) == ("train", "test")
    for number in (0, 35, 71):
        sample = samples[number]
        picture = shard_tools.picture(
            sample.facts["sequence"],
            sample.facts["position_fraction"],
            ("axial", "coronal", "sagittal").index(sample.facts["plane"]),
        )
        np.testing.assert_array_equal(sample.image, picture)
        assert sample.caption == sample.facts["captions"][1]["text"]
        assert sample.key == samples.keys([number])[0]


def test_filters_choose_by_plane_sequence_and_source(dataset: Path):
    config = DataConfig(planes=("axial", "coronal"), sequences=("T2w", "FLAIR"), sources=("kirby",))
    samples = open_samples(dataset, config)
    facts = {(s.facts["plane"], s.facts["sequence"], s.facts["source"]) for s in samples}
    assert facts == {("axial", "FLAIR", "kirby"), ("coronal", "FLAIR", "kirby")}


def test_the_cached_index_is_the_scanned_one_until_a_shard_changes(dataset: Path, tmp_path: Path):
    copy = Path(shutil.copytree(dataset, tmp_path / "data set"))
    first = open_samples(copy, DataConfig(), cache=tmp_path / "cache")
    again = open_samples(copy, DataConfig(), cache=tmp_path / "cache")
    assert first.index.equals(again.index) and len(list((tmp_path / "cache").iterdir())) == 1
    before = fingerprint(copy, "train", times=True)
    shard = next((copy / "data" / "train").iterdir())
    shard.write_bytes(shard.read_bytes() + bytes(1024))
    assert fingerprint(copy, "train", times=True) != before


def test_the_index_says_where_python_finds_the_members(dataset: Path):
    samples = open_samples(dataset, DataConfig(), split="test")
    path = sorted((dataset / "data" / "test").iterdir())[0]
    with tarfile.open(path) as tar:
        offsets = {member.name: member.offset_data for member in tar}
    rows = [row for row in samples.index.to_pylist() if row["shard"] == 0]
    assert rows and all(offsets[f"{row['key']}.png"] == row["png_offset"] for row in rows)
    assert all(offsets[f"{row['key']}.json"] == row["json_offset"] for row in rows)


def broken(kind: str, path: Path, tools) -> None:
    """One shard with one fault."""
    samples = [tools.make_sample("train", subject, "T1w", "axial", 128) for subject in (1, 2)]

    def members(facts):
        content = tools.members_of(facts)
        if facts is samples[1]:
            if kind == "member":
                del content["seg.png"]
            elif kind == "version":
                content["json"] = json.dumps(facts | {"format_version": 2}).encode()
            elif kind == "size":
                content["png"] = tools.png(np.zeros((128, 256), np.uint8))
            elif kind == "picture":
                content["png"] = b"not a picture"
            elif kind == "json":
                content["json"] = b"{"
        return content

    tools.write_shard(path, samples, members)
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:3000])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "other":
        path.write_bytes(b"x" * 4096)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("member", "oasis-002-t1w_oasis-002-t1w_axial-128 lacks .*seg.png"),
        ("version", "expected format_version 1, found 2"),
        ("size", "axial-128.png: expected 8-bit grey 256 x 256, found uint8 128 x 256"),
        ("picture", "axial-128.png: expected a PNG"),
        ("json", "axial-128.json: expected JSON"),
        ("cut", "cut off at byte 3000"),
        ("empty", "found an empty file"),
        ("other", "expected a tar header at byte 0"),
    ],
)
def test_a_broken_shard_is_named(kind: str, message: str, tmp_path: Path, shard_tools):
    broken(kind, tmp_path / "data" / "train" / "oasis-axial-00000.tar", shard_tools)
    with pytest.raises(DataError, match=message) as caught:
        for _ in open_samples(tmp_path, DataConfig()):
            pass
    assert "oasis-axial-00000.tar" in str(caught.value) and "\n" not in str(caught.value)


def test_missing_folders_and_splits_say_what_to_give(dataset: Path, tmp_path: Path):
    with pytest.raises(DataError, match="no such data set folder; give one with --data, for example"):
        open_samples(tmp_path / "nowhere", DataConfig())
    with pytest.raises(DataError, match=r"expected shards in data/validation.*found train, test"):
        open_samples(dataset, DataConfig(), split="validation")
    with pytest.raises(DataError, match=r"no sample of split train passes the filters.*sources = adni"):
        open_samples(dataset, DataConfig(sources=("adni",)))
    with pytest.raises(
        DataError, match=r"expected captions in style report \(en\), found full \(en\), short"
    ):
        open_samples(dataset, DataConfig(caption_styles=("report",)))[0]
