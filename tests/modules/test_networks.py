"""The five networks: shapes, the checkpoint format, the work they do, what their layers mean."""

import json
from math import prod

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from data.types import Batch
from modules import Decoder_Fusion, Gaussian_Predictor, Generator, Label_Encoder, RGB_Encoder
from modules.layers import DepthConv, DepthConvBlock, GatedFeedForward, ResidualBlock
from modules.vae import CVAE, CVAEConfig
from tests.support import GOLDEN
from Trainer import VAE_Model

# Written out from the tables of the course (docs/lab.md), not from the code.
KEYS = json.loads((GOLDEN / "state_dict_keys.json").read_text())

WIDTHS = [(128, 32, 12, 192), (8, 2, 4, 8), (32, 8, 4, 48), (20, 5, 7, 27), (9, 3, 5, 11)]


def default_model():
    """The networks at their default widths, without memory behind the weights."""
    with torch.device("meta"):
        return CVAE(CVAEConfig())


def flops_of(function, *arguments):
    with FlopCounterMode(display=False) as counter:
        function(*arguments)
    return counter.get_total_flops()


# ---------------------------------------------------------------- shapes and format


@pytest.mark.parametrize(("F", "L", "N", "D"), WIDTHS)
def test_output_shapes_of_every_network(F, L, N, D):
    B, H, W = 2, 8, 12
    picture, frame, pose, z = (torch.rand(B, channels, H, W) for channels in (3, F, L, N))
    assert RGB_Encoder(3, F)(picture).shape == (B, F, H, W)
    assert Label_Encoder(3, L)(picture).shape == (B, L, H, W)
    for part in Gaussian_Predictor(F + L, N)(frame, pose):
        assert part.shape == (B, N, H, W)
    assert Decoder_Fusion(F + L + N, D)(frame, pose, z).shape == (B, D, H, W)
    assert Generator(D, 3)(torch.rand(B, D, H, W)).shape == (B, 3, H, W)


def test_state_dict_has_the_keys_and_shapes_of_the_lab():
    found = {name: list(value.shape) for name, value in default_model().state_dict().items()}
    assert found == KEYS
    assert list(found) == list(KEYS)  # optimizer states of the lab go by this order


def test_counts_of_parameters_and_entries():
    model = default_model()
    assert sum(p.numel() for p in model.parameters()) == 1_585_620
    assert len(model.state_dict()) == 209


# ----------------------------------------------------------------------------- work


def golden_flops(*networks):
    """FLOPs of one 32×64 frame: a product and a sum per weight of a convolution and pixel."""
    weights = [shape for name, shape in KEYS.items() if name.split(".")[0] in networks]
    return 2 * 32 * 64 * sum(prod(shape) for shape in weights if len(shape) == 4)


FRAME, POSE, POSTERIOR = "frame_transformation", "label_transformation", "Gaussian_Predictor"
DECODING = ("Decoder_Fusion", "Generator")


def test_flops_with_each_network_once():
    model = default_model()
    picture = torch.empty(1, 3, 32, 64, device="meta")

    def each_once():
        frame, pose = model.frame_transformation(picture), model.label_transformation(picture)
        z, _, _ = model.Gaussian_Predictor(frame, pose)
        return model.Generator(model.Decoder_Fusion(frame, pose, z))

    assert flops_of(each_once) == golden_flops(FRAME, POSE, POSTERIOR, *DECODING)
    assert flops_of(each_once) == pytest.approx(6.46e9, rel=1e-3)


def test_flops_of_a_rollout_step_have_no_posterior():
    model = default_model()
    frame = torch.empty(1, 3, 32, 64, device="meta")
    noise = torch.empty(1, 12, 32, 64, device="meta")

    def step():
        pose_features = model.encode_conditions(frame[:, None])[:, 0]
        return model.predict(frame, pose_features, model.initial_state(frame), noise)

    assert flops_of(step) == golden_flops(FRAME, POSE, *DECODING)
    assert flops_of(step) == pytest.approx(6.43e9, rel=1e-3)


@pytest.mark.parametrize(
    ("forcing", "frames_encoded"), [([True] * 3, 4), ([False] * 3, 6), ([False, True, False], 5)]
)
def test_flops_of_training_encode_every_true_frame_once(forcing, frames_encoded):
    """T = 4 true frames, and one more encoding for each prediction that the next is made from."""
    model = default_model()
    window = torch.empty(2, 4, 3, 32, 64, device="meta")
    noise = torch.empty(2, 3, 12, 32, 64, device="meta")

    def forward():
        return model(Batch(window, window), teacher_forcing=forcing, kl_beta=1.0, noise=noise)

    steps = 3 * golden_flops(POSE, POSTERIOR, *DECODING)
    assert flops_of(forward) == 2 * (steps + frames_encoded * golden_flops(FRAME))


# ----------------------------------------------------------------- what layers mean


def leaky(x, slope):
    return torch.where(x > 0, x, slope * x)


def pointwise(x, weight, bias):
    """A 1×1 convolution as a matrix product over channels."""
    return torch.einsum("oi,bihw->bohw", weight[:, :, 0, 0], x) + bias[:, None, None]


def three_by_three(x, weight, bias):
    """A 3×3 convolution, zeros around, as a sum over its nine shifts."""
    H, W = x.shape[2:]
    padded = functional.pad(x, (1, 1, 1, 1))
    shifts = [(i, j) for i in range(3) for j in range(3)]
    parts = [
        torch.einsum("oi,bihw->bohw", weight[:, :, i, j], padded[:, :, i : i + H, j : j + W])
        for i, j in shifts
    ]
    return sum(parts) + bias[:, None, None]


def depthwise(x, weight, bias):
    """Each channel by its own 3×3 filter."""
    one_by_one = [
        three_by_three(x[:, c : c + 1], weight[c : c + 1], bias[c : c + 1])
        for c in range(x.shape[1])
    ]
    return torch.cat(one_by_one, dim=1)


def weights_of(module, name):
    state = module.state_dict()
    return state[f"{name}.weight"], state[f"{name}.bias"]


def residual(module, x):
    y = leaky(three_by_three(x, *weights_of(module, "conv1")), 0.01)
    y = leaky(three_by_three(y, *weights_of(module, "conv2")), 0.01)
    same = y.shape[1] == x.shape[1]
    return y + (x if same else pointwise(x, *weights_of(module, "skip")))


def depth_conv(module, x):
    y = leaky(pointwise(x, *weights_of(module, "conv1.0")), 0.01)
    y = pointwise(depthwise(y, *weights_of(module, "depth_conv")), *weights_of(module, "conv2"))
    same = y.shape[1] == x.shape[1]
    return y + (x if same else pointwise(x, *weights_of(module, "adaptor")))


def gated(module, x):
    y = pointwise(x, *weights_of(module, "conv"))
    a, b = y[:, : 2 * x.shape[1]], y[:, 2 * x.shape[1] :]
    return pointwise(a * leaky(b, 0.1), *weights_of(module, "conv_out")) + x


def depth_conv_block(module, x):
    return gated(module.block[1], depth_conv(module.block[0], x))


@pytest.mark.parametrize(
    ("block", "widths", "restated"),
    [
        (ResidualBlock, (4, 4), residual),
        (ResidualBlock, (3, 5), residual),
        (DepthConv, (4, 4), depth_conv),
        (DepthConv, (3, 5), depth_conv),
        (GatedFeedForward, (3,), gated),
        (DepthConvBlock, (3, 4), depth_conv_block),
    ],
)
def test_blocks_compute_what_the_lab_says(block, widths, restated):
    generator = torch.Generator().manual_seed(1)
    module = block(*widths).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(generator=generator)
        x = torch.randn(2, widths[0], 5, 6, generator=generator, dtype=torch.float64)
        torch.testing.assert_close(module(x), restated(module, x))


@pytest.mark.parametrize(
    "slope_one", [Label_Encoder(3, 4)[3], Gaussian_Predictor(6, 4)[5]], ids=["label", "posterior"]
)
def test_slope_one_is_the_identity(slope_one):
    assert isinstance(slope_one, nn.LeakyReLU)
    x = torch.randn(2, 3, 4)
    assert torch.equal(slope_one(x), x)


def test_networks_run_their_layers_in_order():
    """The first and last layers by hand: reflection around 7×7, joined inputs, split output."""
    x = torch.rand(1, 3, 6, 9)
    label = Label_Encoder(3, 4).eval()
    reflected = functional.pad(x, (3, 3, 3, 3), mode="reflect")
    y = functional.conv2d(reflected, label[1].weight, label[1].bias)
    y = y / torch.sqrt(torch.tensor(1 + 1e-5))  # fresh running statistics: mean 0, variance 1
    torch.testing.assert_close(label(x), residual(label[4], y))

    posterior = Gaussian_Predictor(5 + 2, 4)
    frame, pose, noise = torch.rand(1, 5, 6, 9), torch.rand(1, 2, 6, 9), torch.randn(1, 4, 6, 9)
    y = torch.cat([frame, pose], dim=1)
    for layer in posterior:
        y = layer(y)
    z, mu, logvar = posterior(frame, pose, noise)
    assert torch.equal(mu, y[:, :4])
    assert torch.equal(logvar, y[:, 4:])
    torch.testing.assert_close(z, mu + torch.exp(logvar / 2) * noise)


# ----------------------------------------------------------------- evaluation mode


def test_label_encoder_uses_running_statistics_in_evaluation_mode():
    torch.manual_seed(0)
    label = Label_Encoder(3, 4)
    norm = label[2]
    norm.running_mean.copy_(torch.tensor([0.3, -0.2]))
    norm.running_var.copy_(torch.tensor([2.0, 0.5]))
    x = torch.rand(3, 3, 8, 8)
    convolved = functional.conv2d(
        functional.pad(x, (3, 3, 3, 3), mode="reflect"), label[1].weight, label[1].bias
    )
    mean, variance = (s[:, None, None].clone() for s in (norm.running_mean, norm.running_var))
    expected = residual(label[4], (convolved - mean) / torch.sqrt(variance + 1e-5))
    with torch.no_grad():
        torch.testing.assert_close(label.eval()(x), expected)
        torch.testing.assert_close(label(x[:1]), expected[:1])  # the batch does not matter
        assert torch.equal(norm.running_mean, mean.flatten())
        assert not torch.allclose(label.train()(x), expected, atol=1e-2)
        assert not torch.equal(norm.running_mean, mean.flatten())


def test_eval_of_the_lab_model_is_that_of_a_module(settings):
    """The lab's own `eval()` validates and leaves BatchNorm in training mode."""
    model = VAE_Model(settings())
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    before = model.label_transformation[2].running_mean.clone()
    model.encode_conditions(torch.rand(1, 2, 3, 32, 64))
    assert torch.equal(model.label_transformation[2].running_mean, before)
    assert model.train() is model
    assert all(module.training for module in model.modules())


def test_the_gates_mixed_at_once_are_those_mixed_by_halves():
    """The form for GPUs has the values and gradients of the form for CPUs."""
    torch.manual_seed(0)
    layer = GatedFeedForward(6)
    x = torch.randn(2, 6, 5, 7).contiguous(memory_format=torch.channels_last).requires_grad_()
    results = []
    for mix in (layer._mix_by_halves, layer._mix_at_once):
        mixed = mix(x)
        gradients = torch.autograd.grad(mixed.square().sum(), [x, *layer.conv.parameters()])
        results.append([mixed.detach(), *gradients])
        assert mixed.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(*results)
