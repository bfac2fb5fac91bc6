"""How much memory is free, by files of the system made up for the test."""

import torch

from core import memory

CPU = torch.device("cpu")


def test_it_is_what_the_system_calls_available():
    with open("/proc/meminfo") as file:
        total = next(int(line.split()[1]) for line in file if line.startswith("MemTotal"))
    assert 0 < memory.free_memory(CPU) <= total << 10


def test_a_limit_of_the_control_group_counts(tmp_path, monkeypatch):
    for name, text in (
        ("max", "1000000\n"),
        ("current", "700000\n"),
        ("stat", "anon 500000\ninactive_file 200000\nactive_file 0\n"),
    ):
        (tmp_path / name).write_text(text)
    group = tuple(str(tmp_path / name) for name in ("max", "current", "stat"))
    monkeypatch.setattr(memory, "LIMITS", (group,))
    assert memory.free_memory(CPU) == 500_000
    (tmp_path / "max").write_text("max\n")
    assert memory.free_memory(CPU) > 500_000


def test_where_nothing_says_it_nothing_is_said(monkeypatch):
    monkeypatch.setattr(memory, "LIMITS", ())
    monkeypatch.setattr(memory, "_available", lambda: None)
    assert memory.free_memory(CPU) is None
