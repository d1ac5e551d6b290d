"""A source's own labels, in canonical numbers on the grid of the prepared scan.

Input: where the labels lie and what tells their numbers (a scheme of the package, or a BIDS `dseg.tsv`), the
image and its brain mask. Labels of the image's field of view are taken as they lie; those of another one,
such as FreeSurfer's cube of 256 voxels, come by nearest neighbor in scanner space and must lie in this brain.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainatlas_text import labels, volumes
from brainatlas_text.dseg_tables import read_dseg_table
from brainatlas_text.engines import resample
from brainatlas_text.errors import OffGridError
from brainatlas_text.records import SourceScan
from brainatlas_text.volumes import Volume

MIN_ON_BRAIN = 0.9
"""Of labels on another grid than the image: least part of their tissue that lies on the brain mask."""


def canonical_labels(scan: SourceScan, image: Volume, mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The labels of `scan` on the grid of `image`; `mask` is its brain.

    Raises OffGridError where they lie elsewhere, LabelError for a number or name that is not known and
    SourceError for a file that cannot be read.
    """
    assert scan.dseg is not None and (scan.label_scheme is not None or scan.label_table is not None)
    order = scan.array_order if volumes.stores_no_orientation(scan.dseg) else None
    given = volumes.load_labels(scan.dseg, order)
    scheme = read_dseg_table(scan.label_table) if scan.label_table else labels.scheme(scan.label_scheme or "")
    same_box = resample.same_box(given, image)
    if not same_box and scan.array_order is not None:  # where the header is a convention, so is the place
        raise OffGridError(
            f"{scan.dseg}: the labels lie on another grid than {scan.image.name} "
            f"({given.shape} and {image.shape} voxels); resample them or exclude the scan"
        )
    canonical = Volume(labels.to_canonical(given.array, scheme, str(scan.dseg)), given.affine)
    moved = resample.onto(canonical, image)
    if not same_box and (share := _share_on_brain(canonical, moved, image, mask)) < MIN_ON_BRAIN:
        raise OffGridError(
            f"{scan.dseg}: the labels lie on another grid than {scan.image.name}, and {share:.0%} of their "
            f"tissue on its brain, expected {MIN_ON_BRAIN:.0%}; correct their header or exclude the scan"
        )
    return moved


def _share_on_brain(
    canonical: Volume, moved: NDArray[np.uint8], image: Volume, mask: NDArray[np.bool_]
) -> float:
    """Part of the labeled tissue (no sulcal CSF, no vessels) that lies on the mask."""
    tissue = [n for n, row in labels.canonical_table().items() if row.named and n != labels.OUTER_CSF]
    whole_ml = float(np.isin(canonical.array, tissue).sum()) * canonical.voxel_ml
    return float((np.isin(moved, tissue) & mask).sum()) * image.voxel_ml / max(whole_ml, 1e-6)
