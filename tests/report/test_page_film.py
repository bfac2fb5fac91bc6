"""Clips too large for exact pixels: the page shows them as films, frame by frame."""

import io

import av
import numpy as np
import pytest

from report import film, page
from report.codec import can_fit, pack_all
from report.film import QUALITIES, film_all
from report.page import write_page
from report.rollouts import TRUTH, Rollout
from report.runs import Record

T, H, W = 60, 32, 64
READ = """index => {
    const canvas = document.querySelectorAll(".panel canvas")[index];
    const {width, height} = canvas;
    return Array.from(canvas.getContext("2d").getImageData(0, 0, width, height).data);
}"""


def clip(seed: int) -> np.ndarray:
    """Frames (T, H, W, 3) that tell their number: its bits as light and dark squares, on noise."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(96, 160, (T, H, W, 3)).astype(np.uint8)
    for t in range(T):
        for bit in range(8):
            frames[t, 8:24, 8 * bit : 8 * bit + 8] = 230 if t >> bit & 1 else 25
    return frames


def number_of(frame: np.ndarray) -> int:
    return sum(int(frame[10:22, 8 * bit + 2 : 8 * bit + 6].mean() > 128) << bit for bit in range(8))


def rollouts() -> Rollout:
    scores = np.r_[np.nan, np.full(T - 1, 25.0)]
    return Rollout(
        "0",
        {"pose": clip(0), TRUTH: clip(1), "prediction": clip(2)},
        {"psnr": {"prediction": scores}},
    )


@pytest.fixture
def large_page(tmp_path, monkeypatch):
    """A page with room for the films of its clips and not for their pixels."""
    monkeypatch.setattr(page, "MAX_BYTES", 300_000)
    write_page(tmp_path / "report.html", "t", [Record("run", rollouts=[rollouts()])], {})
    return tmp_path / "report.html"


def test_clips_that_do_not_fit_are_films(large_page):
    text = large_page.read_text()
    assert len(text) <= 300_000
    assert "pictures are a film" in text
    assert '"filmRate": 25' in text


def test_the_guess_is_near_what_packing_finds():
    clips = [clip(0), clip(1)]
    (_, exact), needed = pack_all(clips, 10**9), sum(map(len, pack_all(clips, 0)[0]))
    assert exact == 0
    assert can_fit(clips, round(1.1 * needed))
    assert not can_fit(clips, round(0.9 * needed))


def test_a_film_has_every_frame_in_order():
    decoded = av.open(io.BytesIO(film.film(clip(3), QUALITIES[0]))).decode(video=0)
    frames = [frame.to_ndarray(format="rgb24") for frame in decoded]
    assert [number_of(frame) for frame in frames] == list(range(T))
    assert film.film(clip(3), 20) == film.film(clip(3), 20)


def test_the_best_quality_that_fits_is_taken():
    best = film_all([clip(3)], 10**9)
    less = film_all([clip(3)], len(best[0]) - 1)
    assert len(less[0]) < len(best[0])


def test_the_page_shows_each_frame_of_a_film(browser, large_page):
    view = browser.new_page(viewport={"width": 1000, "height": 900})
    said = []
    view.on("pageerror", lambda error: said.append(str(error)))
    view.goto(large_page.as_uri())

    def shown(index: int) -> np.ndarray:
        return np.array(view.evaluate(READ, index), np.uint8).reshape(H, W, 4)[..., :3]

    def until_shown(frame: int) -> None:
        for _ in range(500):
            if all(number_of(shown(index)) == frame for index in range(3)):
                return
            view.wait_for_timeout(20)
        raise AssertionError(f"not frame {frame}")

    until_shown(0)
    for key, frame in (
        *(("ArrowRight", 1), ("ArrowRight", 2), ("Shift+ArrowRight", 12), ("ArrowLeft", 11)),
        *(("Shift+ArrowRight", 21), ("Shift+ArrowRight", 31), ("Shift+ArrowRight", 41)),
        ("Shift+ArrowLeft", 31),
    ):
        view.keyboard.press(key)
        until_shown(frame)
    truth = clip(1)[31].astype(int)
    assert np.abs(shown(1) - truth).mean() < 12
    assert "25.00 dB" in view.inner_text("#predicted")
    assert not said
    view.close()
