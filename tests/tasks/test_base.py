"""What all tasks have in common."""

import torch

from tasks.base import seeded_weights


def test_initial_weights_touch_no_generator_but_the_one_of_the_cpu(monkeypatch):
    """On a machine with eight GPUs: nothing of them is asked, set up or seeded."""
    touched = []
    for name in ("device_count", "get_rng_state", "set_rng_state", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, lambda *_, name=name: touched.append(name) or 8)
    before = torch.get_rng_state()
    drawn = []
    for seed in (0, 0, 1):
        with seeded_weights(seed):
            drawn.append(torch.randn(4))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert touched == []
