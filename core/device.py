"""Where and in which precision a model computes."""

import contextlib
import ctypes
import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from core import distributed
from core.errors import UserError


def choose_device(name: str) -> torch.device:
    """Return the device of `--device`: auto takes CUDA, then MPS, then the CPU.

    Of several processes each takes the GPU of its number on the machine. Raises UserError where
    the device is unknown or not on this machine.
    """
    if distributed.world_size() > 1:
        return _own_device(name)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device {name}: expected auto, cpu, cuda, cuda:N or mps") from None
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(device.type, False):
        raise UserError(f"--device {name}: not on this machine; --device auto takes what is here")
    return device


def _own_device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise UserError(
            f"--device {name}: under torchrun each process takes the GPU of its number; "
            "--device cuda or cpu (CUDA_VISIBLE_DEVICES chooses GPUs)"
        )
    if name == "cuda" and distributed.local_rank() >= torch.cuda.device_count():
        raise UserError(
            f"--device cuda: {torch.cuda.device_count()} GPUs here, and process "
            f"{distributed.local_rank()} has none; lower --nproc_per_node, or --device cpu"
        )
    return torch.device(name, distributed.local_rank()) if name == "cuda" else torch.device(name)


@dataclass(frozen=True)
class Compute:
    """A device, whether convolutions run in bfloat16 there, and whether networks are compiled."""

    device: torch.device
    bf16: bool = False
    compiled: bool = False

    def autocast(self) -> torch.autocast:
        """Return the context for the forward pass; losses leave it in float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def uncompiled(self) -> contextlib.AbstractContextManager:
        """Return the context in which the networks run as they are written.

        For what runs in shapes of its own and not for long: rollouts, statistics, diagnostics. To
        compile for them took longer than they do; a long rollout on CUDA is a graph in any case.
        """
        if not self.compiled:
            return contextlib.nullcontext()
        return torch.compiler.set_stance("force_eager")

    def prepare(self, model: nn.Module) -> nn.Module:
        """Move a model here, colors last in memory, and compile each of its networks.

        The networks, and not the whole step: a step of T frames calls them T times, and unrolled
        it would take minutes to compile.
        """
        model.to(self.device, memory_format=torch.channels_last)
        if self.device.type == "cpu":
            keep_freed_memory()
        if self.compiled:
            # Training with and without teacher forcing have shapes of their own, and all networks
            # count towards one limit.
            torch._dynamo.config.recompile_limit = 64
            # It would cut each network at the bounds of DistributedDataParallel's buckets, to
            # begin exchanging within one; between networks that happens without it.
            torch._dynamo.config.optimize_ddp = False
            for network in model.children():
                network.compile(dynamic=False)
        return model


def keep_freed_memory() -> None:
    """Have glibc keep the memory that is freed, for this process; elsewhere do nothing.

    It gives large blocks back to the system at once and takes new ones, page by page and zeroed,
    at the next step: a third of the time of a step with large activations.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        trim_threshold, mmap_max = -1, -4  # parameter numbers in malloc.h
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, -1)


def choose_compute(device: torch.device, precision: str, compile_networks: str) -> Compute:
    """Return how `--precision` and `--compile` compute.

    Precision auto takes bf16 where the hardware multiplies in it; compile auto compiles on CUDA
    (on two CPU cores it was slower than eager: benchmarks/speed.py).

    Raises UserError where bf16 is asked for and the device has none.
    """
    if precision == "bf16" and device.type not in ("cpu", "cuda"):
        raise UserError(f"--precision bf16 is for cpu and cuda, not {device.type}; use fp32")
    bf16 = precision != "fp32" and _multiplies_bf16(device)
    if precision == "bf16" and not bf16:
        if device.type == "cuda":
            name = torch.cuda.get_device_name(device)
            raise UserError(f"--precision bf16: {device}, {name}, has none; use fp32 or auto")
        bf16 = True  # slow on such a CPU, but the same numbers
    pays = device.type == "cuda" and _has_compiler()
    compiled = compile_networks == "on" or (compile_networks == "auto" and pays)
    return Compute(device, bf16, compiled)


def _has_compiler() -> bool:
    """Tell whether torch.compile finds what it needs on CUDA.

    That is Triton, and what Triton compiles its launchers with: $CC, gcc or clang, and the header
    of this Python, which slim images and systems without python3-dev lack.
    """
    compilers = [os.environ["CC"]] if os.environ.get("CC") else ["gcc", "clang"]
    header = Path(sysconfig.get_path("include"), "Python.h")
    return (
        find_spec("triton") is not None and any(map(shutil.which, compilers)) and header.is_file()
    )


def _multiplies_bf16(device: torch.device) -> bool:
    """Tell whether this very device has bf16 instructions."""
    if device.type == "cuda":
        with torch.cuda.device(device):  # what is asked is the current one
            return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and _cpu_multiplies_bf16()


def _cpu_multiplies_bf16() -> bool:
    """Tell whether the CPU has bf16 instructions (AVX512-BF16, AMX); emulated bf16 is slow."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)
