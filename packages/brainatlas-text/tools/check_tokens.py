"""Check counted token costs against the real vocabularies, on captions of random slices or of a data set's.

    python packages/brainatlas-text/tools/check_tokens.py [--slices 2000] [--dataset OUT]

`vocabularies` says what must be installed. Random facts are harder than real ones: up to every structure
there is, in any size. Exit code 1 where a caption takes more tokens than its budget or than was counted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from brainatlas_text import caption
from brainatlas_text.records import SliceFacts

sys.path.insert(0, str(Path(__file__).parent))
from random_facts import random_facts
from vocabularies import Counter, counters


@dataclass
class Tally:
    """Captions of one language and style."""

    limit: int
    tokens: list[int] = field(default_factory=list)
    counted: list[int] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)

    @property
    def broken(self) -> int:
        """Captions over their budget, or of more tokens than were counted."""
        pairs = zip(self.tokens, self.counted, strict=True)
        return sum(real > self.limit or real > counted for real, counted in pairs)


def main() -> int:
    """Print a line a language and style."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--slices", type=int, default=2000)
    parser.add_argument("--dataset", type=Path, help="take the facts of this data set's samples")
    arguments = parser.parse_args()
    dataset, number = arguments.dataset, arguments.slices
    facts = list(stored_facts(dataset, number) if dataset else random_facts(number))
    found = tallies(facts, counters())
    print("language style     most of limit   counted over (mean, most)   that drop (share, most)")
    for (language, style), tally in found.items():
        over = [counted - real for counted, real in zip(tally.counted, tally.tokens, strict=True)]
        print(
            f"{language:8} {style:8} {max(tally.tokens):5} {tally.limit:8} {sum(over) / len(over):20.2f}"
            f"{max(over):6} {sum(map(bool, tally.dropped)) / len(over):20.1%} {max(tally.dropped):6}"
        )
    broken = sum(tally.broken for tally in found.values())
    print(f"{len(facts)} slices, {broken} captions over their budget or counted too low")
    return 1 if broken else 0


def tallies(facts: Iterable[SliceFacts], real: dict[str, Counter]) -> dict[tuple[str, str], Tally]:
    """Write every shipped style of every slice, and count."""
    tables = {language: caption.load_phrases(language) for language in caption.SHIPPED}
    found: dict[tuple[str, str], Tally] = defaultdict(lambda: Tally(0))
    for number, one in enumerate(facts):
        for language, phrases in tables.items():
            styles = tuple(phrases.styles)
            for written in caption.write(one, seed=1, key=str(number), styles=styles, languages=(language,)):
                budget, tally = phrases.styles[written.style].budget, found[language, written.style]
                tally.limit = budget.limit
                tally.tokens.append(real[budget.vocabulary](written.text))
                tally.counted.append(budget.cost(written.text))
                tally.dropped.append(written.dropped_structures)
    return dict(found)


def stored_facts(dataset: Path, number: int) -> Iterator[SliceFacts]:
    """Facts of random samples of a data set."""
    from check_captions import as_facts, drawn  # brings webdataset, which random slices do without

    for sample in drawn(dataset, number, seed=0):
        yield as_facts(json.loads(sample["json"]))


if __name__ == "__main__":
    sys.exit(main())
