"""The player's page in a real browser: hands on the picture, memory, recording, comings back."""

import io
import zipfile
from collections.abc import Callable

import numpy as np
import pytest

from player import model as models
from tests.support.playing import PRETRAINED, Running, serving

PICTURE = """index => {
    const canvas = document.querySelectorAll("#screen canvas")[index];
    const {width, height} = canvas;
    const copy = new OffscreenCanvas(width, height);
    copy.getContext("2d").drawImage(canvas, 0, 0);
    const pixels = copy.getContext("2d").getImageData(0, 0, width, height).data;
    return [width, height, Array.from(pixels)];
}"""


@pytest.fixture(scope="module")
def dancer():
    with serving(models.load(str(PRETRAINED / "dance.safetensors"), "cpu")) as running:
        yield running


@pytest.fixture(scope="module")
def robot():
    with serving(models.load(str(PRETRAINED / "robot.safetensors"), "cpu")) as running:
        yield running


class Opened:
    """An open page, what it said, and what it asked for."""

    def __init__(self, page, running: Running):
        self.page, self.running, self.said, self.asked = page, running, [], []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(running.address)
        self.until(lambda: self.frame() > 3)

    def until(self, what: Callable[[], object], seconds: float = 20) -> None:
        """Wait for something. Not by Playwright, whose way the policy forbids."""
        for _ in range(int(seconds * 50)):
            if what():
                return
            self.page.wait_for_timeout(20)
        raise TimeoutError

    def frame(self) -> int:
        text = self.page.inner_text("#where")
        return int(text.split()[1]) if text else -1

    def on(self, selector: str) -> bool:
        return self.page.get_attribute(selector, "aria-pressed") == "true"

    def picture(self, index: int = 0) -> np.ndarray:
        width, height, values = self.page.evaluate(PICTURE, index)
        return np.array(values, float).reshape(height, width, 4)[..., :3]

    def handle(self, joint: str) -> tuple[float, float]:
        """The middle of a handle, in pixels of the page."""
        box = self.page.locator(f"[data-joint={joint}]").bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def place(self, x: float, y: float, picture: int = 0) -> tuple[float, float]:
        """A place in a picture, in pixels of the page."""
        box = self.page.locator("#screen svg").nth(picture).bounding_box()
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def trouble(self) -> str:
        shown = self.page.locator("#trouble").is_visible()
        return self.page.inner_text("#trouble span") if shown else ""


@pytest.fixture
def opened(browser):
    """Open pages; afterwards they must have asked for nothing but their own server's files."""
    contexts, pages = [], []

    def make(running: Running, **options) -> Opened:
        context = browser.new_context(**({"viewport": {"width": 1200, "height": 900}} | options))
        contexts.append(context)
        pages.append(Opened(context.new_page(), running))
        return pages[-1]

    yield make
    for context in contexts:
        context.close()
    for page in pages:
        own = page.running.address
        outside = [url for url in page.asked if not url.startswith((own, "data:", "blob:", "ws:"))]
        assert outside == []
        unexpected = [text for text in page.said if "ERR_CONNECTION_REFUSED" not in text]
        assert unexpected == []


def test_a_wrist_dragged_to_the_other_side_changes_the_prediction_there(opened, dancer):
    view = opened(dancer)
    before = view.picture()
    start, end = view.handle("wrist_left"), view.place(0.88, 0.35)
    view.page.mouse.move(*start)
    view.page.mouse.down()
    view.page.mouse.move(*end, steps=12)
    view.until(lambda: abs(view.handle("wrist_left")[0] - end[0]) < 25)
    at = view.frame()
    view.until(lambda: view.frame() > at + 10)
    after = view.picture()
    view.page.mouse.up()
    there = np.abs(after - before)[6:30, 42:60].max(axis=-1)
    assert (there > 60).sum() > 40, "nobody came there"
    middle = np.abs(after - before)[12:26, 30:34].max(axis=-1)
    assert (middle > 60).mean() > 0.5, "and where one stood, one stands still"


def test_a_finger_drags_and_two_come_nearer(opened, dancer):
    view = opened(dancer, has_touch=True, viewport={"width": 390, "height": 844})
    devices = view.page.context.new_cdp_session(view.page)

    def touch(kind: str, *places) -> None:
        points = [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(places)]
        devices.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    x, y = view.handle("wrist_right")
    touch("touchStart", (x, y))
    for share in (0.25, 0.5, 0.75, 1.0):
        touch("touchMove", (x - 20 * share, y - 50 * share))
        view.page.wait_for_timeout(40)
    view.until(lambda: view.handle("wrist_right")[1] < y - 30)
    touch("touchEnd")
    size = view.handle("ankle_left")[1] - view.handle("neck")[1]
    a, b = view.place(0.4, 0.5), view.place(0.6, 0.5)
    touch("touchStart", a, b)
    for step in range(1, 8):
        touch("touchMove", (a[0] - 8 * step, a[1]), (b[0] + 8 * step, b[1]))
        view.page.wait_for_timeout(30)
    touch("touchEnd")
    view.until(lambda: view.handle("ankle_left")[1] - view.handle("neck")[1] > 1.15 * size)
    assert view.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_moves_and_the_wheel(opened, dancer):
    view = opened(dancer)
    view.press("2")
    neck = view.handle("neck")[1]
    view.until(lambda: view.handle("neck")[1] > neck + 35)  # kneels
    view.until(lambda: view.handle("neck")[1] < neck + 10)  # and stands up again
    view.page.mouse.move(*view.place(0.5, 0.5))
    size = view.handle("ankle_left")[1] - view.handle("neck")[1]
    for _ in range(4):
        view.page.mouse.wheel(0, 300)
    view.until(lambda: view.handle("ankle_left")[1] - view.handle("neck")[1] < 0.85 * size)


def test_the_keyboard_moves_a_joint(opened, dancer):
    view = opened(dancer)
    x, _ = view.handle("wrist_left")
    view.page.locator("[data-joint=wrist_left]").focus()
    for _ in range(4):
        view.press("ArrowRight")
        view.page.wait_for_timeout(60)
    view.until(lambda: view.handle("wrist_left")[0] > x + 20)


def test_pause_step_memory_and_reset(opened, dancer):
    view = opened(dancer)
    view.press("1")
    view.until(lambda: view.frame() > 40)
    view.press(" ")
    view.until(lambda: not view.on("#play"))
    view.page.wait_for_timeout(200)
    at, now = view.frame(), view.picture()
    view.press(".")
    view.until(lambda: view.frame() == at + 1)
    view.press(",")
    view.until(lambda: view.frame() == at)
    np.testing.assert_array_equal(view.picture(), now)
    assert view.page.inner_text("#when").startswith("−")
    view.page.evaluate(
        """() => { const slider = document.getElementById("memory");
                   slider.value = 10; slider.dispatchEvent(new Event("input")); }"""
    )
    view.until(lambda: 10 <= view.frame() < at)  # a busy page may have missed frames before it
    view.press(" ")
    view.until(lambda: view.frame() > at + 3)  # goes on where it was, not where one looked
    view.press("Home")
    view.until(lambda: view.frame() < 15)


def test_the_look_of_the_page(opened, dancer):
    view = opened(dancer)
    page = view.page
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    view.press("t")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    zoom = "getComputedStyle(document.querySelector('#screen canvas')).imageRendering"
    assert page.evaluate(zoom) == "pixelated"
    view.press("s")
    assert page.evaluate(zoom) == "auto"
    assert "37." in page.inner_text("#about")
    assert "the demo's data" in page.inner_text("#about")
    view.press("m")
    view.until(lambda: view.on("[data-z=sample]"))
    page.select_option("#pace", "10")
    view.until(lambda: page.inner_text("#rate") in ("9/s", "10/s", "11/s"))


def test_recordings_are_saved_by_the_browser(opened, dancer):
    view = opened(dancer)
    view.press("r")
    view.until(lambda: view.on("#record"))
    at = view.frame()
    view.until(lambda: view.frame() > at + 12)
    view.press("r")
    view.until(lambda: not view.on("#record"))
    starts = {"gif": b"GIF89a", "mp4": b"\0\0\0", "sequence": b"PK"}
    for kind, begins in starts.items():
        with view.page.expect_download(timeout=20_000) as download:
            view.page.click(f"[data-file={kind}]")
        with open(download.value.path(), "rb") as file:
            content = file.read()
        assert content.startswith(begins)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert "test/test_label/0/10.png" in archive.namelist()


def test_a_second_session_is_its_own_and_the_fifth_is_told(opened, dancer):
    views = [opened(dancer) for _ in range(2)]
    views[0].press(" ")
    views[0].until(lambda: not views[0].on("#play"))
    at = views[1].frame()
    views[1].until(lambda: views[1].frame() > at + 5)
    assert views[1].on("#play")
    others = [views[0].page.context.new_page() for _ in range(3)]
    for page in others:
        page.goto(dancer.address)
    views[0].until(lambda: any("--sessions" in page.inner_text("#trouble span") for page in others))
    for page in others:
        page.close()
    views[0].until(lambda: len(dancer.server.sessions) == 2)  # freed
    views[1].page.reload()
    views[1].until(lambda: 3 < views[1].frame() < 60)


def test_a_server_that_is_gone_and_comes_back(opened, browser):
    played = models.load(str(PRETRAINED / "dance.safetensors"), "cpu")
    first = Running(played)
    view = opened(first)
    view.page.click("#starts button:nth-child(3)")
    view.until(lambda: view.on("#starts button:nth-child(3)"))
    first.stop()
    view.until(lambda: "gone" in view.trouble())
    second = Running(played, port=first.port)
    try:
        view.until(lambda: view.trouble() == "" and view.frame() > 3)
        view.until(lambda: view.on("#starts button:nth-child(3)"))  # as was chosen
    finally:
        second.stop()


def test_a_server_with_another_token_is_not_ours(opened):
    played = models.load(str(PRETRAINED / "dance.safetensors"), "cpu")
    first = Running(played)
    view = opened(first)
    first.stop()
    second = Running(played, port=first.port)
    second.server.token = "anothertokenaltogether"
    try:
        view.until(lambda: "Another server" in view.trouble())
        view.said.clear()  # the 404 is told in the console
    finally:
        second.stop()


def test_the_arm_follows_the_mouse_and_samples_differ(opened, robot):
    view = opened(robot)
    still = [view.picture(k) for k in range(4)]
    view.page.mouse.move(*view.place(0.2, 0.3))
    view.page.mouse.down()
    view.page.mouse.move(*view.place(0.8, 0.75), steps=10)
    view.page.wait_for_timeout(1200)
    assert view.on("#lower")
    samples = [view.picture(k) for k in range(4)]
    view.page.mouse.up()
    view.until(lambda: not view.on("#lower"))
    assert all((np.abs(a - b).max(axis=-1) > 60).sum() > 60 for a, b in zip(samples, still))
    assert np.abs(samples[0] - samples[1]).max() > 20
    view.press("g")
    view.until(lambda: view.on("#grip"))
    ring = "document.querySelector('.aim').getAttribute('cx')"
    before = float(view.page.evaluate(ring))
    view.press("ArrowLeft", "ArrowLeft", "ArrowLeft")
    view.until(lambda: float(view.page.evaluate(ring)) < before - 5)
