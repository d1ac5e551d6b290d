"""What `label_methods.py` shows of its measurements: rows as `Bench.measure` gives them."""

from __future__ import annotations

import sys
from itertools import product
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from brainatlas_text import scores


def show(rows: list[dict[str, Any]]) -> None:
    """A row a method, a column a group; the worst structure is the least mean over the group's scans."""
    groups = list(dict.fromkeys(row["group"] for row in rows))
    table = Table(title="mean Dice (worst structure); of tissues CSF / grey / white, filled grey")
    for heading in ("method", *groups, "CPU s"):
        table.add_column(heading)
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == method]
        cells = [cell([row for row in mine if row["group"] == group]) for group in groups]
        table.add_row(method, *cells, f"{np.mean([row['seconds'] for row in mine]):.1f}")
    Console(stderr=True, width=None if sys.stderr.isatty() else 160).print(table)


def show_gains(rows: list[dict[str, Any]]) -> None:
    """Of the default over the paper's way, in the structure that gains least: no structure may lose."""
    paper, *_, ours = dict.fromkeys(row["method"] for row in rows)
    for group in dict.fromkeys(row["group"] for row in rows):
        before, after = (
            means([row for row in rows if row["group"] == group and row["method"] == method])
            for method in (paper, ours)
        )
        gains = {name: after[name] - dice for name, dice in before.items() if name in scores.standard_names()}
        if gains:
            least = min(gains, key=lambda name: gains[name])
            over = f"{ours} over {paper} in {len(gains)} structures"
            print(f"{group}: {over}, least gain: {gains[least]:+.3f} ({least})", file=sys.stderr)


def means(rows: list[dict[str, Any]]) -> dict[str, float]:
    names = dict.fromkeys(name for row in rows for name in row["dice"])
    return {name: float(np.mean([r["dice"][name] for r in rows if name in r["dice"]])) for name in names}


def cell(rows: list[dict[str, Any]]) -> str:
    found = means(rows)
    if scores.FILLED in found:
        return " / ".join(f"{found[name]:.3f}" for name in (*scores.TISSUES.values(), scores.FILLED))
    named = {name: dice for name, dice in found.items() if name in scores.standard_names()}
    worst = min(named, key=lambda name: named[name])
    return f"{np.mean(list(named.values())):.3f} ({worst} {named[worst]:.2f})"


def results(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For `run.py`: the default beside each other method."""
    *others, ours = dict.fromkeys(row["method"] for row in rows)
    out = []
    for group, other in product(dict.fromkeys(row["group"] for row in rows), others):
        here = [row for row in rows if row["group"] == group]
        pair = [[row for row in here if row["method"] == name] for name in (ours, other)]
        wanted = scores.TISSUES.values() if "tissues" in group else scores.standard_names()
        found = [means(some) for some in pair]
        dice = [float(np.mean([dices[name] for name in wanted if name in dices])) for dices in found]
        seconds = [float(np.mean([row["seconds"] for row in some])) for some in pair]
        for what, unit, (mine, plain) in (("mean Dice", "Dice", dice), ("fusion", "CPU s", seconds)):
            row = {"what": f"{group}: {what}", "unit": unit, "ours": mine, "plain": plain}
            out.append(row | {"plain_is": other, "repeats": len(pair[0])})
    return out
