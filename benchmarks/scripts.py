"""The scripts of the project, run by a benchmark as its user would run them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def call(script: str, *flags: str) -> None:
    """Run a script of the project; its output is that of this process."""
    subprocess.run([sys.executable, str(ROOT / script), *flags], check=True)


def output_of(*arguments: object) -> str:
    """Run Python in the repository; return what it says. Raises where it fails."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return done.stdout
