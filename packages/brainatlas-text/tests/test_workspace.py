import errno

import pytest

from brainatlas_text import workspace
from brainatlas_text.errors import OutputError, StageError
from brainatlas_text.workspace import Workspace

pytestmark = pytest.mark.unit


def test_a_failed_write_leaves_the_old_file_and_no_leftover(tmp_path):
    path = tmp_path / "a.txt"
    workspace.write_text(path, "old")
    with pytest.raises(RuntimeError), workspace.atomic_path(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_no_space_names_the_file(tmp_path):
    with (
        pytest.raises(StageError, match=r"shard\.tar: no space left"),
        workspace.atomic_path(tmp_path / "shard.tar"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_record_counts_only_with_the_same_inputs_and_outputs(tmp_path):
    space = Workspace(tmp_path)
    output = tmp_path / "work" / "x.bin"
    output.parent.mkdir()
    output.write_bytes(b"123")
    space.write_record("prepare", "a", "digest-1", [output], {"n": 1})
    assert space.read_record("prepare", "a", "digest-1") == {"n": 1}
    assert space.read_record("prepare", "a", "digest-2") is None
    assert space.read_record("prepare", "b", "digest-1") is None
    output.write_bytes(b"12")
    assert space.read_record("prepare", "a", "digest-1") is None
    output.unlink()
    assert space.read_record("prepare", "a", "digest-1") is None


def test_leftovers_are_removed_and_nothing_else(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / f"{workspace.PART}123-x.tar").write_bytes(b"half")
    (tmp_path / "data" / "x.tar").write_bytes(b"whole")
    assert Workspace(tmp_path).remove_leftovers() == 1
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["x.tar"]


def test_two_builds_on_one_folder_are_refused(tmp_path):
    space = Workspace(tmp_path)
    with space.locked(), pytest.raises(OutputError, match="another build"), space.locked():
        pass


def test_digest_ignores_key_order_and_sees_values():
    assert workspace.digest({"a": 1, "b": [2]}) == workspace.digest({"b": [2], "a": 1})
    assert workspace.digest({"a": 1}) != workspace.digest({"a": 2})


def test_a_place_that_can_be_no_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="a data set folder cannot be made here"):
            Workspace(place).make()
