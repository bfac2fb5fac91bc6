"""A folder of runs as a table, the best score first; and what the page says of some of them."""

import csv
import re
import shutil

import pytest

import Reporter
from engine.output.tracker import CsvLog
from report.leaderboard import as_text, runs_in, standings
from report.page import write_page
from report.rollout_figures import rollout_figures
from report.runs import read_records
from report.style import to_svg
from tests.support.hostile import call
from tests.support.reporting import make_results, make_run, rollout

EVIL = "<b>&"


def make_judged_run(folder, best: float, judge: str = "val", **settings):
    """Write the log of a run whose score is best in epoch 2 of 4."""
    make_run(folder, **settings)
    (folder / "metrics.csv").unlink()
    log = CsvLog(folder / "metrics.csv", 0)
    for epoch, less in enumerate((3.0, 1.0, 0.0, 0.5)):
        psnr = {f"{judge}_psnr": best - less, f"{judge}_ssim": 0.9 - less / 100}
        log.add({"epoch": epoch, "loss": 0.1} | psnr)
    return folder


@pytest.fixture
def runs(tmp_path):
    root = tmp_path / "RUNS"
    make_judged_run(root / "middle", 24.0)
    make_judged_run(root / EVIL, 29.5)
    make_judged_run(root / "low", 21.25)
    make_judged_run(root / "other", 40.0, "holdout", holdout=[10, 20])
    (root / "begun").mkdir()
    (root / "begun" / "metrics.csv").write_text("epoch,loss\n")
    (root / "previous-1").mkdir()
    shutil.copy(root / "low" / "metrics.csv", root / "previous-1")
    (root / "notes").mkdir()
    return root


def test_a_folder_of_runs_is_a_table_sorted_by_score(runs, tmp_path):
    code, said = call(Reporter, runs, "--out", tmp_path / "out")
    assert code == 0, said
    table = [
        re.split(r" {2,}", line) for line in said.splitlines() if "  " in line and "|" not in line
    ]
    assert table[0] == ["run", "judged by", "PSNR, dB", "SSIM", "epoch", "epochs", "test PSNR, dB"]
    assert [row[0] for row in table[1:]] == [EVIL, "middle", "low", "other"]
    assert table[1] == [EVIL, "val", "29.50", "0.9000", "2", "4", "–"]
    assert table[4][1] == "holdout 10:20", "another set's scores are not compared"
    assert "begun" in said
    assert "left out" in said
    with (tmp_path / "out" / "runs.csv").open() as file:
        assert {row["run"] for row in csv.DictReader(file)} == {EVIL, "middle", "low", "other"}


def test_the_page_has_the_same_table(runs, tmp_path):
    code, said = call(Reporter, runs, "--out", tmp_path / "out")
    assert code == 0, said
    page = (tmp_path / "out" / "report.html").read_text()
    board = page[page.index("<h2>Leaderboard") :]
    board = board[: board.index("</table>")]
    places = [board.index(f">{name}<") for name in ("&lt;b&gt;&amp;", "middle", "low", "other")]
    assert places == sorted(places)
    assert "<b>" not in board


def test_tests_stand_beside_validations_and_runs_without_scores_come_last(tmp_path):
    make_results(make_judged_run(tmp_path / "b", 24.0) / "test", rollout("0", 1), rollout("1", 2))
    make_judged_run(tmp_path / "a", 25.0)
    make_run(tmp_path / "c")
    (tmp_path / "c" / "metrics.csv").write_text("epoch,loss\n0,0.5\n")
    found = standings(read_records(runs_in(tmp_path)))
    assert [one.label for one in found] == ["a", "b", "c"]
    assert found[0].tested is None
    assert 20 < found[1].tested < 30
    assert found[2].psnr is None
    assert as_text(found).splitlines()[3].split() == ["c", "–", "–", "–", "–", "1", "–"]


def test_runs_given_by_name_and_other_folders_are_as_they_were(runs, tmp_path):
    assert runs_in(runs / "low") == [runs / "low"]
    assert runs_in(tmp_path / "nowhere") == [tmp_path / "nowhere"]
    results = make_results(tmp_path / "results", rollout("0", 1))
    assert runs_in(results) == [results]
    code, said = call(Reporter, runs / "low", "--out", tmp_path / "out")
    assert code == 0, said
    assert "judged by" not in said
    assert "Leaderboard" not in (tmp_path / "out" / "report.html").read_text()


def test_a_folder_without_runs_is_refused_as_before(tmp_path):
    (tmp_path / "empty").mkdir()
    code, said = call(Reporter, tmp_path / "empty", "--out", tmp_path / "out")
    assert code == 2
    assert "neither metrics.csv" in said


def page_of(tmp_path, *records):
    figures = rollout_figures({r.label: r.rollouts for r in records if r.rollouts})
    drawn = {name: to_svg(figure, name) for name, figure in figures.items()}
    write_page(tmp_path / "report.html", "title", records, drawn)
    return (tmp_path / "report.html").read_text()


def test_of_two_runs_with_one_rolled_out_the_page_does_not_speak_of_two(tmp_path):
    one = make_run(tmp_path / "one")
    make_results(one / "test", rollout("0", 1))
    page = page_of(tmp_path, *read_records([one, make_run(tmp_path / "two")]))
    assert "2 training runs: one, two; 1 sequence rolled out by one</p>" in page
    assert "of each run" not in page
    make_results(tmp_path / "two" / "test", rollout("0", 2))
    page = page_of(tmp_path, *read_records([one, tmp_path / "two"]))
    assert "2 training runs, 1 sequence rolled out: one, two</p>" in page
    assert "of each run" in page
