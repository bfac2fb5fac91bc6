"""Operations of a training step, counted: `python -m benchmarks.launches` (docs/results.md).

No GPU is needed, and nothing is timed. What PyTorch dispatches is counted on small pictures, which
does not change the number, in two forms: that for CPUs, which was the only one before, and that for
GPUs. Recorded, a step is one launch of a graph with as many nodes; what is left to the
host are the operations that make its inputs.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pandas as pd
import torch
from torch.nn.utils import clip_grad

from benchmarks.gpu_cases import CASES, CPU, Case, begin, stepping
from core.device import Compute
from data.dance import DanceWindows
from demo.dance import make_dataset
from modules.layers import GatedFeedForward
from tests.support.launches import Launches

SMALL_PICTURES = {"frame_H": 8, "frame_W": 8}


@contextlib.contextmanager
def form_for_gpus(has_it: bool) -> Iterator[None]:
    """Within the block layers are written as on a GPU, or as on a CPU; norms as on a GPU always."""
    mix = GatedFeedForward._mix_at_once if has_it else GatedFeedForward._mix_by_halves
    with (
        mock.patch.object(GatedFeedForward, "_mix_by_halves", mix),
        mock.patch.object(clip_grad, "_has_foreach_support", return_value=True),
    ):
        yield


def step_of(case: Case, masked: bool) -> Launches:
    """Count the step of a case, in bf16."""
    with form_for_gpus(masked):
        run, batch = begin(case.settings(**SMALL_PICTURES), Compute(CPU, bf16=True))
        if case.flags.get("optim") != "AdamW" and hasattr(run.optimizer, "masked"):
            run.optimizer.masked = masked
        step = stepping(run, batch, case.forced)
        step()
        with Launches() as launches:
            step()
    del launches.by_name["normal_"]  # noise, which the host draws row by row
    return launches


def inputs_of(case: Case) -> int:
    """Count what makes the inputs of a step: windows gathered and moved, noise, swapped context."""
    with tempfile.TemporaryDirectory() as folder:
        make_dataset(
            Path(folder), train_frames=80, val_frames=4, test_sequences=1, sequence_length=4
        )
        settings = case.settings(DR=folder, cache_dir=str(Path(folder) / "cache"), num_workers=1)
        data = DanceWindows(settings, CPU)
        run, _ = begin(settings, Compute(CPU))
        with Launches() as launches:
            batch = next(data.batches(0))
            run._inputs(batch, 0.0)
    del launches.by_name["normal_"]
    return launches.count


def main() -> None:
    torch.manual_seed(0)
    rows = {}
    for case in CASES:
        if case.flags.get("model") == "svg":
            continue  # an LSTM is one operation on a GPU and many on a CPU
        before, after = (step_of(case, masked) for masked in (False, True))
        rows[case.name] = {
            "before": before.count,
            "casts": before.casts,
            "after, as nodes of the graph": after.count,
            "casts ": after.casts,
        }
    print(pd.DataFrame.from_dict(rows, orient="index").to_string())
    quick = next(case for case in CASES if case.name == "quick, 16 × 2")
    print(f"beside the graph, for the inputs of a step of {quick.name}: {inputs_of(quick)}")


if __name__ == "__main__":
    main()
