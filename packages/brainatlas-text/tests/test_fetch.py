"""What `fetch` leaves in a folder, and what it leaves alone; terms; sources for people; the catalog."""

import contextlib
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys

import pytest

import brainatlas_text
from brainatlas_text.cli import main
from brainatlas_text.download import FetchConfig, fetch
from brainatlas_text.download.agreement import terms_text
from brainatlas_text.download.catalog import load_catalog
from brainatlas_text.errors import InputError, OutputError, SourceError
from brainatlas_text.sources import SOURCES, discover

pytestmark = pytest.mark.integration


def test_a_source_is_fetched_unpacked_and_then_left_alone(t2):
    t2.host.put("IXI.xls", t2.xls)
    t2.offer("ixi", "xls", "IXI.xls", checksum="sha256:" + hashlib.sha256(t2.xls).hexdigest())
    summary = t2.fetch()
    assert [(o.file, o.status) for o in summary.outcomes] == [("T2", "fetched"), ("xls", "fetched")], summary
    assert summary.exit_code == 0
    assert t2.visible() == [f"ixi/IXI-T2/{name}" for name in sorted(t2.scans)] + ["ixi/IXI.xls"]
    assert (t2.root / "ixi" / "IXI.xls").read_bytes() == t2.xls
    asked = len(t2.host.seen)
    again = t2.fetch()
    assert [o.status for o in again.outcomes] == ["present", "present"] and again.exit_code == 0
    assert len(t2.host.seen) == asked == 2


def test_what_was_fetched_is_what_build_discovers(t2):
    t2.fetch()
    assert [scan.key for scan in discover("ixi", t2.root).scans] == [
        "ixi-002-t2w",
        "ixi-012-t2w",
        "ixi-013-t2w",
    ]


def test_a_top_folder_of_the_archive_is_not_doubled(lab):
    files = {"disc1/OAS1_0001_MR1/RAW/a.img": b"a" * 999, "./disc1/OAS1_0001_MR1/a.txt": b"b"}
    lab.host.put("disc1.tar.gz", gzip.compress(lab.tar_of(files)))
    lab.offer("oasis", "disc1", "disc1.tar.gz", folder="disc1")
    assert lab.fetch("oasis").exit_code == 0
    assert lab.visible() == ["oasis/disc1/OAS1_0001_MR1/RAW/a.img", "oasis/disc1/OAS1_0001_MR1/a.txt"]
    assert lab.fetch("oasis", verify=True).exit_code == 0


def test_only_picks_files(t2):
    t2.host.put("IXI.xls", t2.xls)
    t2.offer("ixi", "xls", "IXI.xls")
    assert [o.file for o in t2.fetch(only=("XLS",)).outcomes] == ["xls"]
    assert t2.visible() == ["ixi/IXI.xls"]
    with pytest.raises(InputError, match=r"--only T22: no such file of ixi; did you mean T2\?"):
        t2.fetch(only=("T22",))


def test_python_has_it_beside_build(xls):
    config = brainatlas_text.FetchConfig(
        sources=("ixi",), root=xls.root, catalog=xls.catalog, accept_terms=True
    )
    assert brainatlas_text.fetch(config).exit_code == 0
    assert brainatlas_text.fetch(config).outcomes[0].status == "present"


def test_sources_in_the_wrong_form_are_named_before_anything_is_asked(xls):
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


def test_what_a_person_put_there_stays(t2):
    mine = t2.root / "ixi/IXI-T2"
    mine.mkdir(parents=True)
    (mine / "notes.txt").write_text("mine")
    summary = t2.fetch()
    assert summary.exit_code == 2 and summary.outcomes[0].status == "occupied"
    assert "was not made by this command and stays as it is" in summary.outcomes[0].detail
    assert t2.visible() == ["ixi/IXI-T2/notes.txt"] and not t2.host.seen


@pytest.mark.parametrize("leads", ["nowhere", "elsewhere"])
def test_a_persons_link_stays(t2, leads):
    link = t2.root / "ixi/IXI-T2"
    link.parent.mkdir(parents=True)
    (t2.root / "elsewhere").mkdir()
    link.symlink_to(t2.root / leads)
    assert t2.one()[0] == "occupied"
    assert link.is_symlink() and not list((t2.root / "elsewhere").iterdir()) and not t2.host.seen


def test_a_persons_own_copy_with_the_right_checksum_counts(lab):
    lab.host.put("IXI.xls", lab.xls)
    lab.offer("ixi", "xls", "IXI.xls", checksum="md5:" + hashlib.md5(lab.xls).hexdigest())
    own = lab.root / "ixi/IXI.xls"
    own.parent.mkdir(parents=True)
    own.write_bytes(lab.xls)
    assert lab.one() == ("present", "was there already, with the right checksum")
    own.write_bytes(b"edited")
    assert lab.one()[0] == "occupied" and own.read_bytes() == b"edited"
    assert not lab.host.seen


def test_files_that_a_person_removes_later_are_not_fetched_unasked(t2):
    t2.fetch()
    first = t2.root / "ixi/IXI-T2" / sorted(t2.scans)[0]
    first.unlink()
    status, detail = t2.one()
    assert status == "present" and detail.startswith("1 of 3 files are gone or changed since")
    assert len(t2.host.seen) == 1
    shutil.rmtree(t2.root / "ixi/IXI-T2")
    assert t2.one()[0] == "fetched" and first.is_file()


def test_verify_compares_every_byte_and_asks_no_server(t2):
    t2.offer("ixi", "xls", "IXI.xls")
    t2.fetch(only=("T2",))
    t2.host.seen.clear()
    summary = t2.fetch(verify=True)
    assert [o.status for o in summary.outcomes] == ["present", "absent"] and summary.exit_code == 3
    scan = t2.root / "ixi/IXI-T2" / sorted(t2.scans)[1]
    scan.write_bytes(t2.scans[scan.name][:-1] + bytes([t2.scans[scan.name][-1] ^ 1]))
    summary = t2.fetch(verify=True, only=("T2",))
    assert (
        summary.exit_code == 1 and summary.outcomes[0].detail == f"1 of 3 files are gone or changed: {scan}"
    )
    assert not t2.host.seen


def test_no_room_is_told_before_the_first_byte(lab):
    lab.host.put("IXI-T2.tar", lab.tar_of(lab.scans))
    lab.offer("ixi", "T2", "IXI-T2.tar", folder="IXI-T2", num_bytes=10**15, unpacked_bytes=10**16)
    with pytest.raises(OutputError, match=r"about 11,000,000\.\d GB needed, .* GB free"):
        lab.fetch()
    assert not lab.host.seen


def test_terms_are_shown_once_and_recorded(xls):
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


def test_without_anybody_to_ask_nothing_is_fetched(xls, capsys):
    arguments = ["fetch", "ixi", "--root", str(xls.root), "--catalog", str(xls.catalog)]
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert "Creative Commons" in shown.err and "--accept-terms" in shown.out and not xls.host.seen
    assert main([*arguments, "--accept-terms", "--json"]) == 0
    (outcome,) = json.loads(capsys.readouterr().out)["outcomes"]
    assert outcome == {"source": "ixi", "file": "xls", "status": "fetched", "detail": "0.0 MB"}


def test_a_person_is_asked_on_a_terminal(xls):
    arguments = ["fetch", "ixi", "--root", str(xls.root), "--catalog", str(xls.catalog)]
    shown = {}
    for answer in ("n", "y"):
        master, terminal = os.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "brainatlas_text", *arguments],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
        )
        os.close(terminal)
        os.write(master, f"{answer}\n".encode())
        shown[answer] = b""
        with contextlib.suppress(OSError):  # the end of a terminal
            while block := os.read(master, 4096):
                shown[answer] += block
        os.close(master)
        assert process.wait(60) == (0 if answer == "y" else 2)
    assert all(b"Do you accept these terms of ixi? [y/N]" in text for text in shown.values())
    assert b"ixi: declined" in shown["n"] and shown["y"].count(b"ixi xls: fetched") == 1


def test_sources_for_people_come_with_steps(xls, capsys):
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


def test_the_catalog_names_what_the_adapters_read():
    catalog = load_catalog()
    assert set(catalog) == {"ibsr", "oasis", "ixi", "kirby"} <= set(SOURCES)
    assert all(bool(offer.files) != bool(offer.steps) for offer in catalog.values())
    files = [file for offer in catalog.values() for file in offer.files]
    assert all(file.url.startswith("https://") and file.evidence for file in files)
    assert all(file.folder is None or file.unpacked_bytes for file in files)
    assert [file.name for file in catalog["ixi"].files] == ["T1", "T2", "xls"]
    assert {f"disc{n}" for n in range(1, 13)} < {file.folder for file in catalog["oasis"].files}
    assert "data use agreement" in terms_text(catalog["oasis"])
    assert all("{folder}" in "".join(offer.steps) for offer in catalog.values() if offer.steps)


def test_the_catalog_of_the_documentation_is_one(repository, tmp_path):
    page = (repository / "docs/how-to/fetch.md").read_text(encoding="utf-8")
    path = tmp_path / "catalog.toml"
    path.write_text(page.partition("```toml\n")[2].partition("```")[0], encoding="utf-8")
    (file,) = load_catalog(path)["ixi"].files
    (packaged,) = (entry for entry in load_catalog()["ixi"].files if entry.name == "T2")
    assert file == packaged.model_copy(update={"url": file.url, "evidence": ""})
