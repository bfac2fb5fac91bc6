"""The orderings that the robot model should show, on demo data: `python -m benchmarks.robot`.

Trains every variant from several seeds for the same number of steps, scores the test sequences,
and compares: best of N against copying the last context frame, with the condition against without,
best of N against the mean of N, posterior against prior, learned prior against fixed. Each
difference is taken by sequence and averaged over the seeds; its 95 % interval is over sequences.
Runs that are there already are not trained again. Results: docs/results.md.
"""

import argparse
from pathlib import Path

import pandas as pd

from benchmarks.scripts import call
from engine.evaluation.sampling import interval

VARIANTS = {
    "condition, fixed prior": "",
    "condition, learned prior": "--prior learned",
    "no condition, fixed prior": "--action_free",
}
FULL, LEARNED, BLIND = VARIANTS


def scores_of(
    data: Path, out: Path, variant: str, seed: int, samples: int, more: str
) -> pd.DataFrame:
    """Train and test a variant where that has not been done; return its scores by sequence."""
    name = variant.replace(", ", "_").replace(" ", "_")
    run, results = out / f"{name}_{seed}", out / f"{name}_{seed}_results"
    if not (results / "sequences.csv").exists():
        flags = ["--model", "svg", "--preset", "quick", "--DR", str(data), "--save_root", str(run)]
        flags += ["--seed", str(seed), *VARIANTS[variant].split(), *more.split()]
        call("Trainer.py", *flags)
        flags = ["--DR", str(data), "--ckpt_path", str(run / "last.ckpt")]
        call("Tester.py", *flags, "--save_root", str(results), "--num_samples", str(samples))
    return pd.read_csv(results / "sequences.csv", index_col="sequence")


def difference(a: list[pd.Series], b: list[pd.Series]) -> dict[str, float]:
    """Return the mean of a − b over seeds and sequences, its interval, and the range by seed."""
    by_seed = [x - y for x, y in zip(a, b, strict=True)]
    mean, half = interval(pd.concat(by_seed, axis=1).mean(axis=1).to_numpy())
    means = [float(d.mean()) for d in by_seed]
    return {"mean": mean, "±": half, "least seed": min(means), "most": max(means)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--DR", type=Path, required=True, help="a set made by demo.robot")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--flags", default="", help="more flags for every training")
    given = parser.parse_args()
    found = {
        variant: [
            scores_of(given.DR, given.out, variant, seed, given.samples, given.flags)
            for seed in given.seeds
        ]
        for variant in VARIANTS
    }
    rows = {}
    for variant, tables in found.items():
        for of in ("best", "mean", "posterior", "copy_last"):
            rows[variant, of] = {
                metric: interval(pd.concat([t[f"{of}_{metric}"] for t in tables]).to_numpy())[0]
                for metric in ("psnr", "ssim")
            }
    print(pd.DataFrame.from_dict(rows, orient="index").to_string(float_format="{:.3f}".format))

    def psnr(variant: str, of: str) -> list[pd.Series]:
        return [table[f"{of}_psnr"] for table in found[variant]]

    best = f"best of {given.samples}"
    orderings = {
        f"{best} − copying": difference(psnr(FULL, "best"), psnr(FULL, "copy_last")),
        f"condition − none ({best})": difference(psnr(FULL, "best"), psnr(BLIND, "best")),
        "condition − none (mean)": difference(psnr(FULL, "mean"), psnr(BLIND, "mean")),
        f"{best} − mean": difference(psnr(FULL, "best"), psnr(FULL, "mean")),
        "posterior − prior (mean)": difference(psnr(FULL, "posterior"), psnr(FULL, "mean")),
        f"learned − fixed prior ({best})": difference(psnr(LEARNED, "best"), psnr(FULL, "best")),
        "learned − fixed prior (mean)": difference(psnr(LEARNED, "mean"), psnr(FULL, "mean")),
        f"no condition: {best} − mean": difference(psnr(BLIND, "best"), psnr(BLIND, "mean")),
        "no condition: posterior − mean": difference(psnr(BLIND, "posterior"), psnr(BLIND, "mean")),
    }
    table = pd.DataFrame.from_dict(orderings, orient="index")
    print(f"\nPSNR in dB\n{table.to_string(float_format='{:+.2f}'.format)}")


if __name__ == "__main__":
    main()
