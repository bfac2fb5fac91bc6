"""The page: figures, tables and a player of rollouts in one HTML file that needs no network.

Text of users (names of runs, sequences, settings) is escaped here or set as text by page.js. The
policy in the page lets the browser run the one script by its hash, and load nothing.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from core.files import atomic_write
from report import style
from report.codec import pack_all
from report.leaderboard import as_html, standings
from report.rollout_figures import ERROR_SCALE, error_ramp, weak_spots
from report.rollouts import INPUTS, TRUTH, Rollout, by_sequence
from report.runs import Record, differing_settings

MAX_BYTES = 14_500_000  # of the page; above, pictures are packed less exactly
CAPTIONS = {
    "samples": ("Samples by frame", "Means over the sequences, with their 95 % intervals."),
    "scores": ("PSNR and SSIM by frame", "Triangles: the weakest spots of each run."),
    "drift": ("Drift", "Does a rollout drift? All sequences together."),
    "losses": ("Losses", "Means over the steps of each epoch."),
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
    parts = {
        "title": html.escape(title),
        "lede": html.escape(_lede(records)),
        "sections": _scores(rollouts)
        + as_html(standings(records))
        + _figures(figures, len(rollouts))
        + _settings(records),
        "footer": "PSNR of a frame: 10·log₁₀(255²/MSE), capped at 100 dB; SSIM after Wang et al. "
        "2004. Curves and tables start with the first predicted frame.",
        "css": _file("page.css").replace("{{ramp}}", ", ".join(f"rgb{c}" for c in error_ramp())),
        "js": _file("page.js"),
        "player": "",
        "data": "",
    }
    if rollouts:
        room = MAX_BYTES - sum(len(part.encode()) for part in parts.values())
        parts["data"], tolerance = _data(rollouts, room)
        explained = "Frames are shown exactly as they were predicted."
        if tolerance:
            explained = (
                f"To keep this file small, colors may be off by {tolerance} of 255 gray levels; "
                "scores are those of the exact frames."
            )
        explained += (
            f" Difference: mean over the colors, black is 0, the brightest {ERROR_SCALE} gray "
            "levels or more. Green frame: given to the model; orange: predicted by it."
        )
        parts["player"] = _file("player.html").replace("{{explained}}", html.escape(explained))
    digest = base64.b64encode(hashlib.sha256(f"\n{parts['js']}\n".encode()).digest()).decode()
    parts["policy"] = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    # In one pass: what is put in is never searched for places to put more.
    page = re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], _file("page.html"))
    with atomic_write(path) as file:
        file.write(page.encode())


def _file(name: str) -> str:
    return resources.files("report").joinpath(name).read_text(encoding="utf-8")


def _lede(records: Sequence[Record]) -> str:
    """Return in words what the page shows, and of which runs: not all may be rolled out."""
    trained = [record.label for record in records if record.log]
    tested = [record.label for record in records if record.rollouts]
    sequences = len(by_sequence({r.label: r.rollouts for r in records}))
    parts = []
    if trained:
        parts.append(f"{len(trained)} training run{'s' * (len(trained) > 1)}")
    if sequences:
        parts.append(f"{sequences} sequence{'s' * (sequences > 1)} rolled out")
    if not trained or not sequences or trained == tested:
        return f"{', '.join(parts)}: {', '.join(record.label for record in records)}"
    return f"{parts[0]}: {', '.join(trained)}; {parts[1]} by {', '.join(tested)}"


# ----------------------------------------------------------------------- player


def _data(rollouts: dict[str, Sequence[Rollout]], room: int) -> tuple[str, int]:
    """Return the player's data as script elements, and the tolerance the clips are packed with.

    Equal clips are stored once, so that runs share poses and truths.
    """
    blobs: dict[bytes, tuple[int, np.ndarray]] = {}

    def blob(frames: np.ndarray) -> int:
        key = _digest(frames)
        return blobs.setdefault(key, (len(blobs), frames))[0]

    groups: dict[tuple, dict[str, Rollout]] = {}
    for label, of_run in rollouts.items():
        for rollout in of_run:
            given = [_digest(rollout.clips[name]) for name in INPUTS if name in rollout.clips]
            groups.setdefault((rollout.name, *given), {})[label] = rollout

    sequences = []
    for (name, *_), of_runs in groups.items():
        some = next(iter(of_runs.values()))
        frames, height, width, _ = next(iter(some.clips.values())).shape
        again = sum(sequence["name"].split(" (")[0] == name for sequence in sequences)
        sequences.append(
            {
                "name": f"{name} ({again + 1})" if again else name,
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
    texts, tolerance = pack_all((f for _, f in blobs.values()), room - len(scores) - 4096)
    content = json.dumps(meta | {"tolerance": tolerance, "sequences": sequences})
    for character in "<>&":  # none of them can then end the element, whatever a run is called
        content = content.replace(character, f"\\u{ord(character):04x}")
    elements = [f'<script type="application/json" id="data">{content}</script>']
    elements += [
        f'<script type="text/plain" id="clip{index}">{text}</script>'
        for index, text in enumerate(texts)
    ]
    return "\n".join(elements), tolerance


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


def _digest(frames: np.ndarray) -> bytes:
    return hashlib.sha256(repr(frames.shape).encode() + frames.tobytes()).digest()


# ----------------------------------------------------------- tables and figures


def _scores(rollouts: dict[str, Sequence[Rollout]]) -> str:
    """Return the table of scores: a row per sequence, the means over the predicted frames."""
    predicted = {(label, n): "" for label, rs in rollouts.items() for r in rs for n in r.predicted}
    if not predicted:
        return ""
    one_each = len({name for _, name in predicted}) == 1
    compared = one_each and len(predicted) > 1
    named = "{0}" if one_each else "{1}" if len(rollouts) == 1 else "{0}, {1}"
    columns = {key: named.format(*key) for key in predicted}
    columns |= {(None, n): n for rs in rollouts.values() for r in rs for n in r.baselines}
    rows = []
    for sequence, of_runs in by_sequence(rollouts).items():
        some = next(iter(of_runs.values()))
        cells = []
        for metric, digits in (("psnr", 2), ("ssim", 4)):
            means = {
                (label, n): _mean(of_runs.get(label) if label else some, metric, n)
                for label, n in columns
            }
            best = max((means[key] or 0 for key in predicted), default=0)
            for key, mean in means.items():
                mark = ' class="best"' if compared and mean == best and key in predicted else ""
                head = html.escape(f"{columns[key]}, {SHORT[metric]}")  # beside it on a phone
                number = "–" if mean is None else f"{mean:.{digits}f}"
                cells.append(f'<td{mark} data-head="{head}">{number}</td>')
        first = f'<td data-head="Sequence">{html.escape(sequence)}</td>'
        rows.append(f"<tr>{first}{''.join(cells)}</tr>")
    heads = "".join(
        f"<th>{html.escape(name)}<br>{unit}</th>"
        for unit in SHORT.values()
        for name in columns.values()
    )
    return (
        '<section class="card"><h2>Scores</h2><div class="scroll"><table class="scores"><thead><tr>'
        f"<th>Sequence</th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _mean(rollout: Rollout | None, metric: str, name: str) -> float | None:
    values = rollout.scores.get(metric, {}).get(name) if rollout else None
    return None if values is None or np.isnan(values).all() else float(np.nanmean(values))


def _figures(figures: dict[str, str], rolled_out: int) -> str:
    """Return the figures, which of one run alone do not speak of several."""
    if not figures:
        return ""
    shown = []
    for name, svg in figures.items():
        title, words = CAPTIONS.get(name, (f"Sequence {name.removeprefix('strip_')}", ""))
        if rolled_out == 1:
            words = words.replace(" of each run", "")
        svg = svg[svg.index("<svg") :]
        svg = re.sub(
            r"(fill|stroke): (#\w{6})",
            lambda found: f"{found[1]}: {THEMED.get(found[2], found[2])}",
            svg,
        )
        shown.append(
            f'<figure class="figure"><figcaption><b>{html.escape(title)}</b> '
            f"<span>{html.escape(words)}</span></figcaption>"
            f'<div class="scroll">{svg}</div></figure>'
        )
    return f'<section class="card"><h2>Figures</h2>{"".join(shown)}</section>'


def _settings(records: Sequence[Record]) -> str:
    """Return the table of the settings in which the runs differ."""
    if len(records) < 2:
        return ""
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td>"
        + "".join(f"<td>{html.escape(value) or '–'}</td>" for value in values)
        + "</tr>"
        for name, values in differing_settings(records).items()
    )
    heads = "".join(f"<th>{html.escape(record.label)}</th>" for record in records)
    return (
        '<section class="card"><h2>Settings that differ</h2><div class="scroll">'
        f'<table class="settings"><thead><tr><th>Setting</th>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )
