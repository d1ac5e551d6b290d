import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from brainldm.logs import Meter, StageLog, labelled_grid, montage

pytestmark = pytest.mark.unit


def test_the_meter_gives_means_since_the_last_line():
    meter = Meter(10, 20, 30)
    for value in (1.0, 2.0, 6.0):
        meter.add({"loss": torch.tensor(value)})
    assert meter.means() == meter.last == {"loss": 3.0}
    meter.add({"loss": torch.tensor(5.0), "other": torch.tensor(1.0)})
    assert meter.means() == {"loss": 5.0, "other": 1.0}


def test_things_are_due_when_a_multiple_was_passed():
    meter = Meter(10, 20, 30)
    due = {seen: meter.due(seen, 8, last=seen == 32) for seen in (8, 16, 24, 32)}
    assert due == {
        8: (False, False, False),
        16: (True, False, False),
        24: (True, True, False),
        32: (True, True, True),
    }


def test_a_resumed_stage_forgets_what_will_be_logged_again(tmp_path: Path):
    lines = [{"stage": "vae", "images": 40}, {"stage": "ldm", "images": 10}, {"stage": "ldm", "images": 20}]
    cut = '{"stage": "ldm", "ima'
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + cut)
    with StageLog(tmp_path, "ldm", total=40, images_seen=10, enabled=True) as log:
        log.scalars(20, {"loss": 0.5})
    found = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert found[:2] == lines[:2] and found[2]["images"] == 20 and found[2]["loss"] == 0.5 and len(found) == 3


def test_other_ranks_write_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with (
        caplog.at_level(logging.INFO),
        StageLog(tmp_path, "vae", total=8, images_seen=0, enabled=False) as log,
    ):
        log.scalars(8, {"loss": 0.5})
        log.picture(8, "x", np.zeros((4, 4), np.uint8))
    assert not list(tmp_path.iterdir()) and not caplog.records


def test_without_a_terminal_the_last_line_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with (
        caplog.at_level(logging.INFO),
        StageLog(tmp_path, "vae", total=8, images_seen=0, enabled=True) as log,
    ):
        log.scalars(8, {"loss": 0.5})
    assert "vae: 8 of 8 images, loss 0.5" in caplog.text and "0.0 min left" in caplog.text


def test_a_montage_keeps_every_pixel():
    first, second = np.full((2, 4, 4), 100, np.uint8), np.full((1, 4, 4), 200, np.uint8)
    sheet = montage([first, second])
    assert sheet.shape == (10, 10) and (sheet[:4, :4] == 100).all() and (sheet[6:, :4] == 200).all()


def test_a_labelled_grid_has_a_cell_for_each_image():
    rows = [np.full((2, 8, 8), 150, np.uint8), np.full((2, 8, 8), 50, np.uint8)]
    grid = np.asarray(labelled_grid(rows, ["T1w", "T2w"], ["axial", "coronal"], 32))
    assert grid.shape == (18 + 64, 18 + 64)
    assert (grid[18:50, 18:50] == 150).all() and (grid[50:, 50:] == 50).all()
    assert grid[:18, 18:].max() > 150 and grid[18:, :18].max() > 150
