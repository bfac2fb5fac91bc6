"""How fast the player is, in a browser: `python -m benchmarks.play [CHECKPOINT ...]`.

Plays each checkpoint in headless Chromium on this machine and prints, beside the rate of `rollout`
alone, the frames a second that the model predicts and that the page shows (at most 60, the
browser's own rate), the CPU time of the server for a frame, and the time from a move of the mouse
until the page has drawn the frame that shows it. With --minutes M it plays so long instead and
prints how memory and room changed. Needs playwright and chromium (requirements-dev.txt, README).
"""

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from playwright.sync_api import Page, sync_playwright

import Player
from data.types import Clip
from engine.evaluation.rollout import rollout
from player import model as models
from player.worlds import SAMPLES

ROOT = Path(__file__).parents[1]
CHECKPOINTS = ("pretrained/dance.safetensors", "pretrained/robot.safetensors")
WARM_UP = 3.0  # seconds thrown away
ROLLED_OUT = 150  # frames of the rate of rollout alone
LIVE_PACE = {"dance": "30", "robot": "20"}  # frames/s while latency is measured
ALL_PIXELS = """() => {
    const canvas = document.querySelector("#screen canvas");
    const {width, height} = canvas;
    const copy = new OffscreenCanvas(width, height);
    const context = copy.getContext("2d");
    context.drawImage(canvas, 0, 0);
    return [width, height, Array.from(context.getImageData(0, 0, width, height).data)];
}"""


@contextlib.contextmanager
def playing(checkpoint: str) -> Iterator[tuple[subprocess.Popen, Page]]:
    """Start Player.py and open its page."""
    flags = ["--ckpt_path", checkpoint, "--no_browser", "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, ROOT / "Player.py", *flags], stdout=subprocess.PIPE, text=True
    )
    address = next(line.strip() for line in process.stdout if line.startswith("http://"))
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    try:
        with sync_playwright() as playwright:
            sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
            browser = playwright.chromium.launch(executable_path=chromium, args=sandbox)
            page = browser.new_page(viewport={"width": 1360, "height": 900})
            page.goto(address)
            page.wait_for_timeout(1000 * WARM_UP)
            yield process, page
            browser.close()
    finally:
        process.terminate()
        process.wait()


def rollout_rate(checkpoint: str) -> float:
    """Frames a second of `rollout` alone, of as many sequences as the page shows."""
    played = models.load(checkpoint, "cpu")
    torch.set_num_threads(Player.usual_threads())
    world = Player.world_of(played, Player.read_flags(["--ckpt_path", checkpoint]))[0]()
    known = torch.from_numpy(world.known.copy()).permute(1, 0, 4, 2, 3)  # (P, n_past, 3, H, W)
    conditions = torch.from_numpy(np.repeat(world.conditions[-1:], ROLLED_OUT, axis=0))
    if played.kind == "dance":
        conditions = conditions.permute(0, 3, 1, 2)
    clips = [Clip(str(k), x, conditions, played.n_past) for k, x in enumerate(known)]
    assert len(clips) == (1 if played.kind == "dance" else SAMPLES)
    rollout(played.model, clips, compute=played.compute)
    began = time.perf_counter()
    rollout(played.model, clips, compute=played.compute)
    return ROLLED_OUT / (time.perf_counter() - began)


def frame_number(page: Page) -> int:
    return int(re.search(r"\d+", page.inner_text("#where"))[0])


def rates(process: subprocess.Popen, page: Page, seconds: float) -> tuple[float, float, float]:
    """Frames a second shown and predicted as fast as the model goes, and CPU ms a frame."""
    page.select_option("#pace", "1000")
    page.wait_for_timeout(1000)
    number, paints = frame_number(page), page.evaluate("readings.paints")
    began, used = time.perf_counter(), cpu_seconds(process.pid)
    page.wait_for_timeout(1000 * seconds)
    passed = time.perf_counter() - began
    shown = (page.evaluate("readings.paints") - paints) / passed
    frames = frame_number(page) - number
    return shown, frames / passed, 1000 * (cpu_seconds(process.pid) - used) / max(1, frames)


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process so far; NaN where the system does not say."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return float("nan")


def latencies(page: Page, kind: str, seconds: float) -> np.ndarray:
    """Milliseconds from each move of a hand, which goes in circles, to the frame that shows it."""
    page.select_option("#pace", LIVE_PACE[kind])
    page.wait_for_timeout(1000)
    box = page.locator("#screen svg").first.bounding_box()
    handle = page.locator("[data-joint=wrist_left]" if kind == "dance" else ".aim").first
    start = handle.bounding_box()
    page.mouse.move(start["x"] + start["width"] / 2, start["y"] + start["height"] / 2)
    page.mouse.down()
    page.evaluate("readings.latencies.length = 0")
    began = time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        x = box["x"] + box["width"] * (0.62 + 0.1 * np.cos(3 * passed))
        y = box["y"] + box["height"] * (0.35 + 0.2 * np.sin(3 * passed))
        page.mouse.move(x, y)
        page.wait_for_timeout(25)
    page.wait_for_timeout(300)
    found = np.array(page.evaluate("readings.latencies"))
    page.mouse.up()
    return found


def soak(process: subprocess.Popen, page: Page, minutes: float) -> None:
    """Play for a long time; print the server's and the page's memory and the drift of the room."""
    page.keyboard.press("Home")
    page.wait_for_timeout(50)
    first, began = picture(page), time.monotonic()
    print("| minute | frames | server, MB | page, MB | room from frame 0, gray levels |")
    print("|---|---|---|---|---|")
    told = 0.0
    while (passed := (time.monotonic() - began) / 60) < minutes:
        page.keyboard.press(str(1 + int(passed * 60 / 4) % 5))
        page.wait_for_timeout(4000)
        if passed >= told:
            tell(process, page, passed, first)
            told += max(1.0, minutes / 10)
    tell(process, page, minutes, first)


def tell(process: subprocess.Popen, page: Page, minutes: float, first: np.ndarray) -> None:
    page.wait_for_timeout(100)
    heap = page.evaluate("performance.memory ? performance.memory.usedJSHeapSize : NaN") / 1e6
    drift = room_drift(page, first)
    numbers = f"{frame_number(page)} | {resident(process.pid):.0f} | {heap:.0f} | {drift:.2f}"
    print(f"| {minutes:.1f} | {numbers} |", flush=True)


def resident(pid: int) -> float:
    """The resident memory of a process in MB; NaN where the system does not say."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) / 1000
    return float("nan")


def picture(page: Page) -> np.ndarray:
    width, height, values = page.evaluate(ALL_PIXELS)
    return np.array(values, float).reshape(height, width, 4)[..., :3]


def room_drift(page: Page, first: np.ndarray) -> float:
    """The mean difference from frame 0 in the columns where nobody stands, then or now."""
    box = page.locator("#screen svg").first.bounding_box()
    handles = page.locator(".handle").all()
    if not handles:
        return float("nan")
    places = [h.bounding_box() for h in handles]
    columns = (np.array([p["x"] for p in places]) - box["x"]) / box["width"] * first.shape[1]
    free = np.ones(first.shape[1], bool)
    for low, high in ((columns.min() - 12, columns.max() + 12), (20, 44)):
        free[max(0, int(low)) : max(0, int(high))] = False
    return float(np.abs(picture(page) - first)[:, free].mean()) if free.any() else float("nan")


def take_picture(checkpoint: str, path: str) -> None:
    """Show a dancer whose hands are in the air, in the dark, with some seconds of memory."""
    with playing(checkpoint) as (_, page):
        page.set_viewport_size({"width": 1280, "height": 880})
        page.emulate_media(color_scheme="dark")
        box = page.locator("#screen svg").bounding_box()
        for joint, x, y in (("wrist_right", 0.40, 0.10), ("wrist_left", 0.66, 0.17)):
            handle = page.locator(f"[data-joint={joint}]").bounding_box()
            page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
            page.mouse.down()
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=10)
            page.wait_for_timeout(700)
            if joint == "wrist_right":
                page.mouse.up()
        page.screenshot(path=path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.play", description=__doc__)
    parser.add_argument("checkpoints", nargs="*", default=CHECKPOINTS)
    parser.add_argument("--seconds", type=float, default=15, help="of every measurement")
    parser.add_argument("--minutes", type=float, help="play so long and watch memory and room")
    parser.add_argument("--picture", metavar="FILE", help="take a picture of the page, and stop")
    flags = parser.parse_args()
    if flags.picture:
        take_picture(flags.checkpoints[0], flags.picture)
        return
    if flags.minutes:
        for checkpoint in flags.checkpoints:
            print(f"\n{checkpoint}, {flags.minutes:g} minutes:\n")
            with playing(checkpoint) as (process, page):
                soak(process, page, flags.minutes)
        return
    print("| | rollout alone | predicted | server's CPU | shown | latency, median | 95 % | moves |")
    print("|---|---|---|---|---|---|---|---|")
    for checkpoint in flags.checkpoints:
        alone = rollout_rate(checkpoint)
        with playing(checkpoint) as (process, page):
            kind = page.evaluate("document.title").split()[-1]
            kind = {"dancer": "dance", "arm": "robot"}[kind]
            waits = latencies(page, kind, flags.seconds)
            shown, predicted, cpu = rates(process, page, flags.seconds)
        middle, slow = np.percentile(waits, [50, 95])
        print(
            f"| {Path(checkpoint).stem} | {alone:.0f}/s | {predicted:.0f}/s | {cpu:.1f} ms "
            f"| {shown:.0f}/s | {middle:.0f} ms | {slow:.0f} ms | {len(waits)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
