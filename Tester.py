"""Roll a checkpoint out: `python Tester.py --DR ROOT --save_root OUT --ckpt_path CKPT`.

Writes GIFs, submission.csv, a page to play them and, where the true frames are known, scores.
See `--help`.
"""

if __name__ == "__main__":
    import core.startup  # first of all: what follows takes seconds
import core.waiting  # noqa: F401, before torch

# isort: split

from pathlib import Path

from core import distributed
from core.device import choose_compute, choose_device
from core.errors import UserError, exit_on_user_error
from core.threads import choose_threads
from data.dance import DanceData
from engine.checkpoints import checkpoint as checkpoints
from engine.checkpoints.checkpoint import Checkpoint
from engine.output.tracker import check_logs
from engine.output.wandb_log import send_results
from lab.test_model import Test_model
from settings import resolve
from settings.flags import tester_parser
from tasks import task_of
from tasks.dance_check import check_submission

__all__ = ["Test_model"]

EXPORTS = {"export_lab", "export_safetensors"}


@exit_on_user_error
def main() -> None:
    with distributed.joined():
        carry_out(*distributed.broadcast_from_main(read_flags))


def read_flags(argv: list[str] | None = None) -> tuple[dict, Checkpoint | None]:
    """Return the flags on the command line, those without which nothing runs, and the checkpoint.

    With --check there is none. Raises UserError where they contradict each other.
    """
    parser = tester_parser()
    explicit = resolve.parse_explicit(parser, argv)
    if "check" in explicit:
        if "DR" not in explicit:
            raise UserError("--DR is missing: the dataset folder that --check compares with")
        return explicit, None
    if "ckpt_path" not in explicit:
        raise UserError("--ckpt_path is missing: a checkpoint, or the folder of a run")
    if "DR" not in explicit and not explicit.keys() & EXPORTS:
        raise UserError("--DR is missing: the dataset folder, which holds test/")
    explicit.setdefault("save_root", "results")
    checkpoint = checkpoints.find(explicit["ckpt_path"], prefer=checkpoints.BEST)
    resolve.check_flags_of_model(parser, explicit, task_of(checkpoint).name)
    return explicit, checkpoint


def carry_out(explicit: dict, checkpoint: Checkpoint | None) -> None:
    """Do what the flags on the command line ask for."""
    if checkpoint is None:
        data = DanceData(resolve.make_settings(tester_parser(), explicit))
        if distributed.is_main():
            check_submission(Path(explicit["check"]), data.test_clips())
        return
    task_type = task_of(checkpoint)
    architecture = task_type.stored_architecture(checkpoint) | {"model": task_type.name}
    resolve.check_architecture(explicit, architecture, checkpoint.path)
    if explicit.keys() & EXPORTS:
        if distributed.is_main():
            export(explicit, checkpoint)
        return
    print(checkpoint)
    stored = checkpoint.settings | architecture
    settings = resolve.make_settings(tester_parser(), explicit, stored)
    device = choose_device(settings.device)
    choose_threads(settings.threads, device)
    compute = choose_compute(device, settings.precision, settings.compile)
    distributed.broadcast_from_main(lambda: check_logs(vars(settings)))
    task = task_type(settings)
    checkpoints.load_weights(task.model, checkpoint)
    task.model.to(device).eval()
    task.test(checkpoint, compute)
    if settings.wandb and distributed.is_main():
        send_results(Path(settings.save_root), vars(settings), checkpoint.path.parent)


def export(explicit: dict, checkpoint: Checkpoint) -> None:
    """Write the checkpoint in the form of each `--export` flag."""
    overwrite = explicit.get("overwrite", False)
    if path := explicit.get("export_lab"):
        task_of(checkpoint).export_lab(checkpoint, path, overwrite=overwrite)
    if path := explicit.get("export_safetensors"):
        places = tester_parser().names(lambda scope: not scope.inherited)
        checkpoints.export_safetensors(
            checkpoint.content,
            Path(path),
            overwrite=overwrite,
            left_out=places,
            data=checkpoints.trained_on(checkpoint),
        )
        print(f"{path}: {Path(path).stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
