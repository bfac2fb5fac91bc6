"""The page on a phone, and without true frames, in a real browser."""

import numpy as np

from report.page import write_page
from report.rollouts import Rollout
from report.runs import Record
from tests.support.reporting import rollout


def opened(browser, tmp_path, records, width):
    write_page(tmp_path / "report.html", "title", records, {})
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto((tmp_path / "report.html").as_uri())
    for _ in range(500):
        if page.inner_text("#where"):
            return page
        page.wait_for_timeout(20)
    raise TimeoutError


def without_truth() -> Rollout:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 12, 8, 16, 3)).astype(np.uint8)
    return Rollout("0", {"pose": pixels[0], "prediction": pixels[1]})


def height(page, selector: str) -> float:
    return page.locator(selector).bounding_box()["height"]


def test_without_true_frames_there_is_a_ruler_and_no_empty_chart(browser, tmp_path):
    page = opened(browser, tmp_path, [Record("run", rollouts=[without_truth()])], 1000)
    assert height(page, "#curve svg") < 60
    assert page.locator("#curve .rule").count() == 1, "the ground line alone"
    assert not page.locator("#metric").is_visible()
    assert page.locator("#legend > span").count() == 0
    box = page.locator("#curve").bounding_box()
    page.mouse.click(box["x"] + box["width"] - 9, box["y"] + 10)
    assert page.get_attribute("#curve", "aria-valuenow") == "11", "one can still move along"
    page.close()


def test_with_true_frames_the_chart_is_there(browser, tmp_path):
    page = opened(browser, tmp_path, [Record("run", rollouts=[rollout("0", 1)])], 1000)
    assert height(page, "#curve svg") > 150
    assert page.locator("#metric").is_visible()
    page.close()


def test_scores_of_several_runs_fit_a_phone(browser, tmp_path):
    names = [f"a-run-with-a-long-name-{number}" for number in range(4)]
    records = [
        Record(name, rollouts=[rollout("0", n), rollout("1", n)]) for n, name in enumerate(names)
    ]
    page = opened(browser, tmp_path, records, 360)
    for table in page.locator("table.scores").all():
        inside = table.evaluate("t => [t.scrollWidth, t.parentElement.clientWidth]")
        assert inside[0] <= inside[1]
    for cell in page.locator("table.scores td").all():
        box = cell.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
    shown = page.locator("table.scores").first.inner_text()
    assert shown.count("\n") > 8
    heads = page.locator("table.scores td").evaluate_all("cells => cells.map(c => c.dataset.head)")
    assert all(heads)
    assert f"{names[3]}, PSNR, dB" in heads
    page.close()
