"""Rolled-out sequences as files: what the Tester leaves, so that nothing is rolled out twice.

A sequence is a set of named clips, all of T frames of one size, with scores by frame. The dance
has `pose`, `truth` and `prediction`; a robot test has `truth` and its samples. A scored clip and
its scores have the same name; scores without a clip of their name are baselines.
"""

import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from core.errors import UserError
from core.files import atomic_write, parse_json
from data.types import Clip
from engine.evaluation.poses import PoseCurves, chance_correlation, rank_correlation
from engine.evaluation.sampling import METRICS, Sampled, best_of
from engine.evaluation.scoring import Scores

FORMAT = 1
PATTERN = "rollout_seq*.npz"
TRUTH = "truth"  # the clip that others are compared with, where it is known
INPUTS = ("pose", TRUTH)  # clips that are the data's; all others a model predicted
POSE = {"change": "pose change", "distance": "distance to the nearest training pose"}
COPIED = {"copy_first": "copy first frame", "copy_last": "copy last context frame"}  # baselines
MAX_BYTES = 1 << 31  # of one sequence, unpacked


@dataclass(frozen=True)
class Rollout:
    """One sequence. `scores[metric][name]` has T entries, NaN for the `given` first frames."""

    name: str
    clips: dict[str, np.ndarray]  # (T, H, W, 3) uint8 each, in the order they are shown
    scores: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    given: int = 1  # frames the model was shown
    about: dict[str, str] = field(default_factory=dict)  # where it comes from, in words
    pose: dict[str, np.ndarray] = field(default_factory=dict)  # the `POSE` curves, T entries each

    def __len__(self) -> int:
        return len(next(iter(self.clips.values())))

    @property
    def predicted(self) -> list[str]:
        """The clips that have scores: those a model predicted, where the truth is known."""
        return [name for name in self.clips if name in self.scores.get("psnr", {})]

    @property
    def baselines(self) -> list[str]:
        """What has scores without being a clip, such as copying the first frame."""
        return [name for name in self.scores.get("psnr", {}) if name not in self.clips]

    def correlations(self, name: str) -> dict[str, tuple[float, float]]:
        """Return the rank correlation of a clip's error by frame with each of the pose curves.

        Beside it, what unrelated curves reach by chance.
        """
        error = -self.scores["psnr"][name]
        return {
            curve: (rank_correlation(error, values), chance_correlation(error, values))
            for curve, values in self.pose.items()
        }


def from_prediction(
    clip: Clip,
    predicted: torch.Tensor,
    scores: Scores | None,
    about: dict[str, str],
    curves: PoseCurves | None = None,
) -> Rollout:
    """Return the rollout (T, 3, H, W) uint8 of a clip of the dance with scores and pose curves."""
    truth = {TRUTH: clip.frames} if clip.has_truth else {}
    pictures = {"pose": clip.conditions, **truth, "prediction": predicted}
    by_frame = {}
    if scores is not None:
        copied = COPIED[scores.copied]
        by_frame = {
            "psnr": {"prediction": scores.psnr, copied: scores.copy_psnr},
            "ssim": {"prediction": scores.ssim, copied: scores.copy_ssim},
        }
    pose = {name: getattr(curves, name, None) for name in POSE}
    pose = {name: values for name, values in pose.items() if values is not None}
    return replace(_rollout(clip, pictures, by_frame, about), pose=pose)


def from_samples(sampled: Sampled, about: dict[str, str]) -> Rollout:
    """Return a clip of a stochastic model: truth, posterior (oracle), best sample, random ones."""
    random = [name for name in sampled.shown if name not in ("posterior", "best")]
    shown_as = {name: f"random {k}" for k, name in enumerate(random, 1)}  # alike in all sequences
    pictures = {TRUTH: sampled.clip.frames}
    pictures |= {shown_as.get(name, name): frames for name, frames in sampled.shown.items()}
    numbers = {"best": best_of(sampled.samples["psnr"])}
    numbers |= {shown_as[name]: int(name.removeprefix("sample ")) for name in random}
    by_frame = {
        metric: {"posterior": sampled.posterior[metric]}
        | {name: sampled.samples[metric][n] for name, n in numbers.items()}
        | {COPIED["copy_last"]: sampled.copied[metric]}
        for metric in METRICS
    }
    return _rollout(sampled.clip, pictures, by_frame, about)


def _rollout(
    clip: Clip, pictures: dict[str, torch.Tensor], by_frame: dict[str, dict], about: dict[str, str]
) -> Rollout:
    """Return clips and scores as a rollout; those of the predicted frames then begin at frame 0."""
    clips = {
        name: np.ascontiguousarray(frames.permute(0, 2, 3, 1).numpy())
        for name, frames in pictures.items()
    }
    scores = {
        metric: {name: np.r_[[np.nan] * clip.n_past, values] for name, values in series.items()}
        for metric, series in by_frame.items()
    }
    return Rollout(clip.name, clips, scores, clip.n_past, about)


def by_sequence(rollouts: dict[str, Sequence[Rollout]]) -> dict[str, dict[str, Rollout]]:
    """Turn rollouts by run into rollouts by sequence and run."""
    found: dict[str, dict[str, Rollout]] = {}
    for label, of_run in rollouts.items():
        for rollout in of_run:
            found.setdefault(rollout.name, {})[label] = rollout
    return found


def by_data(rollouts: dict[str, Sequence[Rollout]]) -> dict[str, dict[str, Rollout]]:
    """Turn rollouts by run into rollouts by sequence and run, those of other data apart.

    Of other poses, truth or size, although of one name: from the second on a number is added to it.
    """
    found: dict[str, list[dict[str, Rollout]]] = {}
    for label, of_run in rollouts.items():
        for rollout in of_run:
            groups = found.setdefault(rollout.name, [])
            alike = (of for of in groups if _same_data(next(iter(of.values())), rollout))
            if (of_runs := next(alike, None)) is None:
                groups.append(of_runs := {})
            of_runs[label] = rollout
    return {
        name if number == 1 else f"{name} ({number})": of_runs
        for name, groups in found.items()
        for number, of_runs in enumerate(groups, 1)
    }


def _same_data(a: Rollout, b: Rollout) -> bool:
    given = [[rollout.clips.get(name) for name in INPUTS] for rollout in (a, b)]
    return all(map(np.array_equal, *given))


def write_rollouts(folder: Path, rollouts: Sequence[Rollout]) -> None:
    """Write a file per sequence; those of an earlier test in the folder go."""
    written = [folder / f"rollout_seq{rollout.name}.npz" for rollout in rollouts]
    for path, rollout in zip(written, rollouts):
        _write(path, rollout)
    for path in set(folder.glob(PATTERN)) - set(written):
        path.unlink()


def _write(path: Path, rollout: Rollout) -> None:
    # Names stand in the description, not in the archive, where some could not.
    arrays = {f"clip{index}": frames for index, frames in enumerate(rollout.clips.values())}
    arrays |= {
        f"{metric}{index}": np.asarray(values, np.float32)
        for metric, series in rollout.scores.items()
        for index, values in enumerate(series.values())
    }
    arrays |= {f"pose_{name}": np.asarray(v, np.float32) for name, v in rollout.pose.items()}
    description = {
        "format": FORMAT,
        "name": rollout.name,
        "given": rollout.given,
        "about": rollout.about,
        "clips": list(rollout.clips),
        "scores": {metric: list(series) for metric, series in rollout.scores.items()},
    }
    text = np.frombuffer(json.dumps(description).encode(), np.uint8)
    with atomic_write(path) as file:
        np.savez_compressed(file, description=text, **arrays)


def read_rollouts(folder: Path) -> list[Rollout]:
    """Return the sequences of a folder, by number and then by name. Raises UserError."""
    found = [read_rollout(path) for path in folder.glob(PATTERN)]
    return sorted(found, key=lambda r: (not r.name.isdecimal(), len(r.name), r.name))


def read_rollout(path: Path) -> Rollout:
    """Return the sequence of a file. Raises UserError naming a file that is not one of ours."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
                raise ValueError(f"unpacks to more than {MAX_BYTES >> 30} GiB")
        with np.load(path, allow_pickle=False) as arrays:
            description = parse_json(arrays["description"].tobytes())
            if description["format"] != FORMAT:
                raise ValueError(f"format {description['format']}, expected {FORMAT}")
            clips = {name: arrays[f"clip{k}"] for k, name in enumerate(description["clips"])}
            scores = {
                metric: {name: arrays[f"{metric}{k}"] for k, name in enumerate(names)}
                for metric, names in description["scores"].items()
            }
            pose = {name: arrays[f"pose_{name}"] for name in POSE if f"pose_{name}" in arrays}
        name, given = str(description["name"]), int(description["given"])
        rollout = Rollout(name, clips, scores, given, description["about"], pose)
        _check(rollout)
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, OverflowError),
        *(zipfile.BadZipFile, zlib.error, NotImplementedError),
        MemoryError,  # an array that claims more than it holds
    ) as error:
        raise UserError(f"{path}: not a rollout of the Tester ({error}); test again") from None
    return rollout


def _check(rollout: Rollout) -> None:
    if not rollout.name or set(rollout.name) & set("/\\\0"):
        raise ValueError(f"a sequence called {rollout.name!r}, which no file can be")
    if not rollout.clips:
        raise ValueError("no clips")
    shapes = {frames.shape for frames in rollout.clips.values()}
    shape = next(iter(shapes))
    if len(shapes) > 1 or len(shape) != 4 or shape[3] != 3 or 0 in shape:
        raise ValueError(f"clips of shapes {shapes}")
    if any(frames.dtype != np.uint8 for frames in rollout.clips.values()):
        raise ValueError("clips that are not uint8")
    if not 0 <= rollout.given <= len(rollout):
        raise ValueError(f"{rollout.given} given frames of {len(rollout)}")
    if not all(isinstance(text, str) for pair in rollout.about.items() for text in pair):
        raise ValueError("a description that is not text")
    for series in (*rollout.scores.values(), rollout.pose):
        for name, values in series.items():
            if values.shape != (len(rollout),) or values.dtype.kind != "f":
                raise ValueError(f"{name!r} is not one number a frame")
