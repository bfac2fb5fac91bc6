"""Pictures that tell their number; batches and clips compared; `prepare` called here."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import prepare
from data.store.picture_files import PictureFiles
from data.store.shards import Shards
from data.types import Batch, Clip


def decoded_frames(paths: Sequence[Path], *size_and_cache) -> np.ndarray | Shards:
    """Decode a list of pictures as those of one folder."""
    return PictureFiles(range(len(paths)), paths).frames(*size_and_cache)


def coded_pictures(folder, numbers, offset=0, name="{}.png"):
    """Pictures of one color each, from which their number can be told."""
    folder.mkdir(parents=True)
    for number in numbers:
        color = (number + offset, 2 * number % 256, 255 - number)
        Image.new("RGB", (64, 32), color).save(folder / name.format(number))


def numbers_in(pictures):
    """The numbers of coded pictures (…, 3, H, W), checked to be of one color each."""
    levels = (pictures * 255).round().long() if pictures.is_floating_point() else pictures.long()
    assert (levels == levels[..., :1, :1]).all()
    red, _, blue = levels[..., 0, 0].unbind(-1)
    offset = red - (255 - blue)
    assert (offset == offset.flatten()[0]).all()
    return 255 - blue


def noise_picture(rng, size):
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def assert_same_batch(batch: Batch, other: Batch) -> None:
    for name in ("frames", "conditions", "index"):
        assert torch.equal(getattr(batch, name), getattr(other, name))


def assert_same_clips(sets: dict[str, list[Clip]], others: dict[str, list[Clip]]) -> None:
    assert sets.keys() == others.keys()
    for name in sets:
        for clip, other in zip(sets[name], others[name], strict=True):
            assert torch.equal(clip.frames, other.frames)
            assert torch.equal(clip.conditions, other.conditions)


def run_prepare(monkeypatch, capsys, flags: str) -> str:
    monkeypatch.setattr(sys, "argv", ["prepare", *flags.split()])
    prepare.main()
    return capsys.readouterr().out


def settings_for(settings, root, **flags):
    """Return settings of short windows and clips."""
    lengths = {"n_past": 2, "n_future": 3, "train_vi_len": 5, "n_eval": 6}
    sizes = {"frame_H": 64, "frame_W": 64, "epoch_size": 4, "batch_size": 3}
    return settings().but(**{"DR": str(root)} | lengths | sizes | flags)
