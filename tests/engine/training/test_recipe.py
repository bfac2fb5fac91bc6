"""What the presets and flags add to the lab's recipe: patches, scene, replay, time, warm-up."""

import numpy as np
import pytest
import torch
from torch.nn.functional import pixel_shuffle

from core.device import Compute
from data.types import Batch, to_float
from dataloader import DanceWindows
from engine.checkpoints.checkpoint import Checkpoint
from engine.evaluation.metrics import detail_by_frame
from engine.evaluation.rollout import to_uint8
from engine.evaluation.scoring import Scores, drift_table
from engine.training import schedules
from engine.training.prediction_buffer import PredictionBuffer
from engine.training.run import Run
from modules.vae import CVAE, CVAEConfig
from settings.flags import trainer_parser
from settings.resolve import make_settings
from tests.support import reference
from tests.support.models import loss_of

CPU = torch.device("cpu")


def tiny(**fields) -> CVAE:
    torch.manual_seed(0)
    return CVAE(CVAEConfig(F_dim=8, L_dim=2, N_dim=4, D_out_dim=8, **fields))


def window_inputs(model: CVAE, B: int = 3, T: int = 4) -> dict:
    generator = torch.Generator().manual_seed(1)
    shape = (B, T, 3, model.config.frame_H, model.config.frame_W)
    frames, poses = (torch.rand(shape, generator=generator) for _ in range(2))
    noise = torch.randn(B, T - 1, *model.latent_shape, generator=generator)
    return {"frames": frames, "conditions": poses, "noise": noise, "kl_beta": 0.01}


# --------------------------------------------------------------------- patches


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_patches_are_undone_exactly(patch):
    model = tiny(patch_size=patch)
    pictures = torch.rand(2, 3, 3, 32, 64)
    patches = model._to_patches(pictures)
    assert patches.shape == (2, 3, 3 * patch**2, 32 // patch, 64 // patch)
    assert torch.equal(pixel_shuffle(patches, patch), pictures)


def test_patch_1_is_the_labs_model_weight_for_weight():
    assert {k: v.shape for k, v in tiny(patch_size=1).state_dict().items()} == {
        k: v.shape for k, v in tiny().state_dict().items()
    }
    inputs = window_inputs(tiny())
    ours, *_ = loss_of(tiny(patch_size=1), **inputs, teacher_forcing=[False] * 3)
    lab, _ = reference.training_loss(tiny(), **inputs, teacher_forcing=[False] * 3)
    torch.testing.assert_close(ours, lab)


@pytest.mark.parametrize("patch", [2, 4])
def test_a_patched_model_is_the_same_networks_on_patches(patch):
    """A roll-out step equals the five networks applied to pictures folded by hand."""
    model = tiny(patch_size=patch).eval()
    frame, pose = torch.rand(1, 3, 32, 64), torch.rand(1, 3, 32, 64)
    noise = torch.randn(1, *model.latent_shape)

    def fold(x):  # (1, 3, H, W) -> (1, 3·P², H/P, W/P), channel c·P² + row·P + column
        blocks = x.reshape(1, 3, 32 // patch, patch, 64 // patch, patch)
        return blocks.permute(0, 1, 3, 5, 2, 4).reshape(1, -1, 32 // patch, 64 // patch)

    with torch.no_grad():
        drawn, _ = model.predict(frame, model.encode_conditions(pose[None])[:, 0], None, noise)
        fused = model.Decoder_Fusion(
            model.frame_transformation(fold(frame)), model.label_transformation(fold(pose)), noise
        )
        expected = torch.sigmoid(model.Generator(fused))
    torch.testing.assert_close(fold(drawn), expected)


# ----------------------------------------------------------------------- scene


def test_the_scene_starts_as_nothing_and_is_learned():
    with_scene, without = tiny(positional_bias=True), tiny()
    assert set(with_scene.state_dict()) - set(without.state_dict()) == {"scene"}
    with_scene.load_state_dict(without.state_dict(), strict=False)
    inputs = window_inputs(without)
    losses = [loss_of(m, **inputs, teacher_forcing=[True] * 3)[0] for m in (with_scene, without)]
    assert torch.equal(*losses)
    losses[0].backward()
    assert with_scene.scene.grad.abs().sum() > 0


def test_the_scene_tells_places_apart():
    """Without it, a blank pose and a flat frame look alike everywhere away from the border."""
    model = tiny(positional_bias=True).eval()
    with torch.no_grad():
        model.scene[:, 16, 32] = 5.0
        features = model.encode_conditions(torch.ones(1, 1, 3, 32, 64))[0, 0]
    assert not torch.allclose(features[:, 16, 32], features[:, 16, 31])


# ---------------------------------------------------------------------- replay


def test_given_frames_are_what_every_step_draws_from():
    """With `previous` = the true frames, the loss is that of teacher forcing."""
    model = tiny()
    inputs = window_inputs(model)
    forced, _, expected = loss_of(model, **inputs, teacher_forcing=[True] * 3)
    previous = inputs["frames"][:, :-1]
    given, _, drawn = loss_of(model, **inputs, teacher_forcing=[False] * 3, previous=previous)
    torch.testing.assert_close(given, forced)
    torch.testing.assert_close(drawn, expected)
    changed = previous.clone()
    changed[:, 1] = 0
    _, _, other = loss_of(model, **inputs, teacher_forcing=[False] * 3, previous=changed)
    same = [torch.allclose(other[:, t], drawn[:, t]) for t in range(3)]
    assert same == [True, False, True]


def test_replay_keeps_predictions_and_hands_them_out():
    pixels = torch.randint(0, 256, (10, 4, 5, 3), dtype=torch.uint8)
    replay = PredictionBuffer(pixels)
    index = torch.tensor([[2, 7], [3, 8], [4, 9]])  # (T, B)
    frames = to_float(pixels[index]).permute(1, 0, 4, 2, 3)
    batch = Batch(frames, frames, index)
    torch.testing.assert_close(replay.previous(batch, [False, False]), frames[:, :-1])

    predictions = torch.rand(2, 2, 3, 4, 5)  # of frames 3, 4 and 8, 9
    replay.keep(batch, predictions, torch.tensor(True))
    kept = replay.frames.permute(0, 3, 1, 2)
    assert torch.equal(kept[4], to_uint8(predictions[0, 1]))
    assert torch.equal(kept[8], to_uint8(predictions[1, 0]))
    assert torch.equal(replay.frames[[0, 1, 2, 5, 6, 7]], pixels[[0, 1, 2, 5, 6, 7]])

    previous = replay.previous(batch, [True, False])
    torch.testing.assert_close(previous[:, 0], frames[:, 0])  # forced: the true frame
    torch.testing.assert_close(previous[1, 1], to_float(kept[8]))


def test_a_step_draws_from_the_replay_and_fills_it(dance_root, settings):
    flags = settings(
        DR=str(dance_root), prediction_buffer=True, tfr=0.0, train_vi_len=2, batch_size=4
    )
    run = Run(CVAE(CVAEConfig.from_settings(flags)), flags, Compute(CPU))
    data = DanceWindows(flags, CPU)
    run.prediction_buffer = PredictionBuffer(data.frames)
    batch = next(data.batches(0))
    run.train_step(batch, [False], 0.0)
    changed = (run.prediction_buffer.frames != data.frames).flatten(1).any(1).nonzero().flatten()
    assert set(changed.tolist()) == set(batch.index[1].tolist())


# ------------------------------------------------------------- time and warm-up


def test_minutes_stretch_the_schedules_over_the_time(settings):
    flags = settings(num_epoch=10, minutes=2.0, lr=1.0, lr_schedule="cosine", tfr_sde=3)
    run = Run(CVAE(CVAEConfig.from_settings(flags)), flags, Compute(CPU))
    run.step = 10_000  # warm-up is over, if there were one
    for seconds, position in ((0, 0.0), (60, 5.0), (90, 7.5), (120, 10.0), (130, 10.0)):
        run.seconds = seconds
        assert run.fractional_epoch == pytest.approx(position)
        assert run.schedule()["lr"] == pytest.approx(schedules.learning_rate(flags, position))
        assert run.finished == (seconds >= 120)


def test_a_resumed_run_goes_on_counting_the_time(settings, tmp_path):
    flags = settings(minutes=2.0)
    run = Run(CVAE(CVAEConfig.from_settings(flags)), flags, Compute(CPU))
    run.seconds, run.epoch = 45.0, 3
    other = Run(CVAE(CVAEConfig.from_settings(flags)), flags, Compute(CPU))
    other.restore(Checkpoint({}, run.resume_state(), tmp_path / "x.ckpt"))
    assert (other.seconds, other.epoch, other.fractional_epoch) == (45.0, 3, run.fractional_epoch)


def test_the_rate_warms_up_step_by_step(settings):
    flags = settings(lr=1.0, lr_schedule="constant", lr_warmup=3)
    run = Run(CVAE(CVAEConfig.from_settings(flags)), flags, Compute(CPU))
    rates = []
    for run.step in range(5):
        rates.append(run.set_learning_rate())
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


def test_epochs_on_the_command_line_win_over_minutes_of_a_preset():
    parser = trainer_parser()
    assert make_settings(parser, {"preset": "quick"}).minutes is not None
    assert make_settings(parser, {"preset": "quick", "num_epoch": 3}).minutes is None


# ------------------------------------------------------------- sharpness, drift


def test_detail_falls_with_blur_and_rises_with_noise():
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, 3, 32, 64), generator=generator).byte()
    blurred = torch.nn.functional.avg_pool2d(frames.float(), 3, 1, 1).byte()
    assert (detail_by_frame(blurred) < 0.6 * detail_by_frame(frames)).all()
    assert (detail_by_frame(torch.full_like(frames, 7)) == 0).all()
    steps = torch.arange(64).expand(1, 3, 32, 64).byte() * 2
    assert detail_by_frame(steps).item() == pytest.approx(2.0)  # 2 across, 0 down


def test_drift_table_is_the_mean_by_hundreds():
    clips = []
    for k, length in enumerate((250, 150)):
        psnr = np.arange(length, dtype=np.float32) + 100 * k
        clips.append(Scores(str(k), psnr, psnr, psnr / 2, psnr, psnr))
    table = drift_table(clips)
    assert list(table.index) == ["1-100", "101-200", "201-250"]
    first = (np.arange(100).mean() + np.arange(100, 200).mean()) / 2
    assert table["psnr"].iloc[0] == pytest.approx(first)
    assert table["copy_first_psnr"].iloc[0] == pytest.approx(first / 2)
    assert table["psnr"].iloc[2] == pytest.approx(np.arange(200, 250).mean())  # clip 0 alone
