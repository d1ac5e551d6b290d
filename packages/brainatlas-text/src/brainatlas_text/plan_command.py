"""The command `plan`: what a data set would hold and cost, from numbers or from scans on disk."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from brainatlas_text.arguments import add_recipe, add_root, add_selection, selection_of
from brainatlas_text.errors import InputError

if TYPE_CHECKING:
    from brainatlas_text.cohort import Forms, Member


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    command = commands.add_parser(
        "plan",
        help="say what a data set would hold and cost, before anything is computed",
        description="Count the volumes and slices of a data set by split, atlas and plane, and estimate its "
        "bytes and CPU-hours, from numbers of scans or from the scans that a build would use.",
        epilog="examples: brainatlas-text plan --counts ibsr=18 oasis=77 ixi=64 kirby=42/21 --recipe paper · "
        "brainatlas-text plan --sources ibsr ixi --root ./sources",
    )
    command.add_argument(
        "--counts",
        nargs="+",
        default=[],
        metavar="SOURCE=SCANS[/PEOPLE]",
        help="scans of each source, each of another person; kirby=42/21 for 42 scans of 21 people",
    )
    command.add_argument(
        "--labeled",
        nargs="*",
        metavar="SOURCE",
        help="with --counts: sources whose scans have labels of their own (default: ibsr)",
    )
    command.add_argument(
        "--grids",
        type=Path,
        metavar="FILE",
        help="with --counts: other grids than those in which the sources distribute their scans (.toml): a "
        "table a source, with shape and zooms_mm along right, front, up",
    )
    command.add_argument(
        "--sources",
        nargs="+",
        default=[],
        metavar="SOURCE",
        help="instead of --counts: the scans on disk of these, named as for build",
    )
    add_root(command)
    add_selection(command)
    add_recipe(command)
    command.add_argument("--json", action="store_true", help="print the figures as JSON")
    command.set_defaults(command=_run)


def _run(args: argparse.Namespace) -> int:
    from dataclasses import asdict, replace

    from brainatlas_text.cohort import load_forms
    from brainatlas_text.costs import load_costs
    from brainatlas_text.estimate import estimate
    from brainatlas_text.plan_tables import print_estimate
    from brainatlas_text.recipe import load_recipe

    if bool(args.counts) == bool(args.sources):
        raise InputError("expected --counts, such as ibsr=18 kirby=42/21, or --sources; give one of the two")
    if args.counts and (args.subjects or args.same_person or args.average_repeats or not args.healthy_only):
        raise InputError(
            "--subjects, --same-person, --average-repeats and --all-people choose among scans on disk; give "
            "--sources instead of --counts"
        )
    if args.sources and (args.grids or args.labeled is not None):
        raise InputError("--grids and --labeled belong to --counts; scans on disk have grids and labels")
    recipe, forms = load_recipe(args.recipe, args.set), load_forms(args.grids)
    members, notes = _members(args, forms)
    estimated = estimate(members, recipe, forms, load_costs())
    estimated = replace(estimated, notes=(*notes, *estimated.notes))
    if args.json:
        print(json.dumps(asdict(estimated)))
    else:
        print_estimate(estimated)
    return 0


def _members(args: argparse.Namespace, forms: Forms) -> tuple[tuple[Member, ...], tuple[str, ...]]:
    """Whom the data set would hold, and what to note of those left out."""
    from brainatlas_text.cohort import counted, found_on_disk
    from brainatlas_text.sources import find

    if args.counts:
        return counted(args.counts, args.labeled, forms), ()
    found = find(tuple(dict.fromkeys(args.sources)), args.root, selection_of(args))
    members, refused = found_on_disk(found.scans)
    if not members:
        raise InputError(
            f"{', '.join(args.sources)}: no scan that can be read is left; build says of each one why"
        )
    left_out = (*(rejection.key for rejection in found.rejections), *refused)
    note = f"left out, as build would: {', '.join(left_out)}"
    return members, (note,) if left_out else ()
