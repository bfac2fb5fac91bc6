"""Several processes are one run: the same steps, the same scores, one voice, one end."""

import contextlib
import os
import shutil
import signal
import sys
from argparse import Namespace
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.nn.parallel import DistributedDataParallel

from core import distributed
from core.device import Compute
from dataloader import DanceWindows, validation_clips
from engine.checkpoints import checkpoint
from engine.evaluation.validation import validate
from engine.training.run import Run
from modules.vae import CVAE, CVAEConfig
from settings.flags import tester_parser
from settings.resolve import make_settings
from tests.conftest import TINY_WIDTHS
from tests.support.runs import assert_same_run, same
from tests.support.scripts import (
    join,
    rows_of,
    start,
    start_ranks,
    train,
    train_here,
    train_in_ranks,
)
from Trainer import VAE_Model

CPU = torch.device("cpu")
WIDTHS = "--F_dim 8 --L_dim 2 --N_dim 4 --D_out_dim 8 --device cpu --precision fp32"
# Everything that has a state; 2 to 4 steps an epoch.
RUN = (
    f"{WIDTHS} --train_vi_len 4 --num_epoch 3 --prediction_buffer --tfr_granularity batch "
    "--tfr 0.7 --tfr_sde 0 --augment --context_swap 0.4 --lr 0.002 --lr_warmup 5 --per_save 2 "
    "--per_val 2 --holdout 40:50"
)


def assert_close_weights(folder: Path, other: Path) -> None:
    a, b = (checkpoint.load(place / "last.ckpt") for place in (folder, other))
    assert a["step"] == b["step"]
    assert_close(a["state_dict"], b["state_dict"])


def assert_close(weights: dict, others: dict) -> None:
    """Compare weights to rounding, which Adam turns into steps where a gradient is near zero.

    That of the bias before the BatchNorm is zero but for rounding: it goes where rounding leads,
    and the running mean follows it.
    """
    for name, weight in weights.items():
        if name not in ("label_transformation.1.bias", "label_transformation.2.running_mean"):
            torch.testing.assert_close(weight, others[name], rtol=1e-3, atol=5e-4)


# ------------------------------------------------------------------ steps and scores


def watch_a_run(settings: Namespace, steps: int, folder: Path) -> None:
    """Take some steps and validate; leave what came of it, by rank, in files."""
    torch.set_num_threads(1)
    exchanged: list[int] = []

    def watched(collective):
        def call(tensor, *arguments, **named):
            if tensor.is_floating_point() and tensor.dtype != torch.float64:
                exchanged.append(tensor.numel())
            return collective(tensor, *arguments, **named)

        return call

    dist.all_reduce = watched(dist.all_reduce)
    if settings.rebuilding:
        distributed.data_parallel = DistributedDataParallel
    with distributed.joined():
        model = VAE_Model(settings)
        run, data = model.trainer.run, DanceWindows(settings, CPU)
        buckets = watch_buckets(run.network)
        rows, windows = [], []
        (clips,) = validation_clips(settings).values()
        found = validate(run.model, clips, settings, run.compute)
        while run.step < steps:
            for batch in data.batches(run.epoch):
                run.schedule()
                forced = run.teacher_forcing(run.epoch_metrics.batches, batch.frames.shape[1] - 1)
                if settings.spoil == (run.step, distributed.rank()):
                    batch.frames[-1, -1, 0, 3, 3] = float("nan")
                before = [w.clone() for w in model.state_dict().values()]
                exchanged.clear()
                buckets.clear()
                started = collectives()
                metrics = run.train_step(batch, forced, 1e-4)
                row = {k: float(v) for k, v in metrics.items()}
                row["unchanged"] = same(before, list(model.state_dict().values()))
                row |= {"exchanged": list(exchanged), "buckets": list(buckets), "forced": forced}
                rows.append(row | {"collectives": collectives() - started})
                windows.append(batch.index[0].tolist())
                run.epoch_metrics.batches += 1
            run.end_epoch()
        stored = {
            "rows": rows,
            "windows": windows,
            "scores": [np.array([s.psnr, s.ssim]) for s in found.scores],
            "names": [s.name for s in found.scores],
            "predictions": found.predictions,
            "posterior": found.posterior,
            "weights": model.state_dict(),
            "is_wrapped": run.network is not run.model,
        }
        torch.save(stored, folder / f"{distributed.rank()}.pt")


def watch_buckets(network: nn.Module) -> list[list[str]]:
    """Return a list to which every reduced bucket of a wrapped model adds its parameters."""
    buckets: list[list[str]] = []
    if isinstance(network, DistributedDataParallel):
        names = {id(p): name for name, p in network.module.named_parameters()}

        def hook(group, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
            buckets.append([names[id(p)] for p in bucket.parameters()])
            return allreduce_hook(group, bucket)  # the reducer's own, but seen

        network.register_comm_hook(None, hook)
    return buckets


def collectives() -> int:
    """Return how many exchanges the devices' group has had, those from C++ included."""
    group = dist.group.WORLD
    return 0 if group is None else group._get_sequence_number_for_group()


@pytest.fixture(scope="module")
def watched(dance_root, tmp_path_factory):
    """`watched(processes, …)`: what each of some processes with a global batch of 4 saw."""

    def run(processes: int, spoil=None, steps: int = 20, rebuilding=False) -> list[dict]:
        folder = tmp_path_factory.mktemp("ranks")
        places = {"device": "cpu", "precision": "fp32", "num_workers": 1, "DR": str(dance_root)}
        widths = TINY_WIDTHS | {"train_vi_len": 4}
        flags = {"val_vi_len": 5, "tfr_granularity": "batch", "tfr": 0.6, "tfr_sde": 0, "lr": 3e-3}
        settings = make_settings(tester_parser(), places | widths | flags)
        settings = settings.but(batch_size=4 // processes, spoil=spoil, rebuilding=rebuilding)
        if processes == 1:
            alone = start(watch_a_run, settings, steps, folder)
            assert join([alone]) == [0]
        else:
            ranks = start_ranks(processes, watch_a_run, settings, steps, folder)
            assert join(ranks) == [0] * processes
        return [torch.load(folder / f"{r}.pt", weights_only=False) for r in range(processes)]

    return run


@pytest.fixture(scope="module")
def one(watched) -> dict:
    return watched(1)[0]


@pytest.fixture(scope="module", params=[2, 4])
def several(request, watched) -> list[dict]:
    return watched(request.param)


def test_processes_take_the_steps_of_one_with_the_same_total_batch(one, several):
    for rank in several:
        for row, expected in zip(rank["rows"], one["rows"], strict=True):
            for name in ("loss", "mse", "kl", "elbo", "grad_norm"):
                assert row[name] == pytest.approx(expected[name], rel=1e-4), name
        assert_close(rank["weights"], one["weights"])  # BatchNorm's statistics among them
        assert same(rank["weights"], several[0]["weights"])  # bit for bit among each other


def test_the_gradient_travels_once_a_step(several):
    parameters = dict(CVAE(CVAEConfig(**TINY_WIDTHS)).named_parameters())
    for row in (row for rank in several for row in rank["rows"]):
        assert sorted(chain(*row["buckets"])) == sorted(parameters)
        # The gradients; the four metrics; forward and backward, mean and variance of each process
        # for the one channel of the one BatchNorm.
        statistics = 2 * len(several)
        sizes = [sum(p.numel() for p in parameters.values()), 4, statistics, statistics]
        assert sorted(row["exchanged"]) == sorted(sizes)
        assert row["collectives"] == len(sizes) + 1  # and which parameters were used


def rebuilds(rows: list[dict]) -> int:
    """Count the steps that reduce by other buckets than the step before."""
    layouts = [row["buckets"] for row in rows]
    return sum(before != after for before, after in zip(layouts, layouts[1:]))


def test_buckets_stay_as_they_began(several):
    """Else a resumed run, which begins with the first layout, would add in another order."""
    for rank in several:
        assert {all(row["forced"]) for row in rank["rows"]} == {True, False}  # two graphs
        assert rebuilds(rank["rows"]) == 0


def test_rebuilt_buckets_are_counted(watched):
    """The reducer rebuilds them once where it is not told to look for unused parameters."""
    assert [rebuilds(rank["rows"]) for rank in watched(2, steps=4, rebuilding=True)] == [1, 1]


def test_one_process_is_not_wrapped(one, several):
    assert not one["is_wrapped"]
    assert all(rank["is_wrapped"] for rank in several)


def test_the_windows_of_a_step_are_dealt_out(one, several):
    for step, whole in enumerate(one["windows"]):
        parts = [rank["windows"][step] for rank in several]
        assert [start for part in parts for start in part] == whole


def test_validation_shared_out_is_validation(one, several):
    for rank in several:
        assert rank["names"] == one["names"] == ["val0", "val1"]
        for found, expected in zip(rank["scores"], one["scores"], strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4)
        for found, expected in zip(rank["predictions"], one["predictions"], strict=True):
            assert (found.int() - expected.int()).abs().max() <= 1
        assert rank["posterior"] == pytest.approx(one["posterior"], rel=1e-3)


def test_a_step_that_is_not_finite_in_one_process_is_skipped_by_all(watched):
    for rank in watched(2, spoil=(1, 1), steps=3):
        assert [row["skipped"] for row in rank["rows"]] == [0, 1, 0]
        assert [row["unchanged"] for row in rank["rows"]] == [False, True, False]


def test_every_window_once_an_epoch(settings, dance_root, monkeypatch):
    """Over all ranks, the windows of an epoch are those of one process; parts are disjoint."""
    flags = {"DR": str(dance_root), "train_vi_len": 4, "fixed_windows": True}

    def starts(rank: int, processes: int, batch_size: int) -> list[list[int]]:
        monkeypatch.setattr(distributed, "rank", lambda: rank)
        monkeypatch.setattr(distributed, "world_size", lambda: processes)
        data = DanceWindows(settings(batch_size=batch_size, **flags), CPU)
        return [batch.index[0].tolist() for batch in data.batches(1)]

    whole = starts(0, 1, 6)
    parts = [starts(rank, 3, 2) for rank in range(3)]
    assert [list(chain(*step)) for step in zip(*parts)] == whole
    found = list(chain(*chain(*parts)))
    assert len(found) == len(set(found)) == 12  # of 14; what makes no whole batch is left out


def normalize(batch: torch.Tensor, folder: Path) -> None:
    with distributed.joined():
        wide = torch.promote_types(batch.dtype, torch.float32)  # as under autocast
        layer = nn.Sequential(nn.BatchNorm2d(3, dtype=wide))
        nn.init.uniform_(layer[0].weight, generator=torch.Generator().manual_seed(0))
        distributed.synchronize_batch_norm(layer)
        part = distributed.local_shard(batch).clone().requires_grad_()
        for _ in range(3):
            result = layer(part)
        (result.square() * torch.arange(5.0)).sum().backward()
        evaluated = layer.eval()(part)
        layer[0].momentum = None  # from here on a plain mean
        layer[0].reset_running_stats()
        layer.train()
        for factor in (1, 2, 4):
            layer(factor * part)
        plainly = layer.eval()(part)
        gradient, state = layer[0].weight.grad, layer.state_dict()
        stored = (result, part.grad, evaluated, plainly, gradient, state)
        torch.save(stored, folder / f"{distributed.rank()}.pt")


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-3), (torch.bfloat16, 0.1)]
)
def test_batch_norm_takes_the_statistics_of_the_total_batch(tmp_path, dtype, tolerance):
    """Far from zero, where squares lose digits; against PyTorch's layer on the whole batch."""
    far = 3 if dtype == torch.bfloat16 else 300
    batch = far + torch.randn(4, 3, 6, 5, generator=torch.Generator().manual_seed(1))
    batch = batch.to(dtype)
    assert join(start_ranks(2, normalize, batch, tmp_path)) == [0, 0]
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(2)]
    normalize(batch, tmp_path)
    whole = torch.load(tmp_path / "0.pt", weights_only=False)
    close = {"rtol": tolerance, "atol": tolerance}
    for index in range(4):
        assert parts[0][index].dtype == dtype
        found = torch.cat([part[index] for part in parts])
        torch.testing.assert_close(found, whole[index], **close)
    torch.testing.assert_close(parts[0][4] + parts[1][4], whole[4], **close)
    for name, value in whole[5].items():
        torch.testing.assert_close(parts[1][5][name], value, **close)


# ------------------------------------------------------------------------ whole runs


@pytest.fixture(scope="module")
def undisturbed(dance_root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pair") / "run"
    flags = f"--DR {dance_root} --save_root {folder} {RUN} --batch_size 2"
    codes, said = train_in_ranks(2, flags, folder.with_suffix(".out"))
    assert codes == [0, 0], said
    assert "2 processes × --batch_size 2 = 4 windows a step" in said
    assert said.count("best.ckpt: epoch") == said.count("baselines on val") == 1
    return folder


def killed_once(flags: str, output: Path) -> None:
    """Train; the second process is killed in the middle of an epoch, the first time."""
    if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        after_step(8, lambda: os.kill(os.getpid(), signal.SIGKILL))
    train_here(flags, output)


def test_a_worker_is_killed_and_torchrun_ends_as_if_it_had_not(dance_root, undisturbed, tmp_path):
    """By what `torchrun` calls, so that its processes need not import everything anew."""
    flags = f"--DR {dance_root} --save_root {tmp_path / 'run'} {RUN} --batch_size 2"
    flags += " --save_every_minutes 0.00001"
    output = tmp_path / "output"
    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        max_restarts=1,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        start_method="forkserver",
    )
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        elastic_launch(launch, killed_once)(flags, output)
    finally:  # it leaves its own behind
        for number, handler in handlers.items():
            signal.signal(number, handler)
    said = output.read_text()
    assert "process 0 lost the others" in said
    assert "going on from" in said
    assert "Traceback" not in said
    assert_same_run(tmp_path / "run", undisturbed)


def after_step(step: int, act: Callable[[], None]) -> None:
    """Do something after a step of this process's run."""
    take = Run.train_step

    def watched(self, *arguments):
        metrics = take(self, *arguments)
        if self.step == step:
            act()
        return metrics

    Run.train_step = watched


def signalled(flags: str, output: Path) -> None:
    """Train; the second process gets a signal in the middle of an epoch."""
    if os.environ["RANK"] == "1":
        after_step(4, lambda: os.kill(os.getpid(), signal.SIGTERM))
    train_here(flags, output)


@pytest.fixture
def stopped(dance_root, tmp_path) -> Path:
    """A run in two processes, ended by a signal to the second in the middle of an epoch."""
    flags = f"--DR {dance_root} --save_root {tmp_path / 'run'} {RUN} --batch_size 2"
    assert join(start_ranks(2, signalled, flags, tmp_path / "out")) == [143, 143]
    assert checkpoint.load(tmp_path / "run" / "last.ckpt")["step"] == 4
    return tmp_path / "run"


def test_a_signal_to_one_process_stops_all_after_the_same_step(dance_root, undisturbed, stopped):
    flags = f"--DR {dance_root} --save_root {stopped} {RUN} --batch_size 2"
    codes, said = train_in_ranks(2, flags, stopped.with_suffix(".out"))
    assert codes == [0, 0], said
    assert said.count("going on from") == 1
    assert_same_run(stopped, undisturbed)


def test_three_processes_go_on_bit_for_bit(dance_root, tmp_path):
    """Of two numbers the order does not matter to a sum; of three it does.

    Widths that fill more than one bucket.
    """
    wide = RUN.replace("--D_out_dim 8", "--D_out_dim 128 --frame_H 16 --frame_W 32")
    flags = f"--DR {dance_root} --save_root {{}} {wide} --batch_size 1"
    places = tmp_path / "whole", tmp_path / "resumed"
    codes, said = train_in_ranks(3, flags.format(places[0]), tmp_path / "whole.out")
    assert codes == [0, 0, 0], said
    begun = join(start_ranks(3, signalled, flags.format(places[1]), tmp_path / "begun.out"))
    assert begun == [143, 143, 143]
    assert checkpoint.load(places[1] / "last.ckpt")["step"] == 4
    codes, said = train_in_ranks(3, flags.format(places[1]), tmp_path / "resumed.out")
    assert codes == [0, 0, 0], said
    assert said.count("going on from") == 1
    assert_same_run(*places)


def test_a_run_goes_on_in_another_number_of_processes(dance_root, undisturbed, stopped):
    flags = f"--DR {dance_root} --save_root {stopped} {RUN}"
    other = Path(shutil.copytree(stopped, stopped.with_name("other")))
    code, said = train(f"{flags} --batch_size 4", stopped.with_suffix(".out"))
    assert code == 0, said
    assert "going on from" in said
    assert_close_weights(stopped, undisturbed)  # the same global batch: to rounding

    # Another global batch, as after the loss of a machine: of epoch 1, one step of 4 windows is
    # done, which are 2 of the 6 steps of 2 windows; 4 are left, and 6 of the last epoch.
    code, said = train(
        f"--DR {dance_root} --save_root {other} {RUN} --batch_size 2", other.with_suffix(".out")
    )
    assert code == 0, said
    assert "going on from" in said
    assert not list(other.glob("previous-*"))
    assert checkpoint.load(other / "last.ckpt")["step"] == 4 + 4 + 6
    assert [row["epoch"] for row in rows_of(other)] == ["0", "1", "2"]


def test_time_is_that_of_the_first_process(dance_root, tmp_path):
    """Processes that each looked at their own clock would wait for each other for ever."""
    flags = f"--DR {dance_root} --save_root {tmp_path / 'run'} {WIDTHS} --minutes 0.02"
    codes, said = train_in_ranks(2, f"{flags} --train_vi_len 4", tmp_path / "out")
    assert codes == [0, 0], said


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("--DR {root} --holdout 9:3", "must have 0 <= A < B"),
        ("--DR {root}/none", "no such folder"),
        ("--DR {root} --batch_size 40", "40 × 2 processes is more than"),
    ],
)
def test_bad_input_is_told_once(dance_root, tmp_path, flags, reason):
    flags = f"{flags.format(root=dance_root)} --save_root {tmp_path / 'run'} --device cpu"
    codes, said = train_in_ranks(2, flags, tmp_path / "out")
    assert codes == [2, 2]
    assert said.count(reason) == 1
    assert "Traceback" not in said


def roll_out_in_ranks(argv: list[str]) -> None:
    import Tester

    torch.set_num_threads(1)
    sys.argv = ["Tester.py", *argv]
    Tester.main()


def test_the_tester_shares_sequences_out(dance_root, undisturbed, tmp_path):
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        flags = f"--DR {dance_root} --ckpt_path {undisturbed} --save_root {folder} --device cpu"
        if processes == 1:
            codes = join([start(roll_out_in_ranks, flags.split())])
        else:
            codes = join(start_ranks(processes, roll_out_in_ranks, flags.split()))
        assert codes == [0] * processes
    one, two = (
        np.loadtxt(tmp_path / name / "submission.csv", delimiter=",", skiprows=1, dtype=int)
        for name in ("1", "2")
    )
    assert np.abs(one - two).max() <= 1
    names = [sorted(path.name for path in (tmp_path / n).iterdir()) for n in ("1", "2")]
    assert names[0] == names[1]


def lose_the_other(folder: Path, exchange: Callable[[], None]) -> None:
    with contextlib.suppress(SystemExit), distributed.joined():
        step = exchange()
        step()
        if distributed.rank() == 1:
            os._exit(9)
        try:
            while True:
                step()
        except Exception as error:
            (folder / "error").write_text(f"{type(error).__name__}: {error}")
            os._exit(2)


def figures() -> Callable[[], None]:
    return lambda: distributed.all_reduce_max(0)


def gradients() -> Callable[[], None]:
    network = distributed.data_parallel(nn.Linear(300, 300))
    return lambda: distributed.backward(network(torch.ones(1, 300)).sum())


@pytest.mark.parametrize("exchange", [figures, gradients])
def test_a_lost_process_is_named_in_one_line(tmp_path, exchange):
    assert join(start_ranks(2, lose_the_other, tmp_path, exchange)) == [2, 9]
    said = (tmp_path / "error").read_text()
    assert said.startswith("UserError")
    assert "--max-restarts" in said


class Fails(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("not enough memory")


def fail_in_backward(folder: Path) -> None:
    with contextlib.suppress(RuntimeError), distributed.joined():
        network = distributed.data_parallel(nn.Linear(3, 3))
        try:
            distributed.backward(network(Fails.apply(torch.ones(1, 3, requires_grad=True))).sum())
        except Exception as error:
            (folder / f"{distributed.rank()}").write_text(f"{type(error).__name__}: {error}")
            raise


def test_an_error_of_a_backward_pass_is_not_taken_for_a_loss(tmp_path):
    """So that running out of memory is said as such (core/errors.py)."""
    join(start_ranks(2, fail_in_backward, tmp_path))
    for rank in ("0", "1"):
        assert (tmp_path / rank).read_text() == "RuntimeError: not enough memory"


class Wide(nn.Module):
    """One network of more megabytes than the first bucket takes."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(600, 600) for _ in range(3)))

    def forward(self, x):
        return self.layers(x).sum()


def count_graphs(folder: Path, cut: bool) -> None:
    graphs = []

    def compiler(graph, inputs):
        graphs.append(graph)
        return graph.forward

    def compile_with_it(network, **named):
        network._compiled_call_impl = torch.compile(network._call_impl, backend=compiler, **named)

    nn.Module.compile = compile_with_it
    with distributed.joined():
        network = distributed.data_parallel(Compute(CPU, compiled=True).prepare(Wide()))
        if cut:
            torch._dynamo.config.optimize_ddp = True
        distributed.backward(network(torch.ones(1, 600)))
        (folder / f"{distributed.rank()}").write_text(str(len(graphs)))


@pytest.mark.parametrize(("cut", "graphs"), [(False, "1"), (True, "2")])
def test_compiled_networks_are_not_cut_at_buckets(tmp_path, cut, graphs):
    assert join(start_ranks(2, count_graphs, tmp_path, cut)) == [0, 0]
    assert [(tmp_path / rank).read_text() for rank in ("0", "1")] == [graphs, graphs]
