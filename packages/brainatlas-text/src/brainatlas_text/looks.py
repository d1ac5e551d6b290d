"""The pages to look at while a build goes on: each is written as soon as all it shows is there.

So a build that fails later has the pages of what came before. Pictures come from what the stages cached.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from brainatlas_text.hub import load_hub
from brainatlas_text.pages import preparation, registration
from brainatlas_text.pages.figures import limits_of
from brainatlas_text.pages.labels import Labeled, write_labels_page
from brainatlas_text.pages.preparation import Found, write_preparation_page
from brainatlas_text.pages.registration import Registered, write_registration_page
from brainatlas_text.progress import Progress
from brainatlas_text.recipe import Recipe
from brainatlas_text.records import PreparedScan, Rejection
from brainatlas_text.registrations import HubTransform, HubWarp, PairTransform
from brainatlas_text.samples import ReadyScan
from brainatlas_text.sources import Selected


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """Where the pages go and what they say of the build."""

    root: Path
    sources: Path
    """Holds one folder a source."""
    recipe: Recipe
    progress: Progress

    @property
    def name(self) -> str:
        """The data set folder's."""
        return self.root.resolve().name

    @property
    def early_pages(self) -> str:
        """The pages that are there before labels are."""
        return f"{self.root / preparation.PATH} and {self.root / registration.PATH}"

    def at_preparation(
        self, found: Selected, prepared: Sequence[PreparedScan], rejections: Sequence[Rejection]
    ) -> Path:
        """Every scan found, prepared or rejected."""
        shown = Found(
            scans=found.scans, prepared=prepared, rejections=rejections, root=self.sources, notes=found.notes
        )
        return self._told(write_preparation_page(self.root, self.name, self.recipe.name, shown))

    def at_registration(
        self,
        prepared: Sequence[PreparedScan],
        affines: Mapping[str, HubTransform],
        warps: Mapping[str, HubWarp],
        rejections: Sequence[Rejection],
        pairs: Iterable[PairTransform] = (),
    ) -> Path:
        """Every scan that was to be registered, bent where warps are done, and pairs registered directly."""
        shown = Registered(
            scans=prepared,
            affines=affines,
            warps=warps,
            pairs=tuple(pairs),
            rejections=rejections,
            limits=limits_of(self.recipe.register_, self.recipe.warp),
            hub=load_hub(*self.recipe.register_.hub_files),
        )
        return self._told(write_registration_page(self.root, self.name, self.recipe.name, shown))

    def at_labels(
        self,
        scans: Sequence[PreparedScan],
        ready: Mapping[str, ReadyScan],
        rejections: Sequence[Rejection],
    ) -> Path:
        """Every scan that was to be labeled."""
        labels = {key: scan.labeled for key, scan in ready.items()}
        shown = Labeled(scans=scans, labels=labels, rejections=rejections)
        return self._told(write_labels_page(self.root, self.name, self.recipe.name, shown))

    def _told(self, page: Path) -> Path:
        self.progress.start("look", 1, 0)
        self.progress.finish(f"at {page}")
        return page
