"""`python -m masquerade` is the command."""

import sys

from masquerade.cli import main

sys.exit(main())
