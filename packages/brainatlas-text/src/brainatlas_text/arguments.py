"""Arguments that several commands share: which scans, which of them, which recipe."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brainatlas_text.sources import Selection


def add_selection(command: argparse.ArgumentParser) -> None:
    """Which of the scans found are used."""
    command.add_argument(
        "--subjects",
        metavar="FILE",
        help="use only these: a file of subject ids or scan keys, one a line; or paper, for its numbers",
    )
    health = command.add_mutually_exclusive_group()
    health.add_argument(
        "--healthy-only",
        dest="healthy_only",
        action="store_true",
        default=True,
        help="leave out who fails the source's own criterion of health (default)",
    )
    health.add_argument(
        "--all-people", dest="healthy_only", action="store_false", help="leave nobody out for their health"
    )
    command.add_argument(
        "--same-person",
        type=Path,
        metavar="FILE",
        help="two ids a line that are one person, so that splits keep them together",
    )
    command.add_argument(
        "--average-repeats",
        action="store_true",
        help="average the repeats of a session (OASIS RAW, BIDS runs) instead of using the first",
    )


def selection_of(args: argparse.Namespace) -> Selection:
    """What `add_selection` was given."""
    from brainatlas_text.sources import Selection

    return Selection(
        subjects=args.subjects,
        healthy_only=args.healthy_only,
        same_person=args.same_person,
        average_repeats=args.average_repeats,
    )


def add_root(command: argparse.ArgumentParser) -> None:
    """Where sources lie."""
    command.add_argument(
        "--root", type=Path, default=Path("sources"), help="holds one folder a source (default: ./sources)"
    )


def add_recipe(command: argparse.ArgumentParser) -> None:
    """The recipe, and what is changed of it."""
    command.add_argument(
        "--recipe", default="default", help="default, demo, paper, or a .toml file (default: default)"
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a recipe key, such as render.slice_step=2",
    )
