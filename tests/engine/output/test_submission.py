"""The submission: the format of the lab."""

import csv

import numpy as np
import torch

from engine.evaluation.rollout import to_uint8
from engine.output.pictures import write_submission
from tests.support.clips import random_clip


def test_submission_has_the_format_of_the_lab(tmp_path):
    clips = [random_clip(3, seed=1), random_clip(2, seed=2)]
    write_submission(tmp_path / "submission.csv", clips)
    lines = (tmp_path / "submission.csv").read_text().splitlines()
    assert lines[0].split(",") == ["id", *map(str, range(6144))]
    assert len(lines) == 1 + 5
    rows = np.array([[int(value) for value in line.split(",")] for line in lines[1:]])
    assert rows[:, 0].tolist() == [0, 1, 2, 3, 4]  # counts on over the sequences
    frames = torch.from_numpy(rows[:, 1:].reshape(5, 3, 32, 64))
    assert torch.equal(frames, torch.cat(clips).long())


def test_submission_is_flattened_color_row_column(tmp_path):
    clip = torch.zeros(1, 3, 32, 64, dtype=torch.uint8)
    clip[0, 1, 5, 7] = 200  # the place is 1·32·64 + 5·64 + 7
    for memory in (clip, clip.contiguous(memory_format=torch.channels_last)):
        write_submission(tmp_path / "submission.csv", [memory])
        header, row = csv.reader((tmp_path / "submission.csv").open(newline=""))
        assert {header[k]: v for k, v in enumerate(row) if v != "0"} == {"2375": "200"}


def test_submission_holds_rint_of_255_x(tmp_path):
    values = torch.tensor([0.0, 0.1, 0.5, 0.9985, 1.0, 0.25])
    write_submission(tmp_path / "s.csv", [to_uint8(values.view(1, 3, 1, 2))])
    row = (tmp_path / "s.csv").read_text().splitlines()[1]
    assert row == "0,0,26,128,255,255,64"
