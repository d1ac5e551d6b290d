"""The data set card: README.md with typed features, configs and what the build kept, dropped and used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import yaml

from brainatlas_text.plan import SPLITS
from brainatlas_text.records import PLANES, Rejection, RenderCounts, Shard, VoterRule
from brainatlas_text.voters import Tally

_TEXT, _WHOLE, _NUMBER, _FLAG = "string", "int64", "float64", "bool"
_STRUCTURE = {
    "label": _WHOLE,
    "name": _TEXT,
    "side": _TEXT,
    "area_mm2": _NUMBER,
    "volume_ml": _NUMBER,
    "centroid_mm": [_NUMBER],
    "agreement": _NUMBER,
}
_FACTS: dict[str, Any] = {
    "format_version": _WHOLE,
    "key": _TEXT,
    "split": _TEXT,
    "moving": _TEXT,
    "fixed": _TEXT,
    "subject": _TEXT,
    "fixed_subject": _TEXT,
    "source": _TEXT,
    "sequence": _TEXT,
    "plane": _TEXT,
    "index": _WHOLE,
    "position_mm": _NUMBER,
    "position_fraction": _NUMBER,
    "spacing_mm": [_NUMBER],
    "source_zooms_mm": [_NUMBER],
    "age_years": _NUMBER,
    "juvenile": _FLAG,
    "sex": _TEXT,
    "label_method": _TEXT,
    "label_voters": [_TEXT],
    "terms": _TEXT,
    "structures": [_STRUCTURE],
    "dropped_structures": _WHOLE,
    "captions": [{"style": _TEXT, "language": _TEXT, "text": _TEXT}],
}
AtlasCell = tuple[str, int, str]
"""Atlas, generation of its labels, data set."""
COLUMNS: dict[str, Any] = {"png": "image", "seg.png": "image", "txt": _TEXT, "json": _FACTS}
"""Columns as `datasets` names them after the members' extensions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFacts:
    """Whose labels the data set carries."""

    people: Mapping[str, int]
    """Labeled people by source; those of atlases apart."""
    tally: Tally
    rule: VoterRule
    notes: tuple[str, ...]
    """What a reader should know, such as that one person voted alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What the card states; all of it counted by the build."""

    recipe_name: str
    shards: Sequence[Shard]
    num_subjects: Mapping[str, int]
    """People by source."""
    num_scans: Mapping[str, int]
    """Scans by source and sequence, such as `ixi T2w`."""
    pairs: Mapping[str, int]
    rendered: RenderCounts
    split_rule: str
    """What splits keep apart."""
    split_notes: Sequence[str]
    """What too few people leave of them."""
    empty_rule: str
    rejections: Sequence[Rejection]
    labels: LabelFacts
    volumes: tuple[Mapping[AtlasCell, int], Mapping[AtlasCell, int]]
    """Volumes planned and kept by (atlas, generation, data set), as `plan.atlas_volumes` counts them."""
    methods: Sequence[str]
    terms: Mapping[str, str]
    """Name of the terms -> one sentence."""


def write_card(facts: CardFacts) -> str:
    """The card as Markdown with its YAML head."""
    head = yaml.safe_dump(_head(facts.shards), sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n{_body(facts)}"


def _head(shards: Sequence[Shard]) -> dict[str, Any]:
    """Configs and features; a split is listed only where it has files, or loading would fail."""
    patterns = {"full": "*.tar"} | {plane: f"*-{plane}-*.tar" for plane in PLANES}
    patterns |= {source: f"{source}-*.tar" for source in sorted({shard.source for shard in shards})}
    configs, infos = [], []
    for name, pattern in patterns.items():
        splits = [
            split
            for split in SPLITS
            if any(s.split == split and fnmatch(s.path.rsplit("/", 1)[1], pattern) for s in shards)
        ]
        if not splits:
            continue
        files = [{"split": split, "path": f"data/{split}/{pattern}"} for split in splits]
        configs.append(
            {"config_name": name, "data_files": files} | ({"default": True} if name == "full" else {})
        )
        infos.append({"config_name": name, "features": _features(COLUMNS)})
    return {
        "pretty_name": "BrainAtlas-Text",
        "license": "other",
        "license_name": "terms-of-the-sources",
        "language": ["en"],
        "task_categories": ["text-to-image", "image-segmentation"],
        "tags": ["mri", "brain", "medical", "webdataset"],
        "configs": configs,
        "dataset_info": infos,
    }


def _features(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Features in the form of the card's YAML."""
    return [{"name": name} | _feature(kind) for name, kind in columns.items()]


def _feature(kind: Any) -> dict[str, Any]:
    if isinstance(kind, list):
        inner = _feature(kind[0])
        return {"list": inner.get("struct", inner.get("dtype"))}
    if isinstance(kind, dict):
        return {"struct": _features(kind)}
    return {"dtype": kind}


def _split_rows(shards: Sequence[Shard]) -> list[tuple[str, int, int, str]]:
    by_split: dict[str, list[Shard]] = defaultdict(list)
    for shard in shards:
        by_split[shard.split].append(shard)
    return [
        (split, len(found), sum(s.num_samples for s in found), f"{sum(s.num_bytes for s in found) / 1e6:.1f}")
        for split in SPLITS
        if (found := by_split[split])
    ]


def _body(facts: CardFacts) -> str:
    pairs = facts.pairs
    planned = [("planned", pairs["planned"]), ("dropped", pairs["dropped"])]
    planned.append(("kept", pairs["planned"] - pairs["dropped"]))
    planned += [(f"kept, {split}", pairs[split]) for split in SPLITS]
    planned.append(("with at least one slice", facts.rendered.volumes_shown))
    rejected = [(r.stage, r.key, r.reason, r.detail) for r in facts.rejections]
    return f"""
# BrainAtlas-Text

Brain MRI slices of healthy people with label images and sentences in which every number is measured
on that image. Built by `brainatlas-text` with recipe `{facts.recipe_name}`.

The pictures show **{sum(facts.num_subjects.values())} people**: a slice is one person's anatomy, moved into
the pose of another scan. However many slices there are, that is the number of independent brains.

{_table(("source", "people"), sorted(facts.num_subjects.items()))}
{_table(("source, sequence", "scans"), sorted(facts.num_scans.items()))}
## Splits

{_sentences((facts.split_rule, *facts.split_notes))}
{_table(("split", "shards", "slices", "MB"), _split_rows(facts.shards))}
{_table(("volumes", "number"), planned)}
{_slices(facts.rendered)} {facts.empty_rule}

## A sample

| member | content |
|---|---|
| `png` | the slice, 256 x 256, 8-bit grey |
| `seg.png` | label numbers (FreeSurfer) on the same grid, 8-bit |
| `txt` | the main caption |
| `json` | facts, measures of every structure, all captions |

The subject's left is on the picture's left; front is up in axial, up is up in coronal and sagittal, front is
right in sagittal. `position_mm` is measured from the point that corresponds to MNI (0, 0, 0).

`slices/` and `volumes/` hold the measures of all structures as tables, Parquet or CSV: a row a structure of
each slice (area, centroid) and of each volume (volume, share of the brain, asymmetry).

## Labels

{_sentences(facts.methods)}
{_voters(facts.labels)}
## Atlases

Every scan is an atlas for every other: its image and labels in the other's pose. In the first generation the
labels are those that came with the scans; in the second those that the first voted for, which makes new
atlases of their scans (`atlases/`). Volumes by atlas (rows) and data set (columns):

{_atlas_table(*facts.volumes)}

## Terms

A sample's `terms` names those of its image and of the labels' voters together.

{_table(("terms", "what they ask"), sorted(facts.terms.items()))}
## Rejected scans

{_table(("stage", "scan", "reason", "detail"), rejected) if rejected else "None."}
"""


def _slices(counted: RenderCounts) -> str:
    """How many slices there are, and what of the brains they do not show."""
    seen, kept = counted.slices_seen, counted.slices_kept
    text = f"Slices cut: {seen}; kept: {kept}; empty: {seen - kept}."
    if counted.volumes_cropped:
        text += (
            f" Volumes whose brain lies in part outside of the frame: {counted.volumes_cropped}; of one of "
            f"them {100 * counted.most_cropped:.1f} % is not shown, of the others less."
        )
    return text


def _voters(labels: LabelFacts) -> str:
    """Whose labels these are, and which of them crossed splits."""
    votes, crossed = labels.tally.votes, labels.tally.crossed
    lines = [
        f"Labeled people: {_list(labels.people)}. Each has one vote a scan, and nobody votes for their own."
    ]
    if labels.rule == "split":
        lines.append(
            "Votes were limited (`label.voters = split`): people of validation and test voted for scans of "
            "their split alone, so that nothing of their labels reaches training."
        )
    elif votes:
        who = f"{len(crossed)} people of validation or test voted for scans of other splits"
        lines.append(
            "Votes were not limited to splits (`label.voters = all`): "
            + (f"{who} ({', '.join(crossed)})." if crossed else "none of validation or test crossed them.")
        )
    lines += labels.notes
    rows = [
        (name, *(votes.get((split, target), 0) for target in SPLITS))
        for split, name in (*((split, split) for split in SPLITS), (None, "other data sets (--atlas)"))
        if any(cell[0] == split for cell in votes)
    ]
    text = "\n\n".join(lines) + "\n"
    return (
        text + "\n" + _table(("votes of people in", *(f"for {name}" for name in SPLITS)), rows)
        if rows
        else text
    )


def _atlas_table(planned: Mapping[AtlasCell, int], kept: Mapping[AtlasCell, int]) -> str:
    """Atlas by data set; `220 of 324` where some volumes were dropped."""
    atlases = sorted({(atlas, generation) for atlas, generation, _ in planned}, key=lambda cell: cell[::-1])
    data_sets = sorted({fixed for _, _, fixed in planned})

    def row(*wanted: tuple[str, int]) -> list[str]:
        columns = [*([data_set] for data_set in data_sets), data_sets]
        cells = [[(*atlas, fixed) for atlas in wanted for fixed in column] for column in columns]
        return [
            _of(sum(kept.get(k, 0) for k in keys), sum(planned.get(k, 0) for k in keys)) for keys in cells
        ]

    rows = [(atlas, generation, *row((atlas, generation))) for atlas, generation in atlases]
    total = ("all", "", *row(*atlases))
    return _table(("atlas", "generation", *data_sets, "all"), [*rows, total])


def _of(part: int, whole: int) -> str:
    return str(whole) if part == whole else f"{part} of {whole}"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell).replace("|", "/") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _sentences(methods: Sequence[str]) -> str:
    return "\n\n".join(methods) + "\n"


def _list(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} of {name}" for name, number in sorted(counts.items())) or "none"
