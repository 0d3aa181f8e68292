"""`python -m chandlery`."""

import sys

from chandlery.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
