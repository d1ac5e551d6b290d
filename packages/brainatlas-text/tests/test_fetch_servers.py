"""`fetch` and servers that drop, ignore, lie, stall and refuse."""

import contextlib
import gzip
import hashlib
import shutil
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from brainatlas_text.download import Patience

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
def test_a_dropped_connection_is_continued(t2, share):
    body = t2.host.files["IXI-T2.tar"]
    cut = int(len(body) * share)
    t2.host.faults["IXI-T2.tar"] = [lambda handler, body: handler.serve(body, send=cut)]
    assert t2.one()[0] == "fetched"
    assert t2.host.ranges("IXI-T2.tar") == [None, f"bytes={cut}-"]
    t2.assert_t2_is_whole()


def test_a_server_that_drops_again_and_again_is_not_given_up_while_it_gives(t2):
    drop = [lambda handler, body: handler.serve(body, send=70_000)] * 5
    t2.host.faults["IXI-T2.tar"] = drop
    assert t2.one()[0] == "fetched"
    assert t2.host.ranges("IXI-T2.tar")[1:] == [f"bytes={70_000 * n}-" for n in range(1, 6)]
    t2.assert_t2_is_whole()


def test_a_server_that_gives_nothing_is_given_up_and_the_next_call_continues(t2):
    def drop(handler, body):
        handler.serve(body, send=0 if handler.headers.get("Range") else 100_000)

    t2.host.faults["IXI-T2.tar"], t2.host.lasting = [drop], True
    status, detail = t2.one()
    assert status == "failed" and "100,000 bytes are kept, and the same command continues" in detail
    assert t2.visible() == []
    t2.host.lasting, t2.host.faults = False, {}
    t2.host.seen.clear()
    assert t2.one()[0] == "fetched"
    assert t2.host.ranges("IXI-T2.tar") == ["bytes=100000-"]
    t2.assert_t2_is_whole()


def test_a_server_that_ignores_range_is_read_from_the_beginning(t2):
    t2.host.faults["IXI-T2.tar"] = [
        lambda handler, body: handler.serve(body, send=100_000),
        lambda handler, body: handler.answer(200, body),
    ]
    assert t2.one()[0] == "fetched"
    assert t2.host.ranges("IXI-T2.tar") == [None, "bytes=100000-"]
    t2.assert_t2_is_whole()


RANGES = [
    "bytes 99000-{last}/{size}",
    "bytes 100000-{last}/*",
    "bytes 100000-{last}/77",
    "bytes 100000-100099/{size}",
    "bytes 100000-{size}/{larger}",
    "items 1-2/3",
]


@pytest.mark.parametrize(
    ("status", "content_range"), [(206, ""), *((status, text) for status in (206, 200) for text in RANGES)]
)
def test_a_wrong_content_range_starts_anew(t2, content_range, status):
    def wrong(handler, body):
        text = content_range.format(last=len(body) - 1, size=len(body), larger=len(body) + 1)
        etag = t2.host.etags["IXI-T2.tar"]
        handler.answer(status, body[100_000:], {"Content-Range": text, "ETag": etag})

    t2.host.faults["IXI-T2.tar"] = [lambda handler, body: handler.serve(body, send=100_000), wrong]
    assert t2.one()[0] == "fetched"
    assert t2.host.ranges("IXI-T2.tar") == [None, "bytes=100000-", None]
    t2.assert_t2_is_whole()


def test_a_file_that_changed_on_the_server_starts_anew(t2):
    new = t2.tar_of({name: t2.chance.randbytes(150_000) for name in t2.scans})

    def drop_and_change(handler, body):
        handler.serve(body, send=200_000)
        t2.host.put("IXI-T2.tar", new)

    t2.host.faults["IXI-T2.tar"] = [drop_and_change]
    assert t2.one()[0] == "fetched"
    (first, second) = (headers for _, headers in t2.host.seen)
    assert second["If-Range"] != t2.host.etags["IXI-T2.tar"] and "If-Range" not in first
    assert hashlib.sha256(new).hexdigest() in (t2.root / "ixi/.fetch/IXI-T2.tar.json").read_text()


def test_of_a_file_that_became_shorter_nothing_is_left(xls):
    new = xls.xls[:10_000]

    def drop_and_change(handler, body):
        handler.serve(body, send=20_000)
        xls.host.put("IXI.xls", new)

    xls.host.faults["IXI.xls"] = [drop_and_change]
    assert xls.one()[0] == "fetched" and (xls.root / "ixi/IXI.xls").read_bytes() == new


def test_a_server_that_ignores_if_range_is_found_out_by_its_etag(t2):
    new = t2.tar_of({name: t2.chance.randbytes(150_000) for name in t2.scans})

    def changed(handler, _):
        text = f"bytes 200000-{len(new) - 1}/{len(new)}"
        handler.answer(206, new[200_000:], {"Content-Range": text, "ETag": '"other"'})
        t2.host.put("IXI-T2.tar", new)

    t2.host.faults["IXI-T2.tar"] = [lambda handler, body: handler.serve(body, send=200_000), changed]
    assert t2.one()[0] == "fetched"
    assert t2.host.ranges("IXI-T2.tar") == [None, "bytes=200000-", None]
    assert hashlib.sha256(new).hexdigest() in (t2.root / "ixi/.fetch/IXI-T2.tar.json").read_text()


def test_without_a_name_for_its_version_a_file_is_not_continued(t2):
    t2.host.etags["IXI-T2.tar"] = None
    t2.host.faults["IXI-T2.tar"] = [lambda handler, body: handler.serve(body, send=100_000)]
    assert t2.one()[0] == "fetched"
    assert t2.host.ranges("IXI-T2.tar") == [None, None]
    t2.assert_t2_is_whole()


def test_a_date_names_a_version_too(t2):
    date = "Tue, 26 Jun 2007 10:00:00 GMT"

    def dated(handler, body):
        handler.answer(200, body, {"Last-Modified": date}, send=100_000)

    t2.host.etags["IXI-T2.tar"] = date  # what the handler compares If-Range with
    t2.host.faults["IXI-T2.tar"] = [dated]
    assert t2.one()[0] == "fetched"
    assert t2.host.ranges("IXI-T2.tar") == [None, "bytes=100000-"]
    t2.assert_t2_is_whole()


def test_a_body_in_chunks_is_read(xls):
    def chunked(handler, body):
        handler.answer(200, b"", {"Content-Length": "", "Transfer-Encoding": "chunked"})
        for begin in range(0, len(body), 9_000):
            block = body[begin : begin + 9_000]
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
        handler.wfile.write(b"0\r\n\r\n")

    xls.host.faults["IXI.xls"] = [chunked]
    assert xls.one()[0] == "fetched" and (xls.root / "ixi/IXI.xls").read_bytes() == xls.xls


def test_a_body_in_chunks_that_breaks_off_is_not_whole(xls):
    def chunked(handler, body):
        handler.answer(200, b"", {"Content-Length": "", "Transfer-Encoding": "chunked"})
        handler.wfile.write(b"%x\r\n%b\r\n" % (9_000, body[:9_000]))

    xls.host.faults["IXI.xls"] = [chunked]
    assert xls.one()[0] == "fetched" and len(xls.host.seen) == 2
    assert (xls.root / "ixi/IXI.xls").read_bytes() == xls.xls


def test_a_table_that_is_called_html_is_a_table(lab):
    lab.host.put("oasis.csv", b"ID,M/F\nOAS1_0001_MR1,F\n")
    lab.offer("oasis", "csv", "oasis.csv")
    lab.host.faults["oasis.csv"] = [lambda handler, b: handler.answer(200, b, {"Content-Type": "text/html"})]
    assert lab.fetch("oasis").exit_code == 0


def test_more_bytes_than_announced_are_refused(lab):
    def endless(handler, body):
        handler.answer(200, body + b"x" * 100_000, {"Content-Length": "", "Connection": "close"}, send=10**9)

    lab.host.put("IXI.xls", lab.xls)
    lab.offer("ixi", "xls", "IXI.xls", num_bytes=len(lab.xls))
    lab.host.faults["IXI.xls"] = [endless]
    status, detail = lab.one()
    assert status == "failed" and f"more than the {len(lab.xls):,} bytes" in detail
    assert lab.visible() == [] and not list((lab.root / "ixi/.fetch").glob("*.part"))
    assert lab.one()[0] == "fetched"


def test_fewer_bytes_than_known_are_not_enough(lab):
    def short(handler, body):
        handler.answer(200, body[:-10], {"Content-Length": "", "Connection": "close"}, send=10**9)

    lab.host.put("IXI.xls", lab.xls)
    lab.offer("ixi", "xls", "IXI.xls", num_bytes=len(lab.xls))
    lab.host.faults["IXI.xls"], lab.host.lasting = [short], True
    status, detail = lab.one()
    assert status == "failed" and f"{len(lab.xls) - 10:,} of {len(lab.xls):,} bytes" in detail
    lab.host.lasting, lab.host.faults = False, {}
    assert lab.one()[0] == "fetched" and (lab.root / "ixi/IXI.xls").read_bytes() == lab.xls


def test_another_size_than_published_is_refused_before_downloading(lab):
    lab.host.put("IXI.xls", lab.xls)
    lab.offer("ixi", "xls", "IXI.xls", num_bytes=len(lab.xls) + 1)
    status, detail = lab.one()
    assert (
        status == "failed"
        and f"{len(lab.xls):,} bytes on the server, {len(lab.xls) + 1:,} expected" in detail
    )
    assert not list((lab.root / "ixi/.fetch").glob("*.part"))


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_wrong_bytes_are_removed_and_named(lab, algorithm):
    lab.host.put("IXI.xls", lab.xls)
    lab.offer("ixi", "xls", "IXI.xls", checksum=f"{algorithm}:{hashlib.new(algorithm, lab.xls).hexdigest()}")
    flipped = lab.xls[:20_000] + bytes([lab.xls[20_000] ^ 1]) + lab.xls[20_001:]
    lab.host.faults["IXI.xls"] = [lambda handler, _: handler.answer(200, flipped)]
    status, detail = lab.one()
    assert status == "failed" and "do not match its published checksum; removed" in detail
    assert lab.visible() == []
    assert {path.name for path in (lab.root / "ixi/.fetch").iterdir()} == {"lock"}
    assert lab.one()[0] == "fetched"


def test_without_a_published_checksum_the_first_download_sets_it(xls):
    assert xls.one()[0] == "fetched"
    (xls.root / "ixi/IXI.xls").unlink()
    xls.host.put("IXI.xls", xls.xls[:-1] + bytes([xls.xls[-1] ^ 1]))
    status, detail = xls.one()
    assert status == "failed" and "do not match what was fetched on 20" in detail and xls.visible() == []
    xls.host.put("IXI.xls", xls.xls)
    assert xls.one()[0] == "fetched"


@pytest.mark.parametrize(
    ("status", "words", "tries"),
    [(404, "has it moved?", 1), (410, "has it moved?", 1), (403, "log in or to agree", 1), (401, "log in", 1),
     (500, "500", 3), (503, "503", 3), (429, "429", 3)],
)  # fmt: skip
def test_refusals(xls, status, words, tries):
    xls.host.faults["IXI.xls"], xls.host.lasting = [lambda handler, _: handler.answer(status, b"no")], True
    found, detail = xls.one()
    assert found == "failed" and words in detail and f":{xls.host.server_port}/IXI.xls" in detail
    assert len(xls.host.seen) == tries
    xls.host.lasting, xls.host.faults = False, {}
    assert xls.one()[0] == "fetched"


def test_a_refusal_that_passes_is_waited_out(xls):
    xls.host.faults["IXI.xls"] = [lambda handler, _: handler.answer(503, b"later", {"Retry-After": "1"})]
    begin = time.monotonic()
    assert xls.one()[0] == "fetched"
    assert time.monotonic() - begin >= 1.0


LOGIN = b"\n<!DOCTYPE html>\n<html><head><title>Log in</title></head></html>"


def test_a_redirect_to_a_login_page_is_named(xls):
    xls.host.files["login"] = LOGIN
    xls.host.faults["IXI.xls"] = [lambda handler, _: handler.answer(302, b"", {"Location": "/login"})]
    xls.host.faults["login"] = [
        lambda handler, b: handler.answer(200, b, {"Content-Type": "text/html; charset=x"})
    ]
    status, detail = xls.one()
    assert status == "failed" and "/login: a web page came instead of the file" in detail


@pytest.mark.parametrize("body", [LOGIN, b"<html>", b"<?xml version='1.0'?>\n<!-- x -->\n<html xmlns='y'>"])
def test_a_web_page_that_claims_to_be_a_file_is_named(t2, body):
    t2.host.put("IXI-T2.tar", body)
    status, detail = t2.one()
    assert status == "failed" and "a web page came instead of the file" in detail
    assert t2.visible() == [] and not list((t2.root / "ixi/.fetch").glob("*.part"))


def test_a_file_of_another_kind_is_named(xls):
    xls.host.put("IXI.xls", b"ID,AGE\n1,2\n")
    assert "expected a .xls file, got one that begins with b'ID,AGE" in xls.one()[1]


@pytest.fixture
def secure(lab, tmp_path):
    """The spreadsheet on a server that speaks TLS, with a certificate of its own making."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl to make a certificate with")
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
    ]
    subprocess.run(["openssl", "req", "-x509", *made, *names], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    lab.host.socket = context.wrap_socket(lab.host.socket, server_side=True)
    lab.host.put("IXI.xls", lab.xls)
    lab.offer("ixi", "xls", "IXI.xls")
    lab.catalog.write_text(lab.catalog.read_text().replace("http://", "https://"))
    return lab


def test_a_certificate_that_nobody_vouches_for(secure):
    status, detail = secure.one()
    assert status == "failed" and "no secure connection" in detail and not secure.host.seen


def test_what_is_sent_on_from_https_to_http_is_not_taken(secure, monkeypatch, tmp_path):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "cert.pem"))
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as plain:
        threading.Thread(target=plain.handle_request).start()
        away = {"Location": f"http://127.0.0.1:{plain.server_port}/IXI.xls"}
        secure.host.faults["IXI.xls"] = [lambda handler, _: handler.answer(302, b"", away)]
        status, detail = secure.one()
    assert status == "failed" and "is not encrypted; not taken" in detail
    assert secure.one()[0] == "fetched"


def test_redirects_in_a_circle(xls):
    xls.host.faults["IXI.xls"] = [lambda handler, _: handler.answer(302, b"", {"Location": "/IXI.xls"})]
    xls.host.lasting = True
    assert "without end" in xls.one()[1]


def test_a_moved_file_is_followed(xls):
    xls.host.put("new/place", xls.xls)
    xls.host.faults["IXI.xls"] = [lambda handler, _: handler.answer(301, b"", {"Location": "/new/place"})]
    assert xls.one()[0] == "fetched"


def test_a_trickle_is_cut_and_continued(t2):
    def trickle(handler, body):
        handler.serve(body, send=80_000)
        with contextlib.suppress(OSError):
            for byte in body[80_000:80_100]:
                handler.wfile.write(bytes([byte]))
                time.sleep(0.02)

    t2.host.faults["IXI-T2.tar"] = [trickle]
    quick = Patience(timeout_s=0.3, slowest_bytes_per_s=1e6, retries=2, backoff_s=0.01)
    assert t2.one(patience=quick)[0] == "fetched"
    assert len(t2.host.seen) == 2
    t2.assert_t2_is_whole()


def test_a_server_that_says_nothing_is_left(xls):
    over = threading.Event()
    xls.host.faults["IXI.xls"], xls.host.lasting = [lambda *_: over.wait(30) and None], True
    status, detail = xls.one(patience=Patience(timeout_s=0.2, retries=1, backoff_s=0.01))
    over.set()
    assert status == "failed" and "timed out" in detail and "tried 2 times" in detail


def test_a_server_that_is_not_there(xls):
    xls.catalog.write_text(xls.catalog.read_text().replace(str(xls.host.server_port), "9"))
    status, detail = xls.one()
    assert status == "failed" and "no connection" in detail and "refused" in detail


def test_one_file_that_fails_leaves_the_others_be(t2):
    t2.offer("ixi", "T9", "IXI-T9.tar", folder="IXI-T9")
    t2.host.put("IXI.xls", t2.xls)
    t2.offer("ixi", "xls", "IXI.xls")
    summary = t2.fetch()
    assert [o.status for o in summary.outcomes] == ["fetched", "failed", "fetched"] and summary.exit_code == 1


@pytest.mark.parametrize("harm", ["truncated", "flipped"])
def test_a_damaged_archive_is_removed_and_fetched_anew(lab, harm):
    whole = gzip.compress(
        lab.tar_of({"a.img": lab.chance.randbytes(99_000), "b.img": lab.chance.randbytes(99_000)})
    )
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


def test_an_unsafe_archive_is_refused_as_a_whole(lab):
    lab.host.put("x.tar", lab.tar_of({"a.img": b"a", "../../escaped": b"b"}))
    lab.offer("ixi", "T2", "x.tar", folder="IXI-T2")
    for _ in range(2):
        status, detail = lab.one()
        assert (
            status == "failed" and "'../../escaped' leads out of the folder; nothing was unpacked" in detail
        )
        assert lab.visible() == [] and not list(lab.root.parent.rglob("escaped"))
        assert {path.name for path in (lab.root / "ixi/.fetch").iterdir()} == {"lock", "x.tar.whole"}
    assert len(lab.host.seen) == 1  # kept to be looked at, not downloaded again
