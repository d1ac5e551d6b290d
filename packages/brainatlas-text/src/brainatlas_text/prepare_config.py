"""Settings of the preparation: the recipe's keys under `prepare`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from brainatlas_text.engines import mask_command
from brainatlas_text.engines.bias import FINE
from brainatlas_text.engines.brain_masks import MaskMethod, MaskSettings
from brainatlas_text.engines.handedness import Contradicted


class PrepareConfig(BaseModel):
    """Settings of the preparation."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    mask: MaskMethod = "auto"
    """How to find the brain where neither the image nor its source shows it: `embedded` (all sequences),
    `deepbet` (T1w; other sequences by `embedded`), `command` (the program below), or `auto`: deepbet where it
    is installed, else embedded, chosen once for a data set."""
    mask_command: str = Field("", validate_default=True)
    """Command template of an external program, such as `mri_synthstrip -i {image} -m {mask}`."""
    mask_command_writes: str = Field("mask.nii.gz", pattern=r"^[^/]+\.nii(\.gz)?$")
    """Name of the mask file that the program writes into `{folder}`; `{mask}` is its path."""
    mask_timeout_s: float = Field(600.0, gt=0.0)
    """Seconds that the program may take for one scan."""
    min_repeat_correlation: float = Field(0.9, ge=0.0, le=1.0)
    """Least correlation with the first repeat when aligned; other repeats are left out of the mean."""
    bias_correction: bool = True
    """Whether to run N4."""
    bias_grid_mm: float = Field(FINE.grid_mm, ge=1.0, le=16.0)
    """Grid on which N4 fits the field."""
    bias_iterations: tuple[int, ...] = Field(FINE.iterations, min_length=1, max_length=6)
    """Most iterations of N4, a level; each level doubles the control points of the field."""
    low_percentile: float = Field(0.5, ge=0.0, lt=50.0)
    """Percentile of the brain's intensities that becomes 1."""
    high_percentile: float = Field(99.5, gt=50.0, le=100.0)
    """Percentile of the brain's intensities that becomes 4095."""
    finest_mm: float = Field(0.6, ge=0.0)
    """Grids with voxels below this size along an axis are thinned by whole factors to about 0.9 mm."""
    min_coverage_mm: float = Field(60.0, ge=0.0)
    """Least extent of the grid and of the brain along each axis; thinner slabs are rejected."""
    min_brain_ml: float = Field(600.0, ge=0.0)
    """Smaller brains are rejected as implausible."""
    max_brain_ml: float = Field(2400.0, ge=0.0)
    """Larger ones as well: a skull or a neck must have come along."""
    contradicted: Contradicted = "reject"
    """Scans whose left and right are contradicted: `reject` those that their own capsule speaks against,
    `strict` those as well whose other form does, `keep` all, with a note. None is ever flipped."""

    @field_validator("mask_command")
    @classmethod
    def _check_command(cls, command: str, info: ValidationInfo) -> str:
        wanted = info.data.get("mask") == "command"
        if wanted and (problem := mask_command.problem_with(command)):
            raise ValueError(problem)
        if command and not wanted:
            raise ValueError('prepare.mask must be "command" for it to be used')
        return command

    @property
    def mask_settings(self) -> MaskSettings:
        """The keys that begin with `mask`."""
        return MaskSettings(
            method=self.mask,
            command=self.mask_command,
            writes=self.mask_command_writes,
            timeout_s=self.mask_timeout_s,
        )
