"""The experiments of the lab's reports over seeds: `python -m benchmarks.lab_experiments NAME`.

Each trains its arms from every seed (a sweep, which goes on where it was stopped), and writes their
scores beside the baselines, their differences by seed, and figures. What they find:
docs/results.md.

annealing  KL annealing by type, with teacher forcing that decays and without any
latent     what the latent carries at β = 1 and at a small β
improvements   output activation, learning rate schedule and batch size, one at a time
robot      the robot: Cyclical against Monotonic
amount     amounts of training data, at equal epochs and at equal steps
"""

import argparse
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from benchmarks.robot import difference as difference_by_sequence
from core.device import choose_compute, choose_device
from core.errors import UserError, exit_on_user_error
from core.files import atomic_write
from dataloader import validation_clips
from engine.checkpoints import checkpoint
from engine.evaluation.metrics import psnr_by_frame
from engine.evaluation.rollout import rollout
from report.arm_figures import arm_figures, baselines_of, score_rows
from report.arms import arms_of, arms_table, difference, markdown
from report.runs import read_records
from report.style import write_png
from report.sweep import TEST_FOLDER, Sweep, run_sweep
from report.sweep_flags import Experiments, grid, name_of, one_at_a_time
from settings.flags import tester_parser
from settings.resolve import make_settings
from Tester import Test_model

# The lab's method on networks that two cores train: windows rolled out in patches of 4.
NETWORKS = (
    "--patch_size 4 --F_dim 64 --L_dim 16 --N_dim 4 --D_out_dim 96 --positional_bias "
    "--train_vi_len 4 --optim Muon --lr 3e-3 --lr_warmup 20 --val_vi_len 105 --per_save 1000 "
    "--threads 1"
)
COURSE = f"{NETWORKS} --holdout 2260:2890"
DECAYING = "--tfr_sde 1 --tfr_d_step 0.125"  # from --tfr 1 none is left after eight epochs
ANNEALED = "--batch_size 16 --num_epoch 15 --per_val 5 --kl_anneal_cycle 3"
EQUAL_EPOCHS = 1  # of every amount of data
PICTURE_DPI = 90


@dataclass(frozen=True)
class Experiment:
    """Arms, what all of them share, and what is to be found out beyond the scores of arms."""

    arms: Callable[[list[str]], Experiments]  # of some seeds
    shared: str
    split: str = "val"  # that the Tester rolls out
    more: Callable[[Sequence[Path], str], tuple[str, dict[str, Figure]]] | None = None


def main_arms(**choices: str) -> Callable[[list[str]], Experiments]:
    """Return what makes a grid of the values of each flag, which spaces part."""
    return lambda seeds: grid({name: v.split() for name, v in choices.items()} | {"seed": seeds})


def improvements(seeds: list[str]) -> Experiments:
    """What the course's report improves by, one at a time."""
    choices = {"output_activation": ["sigmoid", "none"], "lr_schedule": ["cosine", "multistep"]}
    return one_at_a_time(choices | {"batch_size": ["8", "2", "4"], "seed": seeds})


def amounts(seeds: list[str]) -> Experiments:
    """The first 2,890, 8,000 and all of 23,410 frames: for as many epochs, or as many steps.

    A step takes the same time whatever the data, so equal steps are equal minutes.
    """
    parts = {"0.12346": 2_890, "0.34174": 8_000, "1": 23_410}
    arms = [{"partial": part, "num_epoch": str(EQUAL_EPOCHS)} for part in parts]
    arms += [
        {"partial": part, "num_epoch": str(round(EQUAL_EPOCHS * 23_410 / frames))}
        for part, frames in list(parts.items())[:-1]
    ]
    return {name_of(arm | {"seed": s}): arm | {"seed": s} for s in seeds for arm in arms}


# ------------------------------------------------------------------- beyond the scores of arms


def latents(paths: Sequence[Path], data: str) -> tuple[str, dict[str, Figure]]:
    """Roll the holdout out with the prior's z, its mean, and the posterior's (an oracle)."""
    kinds = {
        "z from the prior": {"z": "sample"},
        "z = the prior's mean": {"z": "mean"},
        "z from the posterior (oracle)": {"z": "sample", "posterior": True},
    }
    found: dict[str, dict[str, list[float]]] = {}
    kl: dict[str, list[float]] = {}
    records = read_records(paths)
    for path, record in zip(paths, records):
        stored = checkpoint.find(str(path), prefer=checkpoint.LAST)
        explicit = {"DR": data, "ckpt_path": str(stored.path)}
        settings = make_settings(tester_parser(), explicit, stored.settings)
        model = Test_model(settings)
        model.load_checkpoint()
        clip = next(iter(validation_clips(settings).values()))[0]
        compute = choose_compute(choose_device("auto"), settings.precision, "off")
        network = compute.prepare(model.task.model).eval()
        arm = f"β = {settings.kl_anneal_stop:g}"
        for kind, how in kinds.items():
            (frames,) = rollout(network, [clip], compute=compute, seed=settings.seed, **how)
            psnr = psnr_by_frame(frames[1:], clip.frames[1:]).mean()
            found.setdefault(arm, {}).setdefault(kind, []).append(float(psnr))
        kl.setdefault(arm, []).append(record.column(f"{record.judge}_posterior_kl")[1][-1])
    rows = [
        [arm, *(words(values) for values in of.values()), words(kl[arm], "{:.3g}")]
        for arm, of in found.items()
    ]
    heads = ["PSNR (dB) on the holdout by seed", *kinds, "KL of the posterior, nats a frame"]
    across, baselines = "PSNR of the holdout rolled out (dB)", baselines_of(arms_of(records))
    return markdown(heads, rows), {"latent": score_rows(found, across, baselines)}


def samples(paths: Sequence[Path], data: str) -> tuple[str, dict[str, Figure]]:
    """Compare the robot's annealing types by the samples of the test sequences."""
    tables: dict[str, list[pd.DataFrame]] = {}
    for path, record in zip(paths, read_records(paths)):
        table = pd.read_csv(path / TEST_FOLDER / "sequences.csv", index_col="sequence")
        tables.setdefault(record.settings["kl_anneal_type"], []).append(table)
    kinds = {"best": "best sample", "mean": "mean sample", "posterior": "posterior (oracle)"}
    scores = {
        arm: {name: [float(t[f"{kind}_psnr"].mean()) for t in of] for kind, name in kinds.items()}
        for arm, of in tables.items()
    }
    rows = [[arm, *(words(values) for values in of.values())] for arm, of in scores.items()]
    text = markdown(["PSNR (dB) by seed", *kinds.values()], rows)
    rows, pair = [], ("Cyclical", "Monotonic")
    for kind, name in kinds.items():
        over = difference_by_sequence(*([t[f"{kind}_psnr"] for t in tables[arm]] for arm in pair))
        by_seed = ({str(k): psnr for k, psnr in enumerate(scores[arm][name])} for arm in pair)
        mean, half, each = difference(*by_seed)
        cells = (f"{mean:+.2f}", f"{over['±']:.2f}", f"{half:.2f}", words(each, "{:+.2f}"))
        rows.append([name, *cells])
    heads = [f"{' − '.join(pair)} (dB)", "mean", "± over sequences", "± over seeds", "by seed"]
    copied = float(next(iter(tables.values()))[0]["copy_last_psnr"].mean())
    across = "PSNR of the test sequences (dB)"
    figure = score_rows(scores, across, {"copy last context frame": copied})
    return f"{text}\n{markdown(heads, rows)}", {"samples": figure}


def words(values: Sequence[float], form: str = "{:.2f}") -> str:
    """Return the scores of the seeds, one by one."""
    return ", ".join(form.format(value) for value in values)


EXPERIMENTS = {
    "annealing": Experiment(
        main_arms(kl_anneal_type="Cyclical Monotonic None", tfr="1 0"),
        f"{COURSE} {ANNEALED} {DECAYING}",
    ),
    "latent": Experiment(
        main_arms(kl_anneal_stop="1 1e-6 1e-8"),
        f"{COURSE} {ANNEALED} {DECAYING} --tfr 1 --kl_anneal_type None",
        more=latents,
    ),
    "improvements": Experiment(
        improvements, f"{COURSE} --num_epoch 6 --per_val 3 --kl_anneal_type None --tfr 0"
    ),
    "robot": Experiment(
        main_arms(kl_anneal_type="Cyclical Monotonic"),
        "--model svg --preset quick --vgg_width 8 --rnn_size 72 --epoch_size 10 --per_val 20 "
        "--num_epoch 20 --kl_anneal_cycle 3 --kl_anneal_ratio 0.5 --kl_anneal_stop 1e-4 "
        "--threads 1",
        split="test",
        more=samples,
    ),
    "amount": Experiment(
        amounts, f"{NETWORKS} --batch_size 16 --per_val 100 --kl_anneal_type None --tfr 0"
    ),
}


@exit_on_user_error
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=EXPERIMENTS, metavar="NAME")
    parser.add_argument("--DR", required=True, help="data set; of `amount` one of 23,410 frames")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", nargs="+", default=["1", "2", "3"])
    parser.add_argument("--devices", nargs="+", default=[None], help="as of Reporter.py --sweep")
    parser.add_argument("--figures", type=Path, help="folder of the figures (default: --out)")
    given = parser.parse_args()
    experiment, out = EXPERIMENTS[given.name], given.out / given.name
    sweep = Sweep(
        experiment.arms(given.seeds), experiment.shared.split(), given.DR, experiment.split
    )
    paths, failed = run_sweep(sweep, out, given.devices)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    minutes = (used.ru_utime + used.ru_stime) / 60
    print(f"{minutes:.1f} minutes of processor time for what was trained and tested now")
    if paths:
        report(experiment, given.name, paths, given)
    if failed:
        raise UserError("; ".join(f"{name}: {how}" for name, how in failed.items()))


def report(
    experiment: Experiment, name: str, paths: Sequence[Path], given: argparse.Namespace
) -> None:
    """Write the tables and the figures of some runs."""
    arms = arms_of(read_records(paths))
    text, figures = arms_table(arms), arm_figures(arms)
    if experiment.more:
        added, drawn = experiment.more(paths, given.DR)
        text, figures = f"{text}\n{added}", figures | drawn
    print(text)
    with atomic_write(given.out / f"{name}.md") as file:
        file.write(text.encode())
    folder = given.figures or given.out
    for figure_name, figure in figures.items():
        path = folder / f"lab-{name}-{figure_name.removeprefix('arms_')}.png"
        write_png(figure, path, PICTURE_DPI)


if __name__ == "__main__":
    main()
