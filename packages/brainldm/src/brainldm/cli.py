"""Arguments -> pipeline -> exit code. Torch and its like are imported only when a command runs."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from brainldm.errors import BrainLDMError, InputError

if TYPE_CHECKING:
    from brainldm.records import StageResult

TERMINATED = 143
"""What a process returns that SIGTERM ended: 128 + 15. Training has saved a snapshot by then."""
_DATA = Path("brainatlas-dataset")
_TRAIN_EXAMPLE = """examples:
  accelerate launch brainldm train --recipe demo --data ./brainatlas-dataset --out ./runs/demo
  accelerate launch --multi_gpu --num_processes 4 -m brainldm train --recipe paper
  accelerate launch brainldm train --recipe small --set ldm.batch_size=16 --max-images 100000
the same command goes on where a stopped run was."""
_SAMPLE_EXAMPLE = """examples:
  brainldm sample ./runs/demo "A T2-weighted axial slice of the brain." --seed 7 --out x.png
  brainldm sample ./runs/demo --grid --out grid.png
several pictures are laid side by side: a row for each prompt, a column for each seed (--seed and on)."""
_EVALUATE_EXAMPLE = """examples:
  brainldm evaluate ./runs/demo --data ./brainatlas-dataset
  brainldm evaluate ./runs/paper --num 1000 --num-real 10000 --inception pt_inception-2015-12-05-6726825d.pth
Fewer images are used where the data set has fewer; each figure states its counts."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code: 0 done, 1 failure, 2 the user's input is at fault,
    143 stopped by SIGTERM with a snapshot.
    """
    options = build_parser().parse_args(arguments)
    _log_to_stderr(options.quiet)
    try:
        code: int = options.command(options)
        return code
    except BrainLDMError as error:
        if os.environ.get("RANK", "0") == "0":
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last snapshot", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        prog="brainldm",
        description="Train a text-conditioned latent diffusion model of brain slices, and draw from it.",
        epilog=_TRAIN_EXAMPLE.split("\n")[0] + "\n  brainldm train --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_train(commands)
    _add_sample(commands)
    _add_evaluate(commands)
    return parser


def _add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    train = _command(
        commands, "train", "train autoencoder, latents and diffusion, or go on training", _TRAIN_EXAMPLE
    )
    train.add_argument(
        "--recipe", default="small", help="demo, small, paper, or a TOML file (default: small)"
    )
    train.add_argument("--data", type=Path, default=_DATA, help=f"data set folder (default: ./{_DATA})")
    train.add_argument("--out", type=Path, help="run folder (default: ./runs/<recipe>)")
    train.add_argument(
        "--stage", choices=("all", "vae", "latents", "ldm"), default="all", help="(default: all)"
    )
    train.add_argument("--max-images", type=_positive, help="each training stage stops after so many images")
    train.add_argument(
        "--max-minutes",
        type=_positive_minutes,
        help="all stages together stop after so long, with a snapshot; the same command goes on",
    )
    train.add_argument(
        "--threads", type=_positive, help="CPU threads of a process (default: its share of the cores)"
    )
    train.add_argument(
        "--set",
        dest="overrides",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="changes a value of the recipe, such as ldm.batch_size=16; may be given several times",
    )
    train.set_defaults(command=_train)


def _add_sample(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sample = _command(commands, "sample", "draw pictures from sentences", _SAMPLE_EXAMPLE)
    sample.add_argument("run", type=Path, metavar="RUN", help="run folder")
    sample.add_argument("prompts", nargs="*", metavar="PROMPT", help="sentences in the data set's terms")
    sample.add_argument(
        "--grid", action="store_true", help="sequences x planes, from captions of the training set"
    )
    sample.add_argument("--out", type=Path, default=Path("sample.png"), help="PNG (default: ./sample.png)")
    sample.add_argument("--seed", type=int, default=0, help="the noise to start from (default: 0)")
    sample.add_argument("--num", type=_positive, default=1, help="pictures for each prompt (default: 1)")
    sample.add_argument("--steps", type=_positive, help="denoising steps (default: the recipe's)")
    sample.add_argument("--guidance", type=float, help="1 = none (default: the recipe's)")
    sample.set_defaults(command=_sample)


def _add_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    evaluate = _command(
        commands, "evaluate", "score a run on people it has and has not seen", _EVALUATE_EXAMPLE
    )
    evaluate.add_argument("run", type=Path, metavar="RUN", help="run folder")
    evaluate.add_argument("--data", type=Path, default=_DATA, help=f"data set folder (default: ./{_DATA})")
    evaluate.add_argument("--out", type=Path, help="folder of the scores (default: RUN/evaluation)")
    evaluate.add_argument(
        "--num", type=_positive, help="images to generate for training and unseen people each (default: 128)"
    )
    evaluate.add_argument(
        "--num-real", type=_positive, help="real images to compare them with (default: 512)"
    )
    evaluate.add_argument(
        "--inception",
        metavar="FILE|fetch",
        help="Inception-v3 weights for the published FID, or `fetch` to download them; without, "
        "features that need no weights",
    )
    evaluate.add_argument("--seed", type=int, default=0, help="of all that is drawn (default: 0)")
    evaluate.add_argument("--steps", type=_positive, help="denoising steps (default: the recipe's)")
    evaluate.add_argument("--guidance", type=float, help="1 = none (default: the recipe's)")
    evaluate.set_defaults(command=_evaluate)


def _train(options: argparse.Namespace) -> int:
    from brainldm.pipeline import TrainConfig, train
    from brainldm.recipe import load_recipe

    recipe = load_recipe(options.recipe, options.overrides)
    config = TrainConfig(
        recipe=recipe,
        data=options.data,
        out=options.out,
        stage=options.stage,
        max_images=options.max_images,
        max_minutes=options.max_minutes,
        threads=options.threads,
    )
    results = train(config)
    if os.environ.get("RANK", "0") == "0":
        _print_results(results, config.out or Path("runs") / recipe.name)
    return TERMINATED if results[-1].paused == "signal" else 0


def _sample(options: argparse.Namespace) -> int:
    if options.grid == bool(options.prompts):
        raise InputError(
            "brainldm sample: give sentences or --grid, and not both; brainldm sample --help has examples"
        )
    from PIL import Image

    from brainldm.generate import draw_grid
    from brainldm.logs import montage
    from brainldm.pipeline import load

    generator = load(options.run)
    settings = {"steps": options.steps, "guidance": options.guidance}
    if options.grid:
        picture = draw_grid(generator, options.seed, **settings)
    else:
        seeds = list(range(options.seed, options.seed + options.num))
        rows = [generator.generate([prompt] * len(seeds), seeds, **settings) for prompt in options.prompts]
        picture = Image.fromarray(montage(rows))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    picture.save(options.out, "PNG")
    print(options.out)
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from pydantic import ValidationError
    from rich.console import Console

    from brainldm.evaluate import EvaluateConfig
    from brainldm.pipeline import evaluate_run
    from brainldm.recipe import explain
    from brainldm.scores import to_tables

    given = {
        "num_generated": options.num,
        "num_real": options.num_real,
        "inception": options.inception,
        "seed": options.seed,
        "steps": options.steps,
        "guidance": options.guidance,
    }
    try:
        config = EvaluateConfig.model_validate(
            {name: value for name, value in given.items() if value is not None}
        )
    except ValidationError as error:
        raise InputError(f"brainldm evaluate: {explain(error, EvaluateConfig)}") from None
    scores = evaluate_run(options.run, options.data, config, options.out)
    console = Console()
    for table in to_tables(scores):
        console.print(table)
    console.print(str(options.out or options.run / "evaluation"), soft_wrap=True)
    return 0


def _print_results(results: list[StageResult], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=str(out))
    table.add_column("stage")
    for column in ("images", "seconds", "loss"):
        table.add_column(column, justify="right")
    for result in results:
        loss = "" if result.loss is None else f"{result.loss:.4f}"
        table.add_row(result.stage, f"{result.images:,}", f"{result.seconds:.0f}", loss)
    console = Console()
    console.print(table)
    if results[-1].paused:
        console.print("stopped before the end, with a snapshot; the same command goes on", soft_wrap=True)
    console.print(
        f"pictures: {out / 'pictures'}   curves: tensorboard --logdir {out / 'tensorboard'}", soft_wrap=True
    )


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str, example: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text,
        description=text,
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quiet", action="store_true", help="warnings and errors only")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return number


def _positive_minutes(text: str) -> float:
    minutes = float(text)
    if not minutes > 0:
        raise argparse.ArgumentTypeError(f"expected minutes above 0, got {text}")
    return minutes


def _log_to_stderr(quiet: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("brainldm")
    logger.addHandler(handler)
    first = os.environ.get("RANK", "0") == "0"
    logger.setLevel(logging.WARNING if quiet or not first else logging.INFO)
