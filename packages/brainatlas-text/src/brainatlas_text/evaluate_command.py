"""The command `evaluate-labels`: arguments to `evaluate_labels`, scores to table, CSV and plot."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from brainatlas_text.errors import InputError

if TYPE_CHECKING:
    from brainatlas_text.scores import Evaluation

REJECTED = 3


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    command = commands.add_parser(
        "evaluate-labels",
        help="score propagated labels: Dice, surface distance, volume error",
        description="Score label maps: what all other labeled people of a data set give to each one of them, "
        "against that person's own; or the maps of any folder against the truth, paired by file name.",
        epilog="example: brainatlas-text evaluate-labels OUT --methods label.method=majority",
    )
    command.add_argument("out", type=Path, nargs="?", metavar="OUT", help="data set folder: leave one out")
    command.add_argument(
        "--methods",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="with OUT: compare these settings with the recipe's own; a comma joins several into one method",
    )
    command.add_argument(
        "--labels", type=Path, nargs="+", default=[], metavar="FOLDER", help="label maps; a method a folder"
    )
    command.add_argument("--truth", type=Path, metavar="FOLDER", help="what is true of them")
    command.add_argument(
        "--suffix", default="_dseg.nii.gz", help="ending of label maps (default: _dseg.nii.gz)"
    )
    command.add_argument("--truth-suffix", metavar="SUFFIX", help="ending in the truth, where it differs")
    command.add_argument(
        "--masks", type=Path, metavar="FOLDER", help="brain masks, NAME_mask.nii.gz: with --tissue"
    )
    command.add_argument(
        "--tissue",
        action="store_true",
        help="score CSF, grey and white matter; a truth may be a map of 1 CSF, 2 grey, 3 white matter",
    )
    command.add_argument(
        "--csv",
        type=Path,
        metavar="FILE",
        help="write a row a scan and structure (with OUT: its work/report/label-scores.csv)",
    )
    command.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="draw a row a structure: .svg, .png or .pdf (with OUT: its work/report/label-scores.svg)",
    )
    command.add_argument(
        "--workers", type=int, metavar="N", help="worker processes (default: one a processor)"
    )
    command.add_argument("--json", action="store_true", help="print the scores as JSON")
    command.set_defaults(command=_run)


def _run(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from brainatlas_text.console import print_scores
    from brainatlas_text.evaluate_labels import write_csv
    from brainatlas_text.score_plot import check_plot, write_plot

    _check(args)
    report = None if args.out is None else args.out / "work" / "report"
    table = args.csv or (report and report / "label-scores.csv")
    plot = args.plot or (report and report / "label-scores.svg")
    missing = check_plot(plot) if plot else None
    if missing and args.plot:
        raise InputError(missing)
    evaluation = _leave_one_out(args) if args.out is not None else _against_truth(args)
    if table:
        write_csv(evaluation, table)
    if plot and not missing:
        write_plot(evaluation.groups, plot)
    if args.json:
        print(json.dumps(asdict(evaluation), default=str))
    else:
        written = [path for path in (table, None if missing else plot) if path]
        print_scores(evaluation, [f"no plot: {missing}"] if missing else [], written)
    return REJECTED if evaluation.rejections else 0


def _check(args: argparse.Namespace) -> None:
    """Either way of the command, not half of one or both."""
    if args.workers is not None and args.workers < 1:
        raise InputError(f"--workers must be 1 or more, got {args.workers}")
    if bool(args.labels) != bool(args.truth) or (args.out is None) == (not args.labels):
        raise InputError("expected a data set folder OUT, or --labels and --truth; give one of the two")
    if args.out is not None and (args.masks or args.truth_suffix):
        raise InputError("--masks and --truth-suffix belong to --labels and --truth; leave them out with OUT")
    if args.out is None and args.methods:
        raise InputError("--methods compares settings of a data set; give its folder OUT")


def _leave_one_out(args: argparse.Namespace) -> Evaluation:
    from brainatlas_text.console import TerminalProgress
    from brainatlas_text.distribute import default_workers
    from brainatlas_text.leave_one_out import LeaveOneOutConfig, leave_one_out

    config = LeaveOneOutConfig(
        out=args.out,
        methods=tuple(args.methods),
        tissue=args.tissue,
        workers=args.workers or default_workers(),
    )
    return leave_one_out(config, TerminalProgress())


def _against_truth(args: argparse.Namespace) -> Evaluation:
    from brainatlas_text.console import TerminalProgress
    from brainatlas_text.distribute import default_workers
    from brainatlas_text.evaluate_labels import TruthConfig, against_truth

    config = TruthConfig(
        labels=tuple(args.labels),
        truth=args.truth,
        suffix=args.suffix,
        truth_suffix=args.truth_suffix,
        masks=args.masks,
        tissue=args.tissue,
        workers=args.workers or default_workers(),
    )
    return against_truth(config, TerminalProgress())
