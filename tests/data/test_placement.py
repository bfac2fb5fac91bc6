"""Where decoded frames lie: on the device or on the host, all of them alike."""

from dataclasses import dataclass

import pytest
import torch

from core import distributed
from data.placement import place

GPU, CPU = torch.device("cuda"), torch.device("cpu")
FREE = 1000  # bytes of a GPU that is stood in for


@dataclass
class Frames:
    """What `place` asks of an array: how large it is, and to be moved."""

    nbytes: int
    device: torch.device = CPU

    def to(self, device: torch.device) -> "Frames":
        return Frames(self.nbytes, device)


@pytest.fixture(autouse=True)
def free_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (FREE, 2 * FREE))


@pytest.mark.parametrize(
    ("sizes", "home"), [((100, 100), GPU), ((200, 200), CPU), ((10, 245), CPU)]
)
def test_all_arrays_lie_where_all_of_them_have_room(sizes, home):
    """Each of 200 bytes alone would have gone to the GPU, and one of 10 beside one of 245."""
    assert [x.device for x in place([Frames(size) for size in sizes], GPU)] == [home, home]


def test_where_one_process_has_no_room_none_uses_its_own(monkeypatch):
    monkeypatch.setattr(distributed, "all_reduce_max", lambda *values: [True])  # another has none
    assert [x.device for x in place([Frames(1), Frames(1)], GPU)] == [CPU, CPU]


def test_on_the_cpu_nothing_is_asked(monkeypatch):
    monkeypatch.setattr(distributed, "all_reduce_max", None)
    assert [x.device for x in place([Frames(1)], CPU)] == [CPU]
