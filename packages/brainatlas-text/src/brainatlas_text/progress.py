"""How builds and downloads tell where they are: two small protocols, and silence for library use."""

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


class TransferProgress(Protocol):
    """Told of every file that is downloaded, checked or unpacked."""

    def start(self, what: str, num_bytes: int | None, have_bytes: int) -> None:
        """Work on a file begins, or begins again: `have_bytes` of `num_bytes` (if known) are there."""

    def advance(self, num_bytes: int) -> None:
        """So many bytes more."""

    def finish(self, line: str) -> None:
        """The file is done, or given up; one line says with what result."""


class Silent:
    """Shows nothing."""

    def start(self, stage: str, total: int, reused: int) -> None:
        """See Progress."""

    def advance(self) -> None:
        """See Progress."""

    def finish(self, line: str) -> None:
        """See Progress."""


class SilentTransfer:
    """Shows nothing."""

    def start(self, what: str, num_bytes: int | None, have_bytes: int) -> None:
        """See TransferProgress."""

    def advance(self, num_bytes: int) -> None:
        """See TransferProgress."""

    def finish(self, line: str) -> None:
        """See TransferProgress."""
