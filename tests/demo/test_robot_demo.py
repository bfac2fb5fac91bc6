"""The synthetic robot: seeded, obedient, and not quite predictable."""

import numpy as np
import pytest

from demo import pushing
from demo.dataset import Refusal
from demo.robot import make_dataset, sequence


def test_the_same_seed_draws_the_same_set_and_another_another(tmp_path):
    sizes = {"train_sequences": 2, "eval_sequences": 1, "frames": 4}
    assert make_dataset(tmp_path / "a", **sizes, num_workers=2)
    assert make_dataset(tmp_path / "b", **sizes)
    assert make_dataset(tmp_path / "c", **sizes, seed=1)
    a, b, c = (
        {p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("traj*/*/*")}
        for n in "abc"
    )
    assert len(a) == 4 * 6
    assert a == b
    assert set(a) == set(c)
    assert a != c
    assert not make_dataset(tmp_path / "a", **sizes)
    with pytest.raises(Refusal, match="other arguments"):
        make_dataset(tmp_path / "a", **sizes, seed=1)
    with pytest.raises(Refusal, match="--frames"):
        make_dataset(tmp_path / "d", frames=0)


def test_the_arm_obeys_its_commands_and_reports_where_it_is():
    pictures, actions, positions = sequence(0, "train", 3, 30)
    assert pictures.shape == (30, 64, 64, 3)
    assert np.abs(actions).max() <= 1
    moved = np.clip(positions[:-1] + pushing.STEP * actions[:-1, :3], *pushing.REACH)
    np.testing.assert_allclose(positions[1:], moved)


def test_the_command_decides_where_the_arm_is_seen():
    table = pushing.lay(np.random.default_rng(0))
    rng = np.random.default_rng(1)
    left, right = (pushing.step(table, np.array([dx, 0, 0, 0]), rng) for dx in (-1, 1))
    assert left.hand[0] < table.hand[0] < right.hand[0]


def test_the_same_push_ends_differently_by_chance():
    table = pushing.lay(np.random.default_rng(0))
    thing = table.things[0]
    beside = np.array([*(thing.place - (thing.size, 0)), 0.0])
    table = pushing.replace(table, hand=beside)
    ends = [
        pushing.step(table, np.array([1.0, 0, 0, 0]), np.random.default_rng(seed)).things[0]
        for seed in range(20)
    ]
    assert np.std([end.place for end in ends], axis=0).min() > 0.01
    assert len({end.faces[0] for end in ends}) > 1
    raised = pushing.replace(table, hand=np.array([*beside[:2], 0.9]))
    assert pushing.step(raised, np.array([1.0, 0, 0, 0]), np.random.default_rng(0)).things == (
        table.things
    )
