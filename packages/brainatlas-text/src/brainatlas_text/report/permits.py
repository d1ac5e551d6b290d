"""What a report may show: pictures and sizes by the terms of those they come from.

A report in `report/` is passed on with the data set, so it shows only what may be passed on without asking.
A private one stays in `work/`. What may not be studied is studied in neither.
"""

from __future__ import annotations

from dataclasses import dataclass

from brainatlas_text.samples import ReadyScan
from brainatlas_text.sources import terms_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Permits:
    """What may be shown of a scan."""

    private: bool
    """Nobody sees it who has not accepted the terms."""

    def picture(self, scan: ReadyScan) -> bool:
        """Its image."""
        return self.private or terms_of(scan.prepared.terms).may_redistribute_images

    def labels(self, scan: ReadyScan) -> bool:
        """Its label map, which the label voters' terms bind as well."""
        named = scan.labeled.terms.split("+")
        return self.private or all(terms_of(name).may_redistribute_labels for name in named)

    def sizes(self, scan: ReadyScan) -> bool:
        """The sizes of the person's structures, as facts about people."""
        return terms_of(scan.prepared.terms).may_study_anatomy
