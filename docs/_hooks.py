"""Fills `{{ help: COMMAND }}` with what the command prints and `{{ settings: MODULE.MODEL }}` with its keys.

So no option can be invented here, and none forgotten.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from typing import Any

_MODULES = {"brainatlas-text": "brainatlas_text", "brainldm": "brainldm"}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs calls this for each page."""
    markdown = re.sub(r"^\{\{ help: (.+?) \}\}$", lambda found: _help(found[1]), markdown, flags=re.MULTILINE)
    return re.sub(
        r"^\{\{ settings: (.+?) \}\}$", lambda found: _settings(found[1]), markdown, flags=re.MULTILINE
    )


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


def _settings(name: str) -> str:
    """A table of a model's keys: defaults in TOML's form, meanings from the docstrings."""
    module, _, model = name.rpartition(".")
    fields = getattr(importlib.import_module(module), model).model_fields
    rows = ["| key | default | is |", "|---|---|---|"]
    for key, field in fields.items():
        if not field.description:
            raise ValueError(f"{name}.{key} has no docstring")
        rows.append(f"| `{key}` | `{json.dumps(field.default)}` | {' '.join(field.description.split())} |")
    return "\n".join(rows)
