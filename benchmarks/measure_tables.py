"""Microseconds a slice that the tables of measures cost, beside a list of dicts and pandas."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from measure_and_caption import alternate, native, row, synthetic  # before it, one thread is set

from brainatlas_text import block_stages, measure_tables, samples
from brainatlas_text.measure_tables import MeasureConfig
from brainatlas_text.recipe import load_recipe
from brainatlas_text.samples import MeasuredPair
from brainatlas_text.workspace import Workspace


def main() -> None:
    """Print the rows as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "dataset"
        scan = synthetic(Path(folder), Workspace(root))
        settings = block_stages.settings_of(root, load_recipe("default"))
        made = samples.measure_pair(root, native(scan), scan, scan, np.eye(4), settings)
        num_slices = sum(map(len, made.kept.values()))

        def tables(csv: bool) -> None:
            rows = [measure_tables.tables_of(made)]
            measure_tables.write_tables(root, "train-ibsr-00000", rows, MeasureConfig(csv=csv))

        both, parquet, by_pandas = alternate(
            lambda: tables(True), lambda: tables(False), lambda: with_pandas(made, root)
        )
    seconds = {"Parquet and CSV": (both, by_pandas), "Parquet alone": (parquet, by_pandas)}
    print(
        json.dumps(
            [
                row(
                    f"tables of measures, {what}",
                    *(1e6 * value / num_slices for value in times),
                    "dicts and pandas, both files",
                )
                for what, times in seconds.items()
            ]
        )
    )


def with_pandas(made: MeasuredPair, root: Path) -> None:
    """The table of slices, row by row."""
    rows = []
    for plane, kept in made.kept.items():
        start = made.rendered.start[("sagittal", "coronal", "axial").index(plane)]
        for index in kept:
            for found in made.measures.slice_structures(plane, index - start):
                x, y, z = found.centroid_mm
                said = {
                    "key": samples.sample_key(made.pair.pair, plane, index),
                    "plane": plane,
                    "index": index,
                }
                measured = {"area_mm2": found.area_mm2, "x_mm": x, "y_mm": y, "z_mm": z}
                what = {"label": found.label, "name": found.name, "side": found.side}
                rows.append(said | what | measured | {"agreement": found.agreement})
    table = pd.DataFrame(rows)
    table.to_parquet(root / "by-hand.parquet")
    table.to_csv(root / "by-hand.csv", index=False)


if __name__ == "__main__":
    main()
