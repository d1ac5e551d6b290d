"""The command `verify`: a data set folder to proofs, breaches and an exit code."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from brainatlas_text.errors import InputError

if TYPE_CHECKING:
    from brainatlas_text.verify import Verification

BREACHED, UNPROVEN = 1, 3


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    command = commands.add_parser(
        "verify",
        help="prove that no person leaks from one split into another",
        description="Check a finished data set and print the proof: nobody is shown in two splits, votes "
        "across splits are declared, no picture is in two splits, and no two people of different splits are "
        "one person under two ids. Writes nothing. Exit codes: 0 all holds, 1 something does not, 2 this is "
        "no finished data set, 3 what could be checked holds, but something could not be.",
        epilog="example: brainatlas-text verify ./brainatlas-dataset",
    )
    command.add_argument("out", type=Path, metavar="OUT", help="data set folder")
    command.add_argument(
        "--workers", type=int, metavar="N", help="worker processes (default: one a processor)"
    )
    command.add_argument("--json", action="store_true", help="print what was found as JSON")
    command.set_defaults(command=_run)


def _run(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from brainatlas_text.console import TerminalProgress
    from brainatlas_text.distribute import default_workers
    from brainatlas_text.verify import verify

    if args.workers is not None and args.workers < 1:
        raise InputError(f"--workers must be 1 or more, got {args.workers}")
    found = verify(args.out, args.workers or default_workers(), TerminalProgress())
    if args.json:
        verdict = {"holds": found.holds, "complete": found.complete}
        print(json.dumps(verdict | asdict(found), default=str))
    else:
        _print(found)
    if not found.holds:
        return BREACHED
    return 0 if found.complete else UNPROVEN


def _print(found: Verification) -> None:
    """A paragraph a check, the verdict last."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True, markup=False)
    for result in found.results:
        state = "BREACH" if result.breaches else "unproven" if result.unproven else "holds"
        console.print(f"{result.check:10} {state}: {result.unproven or result.proof}")
        for word, lines in (("breach", result.breaches), ("note", result.notes)):
            for line in lines:
                console.print(f"{'':10} {word}: {line}")
    breaches = sum(len(result.breaches) for result in found.results)
    unproven = [result.check for result in found.results if result.unproven]
    verdict = f"{breaches} breaches" if breaches else "no leak found"
    console.print(f"{found.root}: {verdict}" + (f"; not checked: {', '.join(unproven)}" if unproven else ""))
