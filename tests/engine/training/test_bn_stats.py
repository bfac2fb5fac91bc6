"""The running statistics of BatchNorm in checkpoints and validations are those of their weights."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from data.types import Batch
from engine.checkpoints import checkpoint
from engine.training.run import Run
from Trainer import VAE_Model

KEYS = [f"label_transformation.2.running_{name}" for name in ("mean", "var")]


class Poses:
    """An epoch of two batches of two windows of four frames; everything is random."""

    def __init__(self, settings, spoiled: bool = False):
        generator = torch.Generator().manual_seed(3)
        shape = (2, 2, 4, 3, settings.frame_H, settings.frame_W)
        frames, poses = (torch.rand(shape, generator=generator) for _ in range(2))
        if spoiled:
            poses[1, 0, 2, 0, 5, 5] = float("inf")
        self.all = [Batch(f, p) for f, p in zip(frames, poses)]

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        yield from self.all[first:]


@pytest.fixture
def small(settings):
    return settings(frame_H=16, frame_W=16, lr=1e-2, train_vi_len=4)


def trained(settings, recomputing: bool = False) -> tuple[Run, Poses]:
    """Return a run after three steps, with the statistics recomputed after each where told to."""
    run, data = VAE_Model(settings).trainer.run, Poses(settings)
    for number in range(3):
        run.train_step(data.all[number % 2], [False] * 3, 1.0)
        if recomputing:
            run.recompute_bn_stats(data)
    return run, data


def weights(run: Run) -> dict[str, Tensor]:
    return {k: v for k, v in run.model.state_dict().items() if k not in KEYS}


def test_they_are_those_of_the_weights_of_now(small):
    run, data = trained(small)
    state = run.model.state_dict()
    kernel, bias = (state[f"label_transformation.1.{name}"] for name in ("weight", "bias"))
    means, variances = [], []
    for batch in data.all:
        poses = batch.conditions[:, 1:].flatten(0, 1)
        values = conv2d(pad(poses, (3, 3, 3, 3), mode="reflect"), kernel, bias)
        channels = values.transpose(0, 1).flatten(1)
        means.append(channels.mean(1))
        variances.append(channels.var(1))  # unbiased
    run.recompute_bn_stats(data)
    found = run.model.state_dict()
    for key, expected in zip(KEYS, (means, variances)):
        torch.testing.assert_close(found[key], torch.stack(expected).mean(0), rtol=1e-4, atol=1e-5)


def test_training_goes_on_as_if_they_had_not_been_recomputed(small):
    (undisturbed, _), (recomputed, _) = trained(small), trained(small, recomputing=True)
    for (key, value), other in zip(weights(undisturbed).items(), weights(recomputed).values()):
        assert torch.equal(value, other), key
    norm = recomputed.model.label_transformation[2]
    assert norm.momentum == 0.1
    assert norm.num_batches_tracked == 3
    before = norm.running_mean.clone()
    batch = recomputed.train_step(Poses(small).all[0], [False] * 3, 1.0)
    assert batch["skipped"] == 0
    assert not torch.equal(norm.running_mean, before)


def test_where_a_mean_has_wandered_to_does_not_show(small):
    """A bias before a BatchNorm changes nothing, once its mean is that of now."""
    run, data = trained(small)
    run.recompute_bn_stats(data)
    poses = data.all[0].conditions

    def features() -> Tensor:
        run.model.eval()
        found = run.model.encode_conditions(poses)
        run.model.train()
        return found

    with torch.no_grad():
        before = features()
        run.model.label_transformation[1].bias += 5
        wandered = features()
        run.recompute_bn_stats(data)
        torch.testing.assert_close(features(), before, rtol=1e-3, atol=1e-4)
    assert (wandered - before).abs().mean() > before.abs().mean()


def test_what_is_not_finite_does_not_spoil_them(small):
    run, _ = trained(small)
    before = {key: value.clone() for key, value in run.model.state_dict().items()}
    run.recompute_bn_stats(Poses(small, spoiled=True))
    for key, value in run.model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_a_pass_that_fails_leaves_everything_as_it_was(small):
    run, data = trained(small)
    before = {key: value.clone() for key, value in run.model.state_dict().items()}
    data.all.append(data.all[0]._replace(conditions=None))
    with pytest.raises(AttributeError):
        run.recompute_bn_stats(data)
    for key, value in run.model.state_dict().items():
        assert torch.equal(value, before[key]), key
    norm = run.model.label_transformation[2]
    run.train_step(data.all[0], [False] * 3, 1.0)
    assert norm.momentum == 0.1, "no later pass changes it"
    assert not torch.equal(norm.running_mean, before[KEYS[0]])


@pytest.mark.parametrize("name", ["epoch=0.ckpt", "best.ckpt", "last.ckpt"])
def test_a_checkpoint_holds_them(small_root, small_run, settings, name):
    """Recomputed once more they stay as they are."""
    found = checkpoint.read(small_run / name)
    stored = {key: found.content["state_dict"][key].clone() for key in KEYS}
    model = VAE_Model(settings(**found.settings | {"DR": str(small_root)}))
    model.trainer.run.restore(found)
    model.trainer.run.epoch -= 1  # the one that the checkpoint was written after
    model.trainer.run.prediction_buffer = object()  # whose frames are not asked for
    for key in KEYS:
        model.state_dict()[key].zero_()
    model.trainer.run.recompute_bn_stats(model.task.training_data(torch.device("cpu")))
    for key in KEYS:
        torch.testing.assert_close(model.state_dict()[key], stored[key])
