"""The command `show`, on a built data set."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from brainatlas_text import BrainAtlas, cli

pytestmark = pytest.mark.integration
KEY = "ibsr-01-t1w_ibsr-01-t1w_coronal-128"


def test_it_prints_facts_and_captions_and_writes_a_picture(tiny_dataset, tmp_path, capsys):
    picture = tmp_path / "new" / "slice.png"
    assert cli.main(["show", str(tiny_dataset), KEY, "--out", str(picture)]) == 0
    said, sample = capsys.readouterr().out, BrainAtlas(tiny_dataset)[KEY]
    assert KEY in said and sample.text in said and f"written: {picture}" in said
    for structure in sample.facts["structures"]:
        assert structure["name"] in said and f"{structure['area_mm2']:.1f}" in said
    labels = np.asarray(Image.open(io.BytesIO(sample.label_png)))
    rows, columns = np.nonzero(labels)
    with Image.open(picture) as page:
        assert (
            page.format == "PNG" and page.width > 2 * 3 * np.ptp(columns) and page.height > 3 * np.ptp(rows)
        )
    assert [path.name for path in picture.parent.iterdir()] == ["slice.png"]


def test_json_holds_the_facts_of_the_shards(tiny_dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["show", str(tiny_dataset), KEY, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"facts": BrainAtlas(tiny_dataset)[KEY].facts, "picture": f"{KEY}.png"}
    assert (tmp_path / f"{KEY}.png").is_file()


@pytest.mark.parametrize(
    ("key", "out", "words"),
    [
        (KEY.replace("coronal", "coronl"), "a.png", f"did you mean {KEY}?"),
        (KEY.replace("128", "129"), "a.png", "left out by render.slice_step = 16; the nearest is "),
        (KEY, "a.jpg", "a.jpg: expected the name of a picture to write, ending in .png"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    tiny_dataset, tmp_path, capsys, monkeypatch, key, out, words
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["show", str(tiny_dataset), key, "--out", out]) == 2
    said = capsys.readouterr()
    assert words in said.err and len(said.err.strip().splitlines()) == 1 and not said.out
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_data_set_is_said_to_be_none(tmp_path, capsys):
    assert cli.main(["show", str(tmp_path), KEY]) == 2
    assert "not a data set of brainatlas-text" in capsys.readouterr().err
