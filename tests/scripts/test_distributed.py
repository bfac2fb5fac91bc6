"""Several processes are one run: the same steps, the same scores, one voice, one end."""

from argparse import Namespace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from core import distributed
from core.device import Compute
from core.synced_norm import synchronize_batch_norm
from dataloader import DanceWindows, validation_clips
from engine.evaluation.validation import validate
from modules.vae import CVAE, CVAEConfig
from settings.flags import tester_parser
from settings.resolve import make_settings
from tests.conftest import TINY_WIDTHS
from tests.support.runs import assert_close, same
from tests.support.scripts import join, start, start_ranks
from Trainer import VAE_Model

CPU = torch.device("cpu")


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
        synchronize_batch_norm(layer)
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
