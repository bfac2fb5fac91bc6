"""`Tester.py --check FILE --DR ROOT`: a submission looked over before it is uploaded."""

import re

import numpy as np
import pytest
import torch

import Tester
from data.dance import DanceData
from engine.output.pictures import write_submission
from settings.flags import tester_parser
from settings.resolve import make_settings
from tests.support.hostile import call

SIZE = ("--frame_H", "12", "--frame_W", "16")


@pytest.fixture(scope="module")
def clips(dance_root, tmp_path_factory):
    flags = {"DR": str(dance_root), "frame_H": 12, "frame_W": 16, "cache_dir": None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return DanceData(make_settings(tester_parser(), flags)).test_clips()


@pytest.fixture
def submission(clips, tmp_path):
    """A good one: the first frame of every sequence, and a bit of noise on the others."""
    rng = np.random.default_rng(0)
    predicted = []
    for clip in clips:
        frames = clip.frames[:1].repeat(len(clip), 1, 1, 1)
        noise = rng.integers(0, 9, frames.shape).astype(np.uint8)
        noise[0] = 0
        predicted.append((frames.int() + torch.from_numpy(noise)).clamp(0, 255).byte())
    path = tmp_path / "submission.csv"
    write_submission(path, predicted)
    return path


def check(path, root):
    return call(Tester, "--DR", root, "--check", path, *SIZE)


def test_a_good_one_fits_and_is_scored_where_the_truth_is_known(submission, dance_root):
    code, said = check(submission, dance_root)
    assert code == 0, said
    assert "28 rows, ids 0 to 27, values " in said
    assert "2 sequences, each beginning with the frame given: it fits the data" in said
    assert re.search(r"the lab's Kaggle rule\): mean \d\d\.\d\d", said)


def lines_of(path):
    return path.read_text().splitlines()


SPOILT = {
    "a row is missing": (lambda lines: lines[:-1], "27 rows, not 28 (14 of sequence"),
    "a row too many": (lambda lines: [*lines, f"28{lines[1][1:]}"], "29 rows, not 28"),
    "no header": (lambda lines: lines[1:], "the header is not id,0,1,…,575"),
    "other columns": (lambda lines: [line.rsplit(",", 1)[0] for line in lines], "576 columns"),
    "ids from 1": (
        lambda lines: [
            lines[0],
            *(f"{n}{line[line.index(',') :]}" for n, line in enumerate(lines[1:], 1)),
        ],
        "row 0 has the id 1, not 0",
    ),
    "too large": (
        lambda lines: [*lines[:5], f"4,256{',1' * 575}", *lines[6:]],
        "row 4, column 0: 256 is not in 0 to 255",
    ),
    "negative": (lambda lines: [*lines[:5], f"4,-1{',1' * 575}", *lines[6:]], "-1 is not in 0 to"),
    "fractions": (
        lambda lines: [*lines[:5], f"4,0.5{',1' * 575}", *lines[6:]],
        "row 4, column 0: '0.5' is no whole number",
    ),
    "a word": (
        lambda lines: [*lines[:5], f"4,x{',1' * 575}", *lines[6:]],
        "'x' is no whole number",
    ),
    "a gap": (lambda lines: [*lines[:5], f"4,{',1' * 575}", *lines[6:]], "is no whole number"),
    "a longer row": (lambda lines: [*lines, f"28{',1' * 700}"], "submission.csv: "),
    "between 0 and 1": (
        lambda lines: [lines[0], *(f"{n}{',1' * 576}" for n in range(28))],
        "no value above 1",
    ),
    "sequences swapped": (
        lambda lines: [
            lines[0],
            *(
                f"{n}{line[line.index(',') :]}"
                for n, line in enumerate([*lines[15:], *lines[1:15]])
            ),
        ],
        "begins with the first frame of sequence",
    ),
    "black": (
        lambda lines: [lines[0], f"0{',9' * 576}", *(f"{n}{',0' * 576}" for n in range(1, 28))],
        "does not begin with its first frame",
    ),
    "nothing predicted": (
        lambda lines: [
            lines[0],
            *(f"{n}{lines[1 if n < 14 else 15][1 if n < 14 else 2 :]}" for n in range(28)),
        ],
        "is its first frame over and over",
    ),
    "only a header": (lambda lines: lines[:1], "0 rows, not 28"),
    "empty": (lambda lines: [], "the header is not"),
}


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_bad_one_is_refused_by_name(submission, dance_root, spoil):
    change, words = SPOILT[spoil]
    submission.write_text("".join(f"{line}\n" for line in change(lines_of(submission))))
    code, said = check(submission, dance_root)
    assert code == 2, said
    assert f"--check {submission}" in said
    assert words in said
    assert "Traceback" not in said


def test_no_file_and_no_text_are_refused(submission, dance_root, tmp_path):
    code, said = check(tmp_path / "nowhere.csv", dance_root)
    assert code == 2
    assert "No such file" in said
    submission.write_bytes(b"\xff\xfe\x00")
    code, said = check(submission, dance_root)
    assert code == 2
    code, said = call(Tester, "--check", submission)
    assert code == 2
    assert "--DR is missing" in said
