"""``python -m lakekit`` is ``lakekit``."""

import sys

from lakekit.cli import main

if __name__ == "__main__":
    sys.exit(main())
