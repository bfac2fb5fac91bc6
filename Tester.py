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
from settings.resolve import Settings
from tasks import task_of
from tasks.dance_check import check_submission
from tasks.several import check_fit, check_same_model

__all__ = ["Test_model"]

EXPORTS = {"export_lab", "export_safetensors"}


@exit_on_user_error
def main() -> None:
    with distributed.joined():
        carry_out(*distributed.broadcast_from_main(read_flags))


def read_flags(argv: list[str] | None = None) -> tuple[dict, Checkpoint | None]:
    """Return the flags on the command line, those without which nothing runs, and the checkpoint.

    With --check there is none; of several the first comes with the others. Raises UserError where
    they contradict each other.
    """
    parser = tester_parser()
    parser.take_several("ckpt_path", "checkpoint to use, or a run folder; of several, the mean")
    explicit = resolve.parse_explicit(parser, argv)
    if "check" in explicit:
        if "DR" not in explicit:
            raise UserError("--DR is missing: the dataset folder that --check compares with")
        return explicit, None
    if "ckpt_path" not in explicit:
        raise UserError("--ckpt_path is missing: a checkpoint, or the folder of a run")
    if "DR" not in explicit and not explicit.keys() & EXPORTS:
        raise UserError("--DR is missing: the dataset folder, which holds test/")
    paths = explicit["ckpt_path"]
    if len(paths) > 1 and (asked := explicit.keys() & EXPORTS):
        raise UserError(f"--{min(asked)} writes one checkpoint: give one --ckpt_path")
    explicit.setdefault("save_root", "results")
    first, *others = (checkpoints.find(path, prefer=checkpoints.BEST) for path in paths)
    explicit["ckpt_path"] = paths[0]
    checkpoint = first._replace(others=tuple(others))
    check_same_model(checkpoint)
    resolve.check_flags_of_model(parser, explicit, task_of(checkpoint).name)
    return explicit, checkpoint


def carry_out(explicit: dict, checkpoint: Checkpoint | None) -> None:
    """Do what the flags on the command line ask for."""
    if checkpoint is None:
        data = DanceData(resolve.make_settings(tester_parser(), explicit))
        if distributed.is_main():
            check_submission(Path(explicit["check"]), data.test_clips())
        return
    every = [settings_of(explicit, one) for one in checkpoint.every]
    if explicit.keys() & EXPORTS:
        if distributed.is_main():
            export(explicit, checkpoint)
        return
    check_fit(checkpoint, every)
    print(*checkpoint.every, sep="\n")
    settings = every[0]
    device = choose_device(settings.device)
    choose_threads(settings.threads, device)
    compute = choose_compute(device, settings.precision, settings.compile)
    distributed.broadcast_from_main(lambda: check_logs(vars(settings)))
    task, *others = (task_of(checkpoint)(of_one) for of_one in every)
    task.others = others
    for member, one in zip((task, *others), checkpoint.every):
        checkpoints.load_weights(member.model, one)
        member.model.to(device).eval()
    task.test(checkpoint, compute)
    if settings.wandb and distributed.is_main():
        send_results(Path(settings.save_root), vars(settings), checkpoint.path.parent)


def settings_of(explicit: dict, checkpoint: Checkpoint) -> Settings:
    """Return the settings to test a checkpoint with. Raises UserError where flags contradict it."""
    task_type = task_of(checkpoint)
    architecture = task_type.stored_architecture(checkpoint) | {"model": task_type.name}
    resolve.check_architecture(explicit, architecture, checkpoint.path)
    return resolve.make_settings(tester_parser(), explicit, checkpoint.settings | architecture)


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
