"""`fetch` against a real server on this machine that misbehaves when told to, and real tars."""

import contextlib
import gzip
import hashlib
import io
import json
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import brainatlas_text
from brainatlas_text.cli import main
from brainatlas_text.download import FetchConfig, FetchSummary, Patience, fetch
from brainatlas_text.errors import InputError, OutputError, SourceError

pytestmark = pytest.mark.integration

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


def assert_t2_is_whole(lab: Lab) -> None:
    folder = lab.root / "ixi" / "IXI-T2"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == SCANS
    left = {path.name for path in (lab.root / "ixi" / ".fetch").iterdir()}
    assert left == {"lock", "IXI-T2.tar.json"}


# ---- what is asked for, in the end


def test_a_source_is_fetched_unpacked_and_then_left_alone(t2: Lab) -> None:
    t2.host.put("IXI.xls", XLS)
    t2.offer("ixi", "xls", "IXI.xls", checksum="sha256:" + hashlib.sha256(XLS).hexdigest())
    summary = t2.fetch()
    assert [(o.file, o.status) for o in summary.outcomes] == [("T2", "fetched"), ("xls", "fetched")], summary
    assert summary.exit_code == 0
    assert t2.visible() == [f"ixi/IXI-T2/{name}" for name in sorted(SCANS)] + ["ixi/IXI.xls"]
    assert (t2.root / "ixi" / "IXI.xls").read_bytes() == XLS
    asked = len(t2.host.seen)
    again = t2.fetch()
    assert [o.status for o in again.outcomes] == ["present", "present"] and again.exit_code == 0
    assert len(t2.host.seen) == asked == 2


def test_what_was_fetched_is_what_build_discovers(t2: Lab) -> None:
    from brainatlas_text.sources import discover

    t2.fetch()
    assert [scan.key for scan in discover("ixi", t2.root).scans] == [
        "ixi-002-t2w",
        "ixi-012-t2w",
        "ixi-013-t2w",
    ]


def test_a_top_folder_of_the_archive_is_not_doubled(lab: Lab) -> None:
    files = {"disc1/OAS1_0001_MR1/RAW/a.img": b"a" * 999, "./disc1/OAS1_0001_MR1/a.txt": b"b"}
    lab.host.put("disc1.tar.gz", gzip.compress(tar_of(files)))
    lab.offer("oasis", "disc1", "disc1.tar.gz", folder="disc1")
    assert lab.fetch("oasis").exit_code == 0
    assert lab.visible() == ["oasis/disc1/OAS1_0001_MR1/RAW/a.img", "oasis/disc1/OAS1_0001_MR1/a.txt"]
    assert lab.fetch("oasis", verify=True).exit_code == 0


def test_only_picks_files(t2: Lab) -> None:
    t2.host.put("IXI.xls", XLS)
    t2.offer("ixi", "xls", "IXI.xls")
    assert [o.file for o in t2.fetch(only=("XLS",)).outcomes] == ["xls"]
    assert t2.visible() == ["ixi/IXI.xls"]
    with pytest.raises(InputError, match=r"--only T22: no such file of ixi; did you mean T2\?"):
        t2.fetch(only=("T22",))


def test_python_has_it_beside_build(xls: Lab) -> None:
    config = brainatlas_text.FetchConfig(
        sources=("ixi",), root=xls.root, catalog=xls.catalog, accept_terms=True
    )
    assert brainatlas_text.fetch(config).exit_code == 0
    assert brainatlas_text.fetch(config).outcomes[0].status == "present"


def test_sources_in_the_wrong_form_are_named_before_anything_is_asked(xls: Lab) -> None:
    with pytest.raises(SourceError, match=r"unknown source 'ixy'; did you mean ixi\?"):
        xls.fetch("ixi", "ixy")
    xls.catalog.write_text('[[ixi.files]]\nname = "xls"\nurl = "ftp://x/y"\n')
    with pytest.raises(InputError, match=r"files\.0\.url"):
        xls.fetch()
    xls.catalog.write_text('[[ixi.files]]\nname = "xls"\nurl = "http://x/y"\nfolder = "../up"\n')
    with pytest.raises(InputError, match=r"files\.0\.folder"):
        xls.fetch()
    for text in ("[[ixi.files", 'ixi = "T1"'):
        xls.catalog.write_text(text)
        with pytest.raises(InputError, match="catalog"):
            xls.fetch()
    with pytest.raises(InputError, match="no such catalog"):
        fetch(FetchConfig(sources=("ixi",), root=xls.root, catalog=xls.root / "none.toml"))
    assert not xls.host.seen and not xls.root.exists()


# ---- servers that misbehave


@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
def test_a_dropped_connection_is_continued(t2: Lab, share: float) -> None:
    body = t2.host.files["IXI-T2.tar"]
    cut = int(len(body) * share)
    t2.host.faults["IXI-T2.tar"] = [lambda handler, body: handler.serve(body, send=cut)]
    assert t2.one()[0] == "fetched"
    assert t2.host.ranges("IXI-T2.tar") == [None, f"bytes={cut}-"]
    assert_t2_is_whole(t2)


def test_a_server_that_drops_again_and_again_is_not_given_up_while_it_gives(t2: Lab) -> None:
    drop = [lambda handler, body: handler.serve(body, send=70_000)] * 5
    t2.host.faults["IXI-T2.tar"] = drop
    assert t2.one()[0] == "fetched"
    assert t2.host.ranges("IXI-T2.tar")[1:] == [f"bytes={70_000 * n}-" for n in range(1, 6)]
    assert_t2_is_whole(t2)


def test_a_server_that_gives_nothing_is_given_up_and_the_next_call_continues(t2: Lab) -> None:
    def drop(handler: Handler, body: bytes) -> None:
        handler.serve(body, send=0 if handler.headers.get("Range") else 100_000)

    t2.host.faults["IXI-T2.tar"], t2.host.lasting = [drop], True
    status, detail = t2.one()
    assert status == "failed" and "100,000 bytes are kept, and the same command continues" in detail
    assert t2.visible() == []
    t2.host.lasting, t2.host.faults = False, {}
    t2.host.seen.clear()
    assert t2.one()[0] == "fetched"
    assert t2.host.ranges("IXI-T2.tar") == ["bytes=100000-"]
    assert_t2_is_whole(t2)


def test_a_server_that_ignores_range_is_read_from_the_beginning(t2: Lab) -> None:
    t2.host.faults["IXI-T2.tar"] = [
        lambda handler, body: handler.serve(body, send=100_000),
        lambda handler, body: handler.answer(200, body),
    ]
    assert t2.one()[0] == "fetched"
    assert t2.host.ranges("IXI-T2.tar") == [None, "bytes=100000-"]
    assert_t2_is_whole(t2)


@pytest.mark.parametrize(
    "content_range",
    ["bytes 99000-{last}/{size}", "bytes 100000-{last}/*", "bytes 100000-{last}/77", "bytes 100000-100099/{size}",
     "items 1-2/3", ""],
)  # fmt: skip
@pytest.mark.parametrize("status", [206, 200])
def test_a_wrong_content_range_starts_anew(t2: Lab, content_range: str, status: int) -> None:
    def wrong(handler: Handler, body: bytes) -> None:
        text = content_range.format(last=len(body) - 1, size=len(body))
        handler.answer(
            status, body[100_000:], {"Content-Range": text, "ETag": t2.host.etags["IXI-T2.tar"] or ""}
        )

    if status == 200 and not content_range:
        pytest.skip("that is a plain, short answer: told by its size")
    t2.host.faults["IXI-T2.tar"] = [lambda handler, body: handler.serve(body, send=100_000), wrong]
    assert t2.one()[0] == "fetched"
    assert t2.host.ranges("IXI-T2.tar") == [None, "bytes=100000-", None]
    assert_t2_is_whole(t2)


def test_a_file_that_changed_on_the_server_starts_anew(t2: Lab) -> None:
    new = tar_of({name: CHANCE.randbytes(150_000) for name in SCANS})

    def drop_and_change(handler: Handler, body: bytes) -> None:
        handler.serve(body, send=200_000)
        t2.host.put("IXI-T2.tar", new)

    t2.host.faults["IXI-T2.tar"] = [drop_and_change]
    assert t2.one()[0] == "fetched"
    (first, second) = (headers for _, headers in t2.host.seen)
    assert second["If-Range"] != t2.host.etags["IXI-T2.tar"] and "If-Range" not in first
    assert hashlib.sha256(new).hexdigest() in (t2.root / "ixi/.fetch/IXI-T2.tar.json").read_text()


def test_a_server_that_ignores_if_range_is_found_out_by_its_etag(t2: Lab) -> None:
    new = tar_of({name: CHANCE.randbytes(150_000) for name in SCANS})

    def changed(handler: Handler, _: bytes) -> None:
        text = f"bytes 200000-{len(new) - 1}/{len(new)}"
        handler.answer(206, new[200_000:], {"Content-Range": text, "ETag": '"other"'})
        t2.host.put("IXI-T2.tar", new)

    t2.host.faults["IXI-T2.tar"] = [lambda handler, body: handler.serve(body, send=200_000), changed]
    assert t2.one()[0] == "fetched"
    assert t2.host.ranges("IXI-T2.tar") == [None, "bytes=200000-", None]
    assert hashlib.sha256(new).hexdigest() in (t2.root / "ixi/.fetch/IXI-T2.tar.json").read_text()


def test_without_a_name_for_its_version_a_file_is_not_continued(t2: Lab) -> None:
    t2.host.etags["IXI-T2.tar"] = None
    t2.host.faults["IXI-T2.tar"] = [lambda handler, body: handler.serve(body, send=100_000)]
    assert t2.one()[0] == "fetched"
    assert t2.host.ranges("IXI-T2.tar") == [None, None]
    assert_t2_is_whole(t2)


def test_a_date_names_a_version_too(t2: Lab) -> None:
    date = "Tue, 26 Jun 2007 10:00:00 GMT"

    def dated(handler: Handler, body: bytes) -> None:
        handler.answer(200, body, {"Last-Modified": date}, send=100_000)

    t2.host.etags["IXI-T2.tar"] = date  # what the handler compares If-Range with
    t2.host.faults["IXI-T2.tar"] = [dated]
    assert t2.one()[0] == "fetched"
    assert t2.host.ranges("IXI-T2.tar") == [None, "bytes=100000-"]
    assert_t2_is_whole(t2)


def test_more_bytes_than_announced_are_refused(lab: Lab) -> None:
    def endless(handler: Handler, body: bytes) -> None:
        handler.answer(200, body + b"x" * 100_000, {"Content-Length": "", "Connection": "close"}, send=10**9)

    lab.host.put("IXI.xls", XLS)
    lab.offer("ixi", "xls", "IXI.xls", num_bytes=len(XLS))
    lab.host.faults["IXI.xls"] = [endless]
    status, detail = lab.one()
    assert status == "failed" and f"more than the {len(XLS):,} bytes" in detail
    assert lab.visible() == [] and not list((lab.root / "ixi/.fetch").glob("*.part"))
    assert lab.one()[0] == "fetched"


def test_fewer_bytes_than_known_are_not_enough(lab: Lab) -> None:
    def short(handler: Handler, body: bytes) -> None:
        handler.answer(200, body[:-10], {"Content-Length": "", "Connection": "close"}, send=10**9)

    lab.host.put("IXI.xls", XLS)
    lab.offer("ixi", "xls", "IXI.xls", num_bytes=len(XLS))
    lab.host.faults["IXI.xls"], lab.host.lasting = [short], True
    status, detail = lab.one()
    assert status == "failed" and f"{len(XLS) - 10:,} of {len(XLS):,} bytes" in detail
    lab.host.lasting, lab.host.faults = False, {}
    assert lab.one()[0] == "fetched" and (lab.root / "ixi/IXI.xls").read_bytes() == XLS


def test_another_size_than_published_is_refused_before_downloading(lab: Lab) -> None:
    lab.host.put("IXI.xls", XLS)
    lab.offer("ixi", "xls", "IXI.xls", num_bytes=len(XLS) + 1)
    status, detail = lab.one()
    assert status == "failed" and f"{len(XLS):,} bytes on the server, {len(XLS) + 1:,} expected" in detail
    assert not list((lab.root / "ixi/.fetch").glob("*.part"))


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_wrong_bytes_are_removed_and_named(lab: Lab, algorithm: str) -> None:
    lab.host.put("IXI.xls", XLS)
    lab.offer("ixi", "xls", "IXI.xls", checksum=f"{algorithm}:{hashlib.new(algorithm, XLS).hexdigest()}")
    flipped = XLS[:20_000] + bytes([XLS[20_000] ^ 1]) + XLS[20_001:]
    lab.host.faults["IXI.xls"] = [lambda handler, _: handler.answer(200, flipped)]
    status, detail = lab.one()
    assert status == "failed" and "do not match its published checksum; removed" in detail
    assert lab.visible() == []
    assert {path.name for path in (lab.root / "ixi/.fetch").iterdir()} == {"lock"}
    assert lab.one()[0] == "fetched"


def test_without_a_published_checksum_the_first_download_sets_it(xls: Lab) -> None:
    assert xls.one()[0] == "fetched"
    (xls.root / "ixi/IXI.xls").unlink()
    xls.host.put("IXI.xls", XLS[:-1] + bytes([XLS[-1] ^ 1]))
    status, detail = xls.one()
    assert status == "failed" and "do not match what was fetched on 20" in detail and xls.visible() == []
    xls.host.put("IXI.xls", XLS)
    assert xls.one()[0] == "fetched"


@pytest.mark.parametrize(
    ("status", "words", "tries"),
    [(404, "has it moved?", 1), (410, "has it moved?", 1), (403, "log in or to agree", 1), (401, "log in", 1),
     (500, "500", 3), (503, "503", 3), (429, "429", 3)],
)  # fmt: skip
def test_refusals(xls: Lab, status: int, words: str, tries: int) -> None:
    xls.host.faults["IXI.xls"], xls.host.lasting = [lambda handler, _: handler.answer(status, b"no")], True
    found, detail = xls.one()
    assert found == "failed" and words in detail and f":{xls.host.server_port}/IXI.xls" in detail
    assert len(xls.host.seen) == tries
    xls.host.lasting, xls.host.faults = False, {}
    assert xls.one()[0] == "fetched"


def test_a_refusal_that_passes_is_waited_out(xls: Lab) -> None:
    xls.host.faults["IXI.xls"] = [lambda handler, _: handler.answer(503, b"later", {"Retry-After": "1"})]
    begin = time.monotonic()
    assert xls.one()[0] == "fetched"
    assert time.monotonic() - begin >= 1.0


LOGIN = b"\n<!DOCTYPE html>\n<html><head><title>Log in</title></head></html>"


def test_a_redirect_to_a_login_page_is_named(xls: Lab) -> None:
    xls.host.files["login"] = LOGIN
    xls.host.faults["IXI.xls"] = [lambda handler, _: handler.answer(302, b"", {"Location": "/login"})]
    xls.host.faults["login"] = [
        lambda handler, b: handler.answer(200, b, {"Content-Type": "text/html; charset=x"})
    ]
    status, detail = xls.one()
    assert status == "failed" and "/login: a web page came instead of the file" in detail


@pytest.mark.parametrize("body", [LOGIN, b"<html>", b"<?xml version='1.0'?>\n<!-- x -->\n<html xmlns='y'>"])
def test_a_web_page_that_claims_to_be_a_file_is_named(t2: Lab, body: bytes) -> None:
    t2.host.put("IXI-T2.tar", body)
    status, detail = t2.one()
    assert status == "failed" and "a web page came instead of the file" in detail
    assert t2.visible() == [] and not list((t2.root / "ixi/.fetch").glob("*.part"))


def test_a_file_of_another_kind_is_named(xls: Lab) -> None:
    xls.host.put("IXI.xls", b"ID,AGE\n1,2\n")
    assert "expected a .xls file, got one that begins with b'ID,AGE" in xls.one()[1]


def test_redirects_in_a_circle(xls: Lab) -> None:
    xls.host.faults["IXI.xls"] = [lambda handler, _: handler.answer(302, b"", {"Location": "/IXI.xls"})]
    xls.host.lasting = True
    assert "without end" in xls.one()[1]


def test_a_moved_file_is_followed(xls: Lab) -> None:
    xls.host.put("new/place", XLS)
    xls.host.faults["IXI.xls"] = [lambda handler, _: handler.answer(301, b"", {"Location": "/new/place"})]
    assert xls.one()[0] == "fetched"


def test_a_trickle_is_cut_and_continued(t2: Lab) -> None:
    def trickle(handler: Handler, body: bytes) -> None:
        handler.serve(body, send=80_000)
        with contextlib.suppress(OSError):
            for byte in body[80_000:80_100]:
                handler.wfile.write(bytes([byte]))
                time.sleep(0.02)

    t2.host.faults["IXI-T2.tar"] = [trickle]
    quick = Patience(timeout_s=0.3, slowest_bytes_per_s=1e6, retries=2, backoff_s=0.01)
    assert t2.one(patience=quick)[0] == "fetched"
    assert len(t2.host.seen) == 2
    assert_t2_is_whole(t2)


def test_a_server_that_says_nothing_is_left(xls: Lab) -> None:
    over = threading.Event()
    xls.host.faults["IXI.xls"], xls.host.lasting = [lambda *_: over.wait(30) and None], True
    status, detail = xls.one(patience=Patience(timeout_s=0.2, retries=1, backoff_s=0.01))
    over.set()
    assert status == "failed" and "timed out" in detail and "tried 2 times" in detail


def test_a_server_that_is_not_there(xls: Lab) -> None:
    xls.catalog.write_text(xls.catalog.read_text().replace(str(xls.host.server_port), "9"))
    status, detail = xls.one()
    assert status == "failed" and "no connection" in detail and "refused" in detail


def test_one_file_that_fails_leaves_the_others_be(t2: Lab) -> None:
    t2.offer("ixi", "T9", "IXI-T9.tar", folder="IXI-T9")
    t2.host.put("IXI.xls", XLS)
    t2.offer("ixi", "xls", "IXI.xls")
    summary = t2.fetch()
    assert [o.status for o in summary.outcomes] == ["fetched", "failed", "fetched"] and summary.exit_code == 1


@pytest.mark.parametrize("harm", ["truncated", "flipped"])
def test_a_damaged_archive_is_removed_and_fetched_anew(lab: Lab, harm: str) -> None:
    whole = gzip.compress(tar_of({"a.img": CHANCE.randbytes(99_000), "b.img": CHANCE.randbytes(99_000)}))
    middle = len(whole) // 2
    bad = (
        whole[:middle]
        if harm == "truncated"
        else whole[:middle] + bytes([whole[middle] ^ 8]) + whole[middle + 1 :]
    )
    lab.host.put("x.tar.gz", whole)
    lab.host.faults["x.tar.gz"] = [lambda handler, _: handler.answer(200, bad)]
    lab.offer("oasis", "disc1", "x.tar.gz", folder="disc1")
    (outcome,) = lab.fetch("oasis").outcomes
    assert outcome.status == "failed" and "not a whole archive" in outcome.detail and "anew" in outcome.detail
    assert lab.visible() == []
    assert lab.fetch("oasis").exit_code == 0
    assert lab.visible() == ["oasis/disc1/a.img", "oasis/disc1/b.img"]


def test_an_unsafe_archive_is_refused_as_a_whole(lab: Lab) -> None:
    lab.host.put("x.tar", tar_of({"a.img": b"a", "../../escaped": b"b"}))
    lab.offer("ixi", "T2", "x.tar", folder="IXI-T2")
    for _ in range(2):
        status, detail = lab.one()
        assert (
            status == "failed" and "'../../escaped' leads out of the folder; nothing was unpacked" in detail
        )
        assert lab.visible() == [] and not list(lab.root.parent.rglob("escaped"))
    assert len(lab.host.seen) == 1  # kept to be looked at, not downloaded again


# ---- stopped, and gone on with


def start(lab: Lab, *more: str) -> subprocess.Popen[bytes]:
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "brainatlas_text", "fetch", "ixi", "--accept-terms", *more]
    return subprocess.Popen(
        [*command, "--root", lab.root, "--catalog", lab.catalog],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def run(lab: Lab, *more: str) -> str:
    process = start(lab, *more)
    output = process.communicate(timeout=120)[0].decode()
    assert process.returncode == 0, output
    return output


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while not condition() and process.poll() is None:
        time.sleep(0.001)


def test_killed_while_downloading(t2: Lab) -> None:
    over = threading.Event()

    def slowly(handler: Handler, body: bytes) -> None:
        handler.serve(body, send=300_000)
        over.wait(30)

    t2.host.faults["IXI-T2.tar"] = [slowly]
    part = t2.root / "ixi/.fetch/IXI-T2.tar.part"
    process = start(t2)
    wait_until(lambda: part.is_file() and part.stat().st_size >= 250_000, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    over.set()
    assert process.returncode == -signal.SIGKILL and t2.visible() == []
    have = part.stat().st_size
    assert "ixi T2: fetched" in run(t2)
    assert t2.host.ranges("IXI-T2.tar") == [None, f"bytes={have}-"] and have > 0
    assert_t2_is_whole(t2)


def test_killed_while_unpacking(lab: Lab) -> None:
    files = {f"IXI{n:03d}/x.nii": b"%d" % n for n in range(800)}
    lab.host.put("many.tar", tar_of(files))
    lab.offer("ixi", "T2", "many.tar", folder="IXI-T2", unpacked_bytes=2_000_000)
    unpacking = lab.root / "ixi/.fetch/many.tar.unpacking"
    for _ in range(5):  # should the machine be so busy that the moment is missed
        process = start(lab)
        wait_until(lambda: unpacking.is_dir() and any(unpacking.iterdir()), process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if process.returncode == -signal.SIGKILL and unpacking.is_dir():
            break
        shutil.rmtree(lab.root)
        lab.host.seen.clear()
    assert unpacking.is_dir() and lab.visible() == []
    assert "ixi T2: fetched" in run(lab)
    assert len(lab.host.seen) == 1  # the archive was whole: not downloaded again
    assert {name.removeprefix("ixi/IXI-T2/") for name in lab.visible()} == set(files)
    assert not unpacking.exists()


@pytest.mark.parametrize("folder", ["IXI-T2", None])
def test_stopped_between_record_and_move(lab: Lab, folder: str | None) -> None:
    lab.host.put("IXI-T2.tar", tar_of(SCANS))
    lab.offer("ixi", "T2", "IXI-T2.tar", **({"folder": folder} if folder else {}))
    lab.fetch()
    target = lab.root / "ixi" / (folder or "IXI-T2.tar")
    target.rename(lab.root / "ixi/.fetch/IXI-T2.tar.ready")
    assert lab.one() == ("present", "") and target.exists()
    assert len(lab.host.seen) == 1


def test_two_at_once_do_not_meet(t2: Lab) -> None:
    over = threading.Event()

    def slowly(handler: Handler, body: bytes) -> None:
        over.wait(30)
        handler.serve(body)

    t2.host.faults["IXI-T2.tar"] = [slowly]
    process = start(t2)
    wait_until(lambda: bool(t2.host.seen), process)
    with pytest.raises(OutputError, match="another fetch is writing here"):
        t2.fetch()
    over.set()
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert_t2_is_whole(t2)


# ---- folders


def test_what_a_person_put_there_stays(t2: Lab) -> None:
    mine = t2.root / "ixi/IXI-T2"
    mine.mkdir(parents=True)
    (mine / "notes.txt").write_text("mine")
    summary = t2.fetch()
    assert summary.exit_code == 2 and summary.outcomes[0].status == "occupied"
    assert "was not made by this command and stays as it is" in summary.outcomes[0].detail
    assert t2.visible() == ["ixi/IXI-T2/notes.txt"] and not t2.host.seen


def test_a_persons_own_copy_with_the_right_checksum_counts(lab: Lab) -> None:
    lab.host.put("IXI.xls", XLS)
    lab.offer("ixi", "xls", "IXI.xls", checksum="md5:" + hashlib.md5(XLS).hexdigest())
    own = lab.root / "ixi/IXI.xls"
    own.parent.mkdir(parents=True)
    own.write_bytes(XLS)
    assert lab.one() == ("present", "was there already, with the right checksum")
    own.write_bytes(b"edited")
    assert lab.one()[0] == "occupied" and own.read_bytes() == b"edited"
    assert not lab.host.seen


def test_files_that_a_person_removes_later_are_not_fetched_unasked(t2: Lab) -> None:
    t2.fetch()
    first = t2.root / "ixi/IXI-T2" / sorted(SCANS)[0]
    first.unlink()
    status, detail = t2.one()
    assert status == "present" and detail.startswith("1 of 3 files are gone or changed since")
    assert len(t2.host.seen) == 1
    shutil.rmtree(t2.root / "ixi/IXI-T2")
    assert t2.one()[0] == "fetched" and first.is_file()


def test_verify_compares_every_byte_and_asks_no_server(t2: Lab) -> None:
    t2.offer("ixi", "xls", "IXI.xls")
    t2.fetch(only=("T2",))
    t2.host.seen.clear()
    summary = t2.fetch(verify=True)
    assert [o.status for o in summary.outcomes] == ["present", "absent"] and summary.exit_code == 3
    scan = t2.root / "ixi/IXI-T2" / sorted(SCANS)[1]
    scan.write_bytes(SCANS[scan.name][:-1] + bytes([SCANS[scan.name][-1] ^ 1]))
    summary = t2.fetch(verify=True, only=("T2",))
    assert (
        summary.exit_code == 1 and summary.outcomes[0].detail == f"1 of 3 files are gone or changed: {scan}"
    )
    assert not t2.host.seen


def test_no_room_is_told_before_the_first_byte(lab: Lab) -> None:
    lab.host.put("IXI-T2.tar", tar_of(SCANS))
    lab.offer("ixi", "T2", "IXI-T2.tar", folder="IXI-T2", num_bytes=10**15, unpacked_bytes=10**16)
    with pytest.raises(OutputError, match=r"about 11,000,000\.\d GB needed, .* GB free"):
        lab.fetch()
    assert not lab.host.seen


NAMESPACE = ["unshare", "--map-root-user", "--mount"]
CRAMPED = """
import sys
from pathlib import Path
from brainatlas_text.download import fetching
fetching._SPARE_BYTES = 0
from brainatlas_text.errors import OutputError
config = fetching.FetchConfig(
    sources=("ixi",), root=Path(sys.argv[1]), catalog=Path(sys.argv[2]), accept_terms=True
)
try:
    print(fetching.fetch(config).outcomes[0].status)
except OutputError as error:
    print(error)
"""


def in_namespace(script: str, *arguments: object) -> list[str]:
    """Run a shell script where it may mount file systems; skipped where that is not allowed."""
    if not shutil.which("unshare") or subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode:
        pytest.skip("user namespaces are not allowed here")
    done = subprocess.run(
        [*NAMESPACE, "sh", "-euc", script, "sh", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(("packed", "cramped"), [(False, "300k"), (True, "600k")])
def test_a_disk_that_fills_up(lab: Lab, packed: bool, cramped: str) -> None:
    files = SCANS
    if packed:  # fits the disk packed, and not unpacked
        files = {name: 5 * content[:20_000] + 5 * content[20_000:40_000] for name, content in SCANS.items()}
        files |= {f"IXI1{name[4:]}": 12 * content[-30_000:] for name, content in SCANS.items()}
    lab.host.put("x.tar", gzip.compress(tar_of(files)) if packed else tar_of(files))
    lab.offer("ixi", "T2", "x.tar", folder="IXI-T2")
    lab.root.mkdir()
    script = """
        mount -t tmpfs -o size="$4" tmpfs "$1"
        "$5" -c "$3" "$1" "$2"
        find "$1" -name '*.unpacking' -o -name '*.nii*'
        mount -o remount,size=20m "$1"
        "$5" -c "$3" "$1" "$2"
        find "$1" -name '*.nii*' | wc -l
    """
    lines = in_namespace(script, lab.root, lab.catalog, CRAMPED, cramped, sys.executable)
    assert lines[0].startswith(f"{lab.root}/ixi/IXI-T2: no space left on the disk; make room, and the same")
    assert lines[1:] == ["fetched", str(len(files))]
    assert len(lab.host.seen) == (1 if packed else 2)


def test_a_disk_that_cannot_be_written(xls: Lab) -> None:
    xls.root.mkdir()
    script = """
        mount -t tmpfs -o ro tmpfs "$1"
        code=0
        "$3" -m brainatlas_text fetch ixi --accept-terms --root "$1" --catalog "$2" 2>&1 || code=$?
        echo "$code"
    """
    lines = in_namespace(script, xls.root, xls.catalog, sys.executable)
    assert "Read-only file system; choose another --root" in lines[-2] and lines[-1] == "2"
    (xls.root / "ixi").write_text("a file")
    with pytest.raises(OutputError, match="choose another --root"):
        xls.fetch()
    assert not xls.host.seen


# ---- terms


def test_terms_are_shown_once_and_recorded(xls: Lab) -> None:
    asked = []

    def ask(source: str, text: str) -> bool:
        asked.append((source, text))
        return len(asked) > 1

    config = FetchConfig(sources=("ixi",), root=xls.root, catalog=xls.catalog)
    summary = fetch(config, ask=ask)
    assert summary.exit_code == 2 and summary.outcomes[0].status == "declined" and not xls.host.seen
    assert fetch(config, ask=ask).outcomes[0].status == "fetched"
    assert fetch(config, ask=ask).outcomes[0].status == "present"
    assert len(asked) == 2 and "Creative Commons BY-SA 3.0" in asked[0][1]
    path = xls.root / "ixi/terms-accepted.json"
    record = json.loads(path.read_text())
    assert record["text"] == asked[0][1] and record["accepted_by"] == "answer to a question"
    assert record["text_sha256"] == hashlib.sha256(record["text"].encode()).hexdigest()
    assert record["accepted_at"].startswith("20")
    path.write_text(json.dumps(record | {"text_sha256": "of older words"}))
    fetch(config, ask=ask)
    assert len(asked) == 3


def test_without_anybody_to_ask_nothing_is_fetched(xls: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["fetch", "ixi", "--root", str(xls.root), "--catalog", str(xls.catalog)]
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert "Creative Commons" in shown.err and "--accept-terms" in shown.out and not xls.host.seen
    assert main([*arguments, "--accept-terms", "--json"]) == 0
    (outcome,) = json.loads(capsys.readouterr().out)["outcomes"]
    assert outcome == {"source": "ixi", "file": "xls", "status": "fetched", "detail": "0.0 MB"}


def test_sources_for_people_come_with_steps(xls: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    steps = '\n[kirby]\nsteps = ["log in at NITRC", "unpack into {folder}"]\n'
    xls.catalog.write_text(xls.catalog.read_text() + steps)
    arguments = [
        "fetch",
        "ixi",
        "kirby",
        "--root",
        str(xls.root),
        "--catalog",
        str(xls.catalog),
        "--accept-terms",
    ]
    assert main(arguments) == 3
    shown = capsys.readouterr().out
    assert "ixi xls: fetched" in shown
    assert f"1. log in at NITRC\n2. unpack into {xls.root}/kirby" in shown
    assert not (xls.root / "kirby").exists()
    scan = xls.root / "kirby/KKI2009-ALL-FLAIR/KKI2009-33-FLAIR.nii.gz"
    scan.parent.mkdir(parents=True)
    scan.touch()
    assert main(arguments) == 0
    assert "kirby: present (1 scans)" in capsys.readouterr().out


# ---- the catalog of the package


def test_the_catalog_names_what_the_adapters_read() -> None:
    from brainatlas_text.download.agreement import terms_text
    from brainatlas_text.download.catalog import load_catalog
    from brainatlas_text.sources import SOURCES

    catalog = load_catalog()
    assert set(catalog) == set(SOURCES)
    assert all(bool(offer.files) != bool(offer.steps) for offer in catalog.values())
    files = [file for offer in catalog.values() for file in offer.files]
    assert all(file.url.startswith("https://") and file.evidence for file in files)
    assert all(file.folder is None or file.unpacked_bytes for file in files)
    assert [file.name for file in catalog["ixi"].files] == ["T1", "T2", "xls"]
    assert {f"disc{n}" for n in range(1, 13)} < {file.folder for file in catalog["oasis"].files}
    assert "data use agreement" in terms_text(catalog["oasis"])
    assert all("{folder}" in "".join(offer.steps) for offer in catalog.values() if offer.steps)
