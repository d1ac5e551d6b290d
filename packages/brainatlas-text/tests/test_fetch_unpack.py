"""Unpacking: what an archive may hold, whatever its names, kinds, sizes and damage are."""

import gzip
import io
import os
import random
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainatlas_text.download.unpack import DamagedArchiveError, Limits, unpack
from brainatlas_text.errors import DownloadError
from brainatlas_text.progress import SilentTransfer

pytestmark = pytest.mark.unit

FILE, OLD_FILE, FOLDER, LINK, SYMLINK, SPARSE, CONTIGUOUS = b"0", b"\0", b"5", b"1", b"2", b"S", b"7"
DEVICES = [b"3", b"4", b"6"]
LINKS = (LINK, SYMLINK)
FILES = (FILE, OLD_FILE, CONTIGUOUS)


def make(members, form=tarfile.GNU_FORMAT):
    """A tar of (name, kind, content or target of the link)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            if kind in LINKS:
                member.linkname = content
            elif kind in FILES:
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content) if member.size else None)
    return stream.getvalue()


def unpacked(place, body, **limits):
    """Unpack `body` deep below `place`; what came out, by path."""
    home = place / "a" / "b" / "c"
    home.mkdir(parents=True)
    (place / "canary").write_bytes(b"alive")
    (home / "x.tar").write_bytes(body)
    bounds = Limits(**({"total_bytes": 10_000_000} | limits))
    placed = unpack(home / "x.tar", home / "out", bounds, SilentTransfer())
    return {entry.path: (home / "out" / entry.path).read_bytes() for entry in placed}


def assert_nothing_outside(place):
    """Nothing below `place` was made or changed but the folder that was unpacked into."""
    inside = place / "a" / "b" / "c" / "out"
    found = {str(p.relative_to(place)) for p in place.rglob("*") if p != inside and inside not in p.parents}
    assert found == {"a", "a/b", "a/b/c", "a/b/c/x.tar", "canary"}
    assert (place / "canary").read_bytes() == b"alive"


def test_files_and_folders_come_out_as_they_were(tmp_path):
    long = "/".join(["a-folder-with-a-long-name"] * 12) + "/scan.nii.gz"
    members = [("d", FOLDER, b""), ("d/a.img", FILE, b"1" * 1000), ("./b", FILE, b""), (long, FILE, b"2")]
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        for pack in (bytes, gzip.compress):
            found = unpacked(tmp_path / f"{form}{pack.__name__}", pack(make(members, form)))
            assert found == {"d/a.img": b"1" * 1000, "b": b"", long: b"2"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("/etc/cron.d/x", "leads out"),
        ("//x", "leads out"),
        ("../x", "leads out"),
        ("a/../../x", "leads out"),
        ("a/..", "leads out"),
        ("..", "leads out"),
        ("a\\..\\x", "leads out"),
        ("a\nb", "not a usable name"),
        ("\x1b[31mred", "not a usable name"),
        ("not-\udce9-utf8", "not a usable name"),
        (".", "not a usable name"),
        ("/".join("a" * 40), "not a usable name"),
        ("n" * 300, "names that cannot stand"),
    ],
)
def test_names_that_are_refused(tmp_path, name, words):
    with pytest.raises(DownloadError, match=words):
        unpacked(tmp_path, make([("good", FILE, b"1"), (name, FILE, b"2")]))
    assert_nothing_outside(tmp_path)


@pytest.mark.parametrize("kind", [*LINKS, *DEVICES, SPARSE])
def test_kinds_that_are_refused(tmp_path, kind):
    body = make([("good", FILE, b"1"), ("bad", kind, "good" if kind in LINKS else b"")])
    with pytest.raises(DownloadError, match=r"'bad' is (a link|neither a file nor a folder)"):
        unpacked(tmp_path, body)
    assert not os.path.lexists(tmp_path / "a/b/c/out/bad")


@pytest.mark.parametrize("target", ["/etc", "..", "../../../canary", "sub/../../.."])
@pytest.mark.parametrize("kind", LINKS)
def test_writing_through_a_link_is_refused(tmp_path, kind, target):
    with pytest.raises(DownloadError, match="is a link"):
        unpacked(tmp_path, make([("door", kind, target), ("door/canary", FILE, b"dead")]))
    assert_nothing_outside(tmp_path)


@pytest.mark.parametrize("second", ["a", "./a", "a/b"])
def test_two_members_in_one_place_are_refused(tmp_path, second):
    with pytest.raises(DownloadError, match="cannot stand side by side"):
        unpacked(tmp_path, make([("a", FILE, b"1"), (second, FILE, b"2")]))


def test_bombs_are_refused_before_they_go_off(tmp_path):
    zeros = gzip.compress(make([("a", FILE, bytes(5_000_000))]))
    with pytest.raises(DownloadError, match="unpacks to more than 1,000,000 bytes"):
        unpacked(tmp_path / "1", zeros, total_bytes=1_000_000)
    assert (tmp_path / "1/a/b/c/out/a").stat().st_size <= 1_000_000
    with pytest.raises(DownloadError, match="'a' claims 5,000,000 bytes"):
        unpacked(tmp_path / "2", zeros, file_bytes=4_000_000)
    many = make([(str(n), FILE, b"") for n in range(20)])
    with pytest.raises(DownloadError, match="more than 10 files and folders"):
        unpacked(tmp_path / "3", many, files=10)


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_a_header_that_claims_gigabytes_is_refused(tmp_path, kind):
    header = tarfile.TarInfo("header")
    header.type, header.size = kind, 8 << 30
    body = gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(4_000_000))
    with pytest.raises(DownloadError, match="header of more than"):
        unpacked(tmp_path, body)


def test_a_size_below_zero_is_refused(tmp_path):
    body = bytearray(make([("a", FILE, b"1")]))
    body[124:136] = b"\xff" * 12  # base 256: minus one
    body[148:156] = b" " * 8
    body[148:156] = b"%06o\0 " % sum(body[:512])
    with pytest.raises(DownloadError):
        unpacked(tmp_path, bytes(body))


@pytest.mark.parametrize("body", [b"", b"\x1f\x8b", b"x" * 2000, bytes(1024), gzip.compress(b"no tar")])
def test_what_is_no_archive_is_damaged(tmp_path, body):
    with pytest.raises(DamagedArchiveError):
        unpacked(tmp_path, body)


WHOLE = make([(f"scan{n}", FILE, random.Random(n).randbytes(700)) for n in range(3)])


@pytest.mark.parametrize("packed", [False, True])
def test_no_truncated_archive_looks_whole(tmp_path, packed):
    body = gzip.compress(WHOLE) if packed else WHOLE
    before_the_end_mark = len(body) if packed else 3 * (512 + 1024) + 512
    for length in range(0, before_the_end_mark, 97):
        with pytest.raises(DamagedArchiveError):
            unpacked(tmp_path / str(length), body[:length])


@given(place=st.integers(0, len(WHOLE) * 8 - 1), packed=st.booleans())
@settings(max_examples=60)
def test_no_flipped_bit_passes_unseen(tmp_path_factory, place, packed):
    folder = tmp_path_factory.mktemp("flip")
    body = bytearray(gzip.compress(WHOLE, mtime=0) if packed else WHOLE)
    place %= len(body) * 8
    body[place // 8] ^= 1 << place % 8
    right = unpacked(folder / "right", WHOLE)
    try:
        found = unpacked(folder / "flipped", bytes(body))
    except DownloadError:
        return
    if packed:
        assert found == right  # a bit of gzip's header that means nothing
    else:
        assert (
            found.keys() == right.keys()
        )  # contents have no checksum in a tar: the download's own is for that


PIECES = st.sampled_from(["..", ".", "", "a", "b", "out", "canary", "C:", "\\", "~", "é", "\n", "x" * 90])
NAMES = st.lists(PIECES, min_size=1, max_size=6).map("/".join)
KINDS = st.sampled_from([*FILES, FOLDER, *LINKS, *DEVICES, SPARSE])
MEMBERS = st.tuples(NAMES, KINDS, st.one_of(NAMES, st.just("/etc/passwd")))
FORMS = st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


@given(members=st.lists(MEMBERS, max_size=5), form=FORMS)
@settings(max_examples=150)
def test_whatever_the_archive_nothing_is_touched_outside(tmp_path_factory, members, form):
    place = tmp_path_factory.mktemp("evil")
    body = make([(n, k, to if k in LINKS else to.encode()) for n, k, to in members], form)
    try:
        unpacked(place, body)
    except DownloadError:
        pass
    else:
        assert {kind for _, kind, _ in members} <= {*FILES, FOLDER}
        assert not any(name.startswith("/") or ".." in name.split("/") for name, _, _ in members)
    assert_nothing_outside(place)
    for path in (place / "a/b/c/out").rglob("*"):
        assert not path.is_symlink()
        assert path.is_dir() or (path.is_file() and path.stat().st_nlink == 1)
