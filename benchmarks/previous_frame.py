"""Does the previous frame count, or does the pose alone decide?

`python -m benchmarks.previous_frame --DR ROOT --ckpt_path RUN …` predicts every frame of the
holdout once from the true frame before it and once from a wrong one, which lies half the recording
away, each with a whole pose image and with ones that have lost limbs (`benchmarks/limbs.py`). It
prints a Markdown table of the PSNR for every model, and then how it goes on after a wrong frame
when the rollout continues with whole pose images.
"""

import argparse

import torch
from torch import Tensor

from benchmarks import dance_models as models
from benchmarks.limbs import KINDS, without
from core.errors import exit_on_user_error
from data.types import Clip, to_float
from engine.evaluation.metrics import psnr_by_frame
from engine.evaluation.rollout import to_uint8

TOGETHER = 64  # frames predicted at a time
POSES = ("nothing", *KINDS)
AFTER = (1, 2, 5, 10, 30)  # steps after the wrong frame
EVERY = 20  # frames between the starts of those rollouts


def one_step(model: models.DanceModel, previous: Tensor, poses: Tensor) -> Tensor:
    """Predict a frame (N, 3, H, W) uint8 from each previous one and the pose of its own."""
    device, network = model.compute.device, model.model
    found = []
    for frames, conditions in zip(previous.split(TOGETHER), poses.split(TOGETHER)):
        frames = to_float(frames.to(device))
        noise = torch.zeros(len(frames), *network.latent_shape, device=device)
        with model.compute.autocast():
            features = network.encode_conditions(to_float(conditions.to(device))[:, None])[:, 0]
            predicted, _ = network.predict(frames, features, network.initial_state(frames), noise)
        found.append(to_uint8(predicted).cpu())
    return torch.cat(found)


def table_of(model: models.DanceModel, clip: Clip) -> list[list]:
    """Return the PSNR in dB by what the pose has lost: from the right frame, and a wrong one."""
    truth, right = clip.frames[1:], clip.frames[:-1]
    wrong = right.roll(len(right) // 2, dims=0)
    rows = [["(previous frame, repeated)", *_psnr(truth, right, wrong)]]
    for lost in POSES:
        poses = clip.conditions[1:]
        poses = poses if lost == "nothing" else without(poses, lost)
        rows.append([lost, *_psnr(truth, *(one_step(model, x, poses) for x in (right, wrong)))])
    return rows


def after_a_wrong_frame(model: models.DanceModel, clip: Clip) -> list[list]:
    """Return the PSNR in dB some steps after the right and after a wrong frame, poses whole."""
    starts = torch.arange(0, len(clip) - max(AFTER), EVERY)
    frames = {"right": clip.frames[starts], "wrong": clip.frames[starts].roll(len(starts) // 2, 0)}
    scores = {}
    for name, current in frames.items():
        for step in range(1, max(AFTER) + 1):
            current = one_step(model, current, clip.conditions[starts + step])
            scores[name, step] = _psnr(clip.frames[starts + step], current)[0]
    return [[step, scores["right", step], scores["wrong", step]] for step in AFTER]


def _psnr(truth: Tensor, *predicted: Tensor) -> list[float]:
    return [float(psnr_by_frame(x, truth).double().mean()) for x in predicted]


@exit_on_user_error
@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--DR", required=True, help="dataset folder")
    parser.add_argument("--ckpt_path", nargs="+", required=True, help="trained models")
    given = parser.parse_args()
    for path in given.ckpt_path:
        model = models.DanceModel(path, given.DR)
        clip = model.holdout()
        model.task.settle_output(model.found, lambda clip=clip: clip)
        print(f"\n{path}: PSNR in dB of one step, z at the prior's mean\n")
        head = ["lost of the pose", "from the right frame", "from a wrong frame"]
        print(models.markdown(head, table_of(model, clip)))
        print("\nPSNR in dB with whole poses, so many steps after\n")
        print(models.markdown(["steps", *head[1:]], after_a_wrong_frame(model, clip)))


if __name__ == "__main__":
    main()
