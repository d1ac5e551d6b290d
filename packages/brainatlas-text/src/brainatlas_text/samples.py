"""Turn a planned pair into samples: render, measure and caption joined.

`measure_pair`, then `sample_of` a slice, are pure functions of the pair and the stored scans, label maps and
transforms: whatever asks for a sample again gets the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from brainatlas_text import measure, render, spaces, volumes, wording
from brainatlas_text.engines import png, resample
from brainatlas_text.labels import canonical_table
from brainatlas_text.measure import VolumeMeasures
from brainatlas_text.records import (
    LabeledScan,
    Plane,
    PlannedPair,
    PreparedScan,
    Sample,
    SliceFacts,
    StructureMeasure,
)
from brainatlas_text.registrations import HubTransform
from brainatlas_text.render import Frame, FrameKind, RenderConfig, RenderedPair
from brainatlas_text.shards import FORMAT_VERSION
from brainatlas_text.spaces import Affine
from brainatlas_text.wording import CaptionConfig

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyScan:
    """All that rendering needs of one scan."""

    prepared: PreparedScan
    transform: HubTransform
    labeled: LabeledScan


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSettings:
    """What the samples depend on besides the scans."""

    seed: int
    render: RenderConfig
    caption: CaptionConfig
    """With the paths of phrase files as they can be opened."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredPair:
    """A rendered pair and all that is measured of it."""

    pair: PlannedPair
    moving: ReadyScan
    rendered: RenderedPair
    measures: VolumeMeasures
    brain_ml: float
    """Volume of the moved brain mask, as far as pictures show it."""
    kept: Mapping[Plane, Mapping[int, float]]
    """Frame index -> extent fraction of the slices that are samples, ascending, by plane."""


def sample_key(pair: str, plane: Plane, index: int) -> str:
    """Name of a sample: `<moving>_<fixed>_<plane>-<index>`."""
    return f"{pair}_{plane}-{index:03d}"


def measure_pair(
    root: Path,
    pair: PlannedPair,
    moving: ReadyScan,
    fixed: ReadyScan,
    moving_from_fixed: Affine,
    settings: SampleSettings,
) -> MeasuredPair:
    """Render a pair, measure its slices and volume, and choose the slices that are kept."""
    rendered = _render(root, moving, fixed, moving_from_fixed, settings.render.frame)
    measures = measure.measure_slices(
        rendered.labels,
        rendered.agreement,
        zooms_mm=rendered.zooms_mm,
        origin_index=rendered.origin_index - np.array(rendered.start),
        table=canonical_table(),
    )
    kept = {
        plane: dict(render.kept_slices(rendered, plane, settings.render)) for plane in settings.render.planes
    }
    stretch = abs(float(np.linalg.det(spaces.invert(moving_from_fixed))))
    return MeasuredPair(
        pair=pair,
        moving=moving,
        rendered=rendered,
        measures=measures,
        brain_ml=moving.prepared.preparation.brain_ml * stretch * (1.0 - rendered.share_cropped),
        kept=kept,
    )


def sample_of(measured: MeasuredPair, plane: Plane, index: int, settings: SampleSettings) -> Sample:
    """The sample of one kept slice."""
    facts = facts_of(measured, plane, index)
    return _sample(measured.pair, measured.moving, facts, measured.rendered, settings)


def facts_of(measured: MeasuredPair, plane: Plane, index: int) -> SliceFacts:
    """What there is to say of one kept slice."""
    rendered, prepared = measured.rendered, measured.moving.prepared
    axis = render.NORMAL_AXIS[plane]
    position_mm = (index - rendered.origin_index[axis]) * rendered.zooms_mm[axis]
    return SliceFacts(  # rounded here, so that words and stored facts say the same
        sequence=prepared.sequence,
        plane=plane,
        index=index,
        position_mm=round(float(position_mm), 2),
        position_fraction=round(measured.kept[plane][index], 4),
        age_years=prepared.facts.age_years,
        juvenile=prepared.facts.juvenile,
        sex=prepared.facts.sex,
        structures=measured.measures.slice_structures(plane, index - rendered.start[axis]),
    )


def _sample(
    pair: PlannedPair, moving: ReadyScan, facts: SliceFacts, rendered: RenderedPair, settings: SampleSettings
) -> Sample:
    key = sample_key(pair.pair, facts.plane, facts.index)
    captions = wording.load(settings.caption).write(facts, settings.seed, key)
    across, upward = (a for a in range(3) if a != render.NORMAL_AXIS[facts.plane])
    prepared, labeled = moving.prepared, moving.labeled
    return Sample(
        key=key,
        image_png=png.encode_grey(render.picture(rendered.image, rendered, facts.plane, facts.index)),
        label_png=png.encode_grey(render.picture(rendered.labels, rendered, facts.plane, facts.index)),
        text=captions[0].text,
        facts={
            "format_version": FORMAT_VERSION,
            "key": key,
            "split": pair.split,
            "moving": pair.moving,
            "fixed": pair.fixed,
            "subject": pair.moving_subject,
            "fixed_subject": pair.fixed_subject,
            "source": pair.source,
            "sequence": facts.sequence,
            "plane": facts.plane,
            "index": facts.index,
            "position_mm": facts.position_mm,
            "position_fraction": facts.position_fraction,
            "spacing_mm": [float(rendered.zooms_mm[axis]) for axis in (upward, across)],
            "source_zooms_mm": [round(zoom, 4) for zoom in prepared.source_zooms_mm],
            "age_years": facts.age_years,
            "juvenile": facts.juvenile,
            "sex": facts.sex,
            "label_method": labeled.label_method,
            "label_voters": list(labeled.voters),
            "terms": labeled.terms,
            "structures": [_structure(measured) for measured in facts.structures],
            "dropped_structures": captions[0].dropped_structures,
            "captions": [{"style": c.style, "language": c.language, "text": c.text} for c in captions],
        },
    )


def _structure(measured: StructureMeasure) -> dict[str, object]:
    """The stored form of one structure; written out, since `asdict` copies deeply and slowly."""
    return {
        "label": measured.label,
        "name": measured.name,
        "side": measured.side,
        "area_mm2": measured.area_mm2,
        "volume_ml": measured.volume_ml,
        "centroid_mm": list(measured.centroid_mm),
        "agreement": measured.agreement,
    }


def _render(
    root: Path, moving: ReadyScan, fixed: ReadyScan, moving_from_fixed: Affine, kind: FrameKind
) -> RenderedPair:
    """Read both scans and render the moving one in the fixed one's frame."""
    frame = _frame(root / fixed.prepared.mask, fixed.prepared.digest, kind)
    fixed_from_hub = spaces.invert(fixed.transform.matrix)
    agreement = moving.labeled.agreement
    scan = _moving_scan(
        root / moving.prepared.image,
        root / moving.prepared.mask,
        root / moving.labeled.dseg,
        root / agreement if agreement else None,
        moving.prepared.digest + moving.labeled.digest,
    )
    return render.render_pair(scan, frame, moving_from_fixed, fixed_from_hub)


@lru_cache(maxsize=4)
def _moving_scan(
    image: Path, mask: Path, dseg: Path, agreement: Path | None, digest: str
) -> render.MovingScan:
    """Read a moving scan; the digest makes a changed scan another entry of the cache."""
    volume = volumes.load_prepared(image)
    return render.MovingScan(
        image=np.ascontiguousarray(volume.array),
        labels=np.ascontiguousarray(volumes.load_prepared(dseg).array),
        agreement=np.ascontiguousarray(volumes.load_prepared(agreement).array) if agreement else None,
        affine=volume.affine,
        brain_box=resample.box_of(volumes.load_prepared(mask).array),
    )


@lru_cache(maxsize=512)
def _frame(mask: Path, digest: str, kind: FrameKind) -> Frame:
    """The frame of a fixed scan; the digest makes a changed scan another entry of the cache."""
    return render.frame_of(volumes.load_prepared(mask), kind)
