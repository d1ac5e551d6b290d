"""CPU seconds until `--help` answers, beside a bare start of Python that imports argparse and rich."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys

REPEATS = 9
PLAIN = "import argparse, rich.console"


def cpu_seconds(*command: str) -> float:
    """User and system time of one finished child."""
    before = os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def measure(module: str) -> dict[str, object]:
    """Alternate between the program's help and a bare Python."""
    ours, plain = [], []
    for _ in range(REPEATS):
        ours.append(cpu_seconds(sys.executable, "-m", module, "--help"))
        plain.append(cpu_seconds(sys.executable, "-c", PLAIN))
    return {
        "what": f"{module} --help",
        "unit": "CPU s",
        "ours": statistics.median(ours),
        "plain": statistics.median(plain),
        "plain_is": f"python -c '{PLAIN}'",
        "repeats": REPEATS,
    }


if __name__ == "__main__":
    print(json.dumps([measure("brainatlas_text"), measure("brainldm")]))
