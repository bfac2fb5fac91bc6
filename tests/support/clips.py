"""Clips of noise and of flat levels, as pictures are written of."""

import torch


def random_clip(frames, height=32, width=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (frames, 3, height, width), generator=generator).byte()


def flat_clip(*levels):
    return torch.tensor(levels).byte()[:, None, None, None].expand(-1, 3, 8, 16)
