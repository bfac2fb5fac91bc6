"""What `--help` says besides the flags: examples, and what the presets stand for."""

import textwrap
from typing import Any

from settings.models import MODELS

TRAINER_EXAMPLES = """\
examples:
  python Trainer.py --DR ROOT --save_root RUN --preset quick --holdout 2260:2890
      minutes on a laptop; the training frames 2260 to 2889 are kept to validate on
  python Trainer.py --DR ROOT --save_root RUN --preset quick --dry_run
      say what that would do and how long it would take, and stop

"""
TESTER_EXAMPLES = """\
examples:
  python Tester.py --DR ROOT --save_root RESULTS --ckpt_path RUN
      roll every test sequence out with the best checkpoint of a run
  python Tester.py --DR ROOT --check RESULTS/submission.csv
      look a submission over before it is uploaded

Every flag of Trainer.py is accepted as well (python Trainer.py --help)."""
# Flags that the help of the Tester shows besides its own; what else matters is in the checkpoint.
OF_A_TEST = (
    *("DR", "cache_dir", "num_workers", "save_root", "ckpt_path", "seed", "device", "precision"),
    *("compile", "threads", "latent", "temperature", "n_eval", "num_samples", "wandb"),
)
UNBROKEN = "\x00"  # stands for a space at which no line is broken


def preset_help(defaults: dict[str, Any]) -> str:
    """Return in words which flags each preset stands for, where --preset lab is the default."""
    lines = ["presets, as the flags that they stand for (without --preset: lab):"]
    for spec in MODELS.values():
        for name, values in spec.presets.items():
            bare = defaults if name == "lab" else defaults | spec.presets.get("lab", {})
            changed = {flag: v for flag, v in (bare | values).items() if v != bare[flag]}
            flags = " ".join(_as_flag(flag, value) for flag, value in changed.items())
            lines += [f"  --model {spec.name} --preset {name}"]
            lines += textwrap.wrap(
                flags or "(the defaults)",
                width=78,
                initial_indent=" " * 4,
                subsequent_indent=" " * 4,
                break_on_hyphens=False,
            )
    return "\n".join(lines).replace(UNBROKEN, " ")


def _as_flag(name: str, value: Any) -> str:
    """Return a setting as it would stand on a command line, in one piece for wrapping."""
    if isinstance(value, bool):
        return f"--{'' if value else 'no-'}{name}"
    return f"--{name}{UNBROKEN}{f'{value:g}' if isinstance(value, float) else value}"
