"""Several models as one, against the mean taken by hand, step by step."""

import pytest
import torch

from core.device import Compute
from data.types import Batch, Clip
from engine.evaluation.ensemble import Ensemble
from engine.evaluation.rollout import rollout, to_uint8
from modules.svg import SVG, SVGConfig
from modules.vae import CVAE, CVAEConfig
from tests.engine.evaluation.test_rollout import assert_same_pictures
from tests.support import reference
from tests.support.vae import H, W, make_batch, make_clips, make_model

CPU = Compute(torch.device("cpu"))


def wider():
    torch.manual_seed(5)
    return CVAE(CVAEConfig(12, 6, 6, 10, H, W, patch_size=1)).eval()


def test_one_model_twice_is_that_model():
    model, clips = make_model().eval(), make_clips([5, 3])
    alone = rollout(model, clips, compute=CPU, z="mean")
    twice = rollout(Ensemble([model, model]), clips, compute=CPU, z="mean")
    for found, expected in zip(twice, alone):
        assert_same_pictures(found, expected)


def test_every_step_is_the_mean_of_models_of_any_width():
    """Each predicts from the mean of the step before, as the slow reference predicts."""
    models, (clip,) = [make_model().eval(), make_model(7).eval(), wider()], make_clips([5])
    poses = clip.conditions.float() / 255
    frame, expected = clip.frames[0].float() / 255, [clip.frames[0]]
    for pose in poses[1:]:
        steps = []
        for model in models:
            noise = torch.zeros(2, *model.latent_shape)
            steps.append(reference.rollout(model, frame, torch.stack([pose, pose]), noise)[1])
        frame = torch.stack(steps).mean(dim=0)
        expected.append(to_uint8(frame))
    (found,) = rollout(Ensemble(models), [clip], compute=CPU, z="mean")
    assert_same_pictures(found, torch.stack(expected))
    (alone,) = rollout(models[0], [clip], compute=CPU, z="mean")
    assert (found.float() - alone.float()).abs().mean() > 2


def test_each_model_has_a_latent_of_its_own():
    models = [make_model().eval(), wider()]
    joined = Ensemble(models)
    frames, poses, _ = make_batch(2, 2)
    sizes = [torch.Size(model.latent_shape).numel() for model in models]
    assert joined.latent_shape == (sum(sizes),)
    noise = torch.randn(2, sum(sizes))
    features = joined.encode_conditions(poses)[:, 1]
    found, _ = joined.predict(
        frames[:, 0], features, joined.initial_state(frames[:, 0]), noise, frames[:, 1]
    )
    expected = [
        model.predict(
            frames[:, 0],
            model.encode_conditions(poses)[:, 1],
            None,
            own.unflatten(1, model.latent_shape),
            frames[:, 1],
        )[0]
        for model, own in zip(models, noise.split(sizes, dim=1))
    ]
    assert torch.allclose(found, (expected[0] + expected[1]) / 2, atol=1e-6)


def test_the_loss_is_the_mean_of_the_losses():
    models = [make_model().eval(), wider()]
    frames, poses, _ = make_batch(3, 3)
    how = {"teacher_forcing": [True, False], "kl_beta": 0.1, "bptt": 0, "previous": None}
    joined = Ensemble(models)
    noise = torch.zeros(3, 2, *joined.latent_shape)
    loss, metrics, predictions = joined(Batch(frames, poses), noise=noise, **how)
    each = [
        model(Batch(frames, poses), noise=torch.zeros(3, 2, *model.latent_shape), **how)
        for model in models
    ]
    assert torch.allclose(loss, (each[0][0] + each[1][0]) / 2)
    assert torch.allclose(metrics["kl"], (each[0][1]["kl"] + each[1][1]["kl"]) / 2)
    assert torch.allclose(predictions, (each[0][2] + each[1][2]) / 2)


@pytest.mark.parametrize("posterior", [False, True])
def test_robot_models_keep_a_state_each(posterior):
    """The states of two LSTMs go on apart, from the context frames on."""
    torch.manual_seed(0)
    models = [SVG(SVGConfig(g_dim=8, z_dim=z, rnn_size=8, vgg_width=2)).eval() for z in (3, 5)]
    frames = torch.randint(0, 256, (5, 3, 64, 64)).byte()
    clip = Clip("0", frames, torch.rand(5, 7), n_past=2)
    (found,) = rollout(Ensemble(models), [clip], compute=CPU, z="mean", posterior=posterior)

    true = frames.float()[:, None] / 255
    states, frame, noises = [], true[1], [torch.zeros(1, z) for z in (3, 5)]
    with torch.inference_mode():
        for model, noise in zip(models, noises):
            state = model.initial_state(true[0])
            states.append(model.observe(true[0], clip.conditions[1:2], state, noise, true[1]))
        for t in range(2, 5):
            truth, steps = true[t] if posterior else None, []
            for k, (model, noise) in enumerate(zip(models, noises)):
                given = frame, clip.conditions[t : t + 1], states[k], noise, truth
                step, states[k] = model.predict(*given)
                steps.append(step)
            frame = (steps[0] + steps[1]) / 2
            assert_same_pictures(found[t], to_uint8(frame)[0])
