"""Look at a scan's labels: a picture for the page of labels, and two figures that say where to look first.

Input: a PreparedScan with its LabeledScan and its affine to the hub. Output: the LabeledScan with its mean
agreement, the labeled share of its brain and the path of its picture, which is written here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from brainatlas_text import spaces, volumes
from brainatlas_text.engines import hub_pictures, label_pictures
from brainatlas_text.records import LabeledScan, PreparedScan
from brainatlas_text.registrations import HubTransform
from brainatlas_text.workspace import write_text

VERSION = 1, label_pictures.VERSION


def look_at(
    root: Path, scan: PreparedScan, labeled: LabeledScan, transform: HubTransform
) -> tuple[LabeledScan, Path]:
    """Draw and measure the labels of a scan; what came out and the picture's path below `root`."""
    image = volumes.load_prepared(root / scan.image)
    labels = volumes.load_prepared(root / labeled.dseg).array
    agreement = volumes.load_prepared(root / labeled.agreement).array if labeled.agreement else None
    brain, known = image.array > 0, labels > 0
    point_mm = spaces.apply(spaces.invert(transform.matrix), hub_pictures.POINT_MM)
    look = Path("work/labels") / f"{scan.key}_look.svg"
    write_text(root / look, label_pictures.draw_labels(image, labels, point_mm))
    looked = replace(
        labeled,
        mean_agreement=float(agreement[known].mean()) / 100
        if agreement is not None and known.any()
        else None,
        labeled_share=float(known[brain].mean()) if brain.any() else None,
        look=look,
    )
    return looked, look
