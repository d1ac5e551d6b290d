"""Sentence templates: text with {slots} and optional [brackets].

A bracket is written only when every slot in it is known, and left out otherwise. Slots outside brackets must
always be known, except in a sentence that is itself optional.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

_TOKEN = re.compile(r"\{(\w*)\}|([\[\]{}])|([^\[\]{}]+)")


class TemplateError(ValueError):
    """A template is malformed; the message says how, without saying where."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A stretch of a template that is written or left out as a whole."""

    text: str
    """For `str.format_map`."""
    slots: tuple[str, ...]
    optional: bool


@dataclass(frozen=True, kw_only=True)
class Template:
    """A parsed template."""

    source: str
    parts: tuple[Part, ...]

    @cached_property
    def slots(self) -> frozenset[str]:
        """All slots, in brackets or not."""
        return frozenset(slot for part in self.parts for slot in part.slots)

    @cached_property
    def required(self) -> frozenset[str]:
        """The slots outside brackets."""
        return frozenset(slot for part in self.parts if not part.optional for slot in part.slots)

    @cached_property
    def literal(self) -> str:
        """The template's own words, a slash for each slot."""
        return "".join(part.text.format_map({slot: "/" for slot in part.slots}) for part in self.parts)

    @cached_property
    def pattern(self) -> str:
        """The whole template for `str.format`; for templates without brackets."""
        return "".join(part.text for part in self.parts)

    def fill(self, values: Mapping[str, str | None]) -> str | None:
        """The sentence; None when a required slot is unknown, or all brackets where nothing else has slots.

        A slot that is missing from `values` or None is unknown.
        """
        written: list[str] = []
        brackets = 0
        for part in self.parts:
            if all(values.get(slot) is not None for slot in part.slots):
                written.append(part.text.format_map(values))
                brackets += part.optional
            elif not part.optional:
                return None
        if brackets == 0 and not self.required and self.slots:
            return None
        return "".join(written)


def parse(source: str, known_slots: frozenset[str]) -> Template:
    """Parse a template; raise TemplateError for a brace or bracket out of place or an unknown slot."""
    parts: list[Part] = []
    slots: list[str] = []
    text, inside = "", False
    for slot, mark, literal in _TOKEN.findall(source):
        if literal:
            text += literal
        elif mark in ("[", "]"):
            if (mark == "[") == inside:
                raise TemplateError(f"unbalanced bracket {mark!r}")
            if inside and not slots:
                raise TemplateError(f"bracket [{text}] holds no field")
            parts.append(Part(text=text, slots=tuple(slots), optional=inside))
            text, slots, inside = "", [], not inside
        elif mark:
            raise TemplateError(f"unbalanced brace {mark!r}")
        elif slot not in known_slots:
            raise TemplateError(f"unknown field {{{slot}}}; known: {', '.join(sorted(known_slots))}")
        else:
            text += f"{{{slot}}}"
            slots.append(slot)
    if inside:
        raise TemplateError("unbalanced bracket '['")
    parts.append(Part(text=text, slots=tuple(slots), optional=False))
    return Template(source=source, parts=tuple(part for part in parts if part.text))
