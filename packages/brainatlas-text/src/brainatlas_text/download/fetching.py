"""The order of a fetch: choose -> agree -> make sure of room -> bring each file -> tell what became of it.

The same call again goes on where the last one was stopped, and does nothing for what is there.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from brainatlas_text.download.agreement import Ask, is_accepted, record_acceptance, terms_text
from brainatlas_text.download.bringing import bring, has_right_checksum, settle
from brainatlas_text.download.catalog import Offer, RemoteFile, choose, load_catalog
from brainatlas_text.download.ledger import FOLDER, Shelf
from brainatlas_text.download.transfer import Patience
from brainatlas_text.errors import DownloadError, OutputError, SourceError
from brainatlas_text.progress import SilentTransfer, TransferProgress
from brainatlas_text.sources import discover
from brainatlas_text.workspace import free_bytes, hold

Status = Literal["fetched", "present", "absent", "by hand", "declined", "occupied", "failed"]
_SPARE_BYTES = 1 << 26


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchConfig:
    """What to fetch, and where to."""

    sources: tuple[str, ...]
    root: Path = Path("sources")
    """Holds one folder a source."""
    only: tuple[str, ...] = ()
    """Names of files, such as `T2` or `disc1`; empty: all."""
    accept_terms: bool = False
    """The terms of all these sources are accepted, without asking."""
    verify: bool = False
    """Only compare what was fetched earlier with its records; asks no server."""
    catalog: Path | None = None
    """Another list of files, of the form of `tables/fetch.toml`."""
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one file, or of a source as a whole."""

    source: str
    file: str
    """What `--only` calls it; empty for the source as a whole."""
    status: Status
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchSummary:
    """All outcomes, in the order of the sources."""

    outcomes: tuple[Outcome, ...]

    @property
    def exit_code(self) -> int:
        """0 all is there, 1 something failed, 2 the user has to decide, 3 something is left to do."""
        found = {outcome.status for outcome in self.outcomes}
        if "failed" in found:
            return 1
        if found & {"declined", "occupied"}:
            return 2
        return 3 if found & {"by hand", "absent"} else 0


def fetch(
    config: FetchConfig, progress: TransferProgress | None = None, ask: Ask | None = None
) -> FetchSummary:
    """Get sources. `ask` shows terms to a person; without it they have to be accepted in the configuration.

    Raises InputError, before anything is downloaded, for what the user can mend (an unknown name, no room, a
    folder that cannot be written). What becomes of each file is in the summary.
    """
    offers = choose(load_catalog(config.catalog), config.sources, config.only)
    told = progress or SilentTransfer()
    outcomes: dict[str, list[Outcome]] = {offer.source: [] for offer in offers}
    agreed = []
    for offer in offers:
        if offer.steps:
            outcomes[offer.source] = [_by_hand(offer, config.root)]
        elif config.verify:
            outcomes[offer.source] = [_verify(offer, file, config, told) for file in offer.files]
        elif offer.files and _agree(offer, config, ask, told):
            agreed.append(offer)
        elif offer.files:
            detail = "its terms have to be accepted first; --accept-terms accepts them"
            outcomes[offer.source] = [Outcome(source=offer.source, file="", status="declined", detail=detail)]
    _check_room(agreed, config.root)
    for offer in agreed:
        with _writable(config.root / offer.source) as home:
            outcomes[offer.source] = [_bring(offer, file, home, config, told) for file in offer.files]
    return FetchSummary(outcomes=tuple(outcome for group in outcomes.values() for outcome in group))


def _agree(offer: Offer, config: FetchConfig, ask: Ask | None, progress: TransferProgress) -> bool:
    """Whether the terms of a source are, or once were, accepted."""
    home = config.root / offer.source
    if is_accepted(home, offer):
        return True
    if config.accept_terms:
        progress.finish(terms_text(offer))
    elif not (ask and ask(offer.source, terms_text(offer))):
        return False
    with _writable(home):
        record_acceptance(home, offer, by="--accept-terms" if config.accept_terms else "answer to a question")
    return True


def _bring(
    offer: Offer, file: RemoteFile, home: Path, config: FetchConfig, progress: TransferProgress
) -> Outcome:
    """Make one file be there, whole, and tell what was done."""
    shelf = Shelf(home=home, file=file)
    try:
        status, detail = _present(shelf) or _fetched(shelf, progress, config.patience)
    except DownloadError as error:
        status, detail = "failed", str(error)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                f"{shelf.target}: no space left on the disk; make room, and the same command continues"
            ) from error
        raise
    return _told(offer, file, status, detail, progress)


def _present(shelf: Shelf) -> tuple[Status, str] | None:
    """What to say of what lies in the place already; None when the file is to be fetched."""
    record = shelf.read()
    missing = settle(shelf, record) if record else None
    if record and missing is not None:
        if not missing:
            return "present", ""
        return "present", (
            f"{len(missing)} of {len(record.placed)} files are gone or changed since; --verify names them; "
            f"remove {shelf.target} to fetch it again"
        )
    if not shelf.is_taken:
        return None
    if shelf.file.folder is None and has_right_checksum(shelf, shelf.target):
        return "present", "was there already, with the right checksum"
    return (
        "occupied",
        f"{shelf.target} was not made by this command and stays as it is; move it away to fetch it",
    )


def _fetched(shelf: Shelf, progress: TransferProgress, patience: Patience) -> tuple[Status, str]:
    record = bring(shelf, progress, patience)
    files = f", {len(record.placed)} files" if shelf.file.folder else ""
    return "fetched", f"{record.num_bytes / 1e6:,.1f} MB{files}"


def _verify(offer: Offer, file: RemoteFile, config: FetchConfig, progress: TransferProgress) -> Outcome:
    """Compare what was fetched with its record, byte by byte."""
    shelf = Shelf(home=config.root / offer.source, file=file)
    record = shelf.read()
    if record is None:
        return _told(offer, file, "absent", "not fetched yet", progress)
    progress.start(f"{file.file}: verify", None, 0)
    differing = shelf.differing(record)
    if not differing:
        return _told(offer, file, "present", "verified", progress)
    named = ", ".join(differing[:5]) + (", …" if len(differing) > 5 else "")
    detail = f"{len(differing)} of {len(record.placed)} files are gone or changed: {named}"
    return _told(offer, file, "failed", detail, progress)


def _told(offer: Offer, file: RemoteFile, status: Status, detail: str, progress: TransferProgress) -> Outcome:
    progress.finish(f"{offer.source} {file.name}: {status}" + (f": {detail}" if detail else ""))
    return Outcome(source=offer.source, file=file.name, status=status, detail=detail)


def _by_hand(offer: Offer, root: Path) -> Outcome:
    """The steps that only a person can take, unless they were taken."""
    try:
        found = discover(offer.source, root, healthy_only=False)
        return Outcome(source=offer.source, file="", status="present", detail=f"{len(found.scans)} scans")
    except SourceError:
        folder = str(root / offer.source)
        steps = "\n".join(f"{n}. {step.replace('{folder}', folder)}" for n, step in enumerate(offer.steps, 1))
        return Outcome(source=offer.source, file="", status="by hand", detail=steps)


def _check_room(offers: Sequence[Offer], root: Path) -> None:
    """All that is not there yet, unpacked, beside the largest archive: refuse before the first byte."""
    shelves = [Shelf(home=root / offer.source, file=file) for offer in offers for file in offer.files]
    wanted = [shelf for shelf in shelves if not shelf.is_taken]
    if not wanted:
        return
    kept = sum(shelf.file.unpacked_bytes or shelf.file.expected_bytes for shelf in wanted)
    passing = max(shelf.file.expected_bytes for shelf in wanted)
    there = sum(path.stat().st_size for s in wanted for path in (s.part, s.whole) if path.is_file())
    needed, free = kept + passing - there + _SPARE_BYTES, free_bytes(root.absolute())
    if needed > free:
        raise OutputError(
            f"{root}: about {needed / 1e9:,.1f} GB needed, {free / 1e9:,.1f} GB free; make room, choose "
            "another --root, or fetch part of it with --only"
        )


@contextmanager
def _writable(home: Path) -> Iterator[Path]:
    """Hold a source's folder for this process; raises OutputError when it cannot be written."""
    try:
        (home / FOLDER).mkdir(parents=True, exist_ok=True)
        with hold(home / FOLDER / "lock", f"{home}: another fetch is writing here; wait for it or stop it"):
            yield home
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise OutputError(f"{error.filename or home}: {error.strerror}; choose another --root") from error
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        raise OutputError(f"{home}: {error.strerror}; choose another --root") from error
