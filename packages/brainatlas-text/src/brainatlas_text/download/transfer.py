"""One file over HTTP, whatever the server does: resume, retry, and believe nothing that was not checked.

The unfinished file lies beside a note of what it is a part of (url, size, and the ETag or date by which the
server names this version). Only with such a name is a download continued (`Range` with `If-Range`); otherwise
it starts anew. Continued or not, what the server says has to fit: status, range, size, first bytes.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import requests
import urllib3

from brainatlas_text.download.catalog import RemoteFile
from brainatlas_text.errors import DownloadError
from brainatlas_text.progress import TransferProgress
from brainatlas_text.workspace import write_text

log = logging.getLogger(__name__)

_BLOCK = 1 << 16
_RETRIED = {408, 425, 429, 500, 502, 503, 504}
_WAIT_AT_MOST_S = 120.0
_BEGINNINGS = {".gz": b"\x1f\x8b", ".tgz": b"\x1f\x8b", ".xls": b"\xd0\xcf\x11\xe0", ".xlsx": b"PK\x03\x04"}
_HTML = re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<(!doctype\s+html|html|head|body)\b", re.I | re.S)
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """When to give up on a server."""

    timeout_s: float = 60.0
    """Without an answer or a byte for so long, the connection counts as broken."""
    slowest_bytes_per_s: float = 1000.0
    """Less than this over `timeout_s` counts as broken, too."""
    retries: int = 6
    """Broken attempts in a row that brought nothing new."""
    backoff_s: float = 1.0
    """Wait after the first of them; doubles up to two minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    """Which file on the server an unfinished file is a part of."""

    url: str
    validator: str | None
    """A strong ETag or a Last-Modified date; without one a download cannot be continued."""
    num_bytes: int | None


class _BrokenError(Exception):
    """An attempt failed in a way that the next one may not."""

    def __init__(self, why: str, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.wait_s = wait_s


def download(file: RemoteFile, part: Path, progress: TransferProgress, patience: Patience) -> None:
    """Make `part` the whole file; raises DownloadError, after which the same call goes on where it can.

    `part` may hold the beginning of an earlier call. Its note, `<part>.json`, stays until `forget`.
    """
    best, failures = _size(part), 0
    with requests.Session() as session:
        session.headers.update({"User-Agent": "brainatlas-text", "Accept-Encoding": "identity"})
        while True:
            try:
                _attempt(session, file, part, progress, patience)
                break
            except _BrokenError as broken:
                gained = _size(part) - best >= _BLOCK
                best, failures = max(best, _size(part)), 0 if gained else failures + 1
                if failures > patience.retries:
                    raise DownloadError(
                        f"{file.url}: {broken}; tried {failures} times; {best:,} bytes are kept, and the "
                        "same command continues"
                    ) from broken
                wait_s = max(patience.backoff_s * 2**failures / 2, broken.wait_s)
                log.warning("%s: %s; trying again", file.file, broken)
                time.sleep(min(wait_s, _WAIT_AT_MOST_S))


def _attempt(
    session: requests.Session, file: RemoteFile, part: Path, progress: TransferProgress, patience: Patience
) -> None:
    """One request: the rest of the file, or all of it."""
    version, have, headers = _read_note(part, file.url), _size(part), {}
    if version and version.num_bytes == have:
        return
    if version and version.validator and have:
        headers = {"Range": f"bytes={have}-", "If-Range": version.validator}
    with (
        _breaking(),
        session.get(
            file.url, headers=headers, stream=True, timeout=(patience.timeout_s, patience.timeout_s)
        ) as response,
    ):
        _check_status(response, file)
        if response.status_code == 200 and "Content-Range" not in response.headers:
            begin, total = 0, _length(response)
        elif version and (total := _total_if_continued(response.headers, have, version)):
            begin = have
        else:
            forget(part)
            found = f"{response.status_code} {response.headers.get('Content-Range', response.reason)}"
            raise _BrokenError(f"asked for the bytes from {have:,}, the server offers {found}; starting anew")
        _check_size(file, total)
        if begin == 0:
            forget(part)
            part.touch()
            _write_note(part, _Version(url=file.url, validator=_validator(response.headers), num_bytes=total))
        total = total or file.num_bytes
        progress.start(file.file, total, begin)
        with part.open("r+b") as out:
            out.seek(begin)
            try:
                end = _copy(response, out, begin, total, file, progress, patience)
            except DownloadError:
                forget(part)
                raise
    if total is not None and end < total:
        raise _BrokenError(f"the connection ended after {end:,} of {total:,} bytes")


def _copy(
    response: requests.Response,
    out: BinaryIO,
    begin: int,
    total: int | None,
    file: RemoteFile,
    progress: TransferProgress,
    patience: Patience,
) -> int:
    """Write the body behind what is there; return the size reached."""
    end, slow_end, slow_since = begin, begin, time.monotonic()
    while block := response.raw.read1(_BLOCK, decode_content=False):
        if end == 0:
            _check_beginning(block, response, file)
        end += len(block)
        if total is not None and end > total:
            raise DownloadError(f"{file.url}: the server sends more than the {total:,} bytes it should")
        out.write(block)
        progress.advance(len(block))
        if (now := time.monotonic()) - slow_since > patience.timeout_s:
            if end - slow_end < patience.slowest_bytes_per_s * patience.timeout_s:
                raise _BrokenError(f"only {end - slow_end:,} bytes came in {now - slow_since:.0f} s")
            slow_end, slow_since = end, now
    return end


@contextmanager
def _breaking() -> Iterator[None]:
    """Tell what may pass by itself from what will not."""
    try:
        yield
    except requests.exceptions.SSLError as error:
        raise DownloadError(f"{_host(error)}: no secure connection: {_reason(error)}") from error
    except requests.exceptions.TooManyRedirects as error:
        raise DownloadError(f"{_host(error)}: sent from one address to the next without end") from error
    except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
        raise _BrokenError(f"no connection: {_reason(error)}") from error
    except urllib3.exceptions.HTTPError as error:
        raise _BrokenError(f"the connection broke: {_reason(error)}") from error
    except requests.exceptions.RequestException as error:
        raise DownloadError(f"{_host(error)}: {_reason(error)}") from error


def _check_status(response: requests.Response, file: RemoteFile) -> None:
    status = response.status_code
    if urlsplit(file.url).scheme == "https" and urlsplit(response.url).scheme != "https":
        raise DownloadError(f"{file.url}: sent on to {response.url}, which is not encrypted; not taken")
    if status in _RETRIED:
        wait = response.headers.get("Retry-After", "")
        raise _BrokenError(
            f"the server answers {status} {response.reason}", float(wait) if wait.isdecimal() else 0
        )
    if status in (401, 403):
        raise DownloadError(
            f"{file.url}: {status} {response.reason}: the server wants you to log in or to agree"
        )
    if status not in (200, 206, 416):
        raise DownloadError(
            f"{file.url}: {status} {response.reason}; has it moved? Look at the source's site; "
            "--catalog takes a corrected list"
        )
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity" and Path(file.file).suffix not in (".gz", ".tgz"):
        raise DownloadError(f"{file.url}: the server packs the file as {encoding}, although not asked to")


def _check_size(file: RemoteFile, total: int | None) -> None:
    if total is not None and file.num_bytes is not None and total != file.num_bytes:
        raise DownloadError(
            f"{file.url}: {total:,} bytes on the server, {file.num_bytes:,} expected: not the file that this "
            "version knows; look at the source's site; --catalog takes a corrected list"
        )


def _check_beginning(block: bytes, response: requests.Response, file: RemoteFile) -> None:
    called_html = response.headers.get("Content-Type", "").lower().startswith("text/html")
    if _HTML.match(block) or (called_html and block.lstrip().startswith(b"<")):
        raise DownloadError(
            f"{response.url}: a web page came instead of the file, perhaps to log in or to agree; "
            "open it in a browser"
        )
    beginning = _BEGINNINGS.get(Path(file.file).suffix, b"")
    if not block.startswith(beginning[: len(block)]):
        raise DownloadError(
            f"{file.url}: expected a {Path(file.file).suffix} file, got one that begins with {block[:16]!r}"
        )


def _total_if_continued(headers: Mapping[str, str], have: int, version: _Version) -> int | None:
    """Size of the whole, if a partial answer continues the very file of which `have` bytes are here."""
    match = _RANGE.fullmatch(headers.get("Content-Range", ""))
    if not match or int(match[1]) != have or match[3] == "*" or int(match[2]) + 1 != int(match[3]):
        return None
    total, name = int(match[3]), "ETag" if (version.validator or "").startswith('"') else "Last-Modified"
    same = headers.get(name) in (None, version.validator) and version.num_bytes in (None, total)
    return total if same else None


def _length(response: requests.Response) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None


def _validator(headers: Mapping[str, str]) -> str | None:
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified")


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_note(part: Path, url: str) -> _Version | None:
    try:
        values: dict[str, Any] = json.loads(_note(part).read_text(encoding="utf-8"))
        version = _Version(**values)
    except (OSError, ValueError, TypeError):
        return None
    return version if version.url == url else None


def _write_note(part: Path, version: _Version) -> None:
    write_text(_note(part), json.dumps(asdict(version)) + "\n")


def forget(part: Path) -> None:
    """Give up what is there; the bytes go before their note, so that no note is ever of other bytes."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _host(error: requests.exceptions.RequestException) -> str:
    return str(error.request.url) if error.request is not None else "download"


def _reason(error: BaseException) -> str:
    """The innermost cause, in one line."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return " ".join(str(error).split()) or type(error).__name__
