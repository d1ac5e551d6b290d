"""`python -m brainatlas_text`."""

import sys

from brainatlas_text.cli import main

if __name__ == "__main__":
    sys.exit(main())
