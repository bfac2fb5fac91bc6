"""The scripts of the project, run by a benchmark as its user would run them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def call(script: str, *flags: str) -> None:
    """Run a script of the project; its output is that of this process."""
    subprocess.run([sys.executable, str(ROOT / script), *flags], check=True)
