"""Settings of the affine registrations: the recipe's keys under `register`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator


class RegisterConfig(BaseModel):
    """Settings of the affine registrations, and what makes a scan or a pair unusable."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    method: Literal["hub", "direct"] = "hub"
    """How two scans come together: by composing their affines to the `hub`, or `direct`, by an affine of
    their own for each pair, as in the paper; the other way round uses its inverse."""
    hub: str = ""
    """A brain-only template (NIfTI) in which scans meet; the embedded MNI152 where it is empty."""
    hub_mask: str = Field("", validate_default=True)
    """Its brain mask, on the same grid, where the template is not brain only."""
    finest_mm: float = Field(2.0, ge=1.0, le=8.0)
    """Grid of the last resolution level in mm."""
    min_overlap: float = Field(0.82, ge=0.0, le=1.0)
    """Least Dice overlap of the two brain masks. With the hub it is asked for twice: when the scan is as yet
    only turned and scaled alike in all directions, where half a brain cannot fill the hub, and in the end."""
    max_scale: float = Field(2.0, gt=1.0)
    """Largest accepted stretch along any direction, and its inverse the smallest. Adults measure 0.75 to 1
    of the template, which is large; the rest is for children and for grids that somebody rescaled."""
    max_anisotropy: float = Field(1.6, gt=1.0)
    """Largest accepted ratio of the greatest to the least stretch."""
    max_determinant: float = Field(5.0, gt=1.0)
    """Largest accepted ratio of volumes, and its inverse the smallest."""
    max_shear_deg: float = Field(25.0, gt=0.0, lt=90.0)
    """By how much the right angle between two axes may be bent."""
    min_similarity: float = Field(0.006, ge=0.0, lt=1.0)
    """Least normalized mutual information with the hub within both masks, 0 (nothing in common) to 1."""
    min_pair_similarity: float = Field(0.0015, ge=0.0, lt=1.0)
    """The same of a pair: two people in two sequences have less in common than either has with the hub."""
    min_orientation: float = Field(1.1, ge=0.0)
    """How many times better the orientation that the header states must fit the hub than any other."""

    @field_validator("hub_mask")
    @classmethod
    def _check_mask(cls, mask: str, info: ValidationInfo) -> str:
        if mask and not info.data.get("hub"):
            raise ValueError("register.hub must be set for it to be used")
        return mask

    @property
    def hub_files(self) -> tuple[str, str]:
        """Paths of the template and its mask, as `load_hub` takes them."""
        return self.hub, self.hub_mask

    def pair_settings(self) -> dict[str, float]:
        """The keys on which the affine of a pair depends."""
        return self.model_dump(exclude={"method", "hub", "hub_mask", "min_orientation", "min_similarity"})
