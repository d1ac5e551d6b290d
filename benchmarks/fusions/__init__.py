"""Methods of label fusion for `label_methods.py`: the project's own and those of others, in one form.

Each takes the target and its candidates, all on the target's box, and gives a label map there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from brainatlas_text import fuse
from brainatlas_text.labels import canonical_table
from brainatlas_text.propagate import Target

Labels = np.ndarray


class Candidate(NamedTuple):
    """What a voter proposes for the target's box, and its intensities there."""

    labels: Labels
    image: np.ndarray


Fusion = Callable[[Target, list[Candidate]], Labels]


@dataclass(frozen=True)
class Method:
    """A fusion, and whether its candidates come by affines alone."""

    name: str
    fuse: Fusion
    affine: bool = False
    version: int = 1


def voted(method: Literal["matching", "majority"]) -> Fusion:
    """A method of the project's own."""

    def fuse_ours(target: Target, candidates: list[Candidate]) -> Labels:
        config = fuse.LabelConfig(method=method)
        proposed = [candidate.labels for candidate in candidates]
        return fuse.fuse(target.image, target.inside, target.zooms_mm, proposed, config).labels

    return fuse_ours


majority = voted("majority")


def staple(target: Target, candidates: list[Candidate]) -> Labels:
    """Rohlfing's STAPLE for several labels (SimpleITK); of voxels it leaves undecided the vote."""
    maps = [np.where(target.inside, c.labels, np.uint8(0)) for c in candidates]
    images = [sitk.GetImageFromArray(labels) for labels in maps]
    fused = sitk.GetArrayFromImage(sitk.MultiLabelSTAPLE(images, 255, 1e-5, 50))
    return np.where(fused == 255, majority(target, candidates), fused).astype(np.uint8)


def joint_fusion(search: int) -> Fusion:
    """ANTs' joint label fusion (Wang et al., PAMI 2013), patches of radius 2, its other defaults."""

    def fuse_jointly(target: Target, candidates: list[Candidate]) -> Labels:
        import ants

        fused = ants.joint_label_fusion(
            ants_image(target.image, target),
            ants_image(target.inside, target),
            [ants_image(c.image, target) for c in candidates],
            label_list=[ants_image(np.where(target.inside, c.labels, 0), target) for c in candidates],
            rad=2,
            r_search=search,
        )
        return np.where(target.inside, fused["segmentation"].numpy(), 0).astype(np.uint8)

    return fuse_jointly


def atropos(target: Target, candidates: list[Candidate]) -> Labels:
    """Atropos (Avants et al., 2011) with smoothed vote fractions as priors, a Gaussian a kind of tissue.

    Its classes may not run empty, as those of small structures do; so they are the table's groups, and the
    label is the one that the votes and its group's posterior together make most probable.
    """
    import ants

    stack = np.stack([np.where(target.inside, c.labels, np.uint8(0)) for c in candidates])
    numbers = np.unique(stack[:, target.inside])
    sigma = 1.0 / np.array(target.zooms_mm)
    fractions = [ndimage.gaussian_filter((stack == n).mean(axis=0, dtype=np.float32), sigma) for n in numbers]
    groups = [tissue_group(int(number)) for number in numbers]
    names = sorted(set(groups))
    priors = [sum(f for f, group in zip(fractions, groups, strict=True) if group == name) for name in names]
    posteriors = ants.atropos(
        a=ants_image(target.image, target),
        x=ants_image(target.inside, target),
        i=[ants_image(prior, target) for prior in priors],
        m="[0.1,1x1x1]",
        c="[5,0]",
        priorweight=0.5,
    )["probabilityimages"]
    of_group = {name: image.numpy() for name, image in zip(names, posteriors, strict=True)}
    shares = [
        fraction * of_group[group] / np.maximum(priors[names.index(group)], 1e-6)
        for fraction, group in zip(fractions, groups, strict=True)
    ]
    return np.where(target.inside, numbers[np.argmax(shares, axis=0)], 0).astype(np.uint8)


def tissue_group(number: int) -> str:
    """A kind of tissue with intensities of its own: the pallidum is one, the cerebellum two."""
    row = canonical_table().get(number)
    if row is None or row.group == "vessel":
        return "none"
    return row.name if row.group == "cerebellum" or row.name == "pallidum" else row.group


def ants_image(array: np.ndarray, target: Target) -> Any:
    import ants

    return ants.from_numpy(array.astype(np.float32), spacing=[float(zoom) for zoom in target.zooms_mm])


def methods(searches: list[int]) -> list[Method]:
    """The project's own last."""
    return [
        Method("affine, majority", majority, affine=True, version=fuse.VERSION),
        Method("deformable, majority", majority, version=fuse.VERSION),
        Method("STAPLE", staple),
        *(Method(f"joint label fusion, search {radius}", joint_fusion(radius)) for radius in searches),
        Method("Atropos", atropos, version=2),
        Method("default (matching)", voted("matching"), version=fuse.VERSION),
    ]
