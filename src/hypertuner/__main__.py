"""`python -m hypertuner`: the same as the command `hypertuner`."""

import sys

from hypertuner.cli import main

sys.exit(main())
