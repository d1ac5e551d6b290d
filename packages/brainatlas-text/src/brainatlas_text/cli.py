"""The command line: arguments to functions, errors to one line and an exit code.

0 done, 1 failure, 2 the user's input, 3 done but something was left out: scans rejected, sources to get by
hand. Heavy imports stay inside commands, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from brainatlas_text import evaluate_command, plan_command, show_command, verify_command
from brainatlas_text.arguments import add_recipe, add_root, add_selection, selection_of
from brainatlas_text.errors import BrainAtlasError, one_line

REJECTED = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = _parser()
    args = parser.parse_args(arguments)
    _log_to_stderr(logging.INFO if args.verbose else logging.WARNING)
    try:
        code: int = args.command(args)
    except BrainAtlasError as error:
        print(f"brainatlas-text: error: {one_line(str(error))}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"brainatlas-text: error: {one_line(f'{where}{error.strerror or error}')}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("brainatlas-text: stopped; the same command continues", file=sys.stderr)
        return 130
    return code


def _log_to_stderr(level: int) -> None:
    """Show this package's log, not that of the libraries below it."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger = logging.getLogger("brainatlas_text")
    logger.handlers, logger.level, logger.propagate = [handler], level, False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="brainatlas-text",
        description="Turn brain MRI of healthy people into image/label/text samples.",
        epilog="example: brainatlas-text build --sources ibsr oasis ixi kirby",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log what each step does")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_demo_sources(commands)
    _add_fetch(commands)
    plan_command.add(commands)
    _add_build(commands)
    _add_report(commands)
    show_command.add(commands)
    evaluate_command.add(commands)
    verify_command.add(commands)
    return parser


def _add_demo_sources(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "demo-sources",
        help="write four sources of synthetic people",
        description="Write four sources of synthetic people in the forms of IBSR, OASIS-1, IXI and Kirby21.",
        epilog="example: brainatlas-text demo-sources ./sources --people 4",
    )
    command.add_argument("out", type=Path, metavar="OUT", help="folder to write; becomes the --root of build")
    command.add_argument(
        "--people", type=int, default=4, metavar="N", help="people a source, 4 or more (default: 4)"
    )
    command.add_argument("--seed", type=int, default=0, help="same seed, same people (default: 0)")
    command.set_defaults(command=_demo_sources)


def _add_fetch(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "fetch",
        help="download sources, or say how to get them",
        description="Download sources into one folder each, checked and unpacked, ready for build; for those "
        "that only a person can get, say how. The same command again continues. "
        "Exit codes: 0 all there, 1 something failed, 2 you have to decide, 3 something is left to do.",
        epilog="example: brainatlas-text fetch ixi kirby --only T2 xls",
    )
    command.add_argument("sources", nargs="+", metavar="SOURCE", help="ibsr, oasis, ixi, kirby")
    command.add_argument(
        "--root", type=Path, default=Path("sources"), help="holds one folder a source (default: ./sources)"
    )
    command.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="NAME",
        help="these files alone: T1, T2, xls of ixi; disc1 to disc12, csv, xlsx of oasis",
    )
    command.add_argument(
        "--accept-terms", action="store_true", help="accept the terms of these sources without being asked"
    )
    command.add_argument(
        "--verify", action="store_true", help="only compare what was fetched with its checksums; no network"
    )
    command.add_argument(
        "--catalog", type=Path, metavar="FILE", help="another list of files (.toml), such as one of a mirror"
    )
    command.add_argument("--json", action="store_true", help="print the outcomes as JSON")
    command.set_defaults(command=_fetch)


def _add_build(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "build",
        help="build the data set from scans on disk",
        description="Find, prepare and register scans, propagate labels, render and describe every pair, "
        "write shards. The same command again continues.",
        epilog="example: brainatlas-text build --sources ibsr oasis ixi kirby --root ./sources --recipe demo",
    )
    command.add_argument(
        "--sources",
        nargs="+",
        required=True,
        metavar="SOURCE",
        help="ibsr, oasis, ixi, kirby, and bids:PATH for any BIDS folder; one with labels, or --atlas",
    )
    add_root(command)
    command.add_argument(
        "--out",
        type=Path,
        default=Path("brainatlas-dataset"),
        help="data set folder (default: ./brainatlas-dataset)",
    )
    add_selection(command)
    command.add_argument(
        "--atlas",
        action="append",
        type=Path,
        default=[],
        metavar="PATH",
        help="labeled people of this other data set or BIDS folder vote too, without being part of this "
        "data set; may be repeated",
    )
    add_recipe(command)
    command.add_argument(
        "--workers", type=int, metavar="N", help="worker processes (default: one a processor)"
    )
    command.add_argument("--json", action="store_true", help="print the summary as JSON")
    command.set_defaults(command=_build)


def _add_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "report",
        help="write a page about a finished data set",
        description="Write one HTML file about a finished data set: counts, splits, people, samples whose "
        "phrases light up their structures, charts, rejections. OUT/report/index.html shows pictures only "
        "where the sources' terms let them be passed on. Needs matplotlib (extra plots).",
        epilog="example: brainatlas-text report ./brainatlas-dataset --private",
    )
    command.add_argument("out", type=Path, metavar="OUT", help="data set folder of a finished build")
    command.add_argument(
        "--private",
        action="store_true",
        help="show all pictures, in OUT/work/report/index.html, which is never published",
    )
    command.set_defaults(command=_report)


def _demo_sources(args: argparse.Namespace) -> int:
    from brainatlas_text.demo import write_demo_sources

    write_demo_sources(
        args.out, people=args.people, seed=args.seed, progress=lambda line: print(line, file=sys.stderr)
    )
    print(f"next: brainatlas-text build --sources ibsr oasis ixi kirby --root {args.out}")
    return 0


def _fetch(args: argparse.Namespace) -> int:
    from contextlib import closing
    from dataclasses import asdict

    from brainatlas_text.console import TransferBars, ask_terms, print_outcomes
    from brainatlas_text.download import FetchConfig, fetch

    config = FetchConfig(
        sources=tuple(args.sources),
        root=args.root,
        only=tuple(args.only),
        accept_terms=args.accept_terms,
        verify=args.verify,
        catalog=args.catalog,
    )
    with closing(TransferBars()) as bars:
        summary = fetch(config, bars, ask_terms)
    if args.json:
        print(json.dumps(asdict(summary)))
    else:
        print_outcomes(summary)
    return summary.exit_code


def _build(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from brainatlas_text.console import TerminalProgress, print_summary
    from brainatlas_text.distribute import default_workers
    from brainatlas_text.errors import InputError
    from brainatlas_text.pipeline import BuildConfig, build
    from brainatlas_text.recipe import load_recipe

    if args.workers is not None and args.workers < 1:
        raise InputError(f"--workers must be 1 or more, got {args.workers}")
    config = BuildConfig(
        sources=tuple(args.sources),
        recipe=load_recipe(args.recipe, args.set),
        selection=selection_of(args),
        root=args.root,
        out=args.out,
        atlases=tuple(args.atlas),
        workers=args.workers or default_workers(),
    )
    summary = build(config, TerminalProgress())
    if args.json:
        print(json.dumps(asdict(summary), default=str))
    else:
        print_summary(summary, str(args.out))
    return REJECTED if summary.rejections else 0


def _report(args: argparse.Namespace) -> int:
    from brainatlas_text.report import write_report

    print(f"report: {write_report(args.out, private=args.private)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
