"""Train a model: `python Trainer.py --DR ROOT --save_root RUN`. See `--help` and the README."""

if __name__ == "__main__":
    import core.startup  # first of all: what follows takes seconds
import core.waiting  # noqa: F401, before torch

# isort: split

from core import distributed
from core.device import choose_compute, choose_device
from core.errors import UserError, exit_on_user_error
from engine.checkpoints import checkpoint as checkpoints
from engine.checkpoints.checkpoint import Checkpoint
from engine.evaluation.metrics import Generate_PSNR
from engine.training.trainer import Trainer
from lab.schedules import kl_annealing
from lab.vae_model import VAE_Model
from modules.gaussian import kl_criterion
from settings import resolve
from settings.flags import trainer_parser
from settings.resolve import Settings
from tasks import make_task, task_of

__all__ = ["Generate_PSNR", "VAE_Model", "kl_annealing", "kl_criterion"]


@exit_on_user_error
def main() -> None:
    with distributed.joined():
        settings, source = distributed.broadcast_from_main(read_settings)
        device = choose_device(settings.device)
        compute = choose_compute(device, settings.precision, settings.compile)
        trainer = Trainer(make_task(settings), compute, source)
        trainer.load_checkpoint()
        if settings.test:
            trainer.validate()
        else:
            trainer.fit()


def read_settings(argv: list[str] | None = None) -> tuple[Settings, Checkpoint | None]:
    """Return the settings, from command line, checkpoint, preset and defaults; and the checkpoint.

    That is the one of `--ckpt_path` or `--warm_start`, where one is given.
    """
    parser = trainer_parser()
    resolve.check_one_checkpoint(argv, "training goes on from one; Tester.py takes several")
    explicit = resolve.parse_explicit(parser, argv)
    if "DR" not in explicit:
        raise UserError("--DR is missing: the dataset folder, which holds train/, val/ and test/")
    explicit.setdefault("save_root", "checkpoints")
    if explicit.get("test") and "ckpt_path" not in explicit:
        raise UserError("--test validates a checkpoint: say which with --ckpt_path")
    if "ckpt_path" in explicit and "warm_start" in explicit:
        raise UserError("--ckpt_path continues a run, --warm_start begins one: give one of them")
    source, stored = None, {}
    if path := explicit.get("ckpt_path") or explicit.get("warm_start"):
        prefer = checkpoints.BEST if explicit.get("test") else checkpoints.LAST
        flag = "--ckpt_path" if "ckpt_path" in explicit else "--warm_start"
        source = checkpoints.find(path, prefer=prefer, flag=flag)
        task = task_of(source)
        architecture = task.stored_architecture(source) | {"model": task.name}
        resolve.check_architecture(explicit, architecture, source.path)
        stored = (source.settings if "ckpt_path" in explicit else {}) | architecture
    settings = resolve.make_settings(parser, explicit, stored)
    resolve.check_flags_of_model(parser, explicit, settings.model)
    return settings, source


if __name__ == "__main__":
    main()
