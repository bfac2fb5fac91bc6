"""What a subclass of `VAE_Model` overrides is what its stages run."""

import contextlib
import csv
import re

import pytest
import torch

from core.errors import UserError
from engine.checkpoints import checkpoint
from Tester import Test_model
from Trainer import VAE_Model, kl_annealing, kl_criterion


def weights_of(path):
    """Return what is trained: BatchNorm's statistics are taken in another way."""
    weights = checkpoint.load(path)["state_dict"]
    return {k: v for k, v in weights.items() if not k.endswith(("_mean", "_var", "_tracked"))}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


def rows(folder):
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_steps_of_ones_own_that_change_nothing_train_as_ever(args, plain, tmp_path, capsys):
    """The same windows, tosses, β, rates and noise; the log has what they return besides."""
    taken = []

    class Own(VAE_Model):
        def training_one_step(self, img, label, adapt_TeacherForcing):
            loss = super().training_one_step(img, label, adapt_TeacherForcing)
            taken.append((tuple(img.shape), adapt_TeacherForcing))
            return {"loss": loss, "brightness": img.mean()}

    Own(args()).training_stage()
    said = capsys.readouterr().out
    (line,) = (line for line in said.splitlines() if "has its own" in line)
    assert line.startswith("Own has its own training_one_step: ")
    assert "the prediction buffer" in line
    assert [shape for shape, _ in taken] == [(2, 3, 3, 16, 16)] * 6
    assert same(weights_of(tmp_path / "run/last.ckpt"), weights_of(plain / "last.ckpt"))
    for own, found in zip(rows(tmp_path / "run"), rows(plain), strict=True):
        for name in ("step", "loss", "mse", "kl", "beta", "tfr", "lr", "teacher_forced"):
            assert float(own[name]) == pytest.approx(float(found[name])), name
        assert 0 < float(own["brightness"]) < 1
        assert own["val_psnr"]
    assert "has its own" not in said.replace(line, "")


def test_steps_of_ones_own_see_changed_frames_and_at_last_the_filmed_ones(args, tmp_path):
    """Poses that lost limbs have less ink; nothing else changes how much there is."""
    ink = {}

    class Own(VAE_Model):
        def training_one_step(self, img, label, adapt_TeacherForcing):
            epoch = self.current_epoch
            ink[epoch] = ink.get(epoch, 0.0) + float((1 - label).sum())
            return super().training_one_step(img, label, adapt_TeacherForcing)

    still = {"augment": True, "flip_prob": 0.0, "fixed_windows": True, "partial": 1.0}
    Own(args(**still, num_epoch=5, per_val=5, limb_dropout=0.9)).training_stage()
    assert max(ink[epoch] for epoch in range(4)) < 0.9 * ink[4]


def test_networks_that_only_ones_own_steps_know(args, tmp_path):
    """The windows are the data set's; no step of the engine's would run on these networks."""

    class Own(VAE_Model):
        def __init__(self, args):
            super().__init__(args)
            self.Decoder_Fusion = torch.nn.Conv2d(3, 3, 1)

        def training_one_step(self, img, label, adapt_TeacherForcing):
            loss = self.mse_criterion(self.Decoder_Fusion(label[:, 0]), img[:, 0])
            self.optim.zero_grad()
            loss.backward()
            self.optim.step()
            return loss

        def val_one_step(self, img, label):
            return self.mse_criterion(self.Decoder_Fusion(label[:, 0]), img[:, 0])

    Own(args()).training_stage()
    assert float(rows(tmp_path / "run")[1]["val_one_step_loss"]) > 0


def test_a_loader_of_ones_own_is_what_is_trained_on(args, tmp_path):
    made, stepped = [], []

    class Own(VAE_Model):
        def train_dataloader(self):
            for k in range(2):
                made.append(torch.full((1, 4, 3, 16, 16), (1 + k + 2 * self.current_epoch) / 10))
                yield made[-1], made[-1]

        def optimizer_step(self):
            stepped.append(len(made))
            super().optimizer_step()

    model = Own(args(lr=1e-9, kl_anneal_type="None", kl_anneal_stop=0.0))
    with torch.no_grad():
        model.Generator[-1].weight.zero_()
        model.Generator[-1].bias.zero_()  # gray frames, 0.5
    model.training_stage()
    assert [float(x.mean()) for x in made] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert stepped == [1, 2, 3, 4]
    found = rows(tmp_path / "run")
    assert [row["step"] for row in found] == ["2", "4"]
    expected = [(0.4**2 + 0.3**2) / 2, (0.2**2 + 0.1**2) / 2]
    assert [float(row["mse"]) for row in found] == pytest.approx(expected, rel=1e-3)


def test_a_validation_of_ones_own_chooses_the_best(args, tmp_path, capsys):
    clips = []

    class Own(VAE_Model):
        def val_one_step(self, img, label, idx):
            assert not self.training
            assert not torch.is_grad_enabled()
            clips.append((tuple(img.shape), idx))
            return torch.tensor([0.75, 0.25, 0.5][self.current_epoch])

    Own(args(num_epoch=3)).training_stage()
    assert clips == [((1, 14, 3, 16, 16), 0)] * 3
    found = rows(tmp_path / "run")
    assert [float(row["val_one_step_loss"]) for row in found] == [0.75, 0.25, 0.5]
    assert not any(name.endswith("psnr") for name in found[0])
    best = checkpoint.read(tmp_path / "run/best.ckpt")
    assert (best.content["last_epoch"], best.content["best"]["loss"]) == (1, 0.25)
    assert "val_one_step loss 0.25" in str(best)
    assert "best.ckpt: epoch 1, val_one_step loss 0.25" in capsys.readouterr().out
    model = Own(args(ckpt_path=str(tmp_path / "run/best.ckpt"), save_root=str(tmp_path / "o")))
    model.load_checkpoint()
    assert model.current_epoch == 2
    model.validation_stage()
    assert "validation of Own: 0.5" in capsys.readouterr().out


def test_a_validation_called_eval_as_in_the_template_is_run(args, tmp_path, capsys):
    validated = []

    class Own(VAE_Model):
        def eval(self):
            losses = [self.val_one_step(img, label) for img, label in self.val_dataloader()]
            validated.append((self.current_epoch, len(losses)))

    Own(args()).training_stage()
    assert validated == [(0, 1), (1, 1)]
    assert not (tmp_path / "run/best.ckpt").exists(), "it returns nothing to choose by"
    said = capsys.readouterr().out
    assert len(re.findall(r"^epoch \d/1: .* frames/s$", said, re.M)) == 2, "and nothing to tell"
    assert (tmp_path / "run/epoch=1.ckpt").exists()


def test_clips_of_ones_own_are_rolled_out_and_scored(args, tmp_path):
    """Without a data set at all, since the windows are one's own too."""

    class Own(VAE_Model):
        def train_dataloader(self):
            return [torch.rand(2, 2, 3, 3, 16, 16)]

        def val_dataloader(self):
            still = torch.full((1, 6, 3, 16, 16), 0.25)
            return [(still, still), (still, still)]

        def make_gif(self, images_list, img_name):
            gifs.append((len(images_list), img_name))

    gifs = []
    Own(args(num_epoch=1, DR=None)).training_stage()
    (row,) = rows(tmp_path / "run")
    assert float(row["val_copy_first_psnr"]) == 100, "a clip that does not move"
    assert gifs == [(6, str(tmp_path / "run/val.gif"))]


def test_the_loss_of_a_kl_of_ones_own(args, plain, tmp_path):
    """Without a KL term, the first epoch's first β being 0 all the same, training differs."""

    class Own(VAE_Model):
        def kl_criterion(self, mu, logvar, batch_size):
            return 0.0

    Own(args()).training_stage()
    found, usual = rows(tmp_path / "run"), rows(plain)
    assert [float(row["kl"]) for row in found] == [0, 0]
    assert float(found[0]["mse"]) == pytest.approx(float(usual[0]["mse"]), rel=1e-4), "β is 0"
    assert float(found[1]["loss"]) == float(found[1]["mse"])
    assert float(usual[1]["loss"]) > 1


def test_what_is_assigned_is_used(args, tmp_path):
    """An optimizer, a scheduler and a weight of its own, made in `__init__` as in the template."""

    class Constant(kl_annealing):
        def get_beta(self):
            return 0.125

    class Own(VAE_Model):
        def __init__(self, args):
            super().__init__(args)
            self.extra = torch.nn.Linear(2, 2)
            self.optim = torch.optim.SGD(self.parameters(), lr=0.5, momentum=0.9)
            self.scheduler = torch.optim.lr_scheduler.StepLR(self.optim, 1, gamma=0.1)
            self.kl_annealing = Constant(self.args)
            self.mse_criterion = torch.nn.L1Loss()

        def teacher_forcing_ratio_update(self):
            self.tfr -= 0.125

        def save(self, path):
            saved.append(path)

        def tqdm_bar(self, mode, pbar, loss, lr):
            shown.append((mode, lr))

    saved, shown = [], []
    model = Own(args(tfr=0.5, tfr_sde=0))
    model.load_checkpoint()
    model.training_stage()
    found = rows(tmp_path / "run")
    assert [float(row["lr"]) for row in found] == pytest.approx([0.5, 0.05])
    assert [float(row["beta"]) for row in found] == [0.125, 0.125]
    assert [float(row["tfr"]) for row in found] == [0.5, 0.375]
    assert shown == [("train", 0.5)] * 3 + [("train", pytest.approx(0.05))] * 3
    assert saved == [str(tmp_path / f"run/epoch={epoch}.ckpt") for epoch in (0, 1)]
    assert "extra.weight" in checkpoint.load(tmp_path / "run/last.ckpt")["state_dict"]
    assert model.kl_annealing.current_epoch == 2
    again = Own(args(tfr=0.5, tfr_sde=0, num_epoch=3))
    again.load_checkpoint()
    assert (again.current_epoch, again.tfr) == (2, pytest.approx(0.25))
    assert again.scheduler.get_last_lr() == [pytest.approx(0.005)]
    moments = [list(own.optim.state_dict()["state"].values()) for own in (model, again)]
    assert len(moments[0]) > 100
    for before, after in zip(*moments, strict=True):
        assert torch.equal(before["momentum_buffer"], after["momentum_buffer"])


def test_a_run_of_ones_own_goes_on_where_it_stopped(args, tmp_path):
    class Own(VAE_Model):
        stops = False

        def kl_criterion(self, mu, logvar, batch_size):
            if self.stops and self.current_epoch == 1:
                raise KeyboardInterrupt
            return kl_criterion(mu, logvar, batch_size)

    Own(args(save_root=str(tmp_path / "whole"))).training_stage()
    stopped = Own(args())
    stopped.stops = True
    with contextlib.suppress(KeyboardInterrupt):
        stopped.training_stage()
    assert len(rows(tmp_path / "run")) == 1
    model = Own(args())
    model.load_checkpoint()
    assert model.current_epoch == 1
    model.training_stage()
    assert same(weights_of(tmp_path / "run/last.ckpt"), weights_of(tmp_path / "whole/last.ckpt"))


def test_a_step_of_ones_own_goes_on_with_a_run_that_had_a_prediction_buffer(args, tmp_path):
    VAE_Model(args(num_epoch=1, prediction_buffer=True)).training_stage()

    class Own(VAE_Model):
        def train_dataloader(self):
            return [torch.rand(2, 2, 3, 3, 16, 16)]

    source = str(tmp_path / "run/last.ckpt")
    for loads_first in (False, True):
        model = (VAE_Model if loads_first else Own)(
            args(ckpt_path=source, prediction_buffer=True, save_root=str(tmp_path / "o"))
        )
        model.load_checkpoint()
        if loads_first:
            model.train_dataloader = lambda: [torch.rand(2, 2, 3, 3, 16, 16)]
        model.training_stage()
        assert "prediction_buffer" not in checkpoint.load(tmp_path / "o/last.ckpt")


@pytest.mark.parametrize("name", ["lr", "step", "seconds"])
def test_a_figure_that_is_called_like_another_is_named(args, name):
    class Own(VAE_Model):
        def training_one_step(self, img, label, adapt_TeacherForcing):
            return {"loss": 1.0, name: 2.0}

    with pytest.raises(UserError, match=f"training_one_step of Own returns '{name}'"):
        Own(args()).training_stage()


@pytest.mark.parametrize("batch", [torch.zeros(3, 2, 3, 3, 16, 16), 5, [1]])
def test_a_loader_that_yields_no_pairs_is_named(args, batch):
    class Own(VAE_Model):
        def train_dataloader(self):
            return [batch]

    with pytest.raises(UserError, match=r"train_dataloader\(\) of Own is to yield pairs"):
        Own(args()).training_stage()


def test_without_a_data_set_the_loaders_that_are_missing_are_named(args):
    class Own(VAE_Model):
        def train_dataloader(self):
            return [torch.rand(2, 2, 3, 3, 16, 16)]

    with pytest.raises(UserError, match=r"args\.DR is missing.*val_dataloader"):
        Own(args(DR=None)).training_stage()


@pytest.mark.parametrize("result", [None, "low", (torch.ones(()), 1.0), {"mse": 1.0}])
def test_a_step_that_returns_no_loss_is_told_what_to_return(args, result):
    class Own(VAE_Model):
        def training_one_step(self, img, label, adapt_TeacherForcing):
            return result

    with pytest.raises(UserError, match="training_one_step of Own is to return its loss"):
        Own(args()).training_stage()


def test_a_loader_without_a_batch_is_named(args):
    class Own(VAE_Model):
        def train_dataloader(self):
            return []

    with pytest.raises(UserError, match=r"train_dataloader\(\) of Own has no batch"):
        Own(args()).training_stage()


def test_a_loss_that_is_not_finite_ends_training(args):
    class Own(VAE_Model):
        def training_one_step(self, img, label, adapt_TeacherForcing):
            return img.mean() * float("nan")

    with pytest.raises(UserError, match="training diverged"):
        Own(args(num_epoch=40, per_val=40)).training_stage()


def test_a_name_of_the_engine_may_be_a_scripts_own(args, tmp_path):
    """`predict` and `forward` mean something else to the engine, which does not ask these."""

    class Own(VAE_Model):
        def predict(self, img):
            raise AssertionError

        def forward(self, img, label):
            raise AssertionError

    Own(args(num_epoch=1)).training_stage()
    assert rows(tmp_path / "run")[0]["val_psnr"]


def test_a_test_of_ones_own_is_what_is_handed_in(args, tmp_path):
    VAE_Model(args()).save(str(tmp_path / "model.ckpt"))

    class Own(Test_model):
        def val_one_step(self, img, label, idx):
            assert tuple(img.shape) == (1, 1, 3, 16, 16)
            return torch.full((14, 768), (1 + idx) / 255)

    model = Own(args(ckpt_path=str(tmp_path / "model.ckpt"), save_root=str(tmp_path / "o")))
    model.load_checkpoint()
    model.test_stage()
    lines = (tmp_path / "o/submission.csv").read_text().splitlines()
    assert len(lines) == 29
    assert lines[14] == ",".join(["13"] + ["1"] * 768)
    assert lines[15] == ",".join(["14"] + ["2"] * 768)
