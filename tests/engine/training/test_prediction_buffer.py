"""The prediction buffer: what it hands out, what it keeps, and swapped context."""

import numpy as np
import pytest
import torch

from core.device import Compute
from core.errors import UserError
from data.store.shards import Shards
from data.types import Batch, to_float
from dataloader import DanceWindows
from engine.evaluation.rollout import to_uint8
from engine.training.prediction_buffer import PredictionBuffer, check_memory
from engine.training.run import Run
from modules.vae import CVAE, CVAEConfig
from tests.support.warping import background_and_frames, some_warp

CPU = torch.device("cpu")


def test_a_buffer_that_does_not_fit_is_refused():
    small = np.zeros((2, 8, 16, 3), np.uint8)
    check_memory(Shards([small]))
    huge = np.lib.stride_tricks.as_strided(small, (1 << 40, 8, 16, 3), (0, *small.strides[1:]))
    with pytest.raises(UserError, match="--no-prediction_buffer"):
        check_memory(Shards([huge]))


def test_the_buffer_keeps_predictions_and_hands_them_out():
    pixels = torch.randint(0, 256, (10, 4, 5, 3), dtype=torch.uint8)
    buffer = PredictionBuffer(pixels)
    index = torch.tensor([[2, 7], [3, 8], [4, 9]])  # (T, B)
    frames = to_float(pixels[index]).permute(1, 0, 4, 2, 3)
    batch = Batch(frames, frames, index)
    torch.testing.assert_close(buffer.previous(batch, [False, False]), frames[:, :-1])

    predictions = torch.rand(2, 2, 3, 4, 5)  # of frames 3, 4 and 8, 9
    buffer.keep(batch, predictions, torch.tensor(True))
    kept = buffer.frames.permute(0, 3, 1, 2)
    assert torch.equal(kept[4], to_uint8(predictions[0, 1]))
    assert torch.equal(kept[8], to_uint8(predictions[1, 0]))
    assert torch.equal(buffer.frames[[0, 1, 2, 5, 6, 7]], pixels[[0, 1, 2, 5, 6, 7]])

    previous = buffer.previous(batch, [True, False])
    torch.testing.assert_close(previous[:, 0], frames[:, 0])  # forced: the true frame
    torch.testing.assert_close(previous[1, 1], to_float(kept[8]))


def test_a_step_predicts_from_the_buffer_and_fills_it(dance_root, settings):
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


def test_the_buffer_keeps_a_prediction_where_it_would_have_been_filmed():
    """A prediction that hits the moved frame is buffered as the frame itself."""
    background, frames = background_and_frames()
    pixels = (frames[:, 0] * 255).round().byte().permute(0, 2, 3, 1)
    buffer = PredictionBuffer(torch.zeros_like(pixels.repeat(2, 1, 1, 1)))
    index = torch.tensor([[0, 1, 2], [3, 4, 5]])  # (T, B)
    warp = some_warp(background)
    batch = Batch(warp.frames(frames), warp.frames(frames), index, warp)
    buffer.keep(batch, batch.frames[:, 1:], torch.tensor(True))
    known = warp.returns[:, 0, 0, :, :, None].expand_as(pixels)
    assert (buffer.frames[3:].int() - pixels.int()).abs()[known].max() <= 6
    assert (buffer.frames[3:][~known] == 0).all()  # what left the picture stays as it was


def test_a_window_of_swapped_context_predicts_from_the_frame_of_another():
    pixels = torch.randint(0, 256, (10, 4, 5, 3), dtype=torch.uint8)
    buffer = PredictionBuffer(pixels)
    index = torch.tensor([[2, 5, 7], [3, 6, 8]])
    frames = to_float(pixels[index]).permute(1, 0, 4, 2, 3)
    swapped = torch.tensor([False, True, False])
    predicted_from = buffer.previous(Batch(frames, frames, index), [False], swapped)[:, 0]
    torch.testing.assert_close(predicted_from[[0, 2]], frames[[0, 2], 0])
    torch.testing.assert_close(predicted_from[1], frames[0, 0])


def test_of_a_frame_that_several_windows_predict_the_last_is_taken():
    """Whatever the order in which a device writes: what is written for a frame is one thing."""
    pixels = torch.zeros((10, 4, 5, 3), dtype=torch.uint8)
    index = torch.tensor([[2, 1, 6, 5], [3, 2, 7, 6], [4, 3, 8, 7]])  # 2, 3, 6 and 7 twice
    frames = torch.zeros(4, 3, 3, 4, 5)
    predictions = torch.rand(4, 2, 3, 4, 5)
    expected = {}
    for t in range(2):
        for b in range(4):
            expected[int(index[t + 1, b])] = to_uint8(predictions[b, t]).permute(1, 2, 0)
    buffer = PredictionBuffer(pixels)
    for _ in range(2):  # nothing is left of the step before
        buffer.keep(Batch(frames, frames, index), predictions, torch.tensor(True))
        for frame, kept in expected.items():
            assert torch.equal(buffer.frames[frame], kept)
        written = buffer._last_of_each(index[1:].flatten())
        assert written.tolist() == [5, 1, 7, 3, 4, 5, 6, 7]
