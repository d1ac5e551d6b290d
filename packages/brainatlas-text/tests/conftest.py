"""For `fetch`: a real server that misbehaves, and real tars. For `prepare`: a small brain in noisy air."""

import contextlib
import hashlib
import io
import json
import random
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainatlas_text import volumes
from brainatlas_text.download import FetchConfig, FetchSummary, Patience, fetch
from brainatlas_text.hub import load_hub
from brainatlas_text.records import Facts, SourceScan
from brainatlas_text.volumes import Volume

HASTY = Patience(timeout_s=5.0, retries=2, backoff_s=0.01)
CHANCE = random.Random(0)
SCANS = {f"IXI{n:03d}-HH-1211-T2.nii.gz": CHANCE.randbytes(150_000) for n in (2, 12, 13)}
XLS = b"\xd0\xcf\x11\xe0" + CHANCE.randbytes(40_000)


def tar_of(files: dict[str, bytes], mode: str = "w") -> bytes:
    """A tar of regular files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


Fault = Callable[["Handler", bytes], None]


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files` with ranges, as Apache would, unless a fault is due for the path."""

    server: "Host"
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.lstrip("/")
        self.server.seen.append((path, dict(self.headers)))
        faults = self.server.faults.get(path, [])
        body = self.server.files.get(path)
        with contextlib.suppress(ConnectionError):
            if faults:
                fault = faults[0] if self.server.lasting else faults.pop(0)
                fault(self, body or b"")
            elif body is None:
                self.answer(404, b"no such file")
            else:
                self.serve(body)

    def serve(self, body: bytes, *, send: int | None = None) -> None:
        """The file or the part asked for; `send` bytes of it, then the connection breaks."""
        begin, etag = 0, self.server.etags.get(self.path.lstrip("/"))
        asked = self.headers.get("Range")
        if asked and self.headers.get("If-Range") in (None, etag):
            begin = int(asked.removeprefix("bytes=").rstrip("-"))
        headers = {"ETag": etag} if etag else {}
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(body) - 1}/{len(body)}"
        self.answer(206 if begin else 200, body[begin:], headers, send=send)

    def answer(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, *, send: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if send is None else body[:send])
        self.wfile.flush()
        self.close_connection = send is not None or "Content-Length" in (headers or {})

    def log_message(self, *_: object) -> None:
        pass


class Host(ThreadingHTTPServer):
    """A server with its files, their names for versions, and what goes wrong."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.etags: dict[str, str | None] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.lasting = False
        self.seen: list[tuple[str, dict[str, str]]] = []

    def put(self, name: str, body: bytes, *, etag: bool = True) -> None:
        self.files[name] = body
        self.etags[name] = f'"{hashlib.md5(body).hexdigest()}"' if etag else None

    def ranges(self, name: str) -> list[str | None]:
        """The `Range` of every request for a file."""
        return [headers.get("Range") for path, headers in self.seen if path == name]


@dataclass
class Lab:
    """A host, a catalog of it, and a folder for sources."""

    host: Host
    root: Path
    catalog: Path
    entries: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    scans = SCANS
    xls = XLS
    chance = CHANCE
    hasty = HASTY
    tar_of = staticmethod(tar_of)

    def offer(self, source: str, name: str, file: str, **more: object) -> None:
        url = f"http://127.0.0.1:{self.host.server_port}/{file}"
        self.entries.setdefault(source, []).append({"name": name, "url": url} | more)
        lines = []
        for key, rows in self.entries.items():
            for row in rows:
                lines += [f"[[{key}.files]]", *(f"{k} = {json.dumps(v)}" for k, v in row.items()), ""]
        self.catalog.write_text("\n".join(lines))

    def fetch(self, *sources: str, **more: object) -> FetchSummary:
        settings = {"accept_terms": True, "patience": HASTY} | more
        names = sources or ("ixi",)
        return fetch(FetchConfig(sources=names, root=self.root, catalog=self.catalog, **settings))

    def one(self, **more: object) -> tuple[str, str]:
        """Fetch; status and detail of the only outcome."""
        (outcome,) = self.fetch(**more).outcomes
        return outcome.status, outcome.detail

    def visible(self) -> list[str]:
        """Files of the sources, as discovery would see them, without the note of the terms."""
        found = [p.relative_to(self.root) for p in sorted(self.root.rglob("*")) if p.is_file()]
        return [str(p) for p in found if ".fetch" not in p.parts and p.name != "terms-accepted.json"]

    def assert_t2_is_whole(self) -> None:
        """IXI's T2 scans are there, and nothing is left of the way to them."""
        folder = self.root / "ixi" / "IXI-T2"
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == SCANS
        left = {path.name for path in (self.root / "ixi" / ".fetch").iterdir()}
        assert left == {"lock", "IXI-T2.tar.json"}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    host = Host()
    thread = threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Lab(host=host, root=tmp_path / "sources", catalog=tmp_path / "catalog.toml")
    host.shutdown()
    thread.join()
    host.server_close()


@pytest.fixture
def t2(lab: Lab) -> Lab:
    """IXI's T2 archive alone."""
    lab.host.put("IXI-T2.tar", tar_of(SCANS))
    lab.offer("ixi", "T2", "IXI-T2.tar", folder="IXI-T2", unpacked_bytes=500_000)
    return lab


@pytest.fixture
def xls(lab: Lab) -> Lab:
    """IXI's spreadsheet alone."""
    lab.host.put("IXI.xls", XLS)
    lab.offer("ixi", "xls", "IXI.xls")
    return lab


@pytest.fixture(scope="session")
def noisy_brain() -> Volume:
    """The template at 3 mm, brain 250 and more, in air of 1 to 30."""
    template = volumes.thin(load_hub().image, (3, 3, 3))
    air = np.random.default_rng(0).integers(1, 30, template.shape)
    brain = np.where(template.array > 30, template.array * 8, air)
    return Volume(brain.astype(np.int16), template.affine)


@pytest.fixture
def make_scan(tmp_path: Path) -> Callable[..., SourceScan]:
    """Write a volume into a folder of its own; keyword arguments change the SourceScan."""

    def make(volume: Volume, name: str = "scan.nii.gz", **changes: object) -> SourceScan:
        folder = tmp_path / "sources"
        folder.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(volume.array, volume.affine), folder / name)
        scan = SourceScan(
            key="ibsr-01-t1w", subject="ibsr-01", source="ibsr", sequence="T1w", image=folder / name,
            facts=Facts(age_years=37.0, sex="M"), terms="ibsr",
        )  # fmt: skip
        return replace(scan, **changes)

    return make
