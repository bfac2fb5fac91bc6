"""Does a rollout drift? `python -m benchmarks.drift --DR ROOT --ckpt_path CKPT`.

Frames 501 to 600 of the sequences a run validates on, rolled out from frame 0 and, beside that,
from the true frame 450. The difference is what 450 frames of drift cost.
"""

import argparse
import dataclasses

from core.device import Compute, choose_compute, choose_device
from core.errors import UserError, exit_on_user_error
from data.types import Clip
from dataloader import validation_clips
from engine.checkpoints import checkpoint
from engine.evaluation.metrics import psnr_by_frame
from engine.evaluation.rollout import rollout
from settings.flags import tester_parser
from settings.resolve import make_settings
from Tester import Test_model

RESTART, FIRST, LAST = 450, 501, 600


def scores_of(model: Test_model, clip: Clip, compute: Compute) -> tuple[float, float]:
    """Return the mean PSNR in dB of frames 501 to 600 from frame 0 and from true frame 450."""
    late = dataclasses.replace(
        clip, frames=clip.frames[RESTART:], conditions=clip.conditions[RESTART:]
    )
    args, model = model.args, model.task.model
    frames = [
        rollout(model, [c], compute=compute, z=args.latent, temperature=args.temperature)[0]
        for c in (clip, late)
    ]
    true = clip.frames[FIRST : LAST + 1]
    from_start = psnr_by_frame(frames[0][FIRST : LAST + 1], true)
    from_late = psnr_by_frame(frames[1][FIRST - RESTART : LAST + 1 - RESTART], true)
    return float(from_start.mean()), float(from_late.mean())


@exit_on_user_error
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--DR", required=True)
    parser.add_argument("--ckpt_path", required=True)
    flags = parser.parse_args()
    found = checkpoint.find(flags.ckpt_path, prefer=checkpoint.BEST)
    explicit = {"DR": flags.DR, "ckpt_path": str(found.path)}
    settings = make_settings(tester_parser(), explicit, found.settings)
    model = Test_model(settings)
    model.load_checkpoint()
    compute = choose_compute(choose_device("auto"), settings.precision, "off")
    compute.prepare(model)
    clips = [clip for clips in validation_clips(settings).values() for clip in clips]
    model.task.settle_output(found, lambda: clips[0])
    if not any(len(clip) > LAST for clip in clips):
        raise UserError(f"--DR {flags.DR}: no validation sequence has {LAST + 1} frames")
    print("frames 501 to 600   from frame 0   from true frame 450   difference (dB)")
    for clip in clips:
        if len(clip) > LAST:
            start, late = scores_of(model, clip, compute)
            print(f"{clip.name:<19} {start:12.2f} {late:21.2f} {late - start:17.2f}")


if __name__ == "__main__":
    main()
