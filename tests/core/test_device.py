"""What makes it fast changes nothing but rounding: bf16, compilation."""

import resource
import shutil
import sys
from functools import partialmethod
from pathlib import Path

import pytest
import torch
from torch import nn

from core.device import Compute, choose_compute, keep_freed_memory
from core.errors import UserError
from data.types import Clip
from engine.evaluation.rollout import rollout
from tests.support.models import loss_of
from tests.support.scripts import join, start
from tests.support.vae import tiny, window_inputs

CPU = torch.device("cpu")


@pytest.mark.parametrize("forced", [True, False])
def test_bf16_is_within_its_rounding(forced):
    """bf16 has 8 bits: 2⁻⁸ a product, so per cents on the loss and on the gradient's direction."""
    results = []
    for compute in (Compute(CPU), Compute(CPU, bf16=True)):
        model = compute.prepare(tiny())
        with compute.autocast():
            loss, metrics, _ = loss_of(model, **window_inputs(model), teacher_forcing=[forced] * 3)
        assert all(value.dtype == torch.float32 for value in metrics.values())
        loss.backward()
        results.append((loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])))
    (loss, gradient), (bf16_loss, bf16_gradient) = results
    torch.testing.assert_close(bf16_loss, loss, rtol=0.02, atol=0)
    assert torch.cosine_similarity(gradient, bf16_gradient, dim=0) > 0.99


def test_bf16_rolls_out_within_its_rounding():
    clip = Clip("0", *(torch.randint(0, 256, (n, 3, 32, 64)).byte() for n in (1, 20)))
    frames = []
    for compute in (Compute(CPU), Compute(CPU, bf16=True)):
        model = compute.prepare(tiny()).eval()
        frames.append(rollout(model, [clip], compute=compute)[0].float())
    assert (frames[0] - frames[1]).abs().max() <= 4  # gray levels


@pytest.mark.parametrize(
    "backend",
    [
        "aot_eager",  # traces the networks and their gradients as any does, and generates no code
        pytest.param(
            "inductor",
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(shutil.which("g++") is None, reason="on a CPU it needs g++"),
            ],
        ),
    ],
)
def test_compiled_networks_train_as_eager_ones(backend, monkeypatch):
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend=backend))
    torch.compiler.reset()
    results = []
    for compiled in (False, True):
        compute = Compute(CPU, compiled=compiled)
        model = compute.prepare(tiny(frame_H=12, frame_W=16))
        loss, *_ = loss_of(model, **window_inputs(model), teacher_forcing=[True] * 3)
        loss.backward()
        assert (model.Generator._compiled_call_impl is not None) == compiled
        results.append((loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])))
    (loss, gradient), (compiled_loss, compiled_gradient) = results
    torch.testing.assert_close(compiled_loss, loss, rtol=1e-5, atol=0)
    largest = gradient.abs().max().item()
    torch.testing.assert_close(compiled_gradient, gradient, rtol=0, atol=1e-5 * largest)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_freed_memory_is_kept_for_the_next_step(tmp_path):
    """Memory given back and taken anew is mapped page by page: 25,000 faults for 100 MB.

    In a fresh process: one that was ever refused memory, as other tests are, takes large blocks
    from the system again.
    """
    assert join([start(count_faults, tmp_path / "faults")]) == [0]
    assert int((tmp_path / "faults").read_text()) < 1000


def count_faults(file: Path) -> None:
    """Write down the page faults of the last of many large tensors; the first find their places."""
    keep_freed_memory()
    for _ in range(20):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(25_000_000)
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    file.write_text(str(faults))


def test_precision_and_compile_flags_are_what_they_say(monkeypatch):
    assert choose_compute(CPU, "bf16", "on") == Compute(CPU, bf16=True, compiled=True)
    assert choose_compute(CPU, "fp32", "auto") == Compute(CPU)
    for has in (True, False):
        monkeypatch.setattr("core.device._cpu_multiplies_bf16", lambda has=has: has)
        assert choose_compute(CPU, "auto", "off").bf16 is has
    with pytest.raises(UserError, match="--precision"):
        choose_compute(torch.device("mps"), "bf16", "off")


def test_bf16_is_asked_of_the_very_device_and_refused_where_it_has_none(monkeypatch):
    """Of two GPUs, the current one has bf16 and cuda:1 has not."""
    current = [0]

    class Current:
        def __init__(self, device: torch.device):
            self.device = device

        def __enter__(self):
            current.append(self.device.index or 0)

        def __exit__(self, *_):
            current.pop()

    monkeypatch.setattr(torch.cuda, "device", Current)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: current[-1] == 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU of before")
    one, other = (torch.device("cuda", index) for index in range(2))
    assert choose_compute(one, "bf16", "off").bf16
    assert choose_compute(one, "auto", "off").bf16
    assert not choose_compute(other, "auto", "off").bf16
    with pytest.raises(UserError, match="--precision bf16: cuda:1, a GPU of before"):
        choose_compute(other, "bf16", "off")


@pytest.mark.parametrize("lacking", [None, "triton", "compiler", "header"])
def test_networks_are_compiled_where_triton_finds_a_compiler_and_the_header(
    monkeypatch, tmp_path, lacking
):
    if lacking != "header":
        (tmp_path / "Python.h").touch()
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("core.device.find_spec", lambda name: lacking != "triton" or None)
    monkeypatch.setattr("core.device.sysconfig.get_path", lambda name: str(tmp_path))
    found = [] if lacking == "compiler" else ["clang"]
    monkeypatch.setattr("core.device.shutil.which", lambda name: name in found or None)
    monkeypatch.setattr("core.device._multiplies_bf16", lambda device: True)
    cuda = torch.device("cuda")
    assert choose_compute(cuda, "auto", "auto").compiled is (lacking is None)
    monkeypatch.setenv("CC", "clang-of-my-own")  # it is what Triton takes, and is not there
    assert not choose_compute(cuda, "auto", "auto").compiled
