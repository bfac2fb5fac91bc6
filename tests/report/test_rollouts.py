"""Rollouts written, read and joined to their runs; clips packed for the page."""

import base64
import re
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from data.types import Clip
from engine.evaluation.sampling import Sampled
from report.codec import pack, pack_all
from report.page import write_page
from report.rollouts import COPIED, from_samples, read_rollouts
from report.runs import Record, labels, read_records
from tests.support.reporting import make_results, make_run, robot, rollout


def test_a_rollout_is_read_as_it_was_written(tmp_path):
    pose = {"change": np.r_[np.nan, np.arange(39.0)], "distance": np.arange(40.0)}
    for original in (rollout("0", 1), robot("a-b"), replace(rollout("1", 1), pose=pose)):
        make_results(tmp_path, original)
        (found,) = read_rollouts(tmp_path)
        assert (found.name, found.given, found.about) == (
            original.name,
            original.given,
            original.about,
        )
        assert list(found.clips) == list(original.clips)
        for name, frames in original.clips.items():
            np.testing.assert_array_equal(found.clips[name], frames)
        for metric, series in original.scores.items():
            for name, values in series.items():
                np.testing.assert_allclose(found.scores[metric][name], values, rtol=1e-6)
        np.testing.assert_equal(found.pose, original.pose)
        (tmp_path / f"rollout_seq{found.name}.npz").unlink()


def test_the_page_has_the_correlation_of_error_and_pose(tmp_path):
    plain = rollout("0", 1)
    error = -plain.scores["psnr"]["prediction"]
    posed = replace(plain, pose={"change": 2 * error, "distance": error**3})
    record = Record("run", rollouts=[posed, rollout("1", 1)])
    write_page(tmp_path / "page.html", "title", [record], {})
    page = (tmp_path / "page.html").read_text()
    cells = re.findall(r'<td data-head="(?:pose change|distance to[^"]*)">([^<]*)', page)
    chance = [by_chance for _, by_chance in posed.correlations("prediction").values()]
    assert cells == [f"1.00\xa0({chance[0]:.2f})", f"1.00\xa0({chance[1]:.2f})", "–", "–"]
    write_page(tmp_path / "page.html", "title", [Record("run", rollouts=[plain])], {})
    assert "Error and pose" not in (tmp_path / "page.html").read_text()


def test_samples_become_clips_with_the_scores_of_each():
    frames = torch.randint(0, 256, (3, 5, 3, 12, 12), dtype=torch.uint8)
    clip = Clip("push", frames[0], torch.zeros(5, 7), n_past=2)
    psnr = np.array([[1.0, 2, 3], [7, 8, 9], [4, 5, 6]])
    sampled = Sampled(
        clip,
        {"psnr": psnr, "ssim": psnr / 10},
        *({"psnr": np.full(3, v), "ssim": np.full(3, v)} for v in (20.0, 10.0)),
        {"posterior": frames[1], "best": frames[2], "sample 2": frames[1]},
    )
    made = from_samples(sampled, {"run": "r"})
    assert list(made.clips) == ["truth", "posterior", "best", "random 1"]
    assert made.given == 2
    assert (made.clips["best"][4] == frames[2, 4].permute(1, 2, 0).numpy()).all()
    assert made.scores["psnr"]["best"][2:].tolist() == [7, 8, 9]
    assert made.scores["ssim"]["random 1"][2:].tolist() == [0.4, 0.5, 0.6]
    assert np.isnan(made.scores["psnr"]["posterior"][:2]).all()
    assert made.predicted == ["posterior", "best", "random 1"]
    assert made.baselines == [COPIED["copy_last"]]


def test_rollouts_of_an_earlier_test_go(tmp_path):
    make_results(tmp_path, rollout("0", 1), rollout("10", 1), rollout("2", 1))
    assert [found.name for found in read_rollouts(tmp_path)] == ["0", "2", "10"]
    make_results(tmp_path, rollout("2", 1))
    assert [found.name for found in read_rollouts(tmp_path)] == ["2"]


def test_output_of_the_tester_joins_its_run(tmp_path):
    run = make_run(tmp_path / "run")
    of_run = rollout("0", 1)
    of_run.about["run"] = "run"
    make_results(tmp_path / "results", of_run)
    (record,) = read_records([run, tmp_path / "results"])
    assert (record.label, [r.name for r in record.rollouts]) == ("run", ["0"])
    (alone,) = read_records([tmp_path / "results"])
    assert (alone.label, alone.log) == ("results", {})
    make_results(run / "again", rollout("0", 2))
    make_results(run / "val", rollout("val0", 2))
    both = read_records([run, tmp_path / "results"])
    assert [r.label for r in both] == ["run", "results"]
    assert [[s.name for s in r.rollouts] for r in both] == [["0", "val0"], ["0"]]


def test_labels_are_as_long_as_they_must_be(tmp_path):
    paths = [tmp_path / "x" / "run", tmp_path / "y" / "run"]
    assert labels(paths) == ["x/run", "y/run"]
    assert labels(paths[:1]) == ["run"]


def unpacked(text: str, shape: tuple, tolerance: int) -> np.ndarray:
    """The reader of page.js, one number at a time."""
    steps = zlib.decompress(base64.b64decode(text))
    size = int(np.prod(shape[1:]))
    seen: list[int] = []
    for place, step in enumerate(steps):
        before = seen[place - size] if place >= size else 0
        if tolerance == 0:
            seen.append((before + step) % 256)
        else:
            signed = step - 256 if step > 127 else step
            seen.append(min(255, max(0, before + signed * (2 * tolerance + 1))))
    return np.array(seen).reshape(shape)


@pytest.mark.parametrize("tolerance", [0, 1, 2, 8])
def test_packed_clips_come_back_within_the_tolerance(tolerance):
    frames = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3)).astype(np.uint8)
    frames[1], frames[2], frames[3] = 0, 255, 0
    found = unpacked(pack(frames, tolerance), frames.shape, tolerance)
    assert np.abs(found - frames).max() <= tolerance
    if tolerance == 0:
        assert (found == frames).all()


def test_clips_are_packed_as_exactly_as_there_is_room():
    frames = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)
    exact = len(pack(frames))
    assert pack_all([frames], exact) == ([pack(frames)], 0)
    texts, tolerance = pack_all([frames], exact - 1)
    assert tolerance > 0
    assert len(texts[0]) < exact
