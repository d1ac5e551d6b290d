"""How a build tells where it is: a small protocol, and a silent implementation for library use."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told of every stage; the command line shows it, a library caller may count it."""

    def start(self, stage: str, total: int, reused: int) -> None:
        """A stage begins: `total` tasks, of which `reused` were finished by an earlier run."""

    def advance(self) -> None:
        """One task of the stage is done."""

    def finish(self, line: str) -> None:
        """The stage is done; one line says with what result."""


class Silent:
    """Shows nothing."""

    def start(self, stage: str, total: int, reused: int) -> None:
        """See Progress."""

    def advance(self) -> None:
        """See Progress."""

    def finish(self, line: str) -> None:
        """See Progress."""
