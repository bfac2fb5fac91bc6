"""What the lab's two models have in common: the networks, rolling out, GIFs, and the engine's view.

Dimensions: B batch, T frames, H×W frame size. Frames and poses lie in [0, 1].
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from core.device import Compute
from core.errors import UserError
from data.types import Clip
from engine.evaluation.rollout import rollout, to_uint8
from engine.output.pictures import write_gif
from lab.arguments import Arguments
from modules.vae import CVAE, CVAEConfig

CONTRACT = ("forward", "predict", "train", "eval")  # what the engine calls by these names


class LabModel(CVAE):
    """The five networks with the lab's methods. A subclass has `compute`.

    Scripts of the lab have methods of their own called `predict`, `forward` or `eval`. The engine
    therefore holds `engine_view(model)`, where these are what it expects.
    """

    HOOKS: ClassVar[tuple[str, ...]] = ()  # names that a script may make its own
    compute: Compute  # where and in which precision it computes

    def __init__(self, args: Arguments):
        super().__init__(CVAEConfig.from_settings(args), cauchy_scale=args.cauchy_scale)
        self.args = args

    def has_own(self, *names: str) -> bool:
        """Tell whether a subclass, or someone for this object, has replaced one of these names."""
        return any(name in self.own_hooks() for name in names)

    def own_hooks(self) -> list[str]:
        """Return which of `HOOKS` are not those of the project."""
        return [
            name
            for name in self.HOOKS
            if name in vars(self) or getattr(type(self), name, None) is not self._hooks_here[name]
        ]

    _hooks_here: ClassVar[dict] = {}

    @classmethod
    def remember_hooks(cls) -> type:
        """Note the hooks as they are here; what differs later is someone's own."""
        cls._hooks_here = {name: getattr(cls, name, None) for name in cls.HOOKS}
        return cls

    # -------------------------------------------------------------- prediction

    def predict(self, frame: Tensor, poses: Tensor) -> Tensor:
        """Predict from one frame (3, H, W) and poses (T, 3, H, W), the first of which is its own.

        Returns frames (T, 3, H, W) on the CPU: the given one, then those predicted. With a leading
        B in both, (B, 3, H, W) and (B, T, 3, H, W), the result has it too.
        """
        batched = poses.ndim == 5
        if not batched:
            frame, poses = frame[None], poses[None]
        size = (3, self.config.frame_H, self.config.frame_W)
        if frame.shape != (len(poses), *size) or poses.ndim != 5 or poses.shape[2:] != size:
            raise UserError(
                f"predict: a frame {size} and poses (T, {', '.join(map(str, size))}) are "
                f"expected, not {tuple(frame.shape)} and {tuple(poses.shape)}"
            )
        frames = torch.stack(self._roll_out(frame[:, None], poses)).float() / 255
        return frames if batched else frames[0]

    def _roll_out(self, img: Tensor, label: Tensor, first: int = 0) -> list[Tensor]:
        """Roll (B, T, 3, H, W) poses out from the first of (B, ≥ 1, 3, H, W) frames.

        By the test's protocol and in evaluation mode; the mode is restored. The noise is that of
        clips number `first` and on. Returns (T, 3, H, W) uint8 on the CPU for each.
        """
        frames, poses = (as_pixels(x).cpu() for x in (img[:, :1], label))
        clips = [Clip(str(k), *pair) for k, pair in enumerate(zip(frames, poses))]
        self._before_rollout(clips[0])
        was_training = self.training
        nn.Module.train(self, False)
        try:
            return rollout(
                engine_view(self),
                clips,
                compute=self.compute,
                z=self.args.latent,
                temperature=self.args.temperature,
                seed=self.args.seed,
                draws=[(first + k,) for k in range(len(clips))],
            )
        finally:
            nn.Module.train(self, was_training)

    def _before_rollout(self, clip: Clip) -> None:
        """Find out what has to be known before a clip is rolled out."""

    # ------------------------------------------------------------------ output

    def make_gif(self, images_list: Sequence[Tensor] | Tensor, img_name: str) -> None:
        """Write frames (3, H, W) each as a GIF that shows each for 20 ms."""
        frames = torch.stack([as_pixels(image).cpu() for image in images_list])
        path = Path(img_name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_gif(path, frames)


def engine_view(model: LabModel) -> CVAE:
    """Return the same object as the engine knows it: `CONTRACT` is that of a CVAE.

    All state is shared, whatever is added to or replaced in either. Other methods are those of the
    model's class.
    """
    view = object.__new__(_view_class(type(model)))
    view.__dict__ = model.__dict__
    return view


@functools.cache
def _view_class(cls: type[LabModel]) -> type[LabModel]:
    return type(cls.__name__, (cls,), {name: getattr(CVAE, name) for name in CONTRACT})


def as_pixels(pictures: Tensor) -> Tensor:
    """[0, 1] → uint8 0…255, as the submission does; uint8 stays as it is."""
    return pictures if pictures.dtype == torch.uint8 else to_uint8(pictures.detach())
