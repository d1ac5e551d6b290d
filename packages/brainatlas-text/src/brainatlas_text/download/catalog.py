"""Which files a source consists of and where they lie, as data (`tables/fetch.toml`, or the user's own)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from brainatlas_text.errors import InputError, SourceError

_ONE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
FileName = Annotated[str, Field(pattern=_ONE_NAME, max_length=100)]


class RemoteFile(BaseModel):
    """One file on a source's server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: FileName
    """What `--only` calls it."""
    url: str = Field(pattern=r"^https?://[^/\s]+/\S+$")
    file: FileName
    """What it is called here; the last part of the url unless given."""
    folder: FileName | None = None
    """The archive is unpacked into this folder; a file without it stays as it is."""
    num_bytes: int | None = Field(None, gt=0)
    """Exact size; None where none is publicly stated."""
    unpacked_bytes: int | None = Field(None, gt=0)
    """About what the archive takes unpacked."""
    checksum: str | None = Field(None, pattern=r"^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})$")
    """`md5:…` or `sha256:…`; None where none is publicly stated."""
    evidence: str = ""
    """Where url, size and checksum were seen."""

    @model_validator(mode="before")
    @classmethod
    def _named_by_url(cls, values: dict[str, Any]) -> dict[str, Any]:
        if "file" not in values and isinstance(values.get("url"), str):
            return {**values, "file": urlsplit(values["url"]).path.rpartition("/")[2]}
        return values

    @property
    def expected_bytes(self) -> int:
        """Size of the download, as far as it is known beforehand."""
        return self.num_bytes or self.unpacked_bytes or 0

    @property
    def target(self) -> str:
        """What it becomes in the source's folder."""
        return self.folder or self.file


class Offer(BaseModel):
    """How a source can be had: files to download, or steps for a person."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    before: str = ""
    """What has to be done before the terms can be accepted here."""
    steps: tuple[str, ...] = ()
    files: tuple[RemoteFile, ...] = ()


def load_catalog(path: Path | None = None) -> dict[str, Offer]:
    """The table of the package, or one of the same form; raises InputError for a wrong one."""
    if path is None:
        text = (resources.files("brainatlas_text") / "tables" / "fetch.toml").read_text(encoding="utf-8")
    elif path.is_file():
        text = path.read_text(encoding="utf-8", errors="replace")
    else:
        raise InputError(f"{path}: no such catalog; expected a TOML file like tables/fetch.toml")
    where = path or "fetch.toml"
    try:
        rows: dict[str, Mapping[str, Any]] = tomllib.loads(text)
        return {source: Offer.model_validate({**row, "source": source}) for source, row in rows.items()}
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: not valid TOML: {error}") from error
    except TypeError as error:
        raise InputError(f"{where}: expected a table a source, such as [ixi]; {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{where}: {key}: {first['msg']}, got {first['input']!r}") from error


def choose(catalog: Mapping[str, Offer], sources: Sequence[str], only: Sequence[str]) -> list[Offer]:
    """Offers of the sources, with the files that `only` names or all.

    Raises SourceError for a source that the catalog lacks and InputError for a name that none of them has.
    """
    offers = []
    for source in dict.fromkeys(sources):
        if source not in catalog:
            raise SourceError(f"unknown source {source!r}; {_hint(source, list(catalog))}")
        offers.append(catalog[source])
    known = [file.name for offer in offers for file in offer.files]
    for name in only:
        if name.lower() not in map(str.lower, known):
            where = ", ".join(offer.source for offer in offers)
            raise InputError(f"--only {name}: no such file of {where}; {_hint(name, known)}")
    wanted = {name.lower() for name in only or known}
    return [
        offer.model_copy(update={"files": tuple(f for f in offer.files if f.name.lower() in wanted)})
        for offer in offers
    ]


def _hint(name: str, known: Sequence[str]) -> str:
    lower = {word.lower(): word for word in known}
    near = get_close_matches(name.lower(), lower, n=1)
    return f"did you mean {lower[near[0]]}?" if near else f"known: {', '.join(known)}"
