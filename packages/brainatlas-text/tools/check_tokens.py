"""Check counted token costs against the real vocabularies, on captions of random slices.

    python packages/brainatlas-text/tools/check_tokens.py [--slices 2000]

`vocabularies` says what must be installed. Exit code 1 where a caption takes more tokens than its budget or
than was counted. The facts are harder than real ones: up to every structure there is, in any size.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from brainatlas_text import caption

sys.path.insert(0, str(Path(__file__).parent))
from random_facts import random_facts
from vocabularies import Counter, counters


@dataclass
class Tally:
    """Captions of one language and style."""

    tokens: list[int] = field(default_factory=list)
    counted_over: list[int] = field(default_factory=list)
    """By how much more was counted than there is."""
    dropped: list[int] = field(default_factory=list)


def main() -> int:
    """Print a line a language and style."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--slices", type=int, default=2000)
    num_slices = parser.parse_args().slices
    real, broken = counters(), 0
    print("language style     most  limit  counted over (mean, most)  captions that drop  most dropped")
    for language in ("en", "fr"):
        phrases = caption.load_phrases(language)
        for name, tally in _tallies(phrases, num_slices, real).items():
            style = phrases.styles[name]
            over = tally.counted_over
            broken += sum(tokens > style.budget.limit for tokens in tally.tokens)
            broken += sum(more < 0 for more in over)
            dropping = sum(map(bool, tally.dropped)) / num_slices
            print(
                f"{language:8} {name:8} {max(tally.tokens):5} {style.budget.limit:6}"
                f"  {sum(over) / num_slices:12.2f} {max(over):6} {dropping:24.1%} {max(tally.dropped):13}"
            )
    print(f"{broken} captions over their budget or counted too low, of {num_slices} slices")
    return 1 if broken else 0


def _tallies(phrases: caption.Phrases, num_slices: int, real: dict[str, Counter]) -> dict[str, Tally]:
    tallies: dict[str, Tally] = defaultdict(Tally)
    for number, facts in enumerate(random_facts(num_slices)):
        for written in caption.write(
            facts, seed=1, key=str(number), styles=tuple(phrases.styles), languages=(phrases.language,)
        ):
            budget, tally = phrases.styles[written.style].budget, tallies[written.style]
            tokens = real[budget.vocabulary](written.text)
            tally.tokens.append(tokens)
            tally.counted_over.append(budget.cost(written.text) - tokens)
            tally.dropped.append(written.dropped_structures)
    return tallies


if __name__ == "__main__":
    sys.exit(main())
