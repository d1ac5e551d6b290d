"""Makes `accelerate launch brainldm train` work from the repository root.

Accelerate runs `python brainldm train`, a path. This folder is that path; it must not hold an
`__init__.py`, which would shadow the installed package (docs/decisions/0002).
"""

import sys

from brainldm.cli import main

if __name__ == "__main__":
    sys.exit(main())
