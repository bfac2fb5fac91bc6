"""What tests share: slow references, tiny models, scripts called and watched."""

from pathlib import Path

ROOT = Path(__file__).parents[2]  # of the repository
FIXTURES, GOLDEN = ROOT / "tests" / "fixtures", ROOT / "tests" / "golden"
