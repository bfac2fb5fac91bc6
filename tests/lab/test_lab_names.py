"""What the names inside the lab's models do, against loops that know none of them."""

import copy
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import mse_loss
from torch.optim.lr_scheduler import CosineAnnealingLR

from core.errors import UserError
from core.randomness import Stream, normal
from data.types import to_float
from modules import Gaussian_Predictor
from Tester import Test_model
from tests.support import reference
from Trainer import VAE_Model, kl_annealing, kl_criterion


def windows(seed=0, B=2, T=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, B, T, 3, 16, 16, generator=generator)


def quantized(pictures):
    return (pictures * 255).round() / 255


def prior_noise(model, clip, T):
    return normal(model.latent_shape, 0, Stream.PRIOR, [(clip, t) for t in range(T)], "cpu")


# ------------------------------------------------------------------------ a step


@pytest.mark.parametrize("own_criteria", [False, True])
def test_a_step_is_that_of_an_independent_loop(args, own_criteria):
    """Loss, β, clipping and optimizer, and the same again where the criteria are a subclass's."""

    class Own(VAE_Model):
        def kl_criterion(self, mu, logvar, batch_size):
            return kl_criterion(mu, logvar, batch_size)

    model = (Own if own_criteria else VAE_Model)(args(num_epoch=10, kl_anneal_stop=1e-3))
    model.current_epoch = 4
    weights = copy.deepcopy(model.state_dict())
    networks = VAE_Model(args())
    networks.load_state_dict(weights)
    optimizer = torch.optim.Adam(networks.parameters(), lr=model.optim.param_groups[0]["lr"])
    rate = 0.001 * 0.5 * (1 + np.cos(np.pi * 0.4))
    optimizer.param_groups[0]["lr"] = rate
    for step, forced in enumerate([True, False]):
        img, label = windows(step)
        noise = normal(
            (3, *model.latent_shape), 0, Stream.POSTERIOR, [(step, k) for k in range(2)], "cpu"
        )
        loss, _ = reference.training_loss(
            networks, img, label, teacher_forcing=[forced] * 3, kl_beta=4e-4, noise=noise
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(networks.parameters(), 1.0)
        optimizer.step()
        found = model.training_one_step(img, label, forced)
        torch.testing.assert_close(found, loss.detach(), rtol=1e-4, atol=1e-6)
    assert model.scheduler.get_last_lr() == [pytest.approx(rate)]
    assert model.kl_annealing.get_beta() == pytest.approx(4e-4)
    assert model.training
    for name, weight in networks.named_parameters():
        torch.testing.assert_close(model.state_dict()[name], weight, rtol=1e-3, atol=2e-5)
        assert not torch.equal(weight, weights[name])


def test_criteria_of_ones_own_are_asked_once_a_step(args):
    """Free bits, which count by step, and the absolute error of pictures, whatever the patches."""
    asked = []

    class Own(VAE_Model):
        def kl_criterion(self, mu, logvar, batch_size):
            asked.append((tuple(mu.shape), batch_size))
            return kl_criterion(mu, logvar, batch_size).clamp(min=123.0)

        def mse_criterion(self, x, y):
            assert x.shape == y.shape == (2, 3, 16, 16)
            return (x - y).abs().mean()

    model = Own(args(kl_anneal_type="None", kl_anneal_stop=0.1, patch_size=2))
    img, label = windows()
    with torch.no_grad():
        model.Gaussian_Predictor[-1].weight.zero_()
        model.Gaussian_Predictor[-1].bias.zero_()  # a posterior that is the prior: KL 0
        model.Generator[-1].weight.zero_()
        model.Generator[-1].bias.zero_()  # gray frames
    loss = model.training_one_step(img, label, False)
    expected = (img[:, 1:] - 0.5).abs().mean() + 0.1 * 123.0
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    assert asked == [((2, 4, 8, 8), 2)] * 3


def test_the_optimizer_step_clips_and_leaves_alone_what_is_not_finite(args):
    model = VAE_Model(args())
    weight = model.Generator[-1].bias
    before = weight.detach().clone()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    weight.grad = torch.tensor([300.0, 400.0, 0.0])
    model.optim = torch.optim.SGD(model.parameters(), lr=0.5)
    model.optimizer_step()
    torch.testing.assert_close(weight.detach() - before, torch.tensor([-0.3, -0.4, 0.0]))
    before = copy.deepcopy(model.state_dict())
    weight.grad = torch.tensor([1.0, float("nan"), 0.0])
    model.optimizer_step()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model.trainer.run.guard.diverging


def test_reparameterize_is_the_mean_and_the_standard_deviation_of_its_noise():
    mu, logvar, noise = torch.randn(3, 2, 4, 5, 5)
    found = Gaussian_Predictor(8, 4).reparameterize(mu, logvar, noise)
    torch.testing.assert_close(found, mu + torch.sqrt(torch.exp(logvar)) * noise)
    torch.manual_seed(3)
    sampled = Gaussian_Predictor.reparameterize(mu, logvar)
    torch.manual_seed(3)
    torch.testing.assert_close(sampled, mu + torch.exp(0.5 * logvar) * torch.randn_like(mu))


# --------------------------------------------------------------------- schedules


def annealed_by_hand(epochs, start, stop, cycles, ratio):
    """Fu et al. 2019: climb by equal steps in the first part of each cycle, then stay."""
    found, period = [], epochs // cycles
    for _ in range(cycles):
        climbing = round(period * ratio)
        found += [start + (stop - start) * k / climbing for k in range(climbing)]
        found += [stop] * (period - climbing)
    return found


def test_the_weights_of_kl_annealing(args):
    annealing = kl_annealing(args(num_epoch=20, kl_anneal_cycle=2, kl_anneal_ratio=0.5))
    by_hand = annealed_by_hand(20, 0, 1, 2, 0.5)
    assert annealing.betas == pytest.approx(by_hand)
    assert annealing.frange_cycle_linear(20, n_cycle=2, ratio=0.5) == pytest.approx(by_hand)
    assert annealing.frange_cycle_linear(12, 0.1, 2.0, 3) == pytest.approx(
        annealed_by_hand(12, 0.1, 2.0, 3, 1.0)
    )
    found = []
    for _ in range(20):
        found.append(annealing.beta)
        annealing.update()
    assert found == pytest.approx(by_hand)
    annealing.update(3)
    assert (annealing.current_epoch, annealing.get_beta()) == (3, pytest.approx(by_hand[3]))
    annealing.current_epoch = 12
    annealing.update()
    assert annealing.beta == pytest.approx(by_hand[13])


@pytest.mark.parametrize("counts", ["model", "schedules", "both", "both, the model last"])
def test_the_schedules_stand_at_the_epoch_whoever_counts(args, counts):
    """Against PyTorch's scheduler and the formula; a user's loop may count in any of these ways."""
    model = VAE_Model(args(num_epoch=6, lr=0.5, kl_anneal_type="Monotonic"))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    expected = CosineAnnealingLR(optimizer, T_max=6)
    for epoch in range(6):
        assert model.scheduler.get_last_lr() == pytest.approx(expected.get_last_lr())
        assert model.optim.param_groups[0]["lr"] == model.scheduler.get_last_lr()[0]
        assert model.kl_annealing.get_beta() == pytest.approx(epoch / 6)
        optimizer.step()
        expected.step()
        if counts in ("model", "both"):
            model.current_epoch += 1
        if counts != "model":
            model.scheduler.step()
            model.kl_annealing.update()
        if counts == "both, the model last":
            model.current_epoch += 1


def test_the_ratio_of_teacher_forcing_decays_on_from_what_is_assigned(args):
    model = VAE_Model(args(tfr=1.0, tfr_sde=2, tfr_d_step=0.25, num_epoch=9))
    found, by_hand, ratio = [], [], 1.0
    for epoch in range(8):
        if epoch == 4:
            model.tfr = ratio = 0.8
        found.append(model.tfr)
        by_hand.append(ratio)
        model.current_epoch += 1
        model.teacher_forcing_ratio_update()
        if epoch + 1 >= 2:
            ratio = max(0.0, ratio - 0.25)
    assert found == pytest.approx(by_hand)
    assert (model.tfr_sde, model.tfr_d_step) == (2, 0.25)
    for ratio in (1.5, float("nan")):
        with pytest.raises(UserError, match=f"tfr = {ratio}"):
            model.tfr = ratio
    model.tfr = 0.05
    model.tfr -= 0.25  # and then `if self.tfr < 0: self.tfr = 0`, as scripts have it
    assert model.tfr == 0


def test_the_arguments_are_read_when_they_are_needed(args):
    model = VAE_Model(args())
    assert (model.batch_size, model.train_vi_len, model.val_vi_len) == (2, 3, 630)
    model.batch_size, model.args.train_vi_len = 1, 5
    img, _ = next(iter(model.train_dataloader()))
    assert img.shape[:2] == (1, 5)
    assert len(model.train_dataloader()) == 3  # 18 frames


# -------------------------------------------------------------------------- data


def pictures(folder):
    """The pictures of a folder in the order of their numbers, as PIL resizes them."""
    paths = sorted(folder.iterdir(), key=lambda path: int(path.stem))
    read = [Image.open(p).convert("RGB").resize((16, 16), Image.Resampling.BILINEAR) for p in paths]
    return torch.from_numpy(np.stack(read)).permute(0, 3, 1, 2).float() / 255


def test_the_batches_of_the_train_dataloader_are_windows_of_the_recording(args, dance_root):
    model = VAE_Model(args())
    frames, poses = (pictures(dance_root / f"train/train_{x}") for x in ("img", "label"))
    seen = []
    for img, label in model.train_dataloader():
        for window, pose in zip(img, label):
            start = int((frames - window[0]).abs().mean((1, 2, 3)).argmin())
            torch.testing.assert_close(window, frames[start : start + 3], atol=0.02, rtol=0)
            torch.testing.assert_close(pose, poses[start : start + 3], atol=0.02, rtol=0)
            seen.append(start)
    assert len(seen) == 2 * len(model.train_dataloader()) == 6
    assert max(seen) < 18, "--partial 0.3 of 60 frames"
    again = [img for img, _ in model.train_dataloader()]
    model.current_epoch += 1
    later = [img for img, _ in model.train_dataloader()]
    assert torch.equal(again[0], next(iter(VAE_Model(args()).train_dataloader()))[0])
    assert not torch.equal(torch.cat(again), torch.cat(later)), "another epoch, other windows"


def test_the_clips_of_the_val_dataloader_are_the_validation_frames(args, dance_root):
    ((img, label),) = VAE_Model(args()).val_dataloader()
    for found, name in ((img, "val_img"), (label, "val_label")):
        expected = pictures(dance_root / "val" / name)[None]
        torch.testing.assert_close(found, expected, atol=0.02, rtol=0)


# ---------------------------------------------------------------------- rollouts


@pytest.mark.parametrize("idx", [0, 3])
def test_a_validation_step_is_the_mse_of_a_rollout_frame_by_frame(args, idx):
    model = VAE_Model(args())
    img, label = windows(B=2, T=5)
    found = model.val_one_step(img, label, idx) if idx else model.val_one_step(img, label)
    assert model.training, "the mode is restored"
    networks = copy.deepcopy(model).eval()
    predicted = [
        reference.rollout(
            networks, quantized(x[0]), quantized(y), prior_noise(networks, 2 * idx + k, 5)
        )
        for k, (x, y) in enumerate(zip(img, label))
    ]
    expected = mse_loss(torch.stack(predicted)[:, 1:], img[:, 1:])
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=0)  # it is quantized


@pytest.mark.parametrize("batched", [False, True])
def test_frames_are_predicted_from_one_and_poses(args, batched):
    model = VAE_Model(args()).eval()
    img, label = windows(B=2, T=5)
    found = model.predict(img[:, 0], label) if batched else model.predict(img[0, 0], label[0])
    for k, frames in enumerate(found if batched else [found]):
        expected = reference.rollout(
            model, quantized(img[k, 0]), quantized(label[k]), prior_noise(model, k, 5)
        )
        torch.testing.assert_close(frames, quantized(expected), atol=1.1 / 255, rtol=0)
    assert not model.training
    with pytest.raises(UserError, match=r"\(3, 16, 16\)"):
        model.predict(img[0, 0, :, :8], label[0])


def test_the_rows_of_a_test_step_are_those_of_the_submission(args, tmp_path):
    model = VAE_Model(args())
    model.save(str(tmp_path / "model.ckpt"))
    found = Test_model(args(ckpt_path=str(tmp_path / "model.ckpt"), save_root=str(tmp_path / "o")))
    found.load_checkpoint()
    rows = []
    for idx, (img, label) in enumerate(found.val_dataloader()):
        assert img.shape == (1, 1, 3, 16, 16)
        assert label.shape == (1, 14, 3, 16, 16)
        rows.append(found.val_one_step(img, label, idx))
        with Image.open(tmp_path / "o" / f"pred_seq{idx}.gif") as gif:
            assert gif.info["duration"] >= 20
    written = np.rint(255 * torch.cat(rows).numpy()).astype(int)
    found.args.overwrite = found.args.no_report = True
    found.test_stage()
    submitted = np.loadtxt(tmp_path / "o/submission.csv", delimiter=",", skiprows=1, dtype=int)
    assert submitted[:, 0].tolist() == list(range(28))
    assert np.abs(submitted[:, 1:] - written).max() <= 1, "one sequence at a time, or both"


def test_a_gif_has_every_frame_for_20_ms(args, tmp_path):
    img, _ = windows(T=6)
    VAE_Model(args()).make_gif(list(img[0]), str(tmp_path / "there/x.gif"))
    with Image.open(tmp_path / "there/x.gif") as gif:
        assert gif.n_frames == 6
        for number, frame in enumerate(img[0]):
            gif.seek(number)
            assert gif.info["duration"] == 20
            shown = torch.from_numpy(np.array(gif.convert("RGB"))).permute(2, 0, 1)
            assert (to_float(shown) - frame).abs().mean() < 0.15  # 256 colors


# ------------------------------------------------------------------------ copies


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_has_the_weights_and_goes_its_own_way(args, copied):
    model = VAE_Model(args())
    model.training_one_step(*windows(), True)
    other = copied(model)
    before = copy.deepcopy(model.state_dict())
    assert all(torch.equal(v, before[k]) for k, v in other.state_dict().items())
    other.training_one_step(*windows(1), True)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert any(not torch.equal(v, before[k]) for k, v in other.state_dict().items())


# ------------------------------------------------------------------- unknown names


def test_a_name_that_no_flag_has_gets_a_warning_with_the_nearest(args):
    with pytest.warns(UserWarning, match="is no flag") as warned:
        model = VAE_Model(args(F_dims=16, lrr=0.1, mine=3, use_wandb=False, tfr_coin="epoch"))
    said = [str(warning.message) for warning in warned]
    assert [text.split()[0] for text in said] == ["args.F_dims", "args.lrr", "args.mine"]
    assert "did you mean F_dim?" in said[0]
    assert "did you mean lr?" in said[1]
    assert "only code of your own" in said[2]
    assert all(warning.filename == __file__ for warning in warned)
    assert model.args.mine == 3
