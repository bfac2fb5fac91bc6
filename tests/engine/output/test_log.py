"""The log of a run: a row an epoch, continued and extended."""

import csv

from engine.output.tracker import CsvLog


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_log_has_a_row_an_epoch(tmp_path):
    log = CsvLog(tmp_path / "metrics.csv", 0)
    for epoch in range(3):
        log.add({"epoch": epoch, "loss": 0.5 / (epoch + 1)})
    text = (tmp_path / "metrics.csv").read_text()
    assert text.splitlines()[0] == "epoch,loss"
    assert [float(row["loss"]) for row in rows_of(log.path)] == [0.5, 0.25, 0.5 / 3]


def test_continuing_drops_the_rows_from_the_first_epoch_on(tmp_path):
    path = tmp_path / "metrics.csv"
    log = CsvLog(path, 0)
    for epoch in range(5):
        log.add({"epoch": epoch, "loss": epoch})
    log = CsvLog(path, 3)
    assert [row["epoch"] for row in rows_of(path)] == ["0", "1", "2"]
    log.add({"epoch": 3, "loss": 33})
    assert [(row["epoch"], row["loss"]) for row in rows_of(path)] == [
        ("0", "0"),
        ("1", "1"),
        ("2", "2"),
        ("3", "33"),
    ]
    CsvLog(path, 0)
    assert rows_of(path) == []


def test_new_columns_extend_the_file_and_missing_ones_stay_empty(tmp_path):
    path = tmp_path / "metrics.csv"
    log = CsvLog(path, 0)
    log.add({"epoch": 0, "loss": 1})
    log.add({"epoch": 1, "psnr": 20, "loss": 2})
    log.add({"loss": 3, "epoch": 2})
    expected = [("0", "1", ""), ("1", "2", "20"), ("2", "3", "")]
    assert [(r["epoch"], r["loss"], r["psnr"]) for r in rows_of(path)] == expected
    log = CsvLog(path, 2)
    log.add({"epoch": 2, "loss": 3, "ssim": 0.5})
    assert path.read_text().splitlines()[0] == "epoch,loss,psnr,ssim"
    assert rows_of(path)[1] == {"epoch": "1", "loss": "2", "psnr": "20", "ssim": ""}
    assert rows_of(path)[2] == {"epoch": "2", "loss": "3", "psnr": "", "ssim": "0.5"}
