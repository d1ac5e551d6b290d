"""Words from facts and facts from words: `write` captions of a slice, `read` what a text states.

Both use the phrase tables in `phrases/`, so they cannot drift apart. Light by construction (standard library
and NumPy): training code imports it to write and to judge prompts. Rounding is stated in `numbers`.
"""

from brainatlas_text.caption.agree import disagreements
from brainatlas_text.caption.loading import load_phrases, phrases_of
from brainatlas_text.caption.phrases import Phrases
from brainatlas_text.caption.proof import prove
from brainatlas_text.caption.read import SHIPPED, StatedFacts, StatedStructure, read
from brainatlas_text.caption.tokens import Budget
from brainatlas_text.caption.write import sentences_of, write

VERSION = 2
"""Part of what samples depend on; raise it when the same phrases come to be written differently."""

__all__ = [
    "SHIPPED",
    "VERSION",
    "Budget",
    "Phrases",
    "StatedFacts",
    "StatedStructure",
    "disagreements",
    "load_phrases",
    "phrases_of",
    "prove",
    "read",
    "sentences_of",
    "write",
]
