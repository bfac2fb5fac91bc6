"""From a video and poses to a data set: what is written, and what is refused."""

import json
import re
import tracemalloc
from functools import partial

import numpy as np
import pytest
from PIL import Image

from core.errors import UserError
from data.dance_files import list_split, read_cuts
from data.estimates import table
from data.pose.skeleton import JOINT
from data.video import __main__ as script
from data.video.film import open_film
from data.video.scenes import SceneChanges
from data.video.splits import split_stretches
from data.video.window import choose_window
from data.windows import split_into_recordings
from tests.support import estimators as theirs
from tests.support.films import middle_of_square, pictures, somebody, turn, write_film
from tests.support.hostile import run_here

W, H = 160, 120
HIP = JOINT["mid_hip"]
run = partial(run_here, script)


@pytest.fixture(scope="module")
def takes(tmp_path_factory):
    """Two films with poses: the first changes its scene after 60 of 110 frames and loses the
    person for 3 and for 12 frames; the second has 40 frames."""
    folder = tmp_path_factory.mktemp("takes")
    first, second = somebody(110, W, H), somebody(40, W, H, seed=1)
    walls = np.where(np.arange(110) < 60, 110, 30)
    filmed = [pictures(first[t : t + 1], W, H, walls[t])[0] for t in range(110)]
    write_film(folder / "one.mp4", filmed)
    write_film(folder / "two.mp4", pictures(second, W, H))
    lost = first.copy()
    lost[20:23] = lost[80:92] = np.nan
    theirs.write_openpose(folder / "one", lost)
    (folder / "two.json").write_text(json.dumps(theirs.mmpose(second)))
    return folder, first


def test_a_data_set(takes, tmp_path, monkeypatch, capsys):
    folder, _ = takes
    out = tmp_path / "data"
    flags = ["--video", folder / "one.mp4", folder / "two.mp4", "--out", out, "--val", 1]
    flags += ["--poses", folder / "one", folder / "two.json", "--test", 1, "--size", "48x64"]
    code, said, errors = run(monkeypatch, capsys, *flags)
    assert code == 0, errors
    assert "12 frames without the person left out" in said
    assert "OpenPose BODY_25" in said
    assert "MMPose" in said
    assert "one.mp4: 160x120, 110 frames, 30 a second, taken whole, 2 recordings; OpenPose" in said
    assert "two.mp4: 160x120, 40 frames, 30 a second, taken whole, 1 recording; MMPose" in said
    assert "30 to test in 1 sequence, of 48x64 pixels" in said
    one, two = (line for line in said.splitlines() if ".mp4" in line)
    assert one.endswith("never seen: hands")
    assert two.endswith("never seen: hands, heels, toes")
    # Trained on in the shape of the pictures.
    flags_of_training = f"--DR {out} --save_root {out}-run --preset quick --flip_prob 0"
    assert f"next: python Trainer.py {flags_of_training} --frame_H 40 --frame_W 52\n" in said

    train, val = list_split(out, "train"), list_split(out, "val")
    recordings = split_into_recordings(train.numbers, read_cuts(out))
    # To the change of the scene, and of the rest what the 30 seen last but the test leave over:
    assert [b - a for a, b in recordings] == [60, 18]
    assert len(val.numbers) == 18  # …, 2 before a gap, 18 behind it, 10 of the next film
    assert "12 left over" in said
    assert sorted(map(int, (p.stem for p in (out / "test/test_label/0").iterdir()))) == [*range(30)]
    given, true = out / "test/test_img/0/0.png", out / "test/test_gt/0/0.png"
    assert given.read_bytes() == true.read_bytes()

    joints = table.read(out / "train/joints.csv").frames
    for number in train.numbers[[0, 21, 45, 70]].tolist():
        picture = np.asarray(Image.open(out / f"train/train_img/{number}.png"))
        assert picture.shape == (48, 64, 3)
        # The square lies where the joints and the lines of the pose image say.
        x, y = joints[number][0].places[HIP]
        assert np.hypot(*np.subtract(middle_of_square(picture), (x, y))) < 1
        pose = np.asarray(Image.open(out / f"train/train_label/{number}.png")).astype(int)
        assert (pose[int(y), int(x)] < 250).any()
    assert not list(tmp_path.glob(".*"))
    code, _, errors = run(monkeypatch, capsys, *flags)
    assert code == 2
    assert "exists already" in errors


def refused(monkeypatch, capsys, tmp_path, *flags):
    """The one line with which a set is refused; nothing is left of it."""
    folder = tmp_path / "refused"
    folder.mkdir(exist_ok=True)
    code, _, errors = run(monkeypatch, capsys, "--out", folder / "data", *flags)
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert code == 2
    assert len(lines) == 1
    assert not list(folder.iterdir())
    return lines[0]


def test_what_is_refused(takes, tmp_path, monkeypatch, capsys):
    folder, _ = takes
    poses = theirs.write_openpose(tmp_path / "poses", somebody(30, W, H))
    film = write_film(tmp_path / "clip.mp4", pictures(somebody(30, W, H), W, H))
    hdr = write_film(tmp_path / "hdr.mp4", pictures(somebody(4, W, H), W, H), transfer=18)
    (tmp_path / "noise.mp4").write_bytes(b"no video at all" * 100)
    (tmp_path / "cut.mp4").write_bytes(film.read_bytes()[:2000])
    nobody = theirs.write_openpose(tmp_path / "nobody", np.full((30, 25, 2), np.nan))
    (tmp_path / "labels.json").write_text('{"shapes": [], "version": 5}')
    for video, of, more, said in (
        (tmp_path / "noise.mp4", poses, (), "noise.mp4: no video"),
        (tmp_path / "cut.mp4", poses, (), "cut.mp4: no video"),
        (hdr, poses, (), "HDR (HLG)"),
        (tmp_path / "gone.mp4", poses, (), f"error: --video {tmp_path}/gone.mp4: no such file"),
        (film, tmp_path / "gone", (), f"error: --poses {tmp_path}/gone: no such file"),
        (tmp_path, poses, (), f"error: --video {tmp_path}: not a regular file"),
        (film, film, (), "clip.mp4: that is a video; give the poses that an estimator found"),
        (film, folder / "one", (), "poses of 110 frames for the 30 of clip.mp4"),
        (film, folder / "two.json", (), "poses of 40 frames for the 30 of clip.mp4"),
        (film, nobody, (), "nobody in any of 30 frames"),
        (film, tmp_path / "labels.json", (), "an object with shapes, version"),
        (film, poses, (), "--val, --test: of 30 frames with the person 900 would be held out"),
        (film, poses, ("--confidence", 0.99, "--val", 0, "--test", 0), "--confidence"),
    ):
        line = refused(monkeypatch, capsys, tmp_path, "--video", video, "--poses", of, *more)
        assert said in line
        assert line.count(str(video)) <= 1
    flags = ["--video", film, film, "--poses", poses]
    assert "1 for 2 videos" in refused(monkeypatch, capsys, tmp_path, *flags)


def test_a_name_with_spaces_without_quotes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my dance film.mp4").touch()
    flags = ("--video", "my", "dance", "film.mp4", "--poses", tmp_path)
    line = refused(monkeypatch, capsys, tmp_path, *flags)
    assert line.startswith("error: --video my: no such file; a name with spaces needs quotes")
    assert "'my dance film.mp4'" in line


def test_a_film_in_portrait(tmp_path, monkeypatch, capsys):
    """A line says which shape fits it better, and in that shape it is taken whole."""
    places = somebody(60, 60, 120)
    film = write_film(tmp_path / "clip.mp4", pictures(places, 60, 120))
    poses = theirs.write_openpose(tmp_path / "poses", places)
    flags = ("--video", film, "--poses", poses, "--val", 0, "--test", 0.6)
    code, said, errors = run(monkeypatch, capsys, *flags, "--out", tmp_path / "wide")
    assert code == 0, errors
    assert "(in portrait: --size 128x64 fits better)" in said
    assert "--frame_H" not in said  # 32x64, as the Trainer does without being told
    size = ("--size", "128x64", "--out", tmp_path / "tall")
    code, said, errors = run(monkeypatch, capsys, *flags, *size)
    assert code == 0, errors
    assert "taken whole" in said
    assert "in portrait" not in said
    # Without a val, on what of training it is validated.
    assert said.endswith("--frame_H 64 --frame_W 32 --holdout 38:42\n")


def test_a_film_that_breaks_off_leaves_nothing(tmp_path, monkeypatch, capsys):
    places = somebody(60, W, H)
    film = write_film(tmp_path / "clip.mp4", pictures(places, W, H))
    content = bytearray(film.read_bytes())
    start = content.index(b"mdat") + 4
    size = int.from_bytes(content[start - 8 : start - 4], "big") - 8
    content[start + size // 2 : start + size] = bytes(size - size // 2)
    film.write_bytes(content)
    poses = theirs.write_openpose(tmp_path / "poses", places)
    line = refused(monkeypatch, capsys, tmp_path, "--video", film, "--poses", poses)
    assert "does not decode after frame" in line or "poses of 60 frames for the" in line


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_turned_as_the_file_says(quarter, tmp_path):
    places = somebody(8, W, H)
    film = write_film(tmp_path / "clip.mp4", pictures(places, W, H))
    turn(film, quarter)
    opened = open_film(film)
    assert (opened.width, opened.height) == ((H, W) if quarter % 2 else (W, H))
    for picture, joints in zip(opened.frames(), places, strict=True):
        x, y = joints[HIP].round()
        expected = {1: (H - y, x), 2: (W - x, H - y), 3: (y, W - x)}[quarter]
        assert np.hypot(*np.subtract(middle_of_square(picture), expected)) < 1.5


def test_a_variable_rate_is_taken_frame_by_frame(tmp_path):
    places = somebody(12, W, H)
    even = write_film(tmp_path / "even.mp4", pictures(places, W, H))
    uneven = write_film(
        tmp_path / "uneven.mp4", pictures(places, W, H), times=np.cumsum([1, 1, 3] * 4).tolist()
    )
    for path, said in ((even, False), (uneven, True)):
        film = open_film(path)
        assert len(list(film.frames())) == film.decoded == 12
        assert film.uneven is said


def test_a_film_is_never_whole_in_memory(tmp_path):
    frame = np.full((240, 320, 3), 90, np.uint8)
    film = open_film(write_film(tmp_path / "long.mp4", [frame] * 300))
    tracemalloc.start()
    frames = sum(1 for _ in film.frames())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert frames == 300
    assert peak < 10 * frame.nbytes


def test_the_window():
    places = somebody(60, 1920, 1080)
    wide = choose_window(places, 1920, 1080, 128, 64)
    assert wide[2:] == (1920, 960)
    assert 0 <= wide.top <= 120
    assert wide.described(1920, 1080) == "cropped to 1920x960 about the person"
    assert choose_window(places, 1920, 960, 128, 64).described(1920, 960) == "taken whole"
    # A portrait is not cut to a stripe through the person, but padded.
    tall = choose_window(somebody(60, 1080, 1920), 1080, 1920, 128, 64)
    assert tall.width > 1080
    assert "padded" in tall.described(1080, 1920)
    near = choose_window(places * 0.3 + [900, 500], 1920, 1080, 128, 64, close=True)
    assert near.width < 1000
    inside = near.places(places * 0.3 + [900, 500], 128, 64)
    assert inside.min() >= 0
    assert (inside.reshape(-1, 2).max(axis=0) <= (128, 64)).all()


def test_padding_is_black_and_nothing_moves():
    frame = np.full((40, 20, 3), 200, np.uint8)
    frame[10:20, 5:15] = 50
    window = choose_window(np.array([[[1.0, 1.0], [19.0, 39.0]]]), 20, 40, 80, 40)
    picture = np.asarray(window.cut(frame, 80, 40))
    assert (picture[:, :29] == 0).all()
    assert (picture[12:18, 37:43] == 50).all()
    assert np.allclose(window.places(np.array([10.0, 15.0]), 80, 40), [40, 15])


def test_scene_changes():
    rng = np.random.default_rng(0)
    here, there = rng.integers(0, 255, (2, 90, 160, 3)).astype(np.uint8)
    here[:], there[:, 80:] = 120, 20
    scenes = SceneChanges()
    film = [here] * 5 + [there] * 5 + [here] * 3
    assert [t for t, frame in enumerate(film) if scenes.begins(frame)] == [5, 10]


def test_whole_stretches():
    stretches = [range(50), range(60, 100), range(110, 150)]
    splits = split_stretches(stretches, 3, 3, rate=10)
    assert splits.train == [*range(50), *range(60, 80)]
    assert splits.val == list(range(80, 100))  # and ten frames behind the cut are left over
    assert splits.test == [list(range(120, 150))]
    assert splits.dropped == 10
    for val, test, said in ((40, 40, "80 would be held out"), (20, 30, "--val: no 16 of the 20")):
        with pytest.raises(UserError, match=said):
            split_stretches(stretches, val, test, rate=1)
    with pytest.raises(UserError, match="follow each other"):
        split_stretches([range(k, k + 5) for k in range(0, 100, 6)], 0, 0, rate=30)


@pytest.mark.parametrize("frames", [64, 200, 600, 1799])
@pytest.mark.parametrize("asked", [(10, 20), (0, 30)])
def test_what_a_short_film_is_advised_to_hold_out_fits(frames, asked):
    # In two recordings, so that not every share of it is a stretch.
    stretches = [range(frames // 3), range(frames // 3 + 1, frames + 1)]
    with pytest.raises(UserError) as error:
        split_stretches(stretches, *asked, rate=30)
    val, test = re.search(
        r"--val (\S+) --test (\S+) \(seconds\) would fit", str(error.value)
    ).groups()
    splits = split_stretches(stretches, float(val), float(test), rate=30)
    assert splits.val
    assert splits.test or frames < 100
    assert "1800 frames, 60 s, would do" in str(error.value)
    split_stretches([range(1800)], *asked, rate=30)


@pytest.mark.parametrize(("frames", "asked"), [(30, (10, 20)), (30, (0, 1)), (10, (0, 0))])
def test_too_short_for_anything(frames, asked):
    with pytest.raises(
        UserError, match=r"left to train on; give more video: \d+ frames, \d+ s"
    ) as error:
        split_stretches([range(frames)], *asked, rate=30)
    assert "fit" not in str(error.value)
