"""Sharpness of frames, and how scores fall along a sequence."""

import numpy as np
import pytest
import torch

from engine.evaluation.metrics import detail_by_frame
from engine.evaluation.scoring import Scores, drift_table


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
