"""Files that are not what they should be, all in one build: each is used rightly or rejected once, by name.

Every variant is made from a small valid scan, in the form and place in which its source distributes scans,
and stands for one person. None may stop the build, hang it, or fill the memory.
"""

import gzip
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.integration
Bytes = Callable[[bytes], bytes]
USED = "used"
UNREADABLE, GEOMETRY = "unreadable", "bad_geometry"
EITHER = "unreadable or bad_geometry or too_large"
DIM, DATATYPE, PIXDIM, OFFSET, SLOPE, INTER, UNITS = 40, 70, 76, 108, 112, 116, 123
QFORM, SFORM, QUATERN, SROW, MAGIC = 252, 254, 256, 280, 344
NAN, INF = float("nan"), float("inf")
MAX_RSS_BYTES = 3_000_000_000


@dataclass(frozen=True)
class Variant:
    """What is done to one file of one person, and what must become of the person's scan."""

    name: str
    outcome: str
    write: Callable[[Path], None]
    """Writes the file at its place; its folder is there."""


def put(name: str, outcome: str, content: bytes | None) -> Variant:
    return Variant(name, outcome, lambda path: path.write_bytes(content or b""))


def edited(data: bytes, *changes: tuple[int, str, object]) -> bytes:
    """Header fields replaced: offset, format and value of each."""
    changed = bytearray(data)
    for offset, form, value in changes:
        values = value if isinstance(value, tuple) else (value,)
        struct.pack_into(f"<{form}", changed, offset, *values)
    return bytes(changed)


def packed(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def flipped(data: bytes, place: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1 << place % 8
    return bytes(changed)


def nifti(array: np.ndarray, affine: np.ndarray) -> bytes:
    """A NIfTI file that states its grid in qform and sform alike."""
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    return image.to_bytes()


def unless_same(content: bytes, data: bytes) -> tuple[str, bytes]:
    """The outcome of a flipped bit, and the content: few bits of a stream mean nothing."""
    try:
        return (USED if gzip.decompress(content) == data else UNREADABLE), content
    except (OSError, EOFError, zlib.error):
        return UNREADABLE, content


def of_the_stream(data: bytes) -> Iterator[Variant]:
    """A compressed NIfTI file that was damaged on its way."""
    whole = packed(data)
    for part in np.linspace(0.02, 0.999, 20):
        yield put(f"cut at {part:.3f}", UNREADABLE, whole[: int(len(whole) * part)])
    for place in np.linspace(12, len(whole) - 5, 40).astype(int):
        yield put(f"bit flipped at {place}", *unless_same(flipped(whole, int(place)), data))
    for name, content in {
        "empty": b"", "checksum": whole[:-8] + bytes(4) + whole[-4:], "text": b"not an image\n" * 50,
        "packed twice": packed(whole), "not packed": data, "page of an error": b"<html>404</html>",
        "junk behind": whole + b"junk" * 100, "two joined": whole + whole, "cut within": packed(data[:5000]),
        "one voxel short": packed(data[:-2]), "unpacks to far more": packed(data + bytes(150_000_000)),
    }.items():  # fmt: skip
        yield put(name, UNREADABLE, content)
    yield put("a little padding", USED, packed(data + bytes(512)))


def of_the_header(data: bytes) -> Iterator[Variant]:
    """A NIfTI header that says something else than the voxels are."""
    qform_only = edited(data, (SFORM, "h", 0))
    changes: dict[str, tuple[str, bytes]] = {}
    for name, magic in (("n+2", b"n+2\0"), ("none", bytes(4)), ("xxxx", b"xxxx")):
        changes[f"magic {name}"] = EITHER, edited(data, (MAGIC, "4s", magic))
    changes["header of 540 bytes"] = USED, edited(data, (0, "i", 540))
    for axis in (1, 2, 3):
        for length in (0, -1, 1, 32767, 7):
            changes[f"{length} along axis {axis}"] = EITHER, edited(data, (DIM + 2 * axis, "h", length))
        for zoom in (0.0, -3.0, NAN, INF, 1e-4, 1e6):
            place = PIXDIM + 4 * axis
            changes[f"zoom {zoom} along axis {axis}"] = EITHER, edited(qform_only, (place, "f", zoom))
    for number in (0, 1, 2, 8, -3):
        changes[f"{number} dimensions"] = EITHER, edited(data, (DIM, "h", number))
    changes["all 32767"] = EITHER, edited(data, (DIM, "4h", (3, 32767, 32767, 32767)))
    changes["1500 cubed"] = GEOMETRY, edited(data, (DIM, "4h", (3, 1500, 1500, 1500)))
    changes["800 cubed"] = EITHER, edited(data, (DIM, "4h", (3, 800, 800, 800)))
    for kind in (0, 1, 32, 128, 999, 1536, 1792, 2048, 2304, -4):
        changes[f"datatype {kind}"] = UNREADABLE, edited(data, (DATATYPE, "h", kind))
    for offset in (0.0, 340.0, 416.0, 1e9, -352.0, NAN, INF):
        changes[f"voxels at {offset}"] = UNREADABLE, edited(data, (OFFSET, "f", offset))
    for inter in (NAN, INF, -INF):
        changes[f"intercept {inter}"] = UNREADABLE, edited(data, (SLOPE, "2f", (1.0, inter)))
    changes["slope too large"] = "not_finite", edited(data, (SLOPE, "2f", (3e38, 0.0)))
    changes["slope 0"] = USED, edited(data, (SLOPE, "2f", (0.0, 0.0)))
    changes["slope nan"] = USED, edited(data, (SLOPE, "2f", (NAN, 0.0)))
    changes["bytes swapped"] = UNREADABLE, swapped_voxels(data)
    return (put(name, outcome, packed(content)) for name, (outcome, content) in changes.items())


def swapped_voxels(data: bytes) -> bytes:
    return data[:352] + np.frombuffer(data[352:], "<i2").byteswap().tobytes()


def of_the_grid(data: bytes, array: np.ndarray, affine: np.ndarray) -> Iterator[Variant]:
    """Affines that are none, or two that contradict each other."""

    def stated(matrix: np.ndarray, *more: tuple[int, str, object]) -> bytes:
        rows = tuple(float(value) for value in matrix[:3].ravel())
        return edited(data, (SROW, "12f", rows), *more)

    def times(*rows: tuple[float, ...]) -> np.ndarray:
        return affine @ np.vstack([np.hstack([np.array(rows), np.zeros((3, 1))]), [0, 0, 0, 1]])

    tilt = np.radians(4.0)
    turned = times((1, 0, 0), (0, np.cos(tilt), -np.sin(tilt)), (0, np.sin(tilt), np.cos(tilt)))
    only_sform = (QFORM, "h", 0)
    cases = {
        "sheared": (GEOMETRY, stated(times((1, 0.4, 0), (0, 1, 0), (0, 0, 1)), only_sform)),
        "flat": (GEOMETRY, stated(times((1, 0, 0), (0, 1, 0), (0, 0, 0)), only_sform)),
        "two axes alike": (GEOMETRY, stated(times((1, 1, 0), (0, 0, 0), (0, 0, 1)), only_sform)),
        "sform nan": (GEOMETRY, stated(np.full((4, 4), NAN), only_sform)),
        "sform inf": (GEOMETRY, stated(np.full((4, 4), INF), only_sform)),
        "sform all zero": (GEOMETRY, stated(affine * 0, only_sform)),
        "sform of 60 mm": (GEOMETRY, stated(affine * 20, only_sform)),
        "sform mirrored": (GEOMETRY, stated(times((-1, 0, 0), (0, 1, 0), (0, 0, 1)))),
        "sform in other order": (GEOMETRY, stated(times((0, 1, 0), (1, 0, 0), (0, 0, 1)))),
        "sform a tenth larger": (GEOMETRY, stated(times((1.1, 0, 0), (0, 1.1, 0), (0, 0, 1.1)))),
        "sform a tenth larger, alone": (GEOMETRY, stated(affine * 1.1, only_sform)),
        "sform tilted": (USED, stated(turned)),
        "neither form": (GEOMETRY, edited(data, (QFORM, "2h", (0, 0)))),
        "codes unknown": (GEOMETRY, edited(data, (QFORM, "2h", (77, -9)))),
        "quaternion of length 2": (EITHER, edited(data, (SFORM, "h", 0), (QUATERN, "3f", (2.0, 0.0, 0.0)))),
        "quaternion nan": (EITHER, edited(data, (SFORM, "h", 0), (QUATERN, "3f", (NAN, NAN, NAN)))),
        "zooms 0 beside a sform": (USED, edited(data, only_sform, (PIXDIM + 4, "3f", (0.0, 0.0, 0.0)))),
        "meters that are mm": (GEOMETRY, edited(data, (UNITS, "B", 1))),
        "micrometers that are mm": (GEOMETRY, edited(data, (UNITS, "B", 3))),
        "unit unknown": (USED, edited(data, (UNITS, "B", 7))),
    }
    for name, (outcome, content) in cases.items():
        yield put(name, outcome, packed(content))
    for name, code, factor in (("meters", 1, 0.001), ("micrometers", 3, 1000.0)):
        scaled = affine.copy()
        scaled[:3] *= factor
        content = edited(nifti(array, scaled), (UNITS, "B", code))
        yield put(name, USED, packed(content))


def of_the_voxels(array: np.ndarray, affine: np.ndarray) -> Iterator[Variant]:
    """Voxels that show no brain, or are no numbers."""
    for value in (NAN, INF, -INF):
        bad = array.astype(np.float32)
        bad[30, 30, 30] = value
        yield put(f"one voxel {value}", "not_finite", packed(nifti(bad, affine)))
    for value in (0, 7, -32768):
        yield put(f"all {value}", "empty_image", packed(nifti(np.full_like(array, value), affine)))
    shapes = {
        "two volumes": np.stack([array, array], -1), "thirty volumes": np.stack([array] * 30, -1),
        "five dimensions": array[..., None, None].repeat(2, -1), "a slice": array[:, :, 30],
        "complex": array.astype(np.complex64), "one row": array[:, :1],
    }  # fmt: skip
    for name, shaped in shapes.items():
        yield put(name, EITHER, packed(nifti(shaped, affine)))
    yield put("a slab", "partial_coverage", packed(nifti(array[:, :, 25:40], affine)))
    colors = np.zeros(array.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    yield put("colors", UNREADABLE, packed(nifti(colors, affine)))
    quarter = array.copy()
    quarter[20:] = 0
    yield put("a quarter of a brain", "implausible_brain", packed(nifti(quarter, affine)))
    yield put("five dimensions of one", USED, packed(nifti(array[..., None, None], affine)))


def of_the_file_system() -> Iterator[Variant]:
    """Things that are no files, or cannot be opened."""
    yield Variant("folder", UNREADABLE, lambda path: path.mkdir())
    yield Variant("link to nothing", UNREADABLE, lambda path: path.symlink_to("gone.nii.gz"))
    yield Variant("link to itself", UNREADABLE, lambda path: path.symlink_to(path.name))
    yield Variant("pipe", UNREADABLE, lambda path: os.mkfifo(path))
    yield Variant("device", UNREADABLE, lambda path: path.symlink_to("/dev/zero"))
    yield Variant("link to a folder", UNREADABLE, link_to_an_empty_folder)


def link_to_an_empty_folder(path: Path) -> None:
    folder = path.with_name(f".{path.name}")
    folder.mkdir()
    path.symlink_to(folder.name)


def of_a_pair(header: bytes, voxels: bytes) -> Iterator[tuple[str, str, bytes | None, bytes | None]]:
    """An Analyze pair, big endian as OASIS writes it: name, outcome, header, voxels; None leaves one out."""

    def said(offset: int, form: str, value: object) -> bytes:
        values = value if isinstance(value, tuple) else (value,)
        changed = bytearray(header)
        struct.pack_into(f">{form}", changed, offset, *values)
        return bytes(changed)

    yield "no header", UNREADABLE, None, voxels
    yield "no voxels", UNREADABLE, header, None
    for part in (0.0, 0.1, 0.3, 0.5, 0.9, 0.99):
        yield f"voxels cut at {part}", UNREADABLE, header, voxels[: int(len(voxels) * part)]
    for length in (0, 4, 40, 100, 200, 347):
        yield f"header cut at {length}", UNREADABLE, header[:length], voxels
    for axis in (1, 2, 3):
        for length in (0, -5, 32767, 11):
            yield f"{length} along {axis}", EITHER, said(DIM + 2 * axis, "h", length), voxels
        for zoom in (0.0, -3.0, NAN, INF, 1e5):
            yield f"zoom {zoom} along {axis}", GEOMETRY, said(PIXDIM + 4 * axis, "f", zoom), voxels
    for kind in (0, 1, 32, 128, 999):
        yield f"datatype {kind}", EITHER, said(DATATYPE, "h", kind), voxels
    yield "size of header", EITHER, said(0, "i", 77), voxels
    yield "voxels twice", UNREADABLE, header, voxels * 2
    yield "voxels in the other order", UNREADABLE, header, np.frombuffer(voxels, ">i2").byteswap().tobytes()
    yield "header is text", UNREADABLE, b"no header" * 50, voxels


def of_labels(labels: np.ndarray, affine: np.ndarray) -> Iterator[Variant]:
    """Label maps that do not fit their image or their scheme; the image beside them is whole."""
    elsewhere = affine.copy()
    elsewhere[1, 3] += 40.0
    mirrored = affine @ np.diag([-1.0, 1.0, 1.0, 1.0])
    half = labels.astype(np.float32) / 2
    unknown, negative = labels.copy(), labels.copy()
    unknown[labels == 2], negative[labels == 2] = 999, -2
    huge = np.where(labels == 2, 4e18, labels).astype(np.float64)
    bad = np.where(labels == 2, NAN, labels).astype(np.float32)
    whole = packed(nifti(labels, affine))
    yield put("labels elsewhere", "labels_off_grid", packed(nifti(labels, elsewhere)))
    yield put("labels mirrored about 0", "labels_off_grid", packed(nifti(labels, mirrored)))
    yield put("fewer labels", "labels_off_grid", packed(nifti(labels[:, 20:], affine)))
    yield put("labels unknown", "unknown_label", packed(nifti(unknown, affine)))
    yield put("labels negative", "unknown_label", packed(nifti(negative, affine)))
    for name, array in (("halves", half), ("huge", huge), ("nan", bad)):
        yield put(f"labels {name}", UNREADABLE, packed(nifti(array, affine)))
    yield put("labels of two volumes", UNREADABLE, packed(nifti(np.stack([labels, labels], -1), affine)))
    yield put("labels cut", UNREADABLE, whole[: len(whole) // 2])
    yield put("labels empty", UNREADABLE, b"")
    yield put("labels as floats", USED, packed(nifti(labels.astype(np.float32), affine)))


class Cohort:
    """Writes variants as people of IXI, OASIS and IBSR and remembers what must become of them."""

    def __init__(self, root: Path, first: int) -> None:
        self.root, self.first = root, first
        self.expected: dict[str, tuple[Variant, str]] = {}
        """By key: the variant and the file that a rejection must name."""

    def add_ixi(self, variant: Variant, ending: str = ".nii.gz") -> None:
        number = self.first + len(self.expected)
        path = self.root / "ixi" / "IXI-T1" / f"IXI{number:03d}-HH-1{number:03d}-T1{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        variant.write(path)
        self.expected[f"ixi-{number:03d}-t1w"] = variant, path.name

    def add_oasis(self, name: str, outcome: str, header: bytes | None, voxels: bytes | None) -> None:
        number = 1000 + len(self.expected)
        session = f"OAS1_{number:04d}_MR1"
        place = self.root / "oasis" / "disc2" / session / "PROCESSED" / "MPRAGE" / "T88_111"
        place.mkdir(parents=True)
        stem = f"{session}_mpr_n4_anon_111_t88_masked_gfc"
        for ending, content in ((".hdr", header), (".img", voxels)):
            if content is not None:
                (place / f"{stem}{ending}").write_bytes(content)
        self.expected[f"oasis-{number:04d}-1-t1w"] = put(name, outcome, None), stem

    def add_ibsr(self, number: int, variant: Variant, image: bytes) -> None:
        place = self.root / "ibsr" / "IBSR_nifti_stripped" / f"IBSR_{number:02d}"
        place.mkdir(parents=True)
        (place / f"IBSR_{number:02d}_ana_strip.nii.gz").write_bytes(packed(image))
        path = place / f"IBSR_{number:02d}_seg_ana.nii.gz"
        variant.write(path)
        self.expected[f"ibsr-{number:02d}-t1w"] = variant, path.name


def write_cohort(
    root: Path, array: np.ndarray, labels: np.ndarray, affine: np.ndarray, first: int = 1
) -> Cohort:
    """All variants beside what is in `root` already, from one whole scan (int16, stripped) with labels.

    IXI's people are numbered from `first` on.
    """
    cohort = Cohort(root, first)
    data = nifti(array, affine)
    for family in (
        of_the_stream(data), of_the_header(data), of_the_grid(data, array, affine),
        of_the_voxels(array, affine), of_the_file_system(),
    ):  # fmt: skip
        for variant in family:
            cohort.add_ixi(variant)
    cohort.add_ixi(put("packed under a plain name", UNREADABLE, packed(data)), ".nii")
    cohort.add_ixi(put("plain and cut", UNREADABLE, data[:100_000]), ".nii")
    cohort.add_ixi(put("plain and padded", UNREADABLE, data + bytes(200_000)), ".nii")
    header, voxels = analyze(array)
    for pair in of_a_pair(header, voxels):
        cohort.add_oasis(*pair)
    for number, variant in enumerate(of_labels(labels, affine), start=20):
        cohort.add_ibsr(number, variant, data)
    return cohort


def analyze(array: np.ndarray) -> tuple[bytes, bytes]:
    """Header and voxels of an Analyze pair as OASIS writes it."""
    files = {name: nib.FileHolder(fileobj=io.BytesIO()) for name in ("header", "image")}
    header = nib.AnalyzeHeader(endianness=">")
    header.set_data_dtype(">i2")
    header.set_data_shape(array.shape)
    header.set_zooms((3.0, 3.0, 3.0))
    nib.AnalyzeImage(array.astype(">i2"), None, header).to_file_map(files)
    return files["header"].fileobj.getvalue(), files["image"].fileobj.getvalue()


@dataclass(frozen=True)
class Built:
    """What a build over the cohort gave."""

    cohort: Cohort
    code: int
    summary: dict[str, object]
    errors: str
    peak_bytes: int
    out: Path


@pytest.fixture(scope="module")
def built(tiny_sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """One build by the command itself, under a path that is hard on whoever prints it."""
    root = tmp_path_factory.mktemp("malformed") / "räw [red]scans\nof [2026]"
    shutil.copytree(tiny_sources, root)
    place = root / "ibsr" / "IBSR_nifti_stripped" / "IBSR_01"
    image, labels = (nib.load(place / f"IBSR_01_{name}.nii.gz") for name in ("ana_strip", "seg_ana"))
    arrays = (np.asarray(file.dataobj)[..., 0].astype(np.int16) for file in (image, labels))
    cohort = write_cohort(root, *arrays, image.affine)
    (root / "ixi" / "IXI.xls").write_bytes(np.random.default_rng(0).bytes(2_000_000))
    out = root.parent / "out"
    sets = (
        "render.slice_step=32", 'render.planes=["axial"]', "register.finest_mm=8.0",
        "prepare.bias_correction=false",
    )  # fmt: skip
    words = [
        sys.executable, "-m", "brainatlas_text", "build", "--sources", "ibsr", "oasis", "ixi",
        "--root", str(root), "--out", str(out), "--recipe", "demo", "--workers", "1", "--json",
        *(word for key in sets for word in ("--set", key)),
    ]  # fmt: skip
    return run(words, cohort, out)


def run(words: list[str], cohort: Cohort, out: Path) -> Built:
    logs = [out.with_name(f"{name}.txt") for name in ("stdout", "stderr")]
    with logs[0].open("wb") as stdout, logs[1].open("wb") as stderr:
        process = subprocess.Popen(
            words, stdout=stdout, stderr=stderr, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    said, errors = (log.read_text(encoding="utf-8") for log in logs)
    assert process.returncode in (0, 3), errors
    return Built(cohort, process.returncode, json.loads(said), errors, usage.ru_maxrss * 1024, out)


def test_there_are_at_least_200_variants_and_no_two_alike(built):
    assert len(built.cohort.expected) >= 200
    names = Counter(variant.name for variant, _ in built.cohort.expected.values())
    assert (
        max(Counter((v.name, key.split("-")[0]) for key, (v, _) in built.cohort.expected.items()).values())
        == 1
    )
    assert len(names) >= 150


def test_the_build_goes_on_and_says_that_scans_were_rejected(built):
    assert built.code == 3
    assert "Traceback" not in built.errors and "Warning" not in built.errors
    stages = [line.split()[0] for line in built.errors.strip().splitlines()]
    assert set(built.summary["seconds"]) <= set(stages) <= {*built.summary["seconds"], "look"}
    stages = [stage for stage in stages if stage != "look"]  # a page after each of several stages
    assert len(stages) == len(set(stages))  # one line a stage, nothing else
    assert built.peak_bytes < MAX_RSS_BYTES


def test_each_variant_is_used_or_rejected_once_for_a_reason(built):
    used = {row["key"] for row in pq.read_table(built.out / "scans.parquet").to_pylist()}
    rejected = Counter(rejection["key"] for rejection in built.summary["rejections"])
    reasons = {rejection["key"]: rejection["reason"] for rejection in built.summary["rejections"]}
    wrong = {
        (key, variant.name): (variant.outcome, reasons.get(key, USED))
        for key, (variant, _) in built.cohort.expected.items()
        if reasons.get(key, USED) not in variant.outcome.split(" or ")
        or (key in used) == bool(rejected[key])
        or rejected[key] > 1
    }
    assert not wrong


def test_each_rejection_is_one_line_that_names_the_file_and_what_to_do(built):
    advice = ("replace", "exclude", "copy", "repair", "correct", "remove", "resample", "extract", "convert",
              "put the file", "fetch", "permissions", "chmod", "add the number", "set one")  # fmt: skip
    for rejection in built.summary["rejections"]:
        detail, (_, name) = rejection["detail"], built.cohort.expected[rejection["key"]]
        assert detail.isprintable(), detail
        assert name in detail, detail
        assert any(word in detail for word in advice), detail


def test_nothing_is_half_written(built):
    assert not list(built.out.rglob(".part-*"))
    used = {row["key"] for row in pq.read_table(built.out / "scans.parquet").to_pylist()}
    prepared = (built.out / "work" / "prepared").glob("*.nii.gz")
    assert {path.name.removesuffix(".nii.gz").split("_")[0] for path in prepared} == used


def test_what_was_used_lies_where_the_whole_scan_lies(built):
    """The same voxels, whatever unit, padding or form of the header: the same affine to the hub."""
    rows = {
        row["key"]: row
        for row in pq.read_table(built.out / "quality.parquet").to_pylist()
        if row["kind"] == "affine"
    }
    whole = np.array(rows["ibsr-01-t1w"]["matrix"]).reshape(4, 4)
    zooms = {
        row["key"]: row["source_zooms_mm"] for row in pq.read_table(built.out / "scans.parquet").to_pylist()
    }
    for key, (variant, _) in built.cohort.expected.items():
        if variant.outcome == USED:
            assert zooms[key] == pytest.approx([3.0, 3.0, 3.0], rel=1e-3), variant.name
            found = np.array(rows[key]["matrix"]).reshape(4, 4)
            tolerance = 0.1 if variant.name == "sform tilted" else 0.01
            np.testing.assert_allclose(found[:3, :3], whole[:3, :3], atol=tolerance, err_msg=variant.name)
