"""Run the benchmarks beside this file, or the named ones, and print what they measured as one table.

Example:
    python benchmarks/run.py help_time --json bench.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent


def main() -> int:
    """Exit code 1 where a benchmark failed, 2 where a name is unknown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="file name without .py; all where none is given"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    arguments = parser.parse_args()
    known = sorted(path.stem for path in HERE.glob("*.py") if path.name != Path(__file__).name)
    unknown = sorted(set(arguments.names) - set(known))
    if unknown:
        print(f"benchmarks: no benchmark {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2

    results: list[dict[str, Any]] = []
    failed = []
    for name in arguments.names or known:
        print(f"{name} ...", file=sys.stderr)
        done = subprocess.run([sys.executable, HERE / f"{name}.py"], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            failed.append(name)
        else:
            measured = json.loads(done.stdout.splitlines()[-1])
            results += [
                {"benchmark": name} | row for row in (measured if isinstance(measured, list) else [measured])
            ]
    show(results)
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine(), "results": results}, indent=2) + "\n")
    for name in failed:
        print(f"benchmarks: {name} failed; its message is above", file=sys.stderr)
    return 1 if failed else 0


def machine() -> str:
    """What the figures hold for."""
    system, python = platform.system(), platform.python_version()
    return f"{platform.machine()}, {os.cpu_count()} cores, {system}, Python {python}"


def show(results: list[dict[str, Any]]) -> None:
    """Print the table."""
    table = Table(title=machine())
    for heading in ("what", "ours", "plain", "unit", "times better", "plain is", "repeats"):
        table.add_column(heading, justify="left" if heading in {"what", "unit", "plain is"} else "right")
    for row in results:
        table.add_row(
            f"{row['benchmark']}: {row['what']}",
            number(row["ours"]),
            number(row["plain"]),
            row["unit"],
            times_better(row),
            row["plain_is"],
            str(row["repeats"]),
        )
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def times_better(row: dict[str, Any]) -> str:
    """Ours / plain for rates, Dice and shares of what is right (`%`), plain / ours for durations."""
    more_is_better = row["unit"].endswith(("/s", "%", "Dice"))
    good, bad = (row["ours"], row["plain"]) if more_is_better else (row["plain"], row["ours"])
    return f"{good / bad:.2f}" if bad else "-"


def number(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
