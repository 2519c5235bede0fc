"""The commit at which something is measured, for the pages that scripts write."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit() -> str:
    """The first eight digits of this checkout's commit."""
    words = ["git", "rev-parse", "--short=8", "HEAD"]
    done = subprocess.run(words, cwd=Path(__file__).parent, capture_output=True, text=True)
    return done.stdout.strip() or "an unknown commit"
