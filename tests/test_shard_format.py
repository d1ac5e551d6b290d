"""One tiny shard, written by brainatlas_text, read by brainldm and webdataset (docs/shard-format.md)."""

import io
import json
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from brainatlas_text import caption, card, shards
from brainatlas_text.engines import png
from brainatlas_text.records import Sample, Shard, SliceFacts
from brainatlas_text.workspace import Workspace
from brainldm.data import DataConfig, open_samples
from brainldm.errors import DataError

pytestmark = pytest.mark.integration
MEMBERS = ("png", "seg.png", "txt", "json")


def sample(index: int, **changes: object) -> Sample:
    key = f"ixi-517-t2w_ibsr-01-t1w_axial-{index:03d}"
    rng = np.random.default_rng(index)
    image = rng.integers(0, 256, (256, 256)).astype(np.uint8)
    labels = np.full((256, 256), 17, np.uint8)
    facts = SliceFacts(
        sequence="T2w",
        plane="axial",
        index=index,
        position_mm=-0.5,
        position_fraction=0.5,
        age_years=None,
        juvenile=False,
        sex="F",
        structures=(),
    )
    captions = caption.write(facts, seed=7, key=key)
    stated = {
        "format_version": shards.FORMAT_VERSION,
        "key": key,
        "split": "train",
        "moving": "ixi-517-t2w",
        "fixed": "ibsr-01-t1w",
        "subject": "ixi-517",
        "fixed_subject": "ibsr-01",
        "source": "ixi",
        "sequence": "T2w",
        "plane": "axial",
        "index": index,
        "position_mm": -0.5,
        "position_fraction": 0.5,
        "spacing_mm": [1.0, 1.0],
        "source_zooms_mm": [0.94, 0.94, 1.2],
        "age_years": None,
        "juvenile": False,
        "sex": "F",
        "label_method": "majority",
        "label_voters": ["ibsr-01-t1w"],
        "terms": "ibsr+ixi",
        "structures": [],
        "dropped_structures": 0,
        "captions": [{"style": c.style, "language": c.language, "text": c.text} for c in captions],
    }
    return Sample(
        key=key,
        image_png=png.encode_grey(image),
        label_png=png.encode_grey(labels),
        text=captions[0].text,
        facts=stated | changes,
    )


def write(root: Path, *samples: Sample) -> Shard:
    shard = shards.write_shard(Workspace(root), "train", "ixi", "axial", 0, samples)
    shards.write_shard_table(root / "shards.parquet", [shard])
    return shard


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, sample(127), sample(90))
    return tmp_path


def test_the_page_and_the_card_name_the_same_facts_as_the_writer():
    page = (Path(__file__).parents[1] / "docs" / "shard-format.md").read_text()
    named = re.findall(r"^\| (`[^|]+`) \|", page.split("## Facts")[1], re.M)
    on_page = [name for cell in named for name in re.findall(r"`([^`\[]+)`", cell)]
    assert list(sample(1).facts) == on_page == list(card.COLUMNS["json"])


def test_members_stand_together_in_order_with_nothing_of_this_machine(folder):
    with tarfile.open(folder / "data/train/ixi-axial-00000.tar") as tar:
        members = tar.getmembers()
    keys = [sample(index).key for index in (127, 90)]
    assert [m.name for m in members] == [f"{key}.{ending}" for key in keys for ending in MEMBERS]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}


def test_equal_samples_are_equal_bytes(folder, tmp_path_factory):
    again = write(tmp_path_factory.mktemp("again"), sample(127), sample(90))
    assert again.sha256 == write(folder, sample(127), sample(90)).sha256
    assert again.num_bytes == (folder / again.path).stat().st_size


def test_brainldm_reads_what_brainatlas_text_wrote(folder):
    config = DataConfig(caption_styles=("short",))
    found = {row.key: row for row in open_samples(folder, config)}
    assert set(found) == {sample(127).key, sample(90).key}
    row, written = found[sample(90).key], sample(90)
    np.testing.assert_array_equal(row.image, np.asarray(Image.open(io.BytesIO(written.image_png))))
    assert row.facts == written.facts
    assert row.caption in [c["text"] for c in written.facts["captions"] if c["style"] == "short"]


def test_webdataset_reads_it(folder):
    rows = list(webdataset.WebDataset(str(folder / "data/train/ixi-axial-00000.tar"), shardshuffle=False))
    assert [row["__key__"] for row in rows] == [sample(127).key, sample(90).key]
    assert json.loads(rows[0]["json"]) == sample(127).facts
    assert rows[0]["seg.png"] == sample(127).label_png


def test_another_format_version_is_refused_by_name(tmp_path):
    write(tmp_path, sample(127, format_version=2))
    with pytest.raises(DataError, match="format_version"):
        list(open_samples(tmp_path, DataConfig()))
