"""`python -m brainldm`, which is also what `accelerate launch -m brainldm` runs."""

import sys

from brainldm.cli import main

if __name__ == "__main__":
    sys.exit(main())
