"""The frozen types that flow through the build, in the order in which they appear.

SourceScan -> PreparedScan -> HubTransform -> LabeledScan -> PlannedPair
           -> RenderedPair -> MeasuredSlice -> Sample -> Shard

Ids, paths and numbers only; arrays travel no further than from `render` to `samples`.
Every length is in millimetres, every world coordinate RAS+ mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from brainatlas_text.errors import one_line

Sequence = Literal["T1w", "T2w", "FLAIR"]
Plane = Literal["axial", "coronal", "sagittal"]
Sex = Literal["F", "M"]
OrientationSource = Literal["header", "convention", "checked"]
Verdict = Literal["agrees", "contradicts", "undecided"]
LabelMethod = Literal["manual", "provided", "freesurfer"]
"""How a source's own labels came about: by hand, as its files do not say, or by FreeSurfer."""
VoterRule = Literal["all", "split"]
"""`all`: labeled people vote for everybody else; `split`: who is in validation or test only within it."""
SEQUENCES: tuple[Sequence, ...] = ("T1w", "T2w", "FLAIR")
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
ATLAS_KEY = "atlas-"
"""Beginning of the keys of scans that only vote: those that `--atlas` brings from elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the source states about the person in a scan; None where it states nothing."""

    age_years: float | None = None
    juvenile: bool = False
    """The source says "juvenile" instead of an age."""
    sex: Sex | None = None
    healthy: bool | None = None
    """Whether the source's own criterion is met; None where it says nothing."""
    scanner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherForm:
    """A form in which a scan was found as well, such as OASIS's T88_111 beside SUBJ_111."""

    image: Path
    array_order: str | None = None
    """As of SourceScan."""
    orientation_source: OrientationSource = "header"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceScan:
    """One scan as its source distributes it: where it lies and what the source says of it."""

    key: str
    """`source-subject[-visit]-sequence`, `[a-z0-9-]` only, such as `kirby-113-2-flair`."""
    subject: str
    """The person, such as `kirby-113`; two visits share one."""
    source: str
    sequence: Sequence
    image: Path
    dseg: Path | None = None
    label_scheme: str | None = None
    """Name of the label scheme of `dseg` (`tables/schemes/`), such as `ibsr-cma`; None with a table."""
    label_table: Path | None = None
    """A BIDS `dseg.tsv` that names the numbers of `dseg`."""
    label_method: LabelMethod = "manual"
    """How `dseg` was made."""
    mask: Path | None = None
    """A brain mask that comes with the scan, on the image's grid or another."""
    stripped: bool = False
    """The image shows the brain alone on a zero background."""
    left_marker: bool = False
    """The source fixed a capsule to the left side of the head, and the image may show it."""
    array_order: str | None = None
    """Axis codes of the stored array, such as `ASL`, where the header cannot be trusted."""
    orientation_source: OrientationSource = "header"
    facts: Facts = Facts()
    terms: str
    """Terms under which the source passes its images on; a key of `tables/terms.toml`."""
    repeats: tuple[Path, ...] = ()
    """Further repeats of `image` in the same session and form; averaged with it after rigid alignment."""
    superseded: tuple[OtherForm, ...] = ()
    """Other forms of the same scan, by preference: not used, but they may contradict its sides."""
    notes: tuple[str, ...] = ()
    """What a reader of the build report should know, such as contradicting spreadsheet rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A scan or pair that a stage refuses: expected, counted, and shown to the user."""

    stage: str
    key: str
    reason: str
    """One word to count by, such as `unreadable` or `low_overlap`."""
    detail: str
    """One sentence with file, expectation, finding and what to do; always one line."""
    look: Path | None = None
    """A picture of what was refused (SVG), where one could be made; below the data set folder."""

    def __post_init__(self) -> None:
        """File names may hold line breaks and bytes that are no text."""
        object.__setattr__(self, "detail", one_line(self.detail))


@dataclass(frozen=True, slots=True, kw_only=True)
class HandednessCheck:
    """One piece of evidence on which side of a scan is the left."""

    method: Literal["capsule", "two forms"]
    verdict: Verdict
    detail: str
    """One sentence: what was looked at and what was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """How a scan became a PreparedScan: the path it took and with which settings."""

    stored_codes: str
    """Axis codes of the stored array, such as `PSR`."""
    stored_shape: tuple[int, int, int]
    """Voxels along the stored axes."""
    stored_zooms_mm: tuple[float, float, float]
    """Voxel size along the stored axes."""
    oblique_deg: float
    """Largest angle between a stored axis and the RAS axis nearest to it."""
    num_averaged: int = 1
    """Repeats that were averaged."""
    thinned_by: tuple[int, int, int] = (1, 1, 1)
    """Voxels averaged into one, along the RAS axes."""
    mask_method: str
    """`stripped`, `provided`, `embedded`, `deepbet` or `command`."""
    mask_detail: str
    """What the mask came from: a file, a version, a command."""
    brain_ml: float
    bias_correction: str | None
    """Method and settings; None where it was left out."""
    intensity_range: tuple[float, float]
    """Source intensities (after bias correction) that became 1 and 4095."""
    histogram_before: tuple[int, ...]
    """Counts of the source's intensities in the brain, 64 equal bins from their least to their greatest."""
    histogram_after: tuple[int, ...]
    """Counts of the prepared intensities in the brain, 64 equal bins from 1 to 4095."""
    handedness: tuple[HandednessCheck, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedScan:
    """A scan in closest-RAS order, brain only, intensities 0 to 4095 (uint16), with its mask."""

    key: str
    subject: str
    source: str
    sequence: Sequence
    image: Path
    mask: Path
    dseg: Path | None
    """The source's labels in canonical numbers on the image's grid; None where it has none."""
    look: Path
    """Three planes of the original image with the mask's outline (SVG), for the preparation page."""
    label_method: LabelMethod = "manual"
    """How `dseg` was made."""
    facts: Facts
    terms: str
    source_zooms_mm: tuple[float, float, float]
    """Voxel size of the source's grid, in the order of the RAS axes."""
    orientation_source: OrientationSource
    preparation: Preparation
    digest: str
    """sha256 over the bytes of image, mask and dseg: what later stages depend on."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabeledScan:
    """A scan's label map in canonical numbers, the source's own or fused from other people's."""

    key: str
    dseg: Path
    agreement: Path | None
    """uint8 map, per cent of voters behind the winning label; None for the source's own labels."""
    label_method: str
    """`manual`, `provided`, `freesurfer` or `majority`; named in every sample."""
    voters: tuple[str, ...]
    """Keys of the scans whose labels voted; empty for the source's own labels."""
    terms: str
    """Terms of moving image and label voters together."""
    digest: str
    mean_agreement: float | None = None
    """Mean of `agreement` over the labeled voxels, 0 to 1; None for the source's own labels."""
    labeled_share: float | None = None
    """Share of the brain mask that has a label, 0 to 1."""
    look: Path | None = None
    """Three planes of the scan with its labels in color (SVG), for the page of labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPair:
    """A row of `plan.parquet`: the moving scan's anatomy in the fixed scan's frame."""

    pair: str
    """`<moving>_<fixed>`."""
    moving: str
    fixed: str
    moving_subject: str
    fixed_subject: str
    source: str
    """Source of the moving scan."""
    split: str | None
    """None for a pair dropped: its people lie in different splits, or its registration was refused."""
    block: int | None
    """Number of the block within (split, source); None for a dropped pair."""
    order: int
    """Place of the pair within its block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureMeasure:
    """One structure in one slice, measured in the rendered frame."""

    label: int
    name: str
    side: Literal["left", "right", "midline"]
    area_mm2: float
    volume_ml: float
    """Of the whole structure in the rendered volume."""
    centroid_mm: tuple[float, float, float]
    """Of the slice's part, from the point that corresponds to hub (0, 0, 0), frame axes."""
    agreement: float | None
    """Mean share of voters behind the label, 0 to 1; None for the source's own labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceFacts:
    """All that a caption may say of a slice. None where it is not known."""

    sequence: Sequence
    plane: Plane
    index: int
    position_mm: float
    """Signed distance along the + axis (right, front, up) from hub (0, 0, 0)."""
    position_fraction: float
    """0 at the first slice that shows brain, 1 at the last."""
    age_years: float | None
    juvenile: bool
    sex: Sex | None
    structures: tuple[StructureMeasure, ...]
    """By area, largest first; named anatomy only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """One description of a slice."""

    style: str
    language: str
    text: str
    dropped_structures: int = 0
    """Structures left out to stay within the token budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The four members of one sample, ready to be written. See docs/shard-format.md."""

    key: str
    image_png: bytes
    label_png: bytes
    text: str
    facts: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderCounts:
    """What rendering volumes gave, counted."""

    slices_seen: int
    """Slices that were candidates, by the volumes' frames and `slice_step`."""
    slices_kept: int
    volumes_shown: int
    """Volumes of which at least one slice was kept."""
    volumes_cropped: int
    """Volumes whose brain lies in part outside of what the frame's pictures show, by more than rounding."""
    most_cropped: float
    """The greatest share of a brain outside, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One finished tar file."""

    path: str
    """Relative to the data set folder, with forward slashes."""
    split: str
    source: str
    plane: Plane
    num_samples: int
    num_bytes: int
    sha256: str
    terms: tuple[str, ...]
