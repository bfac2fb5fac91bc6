"""`Test_model`: the model of a checkpoint, with the test's rollout, under the lab's name."""

from argparse import Namespace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from core.device import Compute, choose_compute
from data.types import Clip
from engine.checkpoints import checkpoint as checkpoints
from engine.output.pictures import write_submission
from lab.arguments import complete_arguments
from lab.loaders import clip_loader
from lab.model import LabModel, as_pixels, engine_view
from tasks.dance import DanceTask


class Test_model(LabModel):
    """The model of a checkpoint, with the test's rollout.

    `args` is a Namespace of lab flags with `ckpt_path`; widths come from the checkpoint. `eval()`
    is that of `nn.Module`. Where a subclass has one of `HOOKS` of its own, `test_stage()` asks it.
    """

    __test__ = False  # a name of the lab, not a test to collect
    HOOKS = ("val_one_step", "val_dataloader", "make_gif", "eval")

    def __init__(self, args: Namespace):
        args = complete_arguments(args)
        found = checkpoints.find(args.ckpt_path, prefer=checkpoints.BEST)
        architecture = DanceTask.stored_architecture(found)
        vars(args).update(architecture)
        super().__init__(args)
        self.checkpoint = found
        self._output_is_known = "output_activation" in architecture or bool(args.output_activation)
        self.task = DanceTask(self.args, engine_view(self))
        self._computes: dict[torch.device, Compute] = {}

    @property
    def compute(self) -> Compute:
        """Where and in which precision it computes: there where the model is."""
        device = next(self.parameters()).device
        if device not in self._computes:
            compute = choose_compute(device, self.args.precision, self.args.compile)
            compute.prepare(engine_view(self))
            self._computes[device] = compute
        return self._computes[device]

    def load_checkpoint(self) -> None:
        """Load the weights, strictly, and switch to evaluation mode."""
        checkpoints.load_weights(self, self.checkpoint)
        nn.Module.train(self, False)

    def test_stage(self) -> None:
        """Roll every sequence out and write what there is to write into `args.save_root`.

        With methods of one's own: submission.csv of the rows that they return, and their GIFs.
        """
        if not (own := self.own_hooks()):
            self.task.test(self.checkpoint, self.compute)
            return
        name, folder = type(self).__name__, Path(self.args.save_root)
        print(f"{name} has its own {', '.join(own)}, which roll out; no scores and no page")
        if self.has_own("eval"):
            self.eval()
            return
        device, size = next(self.parameters()).device, (3, self.args.frame_H, self.args.frame_W)
        with torch.no_grad():
            rows = [
                torch.as_tensor(self.val_one_step(img.to(device), label.to(device), idx))
                for idx, (img, label) in enumerate(self.val_dataloader())
            ]
        folder.mkdir(parents=True, exist_ok=True)
        write_submission(
            folder / "submission.csv", [as_pixels(row).cpu().reshape(-1, *size) for row in rows]
        )
        print(f"{folder}: submission.csv with {sum(map(len, rows))} rows")

    def val_one_step(self, img: Tensor, label: Tensor, idx: int = 0) -> Tensor:
        """Roll a sequence out: frame (1, 1, 3, H, W) and poses (1, T, 3, H, W) → (T, 3·H·W).

        Values lie in [0, 1]; 255 times them are the rows of submission.csv. idx is the number of
        the sequence, from 0: its GIF is `pred_seq{idx}.gif` in `args.save_root`.
        """
        (frames,) = self._roll_out(img, label, idx)
        self.make_gif(frames, str(Path(self.args.save_root) / f"pred_seq{idx}.gif"))
        return frames.flatten(1).float() / 255

    def val_dataloader(self) -> DataLoader:
        """Return the test sequences: a first frame (1, 1, 3, H, W), and poses (1, T, 3, H, W)."""
        return clip_loader(self._clips, first_only=True)

    @cached_property
    def _clips(self) -> list[Clip]:
        return self.task.data.test_clips()

    def _before_rollout(self, clip: Clip) -> None:
        """Find out what follows the Generator of a lab checkpoint."""
        if not self._output_is_known:
            self.task.settle_output(self.checkpoint, lambda: clip)
            self._output_is_known = True


Test_model.remember_hooks()
