"""Patches, the positional bias and given frames: what the presets add to the lab's model."""

import pytest
import torch
from torch.nn.functional import pixel_shuffle

from tests.support import reference
from tests.support.models import loss_of
from tests.support.vae import tiny, window_inputs


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
    """A rollout step equals the five networks applied to pictures folded by hand."""
    model = tiny(patch_size=patch).eval()
    frame, pose = torch.rand(1, 3, 32, 64), torch.rand(1, 3, 32, 64)
    noise = torch.randn(1, *model.latent_shape)

    def fold(x):  # (1, 3, H, W) -> (1, 3·P², H/P, W/P), channel c·P² + row·P + column
        blocks = x.reshape(1, 3, 32 // patch, patch, 64 // patch, patch)
        return blocks.permute(0, 1, 3, 5, 2, 4).reshape(1, -1, 32 // patch, 64 // patch)

    with torch.no_grad():
        predicted, _ = model.predict(frame, model.encode_conditions(pose[None])[:, 0], None, noise)
        fused = model.Decoder_Fusion(
            model.frame_transformation(fold(frame)), model.label_transformation(fold(pose)), noise
        )
        expected = torch.sigmoid(model.Generator(fused))
    torch.testing.assert_close(fold(predicted), expected)


def test_the_positional_bias_starts_as_nothing_and_is_learned():
    with_bias, without = tiny(positional_bias=True), tiny()
    assert set(with_bias.state_dict()) - set(without.state_dict()) == {"scene"}
    with_bias.load_state_dict(without.state_dict(), strict=False)
    inputs = window_inputs(without)
    losses = [loss_of(m, **inputs, teacher_forcing=[True] * 3)[0] for m in (with_bias, without)]
    assert torch.equal(*losses)
    losses[0].backward()
    assert with_bias.scene.grad.abs().sum() > 0


def test_the_positional_bias_tells_positions_apart():
    """Without it, a blank pose and a flat frame look alike everywhere away from the border."""
    model = tiny(positional_bias=True).eval()
    with torch.no_grad():
        model.scene[:, 16, 32] = 5.0
        features = model.encode_conditions(torch.ones(1, 1, 3, 32, 64))[0, 0]
    assert not torch.allclose(features[:, 16, 32], features[:, 16, 31])


def test_given_frames_are_what_every_step_predicts_from():
    """With `previous` = the true frames, the loss is that of teacher forcing."""
    model = tiny()
    inputs = window_inputs(model)
    forced, _, expected = loss_of(model, **inputs, teacher_forcing=[True] * 3)
    previous = inputs["frames"][:, :-1]
    given, _, predicted = loss_of(model, **inputs, teacher_forcing=[False] * 3, previous=previous)
    torch.testing.assert_close(given, forced)
    torch.testing.assert_close(predicted, expected)
    changed = previous.clone()
    changed[:, 1] = 0
    _, _, other = loss_of(model, **inputs, teacher_forcing=[False] * 3, previous=changed)
    same = [torch.allclose(other[:, t], predicted[:, t]) for t in range(3)]
    assert same == [True, False, True]
