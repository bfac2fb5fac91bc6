"""The page: figures, tables and a player of rollouts in one HTML file that needs no network.

Text of users (names of runs, sequences, settings) is escaped by the template or set as text by
page.js. The policy in the page lets the browser run the one script by its hash, and load nothing.
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader

from core.files import atomic_write
from report import style
from report.codec import can_fit, pack_all
from report.film import RATE, film_all, has_encoder
from report.leaderboard import HEADS, standings
from report.rollout_figures import ERROR_SCALE, error_ramp, weak_spots
from report.rollouts import INPUTS, POSE, TRUTH, Rollout, by_data, by_sequence
from report.runs import Record, differing_settings

MAX_BYTES = 14_500_000  # of the page; above, pictures are packed less exactly
CAPTIONS = {
    "samples": ("Samples by frame", "Means over the sequences, with their 95 % intervals."),
    "scores": (
        "PSNR and SSIM by frame",
        "Triangles: the weakest spots of each run. Under them, how much the pose changes and how "
        "far it is from the nearest training pose.",
    ),
    "drift": ("Drift", "Does a rollout drift? All sequences together."),
    "run": (
        "The run over its epochs",
        "Circles: validation on the set that chooses the best checkpoint, rolled out as in a test.",
    ),
    "losses": (
        "Losses",
        "Training: means over the steps of each epoch. Circles: the rollouts of validation, of the "
        "set that chooses the best checkpoint. Crosses: with the posterior of the true frames "
        "(oracle).",
    ),
    "schedules": ("Schedules", "What the epochs were trained with."),
    "teacher_forcing": ("Teacher forcing and loss", ""),
    "annealing": (
        "KL annealing by type",
        "A column for each type; axes are shared along the rows.",
    ),
    "validation": (
        "Validation",
        "Rolled out from frame 0 as in a test. Large dots: the best epoch.",
    ),
    "arms_scores": ("Settings over seeds", "Runs that differ in their seed alone, together."),
    "arms_frames": ("PSNR by frame over seeds", "Means, and the range in which the seeds lie."),
    "arms_losses": (
        "Training and validation over seeds",
        "On the right the same of the rollout of validation. Means, and the range of the seeds.",
    ),
}
SHORT = {"psnr": "PSNR, dB", "ssim": "SSIM"}  # over a column of scores
# The figures' colors in the page are its own, so that they follow light and dark.
THEMED = {
    **{color.lower(): f"var(--c{k})" for k, color in enumerate(style.COLORS)},
    style.INK.lower(): "var(--ink)",
    style.GRAY.lower(): "var(--soft)",
    style.RULE.lower(): "var(--rule)",
    style.PAPER.lower(): "none",
}


def write_page(path: Path, title: str, records: Sequence[Record], figures: dict[str, str]) -> None:
    """Write the page of some runs with their figures. Its size stays under 15 MB if it can."""
    rollouts = {record.label: record.rollouts for record in records if record.rollouts}
    js = _file("page.js")
    digest = base64.b64encode(hashlib.sha256(f"\n{js}\n".encode()).digest()).decode()
    parts = {
        "title": title,
        "labels": [record.label for record in records],
        "trained": [record.label for record in records if record.log],
        "tested": list(rollouts),
        "sequences": len(by_sequence(rollouts)),
        "units": SHORT.values(),
        "scores": _scores(rollouts),
        "correlations": _correlations(rollouts),
        "heads": HEADS,
        "standings": standings(records),
        "figures": [_figure(name, svg, len(rollouts)) for name, svg in figures.items()],
        "settings": differing_settings(records),
        "css": _file("page.css").replace("{{ramp}}", ", ".join(f"rgb{c}" for c in error_ramp())),
        "js": js,
        "digest": digest,
        "error_scale": ERROR_SCALE,
    }
    environment = Environment(loader=PackageLoader("report", ""), autoescape=True)
    page = environment.get_template("page.html")
    if rollouts:
        room = MAX_BYTES - len(page.render(parts, tolerance=0, film=False).encode())
        parts["data"], parts["tolerance"], parts["film"] = _data(rollouts, room)
    with atomic_write(path) as file:
        file.write(page.render(parts).encode())


def _file(name: str) -> str:
    return resources.files("report").joinpath(name).read_text(encoding="utf-8")


# ----------------------------------------------------------------------- player


def _data(rollouts: dict[str, Sequence[Rollout]], room: int) -> tuple[str, int, bool]:
    """Return the player's data as script elements, the clips' tolerance, and if they are films.

    Equal clips are stored once, so that runs share poses and truths.
    """
    blobs: dict[bytes, tuple[int, np.ndarray]] = {}

    def blob(frames: np.ndarray) -> int:
        key = hashlib.sha256(repr(frames.shape).encode() + frames.tobytes()).digest()
        return blobs.setdefault(key, (len(blobs), frames))[0]

    sequences = []
    for name, of_runs in by_data(rollouts).items():
        some = next(iter(of_runs.values()))
        frames, height, width, _ = next(iter(some.clips.values())).shape
        sequences.append(
            {
                "name": name,
                "frames": frames,
                "height": height,
                "width": width,
                "given": some.given,
                "clips": [
                    {"name": n, "blob": blob(some.clips[n])} for n in INPUTS if n in some.clips
                ],
                "runs": [_of_run(label, rollout, blob) for label, rollout in of_runs.items()],
            }
        )
    meta = {"errorScale": ERROR_SCALE, "ramp": error_ramp(), "labels": list(rollouts)}
    scores = json.dumps(sequences)
    clips, room = [frames for _, frames in blobs.values()], room - len(scores) - 4096
    tolerance, texts = 0, []
    if exact := can_fit(clips, room) or not has_encoder():
        texts, tolerance = pack_all(clips, room)
        exact = sum(map(len, texts)) <= room or not has_encoder()
    if not exact:
        texts, tolerance = film_all(clips, room), 0
    meta |= {"tolerance": tolerance, "filmRate": 0 if exact else RATE}
    content = json.dumps(meta | {"sequences": sequences})
    for character in "<>&":  # none of them can then end the element, whatever a run is called
        content = content.replace(character, f"\\u{ord(character):04x}")
    elements = [f'<script type="application/json" id="data">{content}</script>']
    elements += [
        f'<script type="text/plain" id="clip{index}">{text}</script>'
        for index, text in enumerate(texts)
    ]
    return "\n".join(elements), tolerance, not exact


def _of_run(label: str, rollout: Rollout, blob) -> dict:
    truth = blob(rollout.clips[TRUTH]) if TRUTH in rollout.clips else None
    return {
        "label": label,
        "clips": [
            {"name": name, "blob": blob(frames), "truth": truth}
            for name, frames in rollout.clips.items()
            if name not in INPUTS
        ],
        "scores": {
            metric: {
                name: [None if np.isnan(v) else round(float(v), 4) for v in values]
                for name, values in series.items()
            }
            for metric, series in rollout.scores.items()
        },
        "weak": {
            metric: {name: weak_spots(series[name]) for name in rollout.predicted if name in series}
            for metric, series in rollout.scores.items()
        },
    }


# ----------------------------------------------------------- tables and figures


def _scores(rollouts: dict[str, Sequence[Rollout]]) -> dict | None:
    """Return the table of scores: a row per sequence, the means over the predicted frames."""
    predicted = {(label, n): "" for label, rs in rollouts.items() for r in rs for n in r.predicted}
    if not predicted:
        return None
    one_each = len({name for _, name in predicted}) == 1
    compared = one_each and len(predicted) > 1
    named = "{0}" if one_each else "{1}" if len(rollouts) == 1 else "{0}, {1}"
    columns = {key: named.format(*key) for key in predicted}
    columns |= {(None, n): n for rs in rollouts.values() for r in rs for n in r.baselines}
    heads = [f"{name}, {unit}" for unit in SHORT.values() for name in columns.values()]
    rows = {}
    for sequence, of_runs in by_sequence(rollouts).items():
        some = next(iter(of_runs.values()))
        rows[sequence] = cells = []
        for metric, digits in (("psnr", 2), ("ssim", 4)):
            means = {
                (label, n): _mean(of_runs.get(label) if label else some, metric, n)
                for label, n in columns
            }
            best = max((means[key] or 0 for key in predicted), default=0)
            for key, mean in means.items():
                marked = compared and mean == best and key in predicted
                cells.append(("–" if mean is None else f"{mean:.{digits}f}", marked))
    return {"columns": list(columns.values()), "heads": heads, "rows": rows}


def _correlations(rollouts: dict[str, Sequence[Rollout]]) -> dict | None:
    """Return the table of what the error by frame goes with, a row per sequence."""
    found = {
        sequence: {
            (label, name, curve): values
            for label, rollout in of_runs.items()
            for name in rollout.predicted
            for curve, values in rollout.correlations(name).items()
        }
        for sequence, of_runs in by_sequence(rollouts).items()
    }
    columns = dict.fromkeys(column for cells in found.values() for column in cells)
    if not columns:
        return None
    several = len({(label, name) for label, name, _ in columns}) > 1
    heads = [f"{label}, {POSE[curve]}" if several else POSE[curve] for label, _, curve in columns]
    rows = {
        sequence: [
            "–" if np.isnan(r) else f"{r:.2f}\xa0({by_chance:.2f})" for r, by_chance in values
        ]
        for sequence, cells in found.items()
        if (values := [cells.get(column, (np.nan, np.nan)) for column in columns])
    }
    return {"heads": heads, "rows": rows}


def _mean(rollout: Rollout | None, metric: str, name: str) -> float | None:
    values = rollout.scores.get(metric, {}).get(name) if rollout else None
    return None if values is None or np.isnan(values).all() else float(np.nanmean(values))


def _figure(name: str, svg: str, rolled_out: int) -> dict[str, str]:
    """Return title, words and picture of a figure, in the colors of the page.

    Those of one run alone do not speak of several.
    """
    kind, _, of = name.partition("_")  # of one run, or the strip of one sequence
    own = ("Run", CAPTIONS["run"][1]) if kind == "run" else ("Sequence", "")
    title, words = CAPTIONS.get(name, (f"{own[0]} {of}", own[1]))
    words = words.replace(" of each run", "") if rolled_out == 1 else words
    svg = re.sub(
        r"(fill|stroke): (#\w{6})",
        lambda found: f"{found[1]}: {THEMED.get(found[2], found[2])}",
        svg[svg.index("<svg") :],
    )
    return {"title": title, "words": words, "svg": svg}
