"""How many graphs are compiled in a run: each takes seconds, and a GPU waits for all of them.

Compiled on the CPU, whole graphs only, by a compiler that counts them and compiles nothing.
"""

import itertools

import pytest
import torch
from torch import nn

from core.device import Compute
from data.types import Batch, Clip
from engine.evaluation.rollout import rollout
from engine.evaluation.validation import validate
from engine.training.prediction_buffer import PredictionBuffer
from engine.training.run import Run
from modules.svg import SVG, SVGConfig
from modules.vae import CVAE, CVAEConfig

CPU = torch.device("cpu")
FRAMES, WINDOWS = 5, 2  # of a window, of a batch
LENGTHS = (7, 9)  # of two validation sets; the second is of two clips


@pytest.fixture
def graphs(monkeypatch) -> list:
    """The graphs that are compiled from here on."""
    found = []

    def count(graph, inputs):
        found.append(graph)
        return graph.forward

    def compile_with_it(network, **named):
        named |= {"backend": count, "fullgraph": True}
        network._compiled_call_impl = torch.compile(network._call_impl, **named)

    torch._dynamo.reset()
    monkeypatch.setattr(nn.Module, "compile", compile_with_it)
    yield found
    torch._dynamo.reset()


class Data:
    """An epoch of a batch."""

    def __init__(self, batch: Batch):
        self.batch = batch

    def batches(self, epoch: int, first: int = 0):
        yield self.batch


def begun(settings, model: nn.Module, conditions: torch.Tensor, size: int) -> tuple[Run, Batch]:
    run = Run(model, settings, Compute(CPU, compiled=True))
    index = torch.arange(FRAMES * WINDOWS).view(FRAMES, WINDOWS)
    return run, Batch(torch.rand(WINDOWS, FRAMES, 3, size, size), conditions, index)


def evaluate(run: Run, batch: Batch, settings) -> None:
    """Statistics, validation of two sets, a test."""
    run.recompute_bn_stats(Data(batch))
    C, H, W = batch.frames.shape[2:]
    for clips, length in enumerate(LENGTHS, start=1):
        shape = (length, C, H, W)
        frames = [torch.randint(0, 256, shape).byte() for _ in range(clips)]
        like = batch.conditions.shape[2:]
        conditions = [torch.rand(length, *like) for _ in range(clips)]
        past = settings.n_past if settings.model == "svg" else 1
        sequences = [Clip("x", f, c, past) for f, c in zip(frames, conditions)]
        validate(run.model, sequences, settings, run.compute)
        rollout(run.model.eval(), sequences, compute=run.compute)
        run.model.train()


def test_the_dance_model_compiles_each_network_for_forced_and_for_rolled_out_steps(
    settings, graphs
):
    """Five networks for true frames, three of them anew for one step of a rolled-out window.

    From buffered frames the encoder sees both frames of a pair, which is a batch of its own.
    """
    flags = settings(frame_H=12, frame_W=12, train_vi_len=FRAMES)
    model = CVAE(CVAEConfig.from_settings(flags))
    run, batch = begun(flags, model, torch.rand(WINDOWS, FRAMES, 3, 12, 12), 12)
    for forced in (True, False, True, False):
        run.train_step(batch, [forced] * (FRAMES - 1), torch.tensor(0.1))
    assert len(graphs) == 8
    run.train_step(batch, [True, False, True, False], torch.tensor(0.2))  # and none for a mixture
    evaluate(run, batch, flags)
    assert len(graphs) == 8
    run.prediction_buffer = PredictionBuffer(torch.zeros(FRAMES * WINDOWS, 12, 12, 3).byte())
    for forced in (True, False, True):
        run.train_step(batch, [forced] * (FRAMES - 1), torch.tensor(0.1))
    assert len(graphs) == 9


def test_the_robot_model_compiles_no_graph_for_each_toss_of_teacher_forcing(settings, graphs):
    """Encoder: a window and a step. Decoder: the first number of steps, one, and any other."""
    flags = settings(
        model="svg", vgg_width=1, g_dim=4, z_dim=2, rnn_size=8, n_past=2, n_future=FRAMES - 2,
        n_eval=6, tfr_granularity="step",
    )  # fmt: skip
    model = SVG(SVGConfig.from_settings(flags))
    run, batch = begun(flags, model, torch.rand(WINDOWS, FRAMES, 7), 64)
    steps = itertools.product([True, False], repeat=FRAMES - 1)
    for forced in list(steps)[::3]:
        run.train_step(batch, list(forced), torch.tensor(0.1))
    assert len(graphs) == 5
    evaluate(run, batch, flags)
    assert len(graphs) == 5
