"""The command `show`: a key to the sample's facts and captions, and to a picture of it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from brainatlas_text.errors import InputError


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    command = commands.add_parser(
        "show",
        help="show one sample: facts, captions, and a picture with its structures",
        description="Render a sample of a data set again from the stored scans and transforms, bit for bit "
        "what the shards hold; print its facts and captions, and write a picture of its structures.",
        epilog="example: brainatlas-text show OUT ixi-517-t2w_ibsr-01-t1w_axial-127 --out slice.png",
    )
    command.add_argument("root", type=Path, metavar="OUT", help="data set folder")
    command.add_argument("key", metavar="KEY", help="the sample's key: MOVING_FIXED_PLANE-INDEX")
    command.add_argument("--out", type=Path, metavar="PICTURE.png", help="the picture (default: ./KEY.png)")
    command.add_argument("--json", action="store_true", help="print facts and captions as JSON")
    command.set_defaults(command=_run)


def _run(args: argparse.Namespace) -> int:
    from brainatlas_text.console import print_sample
    from brainatlas_text.dataset import BrainAtlas
    from brainatlas_text.engines.sample_pictures import draw_sample
    from brainatlas_text.workspace import atomic_path

    if args.out is not None and (args.out.suffix.lower() != ".png" or args.out.is_dir()):
        raise InputError(f"--out {args.out}: expected the name of a picture to write, ending in .png")
    sample = BrainAtlas(args.root)[args.key]
    path = args.out or Path(f"{sample.key}.png")
    with atomic_path(path) as part:
        draw_sample(sample).save(part)
    if args.json:
        print(json.dumps({"facts": sample.facts, "picture": str(path)}, ensure_ascii=False))
    else:
        print_sample(sample, path)
    return 0
