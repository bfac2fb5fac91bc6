"""The page in a real browser: headless Chromium, driven by Playwright."""

import contextlib
import re
from collections.abc import Callable

import numpy as np
import pytest

from report import page as pages
from report.page import write_page
from report.rollout_figures import ERROR_SCALE, rollout_figures
from report.runs import read_records
from report.style import to_svg
from report.training_figures import training_figures
from tests.support.reporting import make_results, make_run, robot, rollout

EVIL = "<img src=x onerror=alert(1)>{{data}}"  # no slash, so that a folder can have the name
LABEL = f"</script>{EVIL}"  # of a run, as parents of its folder could make it
FRAMES = 40


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A page of two runs with two sequences of the dance and one of a robot."""
    root = tmp_path_factory.mktemp("page")
    runs = [make_run(root / "first", note=EVIL), make_run(root / EVIL, note="</script><b>")]
    for seed, run in enumerate(runs):
        make_results(run / "test", rollout("0", seed), rollout(EVIL, seed, data_seed=1))
    make_results(runs[0] / "tests-of-a-robot", robot("push"))
    records = read_records(runs)
    records[1].label = LABEL
    figures = rollout_figures({r.label: r.rollouts for r in records}) | training_figures(records)
    path = root / "report.html"
    svgs = {name: to_svg(figure, name) for name, figure in figures.items()}
    write_page(path, EVIL, records, svgs)
    return path, records, svgs


class Opened:
    """An open page and what it said and asked for meanwhile."""

    def __init__(self, page, path):
        self.page, self.said, self.asked = page, [], []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("dialog", lambda dialog: self.said.append(dialog.message))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(path.as_uri())
        self.until(lambda: page.inner_text("#where"))

    def until(self, what: Callable[[], object]) -> None:
        """Wait for something, 10 s at most. Not by Playwright, whose way the policy forbids."""
        for _ in range(500):
            if what():
                return
            self.page.wait_for_timeout(20)
        raise TimeoutError

    def playing(self) -> bool:
        return self.page.get_attribute("#play", "aria-pressed") == "true"

    def frame(self) -> int:
        return int(self.page.get_attribute("#curve", "aria-valuenow"))

    def captions(self) -> list[str]:
        return self.page.locator(".panel b").all_inner_texts()

    def chips(self, holder: str) -> dict[str, bool]:
        """The choices by name, and whether they are on."""
        return {
            chip.inner_text(): chip.get_attribute("aria-pressed") == "true"
            for chip in self.page.locator(f"#{holder} .chip").all()
        }

    def picture(self, index: int) -> np.ndarray:
        """What a canvas shows: (H, W, 3)."""
        width, height, values = self.page.evaluate(
            """index => {
                const canvas = document.querySelectorAll(".panel canvas")[index];
                const {width, height} = canvas;
                const copy = new OffscreenCanvas(width, height);
                const context = copy.getContext("2d", {willReadFrequently: true});
                context.drawImage(canvas, 0, 0);
                const pixels = context.getImageData(0, 0, width, height).data;
                return [width, height, Array.from(pixels)];
            }""",
            index,
        )
        return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]

    def shows(self, index: int, frame: np.ndarray) -> None:
        """Assert that a canvas shows a frame, or does as soon as its clip is unpacked."""
        with contextlib.suppress(TimeoutError):
            self.until(lambda: np.array_equal(self.picture(index), frame))
        np.testing.assert_array_equal(self.picture(index), frame)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)


@pytest.fixture
def opened(browser, written):
    """Open the page; afterwards it must have said nothing and asked for nothing but itself."""
    contexts, pages = [], []

    def make(path=None, **options) -> Opened:
        context = browser.new_context(**({"viewport": {"width": 1200, "height": 900}} | options))
        contexts.append(context)
        pages.append(Opened(context.new_page(), path or written[0]))
        return pages[-1]

    yield make
    said, asked = [p.said for p in pages], [p.asked for p in pages]
    for context in contexts:
        context.close()
    assert said == [[]] * len(pages)
    assert all(len(urls) == 1 and urls[0].startswith("file:") for urls in asked), asked


def test_it_shows_the_exact_frames(opened, written):
    view = opened()
    clips = written[1][0].rollouts[0].clips
    assert view.captions()[:4] == ["pose", "truth", "prediction", "difference"]
    for frame in (0, 1, 2):
        assert view.frame() == frame
        for index, name in enumerate(("pose", "truth", "prediction")):
            view.shows(index, clips[name][frame])
        view.press("ArrowRight")
    view.shows(4, written[1][1].rollouts[0].clips["prediction"][view.frame()])


def test_the_difference_grows_from_black_to_bright(opened, written):
    view = opened()
    assert view.picture(3).max() < 10  # the first frame is given: no difference
    view.press("ArrowRight")
    clips = written[1][0].rollouts[0].clips
    error = np.abs(clips["prediction"][1] - clips["truth"][1].astype(float)).mean(2)
    brightness = view.picture(3).astype(int).sum(2)
    assert error.max() < ERROR_SCALE
    order = np.argsort(error.ravel())
    assert (np.diff(brightness.ravel()[order]) >= -3).all()  # rounding of three colors
    assert brightness.max() > brightness.min() + 50


def test_pictures_are_enlarged_without_blur(opened):
    view = opened()
    styles = view.page.evaluate(
        """() => [...document.querySelectorAll(".panel canvas")].map(
            canvas => [getComputedStyle(canvas).imageRendering, canvas.clientWidth / canvas.width]
        )"""
    )
    assert all(style == "pixelated" and scale > 8 for style, scale in styles), styles


def test_play_moves_the_frames_and_pause_stops_them(opened):
    view = opened()
    view.page.select_option("#speed", "50")
    view.page.click("#play")
    view.until(lambda: view.frame() >= 5)
    view.page.click("#play")
    stood = view.frame()
    view.page.wait_for_timeout(150)
    assert view.frame() == stood


def test_without_loop_it_stops_at_the_end_and_with_it_begins_again(opened):
    view = opened()
    view.page.select_option("#speed", "100")
    view.page.focus("#curve")
    view.press("l", "End", "ArrowLeft", " ")
    view.until(lambda: not view.playing())
    assert view.frame() == FRAMES - 1
    view.press("l", " ")
    view.until(lambda: view.frame() < 30)
    view.press("End")
    view.until(lambda: view.frame() < 30)
    assert view.playing()


def test_scrubbing_on_the_curve_lands_on_the_frame(opened, written):
    view = opened()
    box = view.page.locator("#curve").bounding_box()
    left, right = box["x"] + 38, box["x"] + box["width"] - 8  # of the first and the last frame
    middle = box["y"] + box["height"] / 2
    for frame in (0, 7, 20, FRAMES - 1):
        view.page.mouse.click(left + (right - left) * frame / (FRAMES - 1), middle)
        assert view.frame() == frame
        clip = written[1][0].rollouts[0].clips["prediction"]
        view.shows(2, clip[frame])
    view.page.mouse.move(left, middle)
    view.page.mouse.down()
    view.page.mouse.move(left + (right - left) * 12 / (FRAMES - 1), middle)
    assert view.frame() == 12
    view.page.mouse.move(right + 500, middle)
    assert view.frame() == FRAMES - 1
    view.page.mouse.up()
    view.page.mouse.move(left, middle)
    assert view.frame() == FRAMES - 1
    score = written[1][0].rollouts[0].scores["psnr"]["prediction"][FRAMES - 1]
    assert f"{score:.2f} dB" in view.page.locator(".panel").nth(2).inner_text()


def test_the_keys(opened):
    view = opened()
    view.press("ArrowRight", "ArrowRight", "Shift+ArrowRight", "ArrowLeft")
    assert view.frame() == 11
    view.press("End")  # scrolls the page
    assert view.frame() == 11
    view.page.focus("#curve")
    view.press("Home", "ArrowLeft")
    assert view.frame() == 0
    view.press("End", "ArrowRight")
    assert view.frame() == FRAMES - 1
    speed = view.page.input_value("#speed")
    view.press("+")
    assert float(view.page.input_value("#speed")) > float(speed)
    view.press("-")
    assert view.page.input_value("#speed") == speed
    view.press("d")
    assert "difference" not in view.captions()
    view.press("d", " ")
    assert view.playing()
    view.press("2")
    assert list(view.chips("sequences").values()) == [False, True, False]


def test_sequences_and_runs_are_chosen(opened, written):
    view = opened()
    first, other = written[1]
    assert list(view.chips("sequences")) == ["0", EVIL, "push"]
    assert view.chips("runs") == {"first": True, LABEL: True}
    view.page.locator("#sequences .chip").nth(1).click()
    view.shows(1, first.rollouts[1].clips["truth"][0])
    view.page.locator("#runs .chip").nth(0).click()
    assert view.chips("runs") == {"first": False, LABEL: True}
    assert len(view.captions()) == 4
    view.press("ArrowRight")
    view.shows(2, other.rollouts[1].clips["prediction"][1])
    view.page.locator("#runs .chip").nth(1).click()  # the last one stays on
    assert view.chips("runs")[LABEL]
    view.press("r")
    assert list(view.chips("runs").values()) == [True, True]
    view.press("r")
    assert list(view.chips("runs").values()) == [True, False]


def test_a_link_opens_a_moment(browser, written):
    page = browser.new_page()
    for link, frame, pressed in (
        ("sequence=push&frame=5", "5", [False, False, True]),
        ("sequence=none&frame=999", f"{FRAMES - 1}", [True, False, False]),
        ("frame=-3&x", "0", [True, False, False]),
    ):
        page.goto("about:blank")
        page.goto(f"{written[0].as_uri()}#{link}")
        chips = page.locator("#sequences .chip")
        assert page.get_attribute("#curve", "aria-valuenow") == frame
        assert [c.get_attribute("aria-pressed") == "true" for c in chips.all()] == pressed
    page.close()


def test_samples_of_a_robot_stand_side_by_side(opened, written):
    view = opened()
    view.press("3")
    samples = [f"sample {k}" for k in range(3)]
    assert view.captions() == ["truth", *samples, *[f"Δ {s}" for s in samples]]
    clips = written[1][0].rollouts[2].clips
    for index, name in enumerate(("truth", *samples)):
        view.shows(index, clips[name][0])
    kinds = view.page.locator(".panel canvas").evaluate_all("all => all.map(c => c.className)")
    assert kinds == ["", *["context"] * 3, *[""] * 3]
    view.press("ArrowRight", "ArrowRight")
    kinds = view.page.locator(".panel canvas").evaluate_all("all => all.map(c => c.className)")
    assert kinds == ["", *["model"] * 3, *[""] * 3]
    tops = [view.page.locator(".panel").nth(k).bounding_box()["y"] for k in range(1, 4)]
    assert len(set(tops)) == 1


def test_names_and_settings_do_not_become_html(opened, written):
    view = opened()
    assert view.page.locator("img").count() == 0
    assert view.page.locator("h1").inner_text() == EVIL
    table = view.page.locator("table.settings").inner_text()
    assert "</script><b>" in table
    assert EVIL in table
    svg = view.page.locator(".figure svg").first.text_content()
    assert EVIL in svg
    # Whatever got in would not run: the policy allows one script, by its hash.
    assert "script-src 'sha256-" in written[0].read_text().split("</head>")[0]


@pytest.mark.parametrize("width", [390, 320])
def test_a_phone_needs_no_sideways_scroll(opened, width):
    view = opened(viewport={"width": width, "height": 844}, has_touch=True, is_mobile=True)
    for sequence in ("1", "3"):
        view.press(sequence)
        assert view.page.evaluate("document.documentElement.scrollWidth") <= width
    box = view.page.locator("#play").bounding_box()
    assert box["height"] >= 40
    view.page.tap("#forth")
    assert view.frame() == 1


def test_light_and_dark(opened):
    view = opened(color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = view.page.evaluate(ground)
    view.page.click("#theme")
    light = view.page.evaluate(ground)
    assert sum(eval(light[3:])) > 600 > 150 > sum(eval(dark[3:]))  # "rgb(18, 19, 22)"
    view.press("t")
    assert view.page.evaluate(ground) == dark
    assert opened(color_scheme="light").page.evaluate(ground) == light


def test_a_page_with_little_room_is_less_exact_and_says_so(opened, written, tmp_path, monkeypatch):
    exact, records, svgs = written
    limit = exact.stat().st_size - 30_000
    monkeypatch.setattr(pages, "MAX_BYTES", limit)
    path = tmp_path / "small.html"
    write_page(path, "small", records, svgs)
    assert path.stat().st_size <= limit
    view = opened(path)
    view.press("Shift+ArrowRight")
    off = np.abs(
        view.picture(2).astype(int) - records[0].rollouts[0].clips["prediction"][10].astype(int)
    ).max()
    view.page.click("summary")
    said = re.search(r"off by (\d+) of 255", view.page.locator("details").inner_text())
    assert 0 < off <= int(said[1])


def test_a_page_of_figures_alone_and_one_without_truth(opened, written, tmp_path):
    alone = tmp_path / "figures.html"
    write_page(alone, "run", read_records([make_run(tmp_path / "run")]), written[2])
    assert 'id="player"' not in alone.read_text()
    assert "<svg" in alone.read_text()

    blind = rollout("0", 1)
    del blind.clips["truth"]
    blind.scores.clear()
    path = tmp_path / "blind.html"
    records = read_records([make_results(tmp_path / "blind", blind)])
    write_page(path, "blind", records, {})
    view = opened(path)
    assert view.captions() == ["pose", "prediction"]
    view.press("ArrowRight")
    view.shows(1, blind.clips["prediction"][1])
