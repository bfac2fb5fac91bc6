"""Fifty gigabytes open at once and train in little memory."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import data.store.shards
from dataloader import DanceWindows
from tests.conftest import TINY_WIDTHS
from tests.support.scripts import join, start

CPU = torch.device("cpu")

HEIGHT, WIDTH, FRAMES = 256, 512, 65_536  # 24 GiB, twice: frames and pose images


def sparse_folder(folder: Path) -> int:
    """Write a prepared folder of black frames whose pixels take no room on the disk."""
    folder.mkdir(parents=True)
    in_shard = data.store.shards.frames_in_shard(HEIGHT, WIDTH)
    black = data.store.shards.checksums(np.zeros((1, HEIGHT, WIDTH, 3), np.uint8), [0])
    names, size = [], 0
    for number, part in enumerate(data.store.shards.shard_slices(FRAMES, in_shard)):
        shape = (part.stop - part.start, HEIGHT, WIDTH, 3)
        names.append(f"{number}.npy")
        with (folder / names[-1]).open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            file.truncate(file.tell() + int(np.prod(shape)))
            size += file.seek(0, os.SEEK_END)
            file.write(black.repeat(shape[0]).tobytes())
    np.save(folder / "numbers.npy", np.arange(FRAMES))
    index = {
        "format": "conditional-video-vae frames 1",
        "height": HEIGHT,
        "width": WIDTH,
        "frames_in_shard": in_shard,
        "content": "black",
        "shards": names,
    }
    (folder / "frames.json").write_text(json.dumps(index))
    return size


def memory_mib(field: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) / 1024


def train_on_more_than_memory(settings, folder: Path) -> None:
    from Trainer import VAE_Model

    torch.set_num_threads(1)
    run = VAE_Model(settings).trainer.run
    before = memory_mib("VmRSS")
    began = time.process_time()
    data = DanceWindows(settings, CPU)
    seconds = time.process_time() - began
    steps = 0
    for batch in data.batches(0):
        run.train_step(batch, [True], 1e-4)
        steps += 1
        if steps == 2:
            warm = memory_mib("VmHWM")
        if steps == 12:
            break
    figures = {
        "seconds": seconds,
        "steps": steps,
        "to_open": memory_mib("VmHWM") - before,
        "growth": memory_mib("VmHWM") - warm,
    }
    (folder / "figures.json").write_text(json.dumps(figures))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's own account")
def test_fifty_gigabytes_open_at_once_and_train_in_little_memory(settings, tmp_path):
    sizes = [sparse_folder(tmp_path / f"data/train/train_{kind}") for kind in ("img", "label")]
    assert sum(sizes) > 50e9
    chosen = settings(
        DR=str(tmp_path / "data"),
        frame_H=HEIGHT,
        frame_W=WIDTH,
        train_vi_len=2,
        batch_size=1,
        patch_size=4,
        num_epoch=1,
        **TINY_WIDTHS,
    )
    assert join([start(train_on_more_than_memory, chosen, tmp_path)]) == [0]
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["steps"] == 12
    assert figures["seconds"] < 1
    assert figures["to_open"] < 1000
    assert figures["growth"] < 200
