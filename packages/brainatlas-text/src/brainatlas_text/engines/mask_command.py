"""Brain masks by any external program, named in the recipe by a command template.

The template is split into arguments first and filled then, so that paths with spaces stay whole; no shell is
involved. `{image}` is the scan (`.nii.gz`, closest RAS), `{mask}` the file that the program has to write and
`{folder}` the folder it lies in, for programs that choose the name themselves. All of it is temporary.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from brainatlas_text import volumes
from brainatlas_text.engines import resample
from brainatlas_text.engines.masks import BoolArray
from brainatlas_text.errors import InputError, ProgramError
from brainatlas_text.volumes import Volume

PLACEHOLDERS = ("{image}", "{mask}", "{folder}")
_PLACEHOLDER = re.compile("|".join(map(re.escape, PLACEHOLDERS)))


def problem_with(template: str) -> str | None:
    """What is wrong with a template, in words; None for a good one."""
    try:
        words = shlex.split(template)
    except ValueError as error:
        return f"cannot be split into arguments ({error})"
    unknown = set(re.findall(r"\{\w*\}", template)) - set(PLACEHOLDERS)
    if unknown:
        return f"{min(unknown)} is not known; known: {', '.join(PLACEHOLDERS)}"
    if not words or "{image}" not in template or not ("{mask}" in template or "{folder}" in template):
        return "must name a program, {image}, and {mask} or {folder}"
    return None


def program_of(template: str) -> str:
    """The program that a template starts."""
    return shlex.split(template)[0]


def is_installed(template: str) -> bool:
    """Whether the template's program can be found and run here."""
    return shutil.which(program_of(template)) is not None


def extract_brain(image: Volume, template: str, writes: str, timeout_s: float) -> BoolArray:
    """The brain mask that the program makes of the image, on the image's grid.

    `writes` is the mask's file name in `{folder}`. Raises ProgramError for a program that fails, takes longer
    than `timeout_s` seconds, or writes no mask of this image.
    """
    with tempfile.TemporaryDirectory(prefix="brainatlas-mask-", ignore_cleanup_errors=True) as name:
        given, written = Path(name) / "given", Path(name) / "written"
        given.mkdir()
        written.mkdir()
        (given / "image.nii.gz").write_bytes(volumes.encode(image, np.float32))
        paths = (given / "image.nii.gz", written / writes, written)
        values = dict(zip(PLACEHOLDERS, map(str, paths), strict=True))
        words = [_PLACEHOLDER.sub(lambda found: values[found[0]], word) for word in shlex.split(template)]
        _execute(words, Path(name), timeout_s)
        return _read_mask(written / writes, image, words[0])


def _execute(words: list[str], logs: Path, timeout_s: float) -> None:
    """Run a program; whatever happens, it and its children are gone afterwards."""
    with (logs / "stdout").open("wb") as stdout, (logs / "stderr").open("wb") as stderr:
        try:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise ProgramError(
                f"{words[0]} cannot be started ({error.strerror}); is it installed?"
            ) from error
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise ProgramError(
                f"{words[0]} ran longer than prepare.mask_timeout_s, {timeout_s:g} s; raise it or use "
                "another method"
            ) from error
        finally:
            _end_group(process)
    if status != 0:
        said = _last_line(logs / "stderr") or _last_line(logs / "stdout") or "it said nothing"
        raise ProgramError(f"{words[0]} failed with status {status}: {said}")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_line(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - 4096, 0))
        lines = file.read().decode(errors="replace").splitlines()
    return next((" ".join(line.split())[:300] for line in reversed(lines) if line.strip()), "")


def _read_mask(path: Path, image: Volume, program: str) -> BoolArray:
    if not path.is_file():
        others = sorted(other.name for other in path.parent.iterdir())
        found = f"found {', '.join(others[:5])}" if others else "found nothing"
        raise ProgramError(
            f"{program} wrote no {path.name}, {found}; name the file in prepare.mask_command_writes"
        )
    try:
        mask = volumes.load(path)
    except InputError as error:
        raise ProgramError(f"{program}: {error}") from error
    if not resample.same_box(mask, image):
        raise ProgramError(f"{program} wrote a mask on another grid, {mask.shape} and {image.shape} voxels")
    inside = resample.onto(Volume((mask.array > 0.5).astype(np.uint8), mask.affine), image) > 0
    if not inside.any():
        raise ProgramError(f"{program} wrote an empty mask")
    return np.asarray(inside)
