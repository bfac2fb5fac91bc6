"""A training step of the lab, as a whole and as its parts, which a script may make its own.

Dimensions: B batch, T frames, N latent channels, H×W frame size, P patch size.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle
from torch.nn.utils import clip_grad_norm_

from data.types import Batch
from engine.training.epoch_metrics import SKIPPED
from lab.arguments import Arguments
from lab.model import LabModel
from modules.gaussian import kl_criterion

STEP_HOOKS = ("kl_criterion", "mse_criterion", "optimizer_step")


class LabSteps(LabModel):
    """Takes training steps: those of the engine's run, unless one of `STEP_HOOKS` is someone's own.

    A subclass has `trainer`, `optim`, `scheduler` and `kl_annealing`.
    """

    kl_criterion = staticmethod(kl_criterion)

    def __init__(self, args: Arguments):
        super().__init__(args)
        self.mse_criterion = nn.MSELoss()
        self.step_metrics: dict[str, Tensor] = {}  # of the latest step taken here

    def training_one_step(self, img: Tensor, label: Tensor, adapt_TeacherForcing: bool) -> Tensor:
        """Take one optimizer step on (B, T, 3, H, W) frames and poses; return the loss."""
        nn.Module.train(self)
        run = self.trainer.run
        if not self.has_own("scheduler"):
            self.scheduler.set_rate()
        forced = [bool(adapt_TeacherForcing)] * (img.shape[1] - 1)
        batch = Batch(img.to(run.compute.device), label.to(run.compute.device))
        step = self._plain_step if self.has_own(*STEP_HOOKS) else run.train_step
        self.step_metrics = step(batch, forced, self.kl_annealing.get_beta())
        return self.step_metrics["loss"]

    def _plain_step(
        self, batch: Batch, forced: list[bool], beta: Tensor | float
    ) -> dict[str, Tensor]:
        """Take the step of `Run.train_step`, frame by frame through the criteria of this class."""
        run = self.trainer.run
        run.guard.remember()
        metrics = self.window_loss(batch, forced, beta)
        self.optim.zero_grad()
        metrics["loss"].backward()
        before = float(run.guard.skipped_in_a_row)
        self.optimizer_step()
        run.step += 1
        taken = metrics["loss"].isfinite() & (float(run.guard.skipped_in_a_row) <= before)
        run.guard.put_back_unless(taken)
        metrics = {k: torch.where(taken, value.detach(), 0) for k, value in metrics.items()}
        return metrics | {SKIPPED: (~taken).float()}

    def window_loss(
        self, batch: Batch, forced: list[bool], beta: Tensor | float
    ) -> dict[str, Tensor]:
        """Return loss, mse and kl of (B, T, …) windows, each criterion asked once a step.

        `mse_criterion` is given the predicted and the true frame, (B, 3, H, W) each;
        `kl_criterion` mu and logvar, (B, N, H/P, W/P), and B.
        """
        run, (img, label) = self.trainer.run, batch[:2]
        noise = run.posterior_noise(batch)
        mse = kl = torch.zeros((), device=img.device)  # also where a criterion gives a number
        predicted = img[:, 0]
        with run.compute.autocast():
            poses = self.encode_conditions(label[:, 1:])
            for t in range(1, img.shape[1]):
                pose = poses[:, t - 1]
                seen = self.frame_transformation(self._to_patches(img[:, t]))
                z, mu, logvar = self.Gaussian_Predictor(seen, pose, noise[:, t - 1])
                before = img[:, t - 1]
                if t > 1 and not forced[t - 1]:
                    detached = (t - 1) % (self.args.bptt + 1) == 0
                    before = predicted.detach() if detached else predicted
                features = self.frame_transformation(self._to_patches(before))
                predicted = pixel_shuffle(self.decode(features, pose, z), self.config.patch_size)
                mse = mse + self.mse_criterion(predicted, img[:, t])
                kl = kl + self.kl_criterion(mu, logvar, len(img))
        steps = img.shape[1] - 1
        mse, kl = mse / steps, kl / steps
        return {"loss": mse + beta * kl, "mse": mse, "kl": kl}

    def optimizer_step(self) -> None:
        """Clip the gradient at `args.grad_clip_norm` and take the optimizer's step.

        A gradient that is not finite is left without effect, and counted.
        """
        finite = clip_grad_norm_(self.parameters(), self.args.grad_clip_norm).isfinite()
        self.trainer.run.guard.count(~finite)
        if finite:
            self.optim.found_inf = None  # which may have told a step before to have no effect
            self.optim.step()
