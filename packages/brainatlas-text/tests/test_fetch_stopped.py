"""`fetch` killed, run twice at once, out of space: the same command goes on."""

import gzip
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from brainatlas_text.errors import OutputError

pytestmark = pytest.mark.integration


def start(lab, *more: str) -> subprocess.Popen[bytes]:
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "brainatlas_text", "fetch", "ixi", "--accept-terms", *more]
    return subprocess.Popen(
        [*command, "--root", lab.root, "--catalog", lab.catalog],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def run(lab, *more: str) -> str:
    process = start(lab, *more)
    output = process.communicate(timeout=120)[0].decode()
    assert process.returncode == 0, output
    return output


def wait_until(condition, process):
    while not condition() and process.poll() is None:
        time.sleep(0.001)


def test_killed_while_downloading(t2):
    over = threading.Event()

    def slowly(handler, body):
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
    t2.assert_t2_is_whole()


def test_killed_while_unpacking(lab):
    files = {f"IXI{n:03d}/x.nii": b"%d" % n for n in range(800)}
    lab.host.put("many.tar", lab.tar_of(files))
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
def test_stopped_between_record_and_move(lab, folder):
    lab.host.put("IXI-T2.tar", lab.tar_of(lab.scans))
    lab.offer("ixi", "T2", "IXI-T2.tar", **({"folder": folder} if folder else {}))
    lab.fetch()
    target = lab.root / "ixi" / (folder or "IXI-T2.tar")
    target.rename(lab.root / "ixi/.fetch/IXI-T2.tar.ready")
    assert lab.one() == ("present", "") and target.exists()
    assert len(lab.host.seen) == 1


def test_stopped_just_before_the_move(t2, monkeypatch):
    def stop(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("brainatlas_text.download.bringing._move_into_place", stop)
        t2.fetch()
    assert t2.visible() == []
    assert t2.one() == ("present", "") and len(t2.host.seen) == 1
    t2.assert_t2_is_whole()


def test_a_folder_that_a_person_makes_meanwhile_stays(t2):
    mine = t2.root / "ixi/IXI-T2/notes.txt"

    def serve_and_meddle(handler, body):
        mine.parent.mkdir()
        mine.write_text("mine")
        handler.serve(body)

    t2.host.faults["IXI-T2.tar"] = [serve_and_meddle]
    with pytest.raises(OutputError, match="appeared while it was being fetched"):
        t2.fetch()
    assert t2.one()[0] == "occupied" and t2.visible() == ["ixi/IXI-T2/notes.txt"]
    shutil.rmtree(mine.parent)
    assert t2.one() == ("present", "") and len(t2.host.seen) == 1
    t2.assert_t2_is_whole()


def test_two_at_once_do_not_meet(t2):
    over = threading.Event()

    def slowly(handler, body):
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
    t2.assert_t2_is_whole()


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


def in_namespace(script, *arguments: object) -> list[str]:
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
def test_a_disk_that_fills_up(lab, packed, cramped):
    files = lab.scans
    if packed:  # fits the disk packed, and not unpacked
        files = {
            name: 5 * content[:20_000] + 5 * content[20_000:40_000] for name, content in lab.scans.items()
        }
        files |= {f"IXI1{name[4:]}": 12 * content[-30_000:] for name, content in lab.scans.items()}
    lab.host.put("x.tar", gzip.compress(lab.tar_of(files)) if packed else lab.tar_of(files))
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


def test_a_disk_that_cannot_be_written(xls):
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
