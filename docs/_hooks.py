"""Fills `{{ help: COMMAND }}` with what the command itself prints, so that no option can be invented here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

_MODULES = {"brainatlas-text": "brainatlas_text", "brainldm": "brainldm"}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs calls this for each page."""
    return re.sub(r"^\{\{ help: (.+?) \}\}$", lambda match: _help(match[1]), markdown, flags=re.MULTILINE)


def _help(command: str) -> str:
    program, *rest = command.split()
    done = subprocess.run(
        [sys.executable, "-m", _MODULES[program], *rest, "--help"],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"},
    )
    return f"```text\n$ {command} --help\n{done.stdout.strip()}\n```"
