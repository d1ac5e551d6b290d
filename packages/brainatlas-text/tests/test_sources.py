import pytest

from brainatlas_text.errors import SourceError
from brainatlas_text.sources import SOURCES, discover, terms_of

pytestmark = pytest.mark.unit


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_an_unknown_source_suggests_the_nearest(tmp_path):
    with pytest.raises(SourceError, match="did you mean oasis"):
        discover("osis", tmp_path)


def test_a_missing_root_says_what_is_expected_and_how_to_get_some(tmp_path):
    with pytest.raises(SourceError, match=r"no such folder.*ibsr.*demo-sources"):
        discover("ibsr", tmp_path / "nowhere")


@pytest.mark.parametrize("source", SOURCES)
def test_an_empty_source_folder_says_what_is_expected_and_where_to_get_it(tmp_path, source):
    (tmp_path / source).mkdir()
    with pytest.raises(SourceError) as caught:
        discover(source, tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path / source) in message and terms_of(source).expected_files in message
    assert "http" in message


def test_the_root_may_be_the_folder_of_the_source_itself(tmp_path):
    touch(tmp_path, "IXI-T2/IXI002-Guys-0828-T2.nii.gz")
    assert [scan.key for scan in discover("ixi", tmp_path).scans] == ["ixi-002-t2w"]


def test_a_root_of_other_sources_is_not_searched_for_this_one(tmp_path):
    touch(tmp_path, "oasis/readme.txt", "IXI002-Guys-0828-T2.nii.gz")
    with pytest.raises(SourceError, match="no such folder"):
        discover("ixi", tmp_path)


def test_the_case_of_the_source_folder_does_not_matter(tmp_path):
    touch(tmp_path, "IXI/IXI002-Guys-0828-T2.nii.gz")
    assert len(discover("ixi", tmp_path).scans) == 1


def test_loops_of_links_end_and_hidden_files_are_no_scans(tmp_path):
    touch(tmp_path, "ixi/IXI002-Guys-0828-T2.nii.gz", "ixi/.IXI003-Guys-0828-T2.nii.gz")
    (tmp_path / "ixi" / "again").symlink_to(tmp_path / "ixi")
    assert [scan.key for scan in discover("ixi", tmp_path).scans] == ["ixi-002-t2w"]


def test_the_order_is_by_key_whatever_the_order_on_disk(tmp_path):
    touch(tmp_path, *(f"ixi/b{9 - n}/IXI00{n}-HH-1211-T1.nii.gz" for n in range(1, 6)))
    keys = [scan.key for scan in discover("ixi", tmp_path).scans]
    assert keys == sorted(keys) and len(set(keys)) == 5


def test_two_files_that_claim_one_scan_are_named(tmp_path):
    touch(tmp_path, "ixi/IXI002-Guys-0828-T2.nii.gz", "ixi/IXI002-Guys-0999-T2.nii.gz")
    (tmp_path / "ixi/IXI002-Guys-0999-T2.nii.gz").write_bytes(b"another scan")
    found = discover("ixi", tmp_path)
    assert [scan.image.name for scan in found.scans] == ["IXI002-Guys-0828-T2.nii.gz"]
    assert [(item.key, item.reason) for item in found.rejections] == [("ixi-002-t2w", "duplicate_key")]
    assert "0999" in found.rejections[0].detail and "0828" in found.rejections[0].detail
