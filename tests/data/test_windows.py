"""Windows of an epoch: what they may not cross, how many there are, how they are shuffled."""

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from data.windows import epoch_starts, fixed_starts, shifted_starts, split_into_recordings, truncate

LENGTHS = st.integers(1, 6)
FEW = settings(max_examples=60, deadline=None)


@st.composite
def recordings(draw):
    """Frame numbers with gaps, cuts (some at no frame), and sometimes a holdout."""
    steps = draw(st.lists(st.sampled_from([1, 1, 1, 1, 1, 1, 2, 5]), min_size=1, max_size=40))
    numbers = draw(st.integers(0, 9)) + np.cumsum(steps)
    inside = st.integers(0, int(numbers[-1]) + 3)
    cuts = draw(st.lists(inside, max_size=4))
    holdout = None
    if draw(st.booleans()):
        first, last = sorted(draw(st.tuples(inside, inside)))
        holdout = (first, last + 1)
    return numbers, cuts, holdout


@st.composite
def parts_and_length(draw):
    """Disjoint recordings, of which one at least is long enough for a window."""
    sizes = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 15)), min_size=1, max_size=5))
    length = draw(LENGTHS)
    parts, position = [], 0
    for gap, size in sizes:
        parts.append((position + gap, position + gap + size))
        position += gap + size
    assume(any(b - a >= length for a, b in parts))
    return parts, length


def frames_of(parts):
    return sum(b - a for a, b in parts)


def is_inside(start, length, parts):
    return any(a <= start and start + length <= b for a, b in parts)


# ------------------------------------------------------------------------- recordings


@FEW
@given(recordings())
@example((np.array([7]), [7], None))
@example((np.arange(10), [0, 5, 10], (0, 10)))
def test_recordings_are_the_longest_runs_without_cut_gap_or_holdout(recording):
    numbers, cuts, holdout = recording
    first, last = holdout or (0, 0)
    expected, run = [], []
    for index, number in enumerate(numbers):
        begins = bool(run) and (number != numbers[index - 1] + 1 or number in cuts)
        held = first <= number < last
        if run and (begins or held):
            expected.append((run[0], run[-1] + 1))
            run = []
        if not held:
            run.append(index)
    if run:
        expected.append((run[0], run[-1] + 1))
    assert split_into_recordings(numbers, cuts, holdout) == expected


@FEW
@given(recordings(), LENGTHS, st.integers(0, 5))
def test_windows_never_cross_a_cut_a_gap_or_the_holdout(recording, length, epoch):
    numbers, cuts, holdout = recording
    parts = split_into_recordings(numbers, cuts, holdout)
    assume(any(b - a >= length for a, b in parts))
    windows = frames_of(parts) // length
    for fixed in (False, True):
        starts = epoch_starts(parts, length, windows, fixed=fixed, seed=0, epoch=epoch)
        for start in starts:
            window = numbers[start : start + length]
            assert len(window) == length
            assert np.array_equal(window, np.arange(window[0], window[0] + length))
            assert not set(window[1:].tolist()) & set(cuts)
            if holdout:
                assert not ((window >= holdout[0]) & (window < holdout[1])).any()


# ----------------------------------------------------------------------------- starts


@FEW
@given(parts_and_length(), st.integers(1, 60), st.integers(0, 3), st.integers(0, 3))
def test_there_are_as_many_windows_as_asked_for(case, windows, seed, epoch):
    parts, length = case
    starts = epoch_starts(parts, length, windows, fixed=False, seed=seed, epoch=epoch)
    assert len(starts) == windows
    assert all(is_inside(start, length, parts) for start in starts)


@FEW
@given(parts_and_length(), st.integers(0, 99))
def test_random_windows_overlap_only_to_make_up_for_the_offset(case, seed):
    """Before windows are made up at random places, each recording is tiled once."""
    parts, length = case
    least = sum(max(0, (b - a - length + 1) // length) for a, b in parts)
    starts = shifted_starts(parts, length, max(1, least), np.random.default_rng(seed))
    gaps = np.diff(np.sort(starts))
    assert (gaps >= length).all()


@settings(max_examples=15, deadline=None)
@given(parts_and_length())
@example(([(0, 16)], 16))
@example(([(0, 31), (40, 57)], 16))
def test_over_many_epochs_every_frame_is_used(case):
    parts, length = case
    windows = max(1, frames_of(parts) // length)
    used = set()
    for epoch in range(400):
        for start in epoch_starts(parts, length, windows, fixed=False, seed=1, epoch=epoch):
            used |= set(range(start, start + length))
    assert used == {i for a, b in parts if b - a >= length for i in range(a, b)}


def test_phases_are_random():
    """Windows do not always begin at multiples of their length."""
    parts = [(0, 160)]
    phases = {
        int(epoch_starts(parts, 16, 10, fixed=False, seed=0, epoch=epoch).min()) % 16
        for epoch in range(200)
    }
    assert phases == set(range(16))


@pytest.mark.parametrize("fixed", [False, True])
def test_order_is_a_function_of_seed_and_epoch(fixed):
    def order(seed, epoch):
        parts = [(0, 100), (120, 250)]
        return epoch_starts(parts, 4, 55, fixed=fixed, seed=seed, epoch=epoch).tolist()

    assert order(3, 7) == order(3, 7)
    assert order(3, 7) != order(3, 8)
    assert order(3, 7) != order(4, 7)
    assert order(3, 7) != sorted(order(3, 7))


# --------------------------------------------------------------- fixed windows, truncate


@FEW
@given(st.integers(0, 50), LENGTHS, st.integers(0, 9))
def test_fixed_windows_lie_at_the_multiples_of_the_lab(frames, length, epoch):
    count = frames // length
    expected = [k * length for k in range(count)]
    assert fixed_starts([(0, frames)], length).tolist() == expected
    shuffled = epoch_starts([(0, frames)], length, count, fixed=True, seed=0, epoch=epoch)
    assert sorted(shuffled.tolist()) == expected


def test_fixed_windows_restart_in_every_recording():
    assert fixed_starts([(0, 7), (7, 9), (10, 16)], 3).tolist() == [0, 3, 10, 13]
    assert fixed_starts([], 3).tolist() == []


@FEW
@given(parts_and_length(), st.integers(0, 90))
def test_truncate_keeps_the_first_frames(case, frames):
    parts, _ = case
    every = [i for a, b in parts for i in range(a, b)]
    kept = truncate(parts, frames)
    assert [i for a, b in kept for i in range(a, b)] == every[:frames]
    assert all(a < b for a, b in kept)
    assert len(kept) <= len(parts)
