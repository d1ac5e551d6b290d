"""Who would be in a data set: scans by number, or those on disk, with the grids that they lie on.

`kirby=42/21` stands for 42 scans of 21 people. Grids come from `tables/grids.toml`, which has the forms in
which the sources distribute their scans, from a file of the user's own, or from the headers of the scans.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from brainatlas_text import prepare, spaces, volumes
from brainatlas_text.errors import InputError
from brainatlas_text.records import SourceScan

MAX_SCANS = 100_000
PEOPLE = {
    "ibsr": ("IBSR", 18),
    "oasis": ("OASIS-1", 416),
    "ixi": ("IXI", 593),
    "kirby": ("Kirby21", 21),
}
"""How many people the sources have, at most."""
_COUNT = re.compile(r"([a-z0-9-]+)=([0-9]{1,9})(?:/([0-9]{1,9}))?")
_Edge = Annotated[int, Field(ge=2, le=4096)]
_Zoom = Annotated[float, Field(ge=spaces.MIN_ZOOM_MM, le=spaces.MAX_ZOOM_MM)]


class Grid(BaseModel):
    """The voxels of a scan, along right, front and up."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shape: tuple[_Edge, _Edge, _Edge]
    zooms_mm: tuple[_Zoom, _Zoom, _Zoom]
    form: str = ""
    """Which form of a source's scans lies on it."""

    def thinned(self, finest_mm: float) -> Grid:
        """As the preparation leaves it."""
        factors = prepare.thinning(self.zooms_mm, finest_mm)
        i, j, k = (n // factor for n, factor in zip(self.shape, factors, strict=True))
        x, y, z = (zoom * factor for zoom, factor in zip(self.zooms_mm, factors, strict=True))
        return Grid(shape=(i, j, k), zooms_mm=(x, y, z), form=self.form)


Forms = Mapping[str, tuple[Grid, ...]]
"""The grids of each source; the first is the form that a build takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One scan of a data set that is only planned yet."""

    key: str
    subject: str
    source: str
    labeled: bool
    """It has labels of its own."""
    grid: Grid | None
    """None where it is not known."""


def counted(words: Sequence[str], labeled: Sequence[str] | None, forms: Forms) -> tuple[Member, ...]:
    """The members that `SOURCE=SCANS` or `SOURCE=SCANS/PEOPLE` stand for.

    `labeled` names the sources with labels of their own; by default that is IBSR, where it is counted. Scans
    are dealt to people in turn. Raises InputError for anything else.
    """
    numbers: dict[str, tuple[int, int]] = {}
    for word in words:
        source, *found = _count(word)
        if source in numbers:
            raise InputError(f"--counts: {source} is counted twice; give each source once")
        numbers[source] = (found[0], found[1])
    own = {"ibsr"} & numbers.keys() if labeled is None else set(labeled)
    if unknown := sorted(own - numbers.keys()):
        raise InputError(
            f"--labeled {unknown[0]}: not among the sources counted; expected some of {', '.join(numbers)}"
        )
    return tuple(
        Member(
            key=f"{source}-{number:06d}",
            subject=f"{source}-{number % num_people:06d}",
            source=source,
            labeled=source in own,
            grid=forms[source][0] if source in forms else None,
        )
        for source, (num_scans, num_people) in numbers.items()
        for number in range(num_scans)
    )


def _count(word: str) -> tuple[str, int, int]:
    found = _COUNT.fullmatch(word.lower())
    if found is None:
        raise InputError(
            f"--counts {word}: expected SOURCE=SCANS or SOURCE=SCANS/PEOPLE, such as ibsr=18 kirby=42/21"
        )
    source, num_scans = found[1], int(found[2])
    num_people = int(found[3]) if found[3] else num_scans
    if not 1 <= num_people <= num_scans <= MAX_SCANS:
        raise InputError(
            f"--counts {word}: expected 1 to {MAX_SCANS} scans, and as many people or fewer; "
            "leave out a source that has none"
        )
    return source, num_scans, num_people


def found_on_disk(scans: Iterable[SourceScan]) -> tuple[tuple[Member, ...], tuple[str, ...]]:
    """The scans that a build would prepare, and the keys of those whose headers it would refuse."""
    members, refused = [], []
    for scan in scans:
        try:
            opened = volumes.open_scan(scan.image, scan.array_order)
            grid = Grid(shape=opened.ras_shape, zooms_mm=opened.ras_zooms_mm)
        except (InputError, ValidationError):
            refused.append(scan.key)
            continue
        labeled = scan.dseg is not None
        members.append(
            Member(key=scan.key, subject=scan.subject, source=scan.source, labeled=labeled, grid=grid)
        )
    return tuple(members), tuple(refused)


def load_forms(path: Path | None) -> Forms:
    """The grids of the sources; those of `path` (TOML, as `tables/grids.toml`) go before the package's.

    Raises InputError for a file that is none, with the entry that is wrong.
    """
    table = resources.files("brainatlas_text") / "tables" / "grids.toml"
    forms = _checked(tomllib.loads(table.read_text(encoding="utf-8")), "grids.toml")
    if path is None:
        return forms
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a TOML file of grids") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid TOML: {error}") from error
    return {**forms, **_checked(values, str(path))}


def _checked(values: Mapping[str, Any], where: str) -> dict[str, tuple[Grid, ...]]:
    """One table or several (`[[source]]`) a source."""
    listed = {
        source.lower(): tuple(entry) if isinstance(entry, list) else (entry,)
        for source, entry in values.items()
    }
    try:
        return TypeAdapter(dict[str, Annotated[tuple[Grid, ...], Field(min_length=1)]]).validate_python(
            listed
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if not isinstance(part, int))
        raise InputError(
            f"{where}: {place}: {first['msg']}, got {first['input']!r}; expected a table such as "
            "[ixi] with shape = [256, 256, 136] and zooms_mm = [0.94, 0.94, 1.2], along right, front, up"
        ) from error


def nearest_source(name: str, forms: Forms) -> str | None:
    """A source with a known grid that may have been meant."""
    return next(iter(get_close_matches(name, forms, n=1)), None)
