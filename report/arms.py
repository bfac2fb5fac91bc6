"""Runs that differ in nothing but the seed, as one arm: its mean, its spread, arms compared.

A difference is taken by seed, and its interval is over the seeds (Student's t): what is left is
what one seed more would say otherwise.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from report.rollouts import COPIED
from report.runs import Record, differing_settings

BASELINES = COPIED | {"nearest_pose": "nearest pose"}
# Two-sided 95 % quantiles of Student's t, by degrees of freedom from 1; and of the normal.
T_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
NORMAL_QUANTILE = 1.959964


@dataclass(frozen=True)
class Arm:
    """The runs of one setting, by their seed."""

    settings: dict[str, str]  # in which the arms differ
    runs: dict[str, Record]

    @property
    def label(self) -> str:
        """The settings in words."""
        short = (f"{n.removeprefix('kl_anneal_')}={v or '–'}" for n, v in self.settings.items())
        return " ".join(short) or "all runs"

    @property
    def seeds(self) -> set[str]:
        """The seeds that its runs are known to have."""
        known = (record.settings.get("seed") for record in self.runs.values())
        return {str(seed) for seed in known if seed is not None}

    def scores(self, column: str) -> dict[str, float]:
        """Return by seed what a column of the log holds last, where it was logged."""
        logged = {seed: record.column(column)[1] for seed, record in self.runs.items()}
        return {seed: float(values[-1]) for seed, values in logged.items() if len(values)}

    def best(self, column: str) -> dict[str, float]:
        """Return by seed the greatest value of a column."""
        logged = {seed: record.column(column)[1] for seed, record in self.runs.items()}
        return {seed: float(values.max()) for seed, values in logged.items() if len(values)}


def arms_of(records: Sequence[Record]) -> list[Arm]:
    """Return the arms of some runs, in the order of their first runs."""
    differing = differing_settings(records)
    seeds = differing.pop("seed", None)
    arms: dict[tuple[str, ...], Arm] = {}
    for index, record in enumerate(records):
        own = {name: values[index] for name, values in differing.items()}
        arm = arms.setdefault(tuple(own.values()), Arm(own, {}))
        seed = seeds[index] if seeds else str(record.settings.get("seed", "–"))
        arm.runs[seed if seed not in arm.runs else f"{seed} ({record.label})"] = record
    return list(arms.values())


def difference(a: dict[str, float], b: dict[str, float]) -> tuple[float, float, list[float]]:
    """Return the mean of a − b over the seeds of both, half its 95 % interval, and each.

    The half is NaN for less than two seeds.
    """
    each = [a[seed] - b[seed] for seed in a if seed in b]
    if not each:
        return float("nan"), float("nan"), each
    if len(each) < 2:
        return each[0], float("nan"), each
    half = t_quantile(len(each) - 1) * float(np.std(each, ddof=1)) / len(each) ** 0.5
    return float(np.mean(each)), half, each


def t_quantile(freedom: int) -> float:
    """Return the two-sided 95 % quantile of Student's t.

    Beyond the table by its expansion around the normal's (Abramowitz & Stegun, 26.7.5).
    """
    if freedom <= len(T_QUANTILES):
        return T_QUANTILES[freedom - 1]
    z = NORMAL_QUANTILE
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def neighbors(arms: Sequence[Arm]) -> list[tuple[Arm, Arm]]:
    """Return the pairs of arms that differ in one setting alone; all pairs where there are none."""
    pairs = list(itertools.combinations(arms, 2))
    near = [
        (a, b)
        for a, b in pairs
        if sum(value != b.settings[name] for name, value in a.settings.items()) == 1
    ]
    return near or pairs


def over_the_rest(arms: Sequence[Arm], column: str) -> dict[str, tuple[float, float, list[float]]]:
    """Return for every two values of a setting their difference, averaged over all other settings.

    The average is taken within each seed, whose runs are not independent of each other; the
    interval is over the seeds. By `name=a − name=b`, as `difference` returns it; a setting that the
    arms have in one surrounding alone is left out, and values that were not trained in all.
    """
    found = {}
    for name in arms[0].settings if arms else ():
        scores: dict[str, dict[tuple, dict[str, float]]] = {}  # by value and by the rest
        for arm in arms:
            rest = tuple(value for other, value in arm.settings.items() if other != name)
            scores.setdefault(arm.settings[name], {})[rest] = arm.scores(column)
        short = name.removeprefix("kl_anneal_")
        for (a, of_a), (b, of_b) in itertools.combinations(scores.items(), 2):
            if of_a.keys() == of_b.keys() and len(of_a) > 1:
                found[f"{short}={a} − {short}={b}"] = difference(*map(_by_seed, (of_a, of_b)))
    return found


def _by_seed(surroundings: dict[tuple, dict[str, float]]) -> dict[str, float]:
    """Return the mean over the surroundings of every seed that all of them have."""
    seeds = list(surroundings.values())
    return {
        s: float(np.mean([of[s] for of in seeds])) for s in seeds[0] if all(s in o for o in seeds)
    }


def arms_table(arms: Sequence[Arm]) -> str:
    """Return the scores of the arms and their differences as Markdown, a part for each set."""
    names = dict.fromkeys(
        name for arm in arms for record in arm.runs.values() for name in record.validation_sets
    )
    return "\n".join(_scores(arms, name) + "\n" + _differences(arms, name) for name in names)


def _scores(arms: Sequence[Arm], name: str) -> str:
    """Return the table of one set: PSNR of the last epoch, beside its best and the baselines.

    The MSE of training and of the set's rollout stand side by side: their distance is what training
    does not know of.
    """
    psnr = f"{name}_psnr"
    columns = {  # head: (column of the log, how it is written)
        "SSIM": (f"{name}_ssim", ".3f"),
        "training MSE": ("mse", ".2g"),
        f"{name} MSE": (f"{name}_mse", ".2g"),
        **{words: (f"{name}_{baseline}_psnr", ".2f") for baseline, words in BASELINES.items()},
    }
    columns = {
        head: (column, form)
        for head, (column, form) in columns.items()
        if any(arm.scores(column) for arm in arms)
    }
    rows = []
    for arm in arms:
        if not (by_seed := arm.scores(psnr)):
            continue
        values = list(by_seed.values())
        spread = f"{np.std(values, ddof=1):.2f}" if len(values) > 1 else "–"
        each = ", ".join(f"{value:.2f}" for value in values)
        row = [arm.label, ", ".join(by_seed), _mean(by_seed, ".2f"), spread, each]
        row += [_mean(arm.best(psnr), ".2f")]
        rows.append(row + [_mean(arm.scores(column), form) for column, form in columns.values()])
    heads = ["", "seeds", "PSNR (dB)", "± sd", "by seed", "best epoch", *columns]
    return f"### {name}: PSNR of the last epoch\n\n{markdown(heads, rows)}"


def _differences(arms: Sequence[Arm], name: str) -> str:
    """Return the tables of the paired differences in PSNR; empty where no seed is in two arms."""
    column = f"{name}_psnr"
    by_seed = {
        f"{a.label} − {b.label}": difference(a.scores(column), b.scores(column))
        for a, b in neighbors(arms)
    }
    tables = {"by seed": by_seed, "by seed, over all other settings": over_the_rest(arms, column)}
    parts = []
    for words, found in tables.items():
        rows = []
        for pair, (mean, half, each) in found.items():
            known = len(each) > 1
            told = "–" if not known else "yes" if abs(mean) > half else "no"
            cells = [f"{half:.2f}" if known else "–", ", ".join(f"{d:+.2f}" for d in each), told]
            rows += [[pair, f"{mean:+.2f}", *cells]] if each else []
        if rows:
            heads = ["difference (dB)", "mean", "± 95 %", "each", "told apart"]
            parts.append(f"### {name}: differences {words}\n\n{markdown(heads, rows)}")
    return "\n".join(parts)


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown, ending in a line break."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _mean(found: dict[str, float], form: str) -> str:
    return f"{np.mean(list(found.values())):{form}}" if found else "–"
